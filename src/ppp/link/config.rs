//! What a link is told before it starts.

use std::{fmt, net::Ipv4Addr, time::Duration};

use crate::ppp::{
    auth::{AuthProtocol, Credentials, Users},
    automaton,
    mppe::Policy,
};

/// Ethernet's 1500 bytes less IPv4 (20), enhanced GRE with acknowledgement (16) and an uncompressed PPP header (4): the
/// largest information field that travels in one piece.
pub const MTU_LIMIT: u16 = 1500 - 20 - 16 - 4;

/// Bytes by which MPPE makes a datagram longer at worst: its own header (2) and the inner protocol number (2).
pub const MPPE_OVERHEAD: u16 = 4;

/// A whole link's configuration.
pub struct LinkConfig {
    /// Which side we are, with what only that side needs.
    pub role: Role,
    /// The largest information field that we receive, in bytes; asked for in LCP unless it is the default of 1500.
    pub mru: u16,
    /// The largest information field that the path to the peer carries, in bytes; [`MTU_LIMIT`] on Ethernet. The
    /// tunnel's MTU is the smaller of this and the peer's MRU, less [`MPPE_OVERHEAD`] when encrypting.
    pub mtu_limit: u16,
    /// Whether to probe a silent peer.
    pub echo: Option<Echo>,
    /// Client: the protocols with which we are willing to prove ourselves. Server: those that will do, the first is
    /// demanded first; empty for no authentication.
    pub accept: Vec<AuthProtocol>,
    /// Encryption.
    pub mppe: Policy,
    /// Whether IPV6CP is spoken; otherwise it is answered with Protocol-Reject.
    pub ipv6: bool,
    /// Timers and limits.
    pub timing: Timing,
    /// Random bytes, for magic numbers, challenges and interface identifiers. Must be unpredictable.
    pub random: Random,
}

/// Where random bytes come from: fills the whole slice.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// Which side of the link we are.
#[derive(Clone, Debug)]
pub enum Role {
    /// Proves itself when asked and takes an address.
    Client(Client),
    /// Asks for proof and gives an address.
    Server(Server),
}

/// The client's part.
#[derive(Clone, Debug)]
pub struct Client {
    /// Who we are.
    pub credentials: Credentials,
    /// Ask for this address; unspecified (0.0.0.0) for whichever the server gives.
    pub address: Ipv4Addr,
    /// Ask for name servers (RFC 1877 §1.1, §1.3).
    pub dns: bool,
    /// Ask for NBNS servers (RFC 1877 §1.2, §1.4).
    pub wins: bool,
}

/// The server's part.
#[derive(Clone, Debug)]
pub struct Server {
    /// What we call ourselves in a challenge.
    pub name: String,
    /// Who may come in.
    pub users: Users,
    /// Our end of the link.
    pub local: Ipv4Addr,
    /// The address that the client is given.
    pub peer: Ipv4Addr,
    /// Name servers, at most two, for a client that asks.
    pub dns: Vec<Ipv4Addr>,
    /// NBNS servers, at most two, for a client that asks.
    pub wins: Vec<Ipv4Addr>,
}

/// LCP Echo (RFC 1661 §5.8). A peer from which anything sensible came since the last look is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Time between two looks.
    pub interval: Duration,
    /// So many requests without an answer end the link.
    pub failures: u32,
}

/// Timers and limits. No phase takes longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Retransmission and counters of every option negotiation. Max-Configure is raised where the phase's limit leaves
    /// room for more transmissions.
    pub negotiation: automaton::Timing,
    /// From [`Link::open`](super::Link::open), or a renegotiation, to LCP open.
    pub lcp: Duration,
    /// From LCP open to authenticated.
    pub auth: Duration,
    /// From authenticated to addresses, encryption included.
    pub network: Duration,
    /// With encryption allowed but not required: how long a peer that does not react to CCP at all is waited for before
    /// the link goes on without.
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
            network: Duration::from_secs(30),
            ccp_patience: Duration::from_secs(3),
            terminate: Duration::from_secs(2),
        }
    }
}

impl LinkConfig {
    /// A client that accepts MS-CHAPv2 only, allows encryption, asks for address and name servers.
    #[must_use]
    pub fn client(credentials: Credentials, random: Random) -> Self {
        let client = Client { credentials, address: Ipv4Addr::UNSPECIFIED, dns: true, wins: false };
        Self::with_role(Role::Client(client), random)
    }

    /// A server that demands MS-CHAPv2 and allows encryption.
    #[must_use]
    pub fn server(name: &str, users: Users, local: Ipv4Addr, peer: Ipv4Addr, random: Random) -> Self {
        let name = name.to_owned();
        Self::with_role(
            Role::Server(Server { name, users, local, peer, dns: Vec::new(), wins: Vec::new() }),
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
            mppe: Policy::default(),
            ipv6: false,
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
            .field("mppe", &self.mppe)
            .field("ipv6", &self.ipv6)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}
