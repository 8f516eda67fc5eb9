//! Configuration of a link.

use std::{fmt, net::Ipv4Addr, time::Duration};

use crate::ppp::{
    auth::{AuthProtocol, Credentials, Users},
    automaton,
    ipcp::Given,
    mppe::Policy,
};

/// Ethernet's 1500 bytes less IPv4 (20), enhanced GRE with acknowledgement (16) and an uncompressed PPP
/// header (4): the largest information field that is not fragmented.
const MTU_LIMIT: u16 = 1500 - 20 - 16 - 4;

/// Most bytes that MPPE adds to a datagram: its own header (2) and the inner protocol number (2).
pub const MPPE_OVERHEAD: u16 = 4;

/// Configuration of one link.
pub struct LinkConfig {
    /// Our role, with the settings of that role.
    pub role: Role,
    /// The largest information field that we receive, in bytes; requested in LCP unless it is the default of
    /// 1500.
    pub mru: u16,
    /// The largest information field that the path to the peer carries, in bytes; [`MTU_LIMIT`] on Ethernet. The
    /// tunnel's MTU is the smaller of this and the peer's MRU, less [`MPPE_OVERHEAD`] when encrypting.
    pub mtu_limit: u16,
    /// How to probe a silent peer; `None` to never probe.
    pub echo: Option<Echo>,
    /// Client: the protocols with which we may authenticate ourselves. Server: the protocols that we accept,
    /// in the order in which they are demanded; empty for no authentication.
    pub accept: Vec<AuthProtocol>,
    /// Client: whether a peer may demand no authentication at all.
    pub unauthenticated: bool,
    /// Client: whether to ask once for the strongest of `accept` when the peer demands a weaker one.
    pub prefer_stronger: bool,
    /// Encryption policy.
    pub mppe: Policy,
    /// Whether IPV6CP is used; otherwise it is answered with Protocol-Reject.
    pub ipv6: bool,
    /// Whether the kernel moves the data packets ([`Unit`](super::Unit)): the link negotiates, and sees none of them.
    pub kernel_data: bool,
    /// Timers and limits.
    pub timing: Timing,
    /// Random bytes, for magic numbers, challenges and interface identifiers. Must be unpredictable.
    pub random: Random,
}

/// A source of random bytes: fills the whole slice.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// Role of this side of the link.
#[derive(Clone, Debug)]
pub enum Role {
    /// Authenticates itself on request and is assigned an address.
    Client(Client),
    /// Demands authentication and assigns an address.
    Server(Server),
}

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct Client {
    /// User name and password.
    pub credentials: Credentials,
    /// Address to request; unspecified (0.0.0.0) for any.
    pub address: Ipv4Addr,
    /// What the peer has given before, to request it first.
    pub given_before: Option<Given>,
    /// Whether our MRU follows a smaller one of the peer ([`RequestStyle`](crate::ppp::lcp::RequestStyle)).
    pub follow_mru: bool,
    /// Whether to request name servers (RFC 1877 §1.1, §1.3).
    pub dns: bool,
    /// Whether to request NBNS servers (RFC 1877 §1.2, §1.4).
    pub wins: bool,
}

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Our name in a challenge.
    pub name: String,
    /// Users that may log in.
    pub users: Users,
    /// Our address.
    pub local: Ipv4Addr,
    /// Address assigned to the client.
    pub peer: Ipv4Addr,
    /// Name servers, at most two, for a client that requests them.
    pub dns: Vec<Ipv4Addr>,
    /// NBNS servers, at most two, for a client that requests them.
    pub wins: Vec<Ipv4Addr>,
    /// Whether to demand an authentication protocol again that the client has nakked, if there is no other.
    pub insists: bool,
}

/// LCP Echo (RFC 1661 §5.8). No request is sent if a valid frame has arrived from the peer since the last
/// check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Echo {
    /// Time between two checks.
    pub interval: Duration,
    /// Number of unanswered requests that ends the link.
    pub failures: u32,
}

/// Timers and limits. No phase takes longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Retransmission and counters of every option negotiation. Max-Configure is raised if the limit of the
    /// phase allows more transmissions.
    pub negotiation: automaton::Timing,
    /// From [`Link::open`](super::Link::open), or a renegotiation, to LCP open.
    pub lcp: Duration,
    /// From LCP open to authenticated.
    pub auth: Duration,
    /// Client: time within which the peer must end the link after it has refused our credentials; otherwise the
    /// refusal may be forged. `None` believes a refusal at once.
    pub confirm_refusal: Option<Duration>,
    /// From authenticated to addresses, encryption included.
    pub network: Duration,
    /// Time to wait for a peer that does not react to CCP at all, before the link continues without
    /// encryption. Used if encryption is allowed but not required.
    pub ccp_patience: Duration,
    /// From our Terminate-Request to the end, answered or not.
    pub terminate: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            negotiation: automaton::Timing::default(),
            lcp: Duration::from_secs(30),
            auth: Duration::from_secs(30),
            confirm_refusal: None,
            network: Duration::from_secs(30),
            ccp_patience: Duration::from_secs(3),
            terminate: Duration::from_secs(2),
        }
    }
}

impl LinkConfig {
    /// Configures a client that accepts only MS-CHAPv2, allows encryption, and requests an address and name
    /// servers.
    #[must_use]
    pub fn client(credentials: Credentials, random: Random) -> Self {
        let client = Client {
            credentials,
            address: Ipv4Addr::UNSPECIFIED,
            given_before: None,
            follow_mru: true,
            dns: true,
            wins: false,
        };
        Self::with_role(Role::Client(client), random)
    }

    /// Configures a server that demands MS-CHAPv2 and allows encryption.
    #[must_use]
    pub fn server(name: &str, users: Users, local: Ipv4Addr, peer: Ipv4Addr, random: Random) -> Self {
        let name = name.to_owned();
        Self::with_role(
            Role::Server(Server {
                name,
                users,
                local,
                peer,
                dns: Vec::new(),
                wins: Vec::new(),
                insists: true,
            }),
            random,
        )
    }

    fn with_role(role: Role, random: Random) -> Self {
        Self {
            role,
            mru: 1500,
            mtu_limit: MTU_LIMIT,
            echo: Some(Echo { interval: Duration::from_secs(30), failures: 4 }),
            accept: vec![AuthProtocol::MsChapV2],
            unauthenticated: false,
            prefer_stronger: true,
            mppe: Policy::default(),
            ipv6: false,
            kernel_data: false,
            timing: Timing::default(),
            random,
        }
    }
}

impl fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("role", &self.role)
            .field("mru", &self.mru)
            .field("mtu_limit", &self.mtu_limit)
            .field("echo", &self.echo)
            .field("accept", &self.accept)
            .field("unauthenticated", &self.unauthenticated)
            .field("prefer_stronger", &self.prefer_stronger)
            .field("mppe", &self.mppe)
            .field("ipv6", &self.ipv6)
            .field("kernel_data", &self.kernel_data)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}
