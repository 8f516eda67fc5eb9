//! What the engine is told before it starts: everything but the password, which travels by itself.

use std::{net::SocketAddrV4, time::Duration};

use serde::{Deserialize, Serialize};

pub use super::mss::Clamp;
pub use crate::{
    ppp::{
        auth::AuthProtocol,
        mppe::{Demand, Policy, Strength},
    },
    pptp::quirks::Quirks,
};

/// One dial of one profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The profile's name, for the log and the process list.
    pub name: String,
    /// 0 to 2, as `pptp --loglevel`.
    pub loglevel: u8,
    /// Where to.
    pub server: SocketAddrV4,
    /// The limit of each phase.
    pub limits: Limits,
    /// How the server departs from the RFC.
    pub quirks: Quirks,
    /// Passed in the Outgoing-Call-Request.
    pub phone: Option<String>,
    /// Control silence before an Echo-Request; `None` sends none.
    pub idle_wait: Option<Duration>,
    /// How long the Echo-Reply may take.
    pub max_echo_wait: Duration,
    /// The longest that a packet waits for an earlier one; `None` does not reorder.
    pub reorder: Option<Duration>,
    /// A packet this far ahead is bogus.
    pub missing_window: Option<u32>,
    /// User name, without a domain.
    pub user: String,
    /// Windows domain.
    pub domain: Option<String>,
    /// The protocols that we accept.
    pub auth: Vec<AuthProtocol>,
    /// Encryption.
    pub mppe: Policy,
    /// LCP echo: interval, and how many unanswered end the link.
    pub lcp_echo: Option<(Duration, u32)>,
    /// MRU to ask for, in bytes.
    pub mru: Option<u16>,
    /// What the path carries at most in one PPP information field, in bytes.
    pub mtu_limit: u16,
    /// Negotiate IPV6CP.
    pub ipv6: bool,
    /// Ask for resolvers.
    pub want_dns: bool,
    /// Someone else speaks PPP: the third descriptor is a pty and not a tun device. User, password and what else is
    /// negotiated are that one's business then.
    pub external: bool,
    /// How large TCP segments through the tunnel may be.
    pub mss: Clamp,
    /// Ask the server for routes ([`super::inform`]) before the link is said to be up.
    pub peer_routes: bool,
}

/// The limit of each phase.
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
    /// Each wait of a polite end.
    pub stop: Duration,
}
