//! What keeper and worker say to each other.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    dropin::options::Options,
    pptp::{quirks::Quirks, wire},
};

/// What a manager is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The server.
    pub server: SocketAddrV4,
    /// Source address.
    pub local: Option<Ipv4Addr>,
    /// Firewall mark; 0 for none.
    pub mark: u32,
    /// Whether a host route is made.
    pub host_route: bool,
    /// What the server needs.
    pub quirks: Quirks,
    /// Number to dial.
    pub phone: Option<String>,
    /// Silence before an Echo-Request.
    pub idle_wait: Option<Duration>,
    /// Wait after it.
    pub max_echo_wait: Duration,
    /// Prefix of log lines.
    pub log_string: String,
    /// 0 to 2.
    pub log_level: u8,
}

impl Spec {
    /// The part of the options that is the manager's.
    #[must_use]
    pub fn new(options: &Options, server: Ipv4Addr) -> Self {
        Self {
            server: SocketAddrV4::new(server, wire::PORT),
            local: options.local_bind,
            mark: options.mark,
            host_route: options.host_route,
            quirks: options.quirks,
            phone: options.phone.clone(),
            idle_wait: options.idle_wait,
            max_echo_wait: options.max_echo_wait,
            log_string: options.log_string.clone(),
            log_level: options.log_level,
        }
    }
}

/// From keeper to worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Comes first, with the TCP socket, not yet connected.
    Start(Box<Spec>),
    /// A client wants a call.
    Open(u32),
    /// A client is gone.
    Close(u32),
    /// End everything politely.
    Stop,
}

/// From worker to keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// A client's call is up: our identifier, the server's.
    Up(u32, u16, u16),
    /// A client's call is over, or was never made; why.
    Down(u32, String),
    /// All is over; why. The last message.
    Ended(String),
}
