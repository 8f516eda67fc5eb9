//! The engine's parameters, except for the password, which is sent separately.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use crate::{
    ppp::{auth::AuthProtocol, link::Echo, mppe::Policy, mss::Mss},
    pptp::{flow::Reorder, quirks::Quirks},
};

/// Parameters of one connection attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The profile's name, for the log and the process list.
    pub name: String,
    /// 0 to 2, as `pptp --loglevel`.
    pub loglevel: u8,
    /// Address and port of the server.
    pub server: SocketAddrV4,
    /// Our call id: the key of the GRE packets that the server sends.
    pub call_id: u16,
    /// Time limits of the phases.
    pub limits: Limits,
    /// How the server deviates from RFC 2637.
    pub quirks: Quirks,
    /// Sent in the Outgoing-Call-Request.
    pub phone: Option<String>,
    /// Control silence before an Echo-Request; `None` sends none.
    pub idle_wait: Option<Duration>,
    /// Time limit for the Echo-Reply.
    pub max_echo_wait: Duration,
    /// How long a packet waits for an earlier one.
    pub reorder: Reorder,
    /// A packet this many sequence numbers ahead is bogus; `None` disables the check.
    pub missing_window: Option<u32>,
    /// Whether to hold packets back while the server's receive window is full.
    pub transmit_window: bool,
    /// User name, without a domain.
    pub user: String,
    /// Windows domain, if any.
    pub domain: Option<String>,
    /// Authentication protocols that we accept.
    pub auth: Vec<AuthProtocol>,
    /// Whether a server that asks for no authentication is accepted.
    pub unauthenticated: bool,
    /// Whether to ask once for the strongest protocol of `auth` if the server asks for a weaker one.
    pub prefer_stronger: bool,
    /// Encryption requirements.
    pub mppe: Policy,
    /// LCP Echo; `None` sends none.
    pub lcp_echo: Option<Echo>,
    /// MRU to request, in bytes; `None` requests `mtu_limit`.
    pub mru: Option<u16>,
    /// Largest PPP information field that the path carries, in bytes.
    pub mtu_limit: u16,
    /// Whether the tunnel's MTU follows what the path is found to carry.
    pub follow_path: bool,
    /// Whether to negotiate IPV6CP.
    pub ipv6: bool,
    /// What this server agreed to before, requested first.
    pub remembered: Option<Remembered>,
    /// Whether to request resolvers.
    pub want_dns: bool,
    /// Whether an external daemon runs PPP: the third descriptor is then a pty, not a tun device, and the
    /// daemon does authentication and negotiation.
    pub external: bool,
    /// Whether the kernel moves the packets: the third descriptor is then a PPP unit, and a fourth, an open node of the
    /// PPP driver, becomes its channel ([`ToEngine::Attached`](super::message::ToEngine::Attached)).
    pub kernel: bool,
    /// Limit of the size of TCP segments through the tunnel.
    pub mss: Mss,
    /// Whether the tunnel was up before this attempt, so that a refusal of the credentials has to be confirmed.
    pub was_up: bool,
    /// Whether to ask for routes ([`super::inform`]) before the link is reported up.
    pub peer_routes: bool,
    /// Whether to run without the filter of system calls if the kernel refuses it.
    pub best_effort: bool,
}

/// What a server agreed to when the tunnel last came up. Nothing about authentication or encryption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// Our address.
    pub address: Ipv4Addr,
    /// Resolvers, at most two.
    pub dns: Vec<Ipv4Addr>,
    /// Our MRU, 1500 without the option; in bytes.
    pub mru: Option<u16>,
}

/// The time limit of each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The TCP handshake.
    pub connect: Duration,
    /// SCCRQ to SCCRP.
    pub control: Duration,
    /// OCRQ to OCRP.
    pub call: Duration,
    /// Call up to the first GRE packet of the server.
    pub gre: Duration,
    /// LCP.
    pub lcp: Duration,
    /// Authentication.
    pub auth: Duration,
    /// Encryption and addresses.
    pub network: Duration,
    /// Each wait during a graceful shutdown.
    pub stop: Duration,
}
