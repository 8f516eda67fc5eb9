//! What a control connection is told from outside: its role, its manners, its calls.

use std::time::Duration;

use crate::pptp::quirks::Quirks;

/// The side of the control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// PPTP network server: opens the control connection and asks for calls. What people call the client.
    Pns,
    /// PPTP access concentrator: answers. What people call the server.
    Pac,
}

/// How one control connection behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// The side.
    pub role: Role,
    /// Host name to give; the first 64 bytes count.
    pub host_name: String,
    /// Vendor to give; the first 64 bytes count.
    pub vendor: String,
    /// Firmware revision to give.
    pub firmware: u16,
    /// Maximum channels to give.
    pub max_channels: u16,
    /// Framing capabilities to give: bit 0 asynchronous, bit 1 synchronous.
    pub framing: u32,
    /// Bearer capabilities to give: bit 0 analog, bit 1 digital.
    pub bearer: u32,
    /// What the server needs to hear.
    pub quirks: Quirks,
    /// Longest wait for Start-Control-Connection-Reply (client) or -Request (server).
    pub reply_timeout: Duration,
    /// Longest wait for Outgoing-Call-Reply (client) or for the decision on a call (server).
    pub call_timeout: Duration,
    /// How long the peer may be silent before an Echo-Request; `None`: no Echo-Requests. No other timer
    /// depends on it.
    pub idle_wait: Option<Duration>,
    /// How long the peer may stay silent after our Echo-Request; zero: for ever.
    pub max_echo_wait: Duration,
    /// Longest wait for each step of a polite end.
    pub stop_timeout: Duration,
}

impl ControlConfig {
    /// A client that says what the quirk's row says, with pptp(8)'s times for echoes.
    #[must_use]
    pub fn client(quirks: Quirks) -> Self {
        let row = quirks.differences();
        Self {
            role: Role::Pns,
            host_name: row.host_name.to_owned(),
            vendor: row.vendor.to_owned(),
            firmware: row.firmware,
            max_channels: row.max_channels,
            framing: row.framing,
            bearer: row.bearer,
            quirks,
            reply_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
            idle_wait: Some(Duration::from_secs(60)),
            max_echo_wait: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(2),
        }
    }

    /// A server.
    #[must_use]
    pub fn server(host_name: impl Into<String>) -> Self {
        Self {
            role: Role::Pac,
            host_name: host_name.into(),
            vendor: "pptpctl".to_owned(),
            firmware: 1,
            max_channels: 64,
            framing: 3,
            bearer: 3,
            quirks: Quirks::None,
            reply_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(10),
            idle_wait: Some(Duration::from_secs(60)),
            max_echo_wait: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(2),
        }
    }
}

/// A call that the client wants (RFC 2637 §2.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// Our identifier of the call, not in use; a quirk may put another in its place.
    pub call_id: u16,
    /// Number to dial, in place of the quirk's; the first 64 bytes count.
    pub phone: Option<String>,
    /// Packets that we buffer for the call.
    pub window: u16,
    /// Lowest acceptable line speed, bit/s.
    pub minimum_bps: u32,
    /// Highest acceptable line speed, bit/s.
    pub maximum_bps: u32,
    /// Framing type: 1 asynchronous, 2 synchronous, 3 either.
    pub framing: u32,
}

impl CallRequest {
    /// What the classic client asks for.
    #[must_use]
    pub const fn new(call_id: u16) -> Self {
        Self { call_id, phone: None, window: 3, minimum_bps: 2400, maximum_bps: 10_000_000, framing: 3 }
    }
}

/// What the server says when it accepts a call (§2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallAccept {
    /// Our identifier of the call, not in use.
    pub call_id: u16,
    /// Line speed to give, bit/s.
    pub connect_speed: u32,
    /// Packets that we buffer for the call.
    pub window: u16,
    /// Physical channel to give, for the client's logs.
    pub channel: u32,
}

impl CallAccept {
    /// A fast line.
    #[must_use]
    pub const fn new(call_id: u16) -> Self {
        Self { call_id, connect_speed: 100_000_000, window: 64, channel: 0 }
    }
}
