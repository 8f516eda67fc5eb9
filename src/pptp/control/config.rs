//! Parameters of a control connection and of its calls.

use std::time::Duration;

use crate::pptp::quirks::Quirks;

/// The side of the control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// PPTP network server: opens the control connection and requests calls. Commonly called the client.
    Pns,
    /// PPTP access concentrator: answers. Commonly called the server.
    Pac,
}

/// Parameters of one control connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// Which side this is.
    pub role: Role,
    /// Host name to send; truncated to 64 bytes.
    pub host_name: String,
    /// Vendor to send; truncated to 64 bytes.
    pub vendor: String,
    /// Firmware revision to send.
    pub firmware: u16,
    /// Maximum channels to send.
    pub max_channels: u16,
    /// Framing capabilities to send: bit 0 asynchronous, bit 1 synchronous.
    pub framing: u32,
    /// Bearer capabilities to send: bit 0 analog, bit 1 digital.
    pub bearer: u32,
    /// Values that the server needs in our messages.
    pub quirks: Quirks,
    /// Longest wait for Start-Control-Connection-Reply (client) or -Request (server).
    pub reply_timeout: Duration,
    /// Longest wait for Outgoing-Call-Reply (client) or for the decision on a call (server).
    pub call_timeout: Duration,
    /// How long the peer may be silent before we send an Echo-Request; `None`: never. No other timer depends
    /// on it.
    pub idle_wait: Option<Duration>,
    /// How long the peer may stay silent after our Echo-Request; zero: without limit.
    pub max_echo_wait: Duration,
    /// Longest wait for each reply during a graceful shutdown.
    pub stop_timeout: Duration,
}

impl ControlConfig {
    /// Returns the parameters of a client with the values of the quirk's row and pptp(8)'s echo times.
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

    /// Returns the parameters of a server.
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

/// A call that the client requests (RFC 2637 §2.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// Our call ID, which must not be in use; a quirk may override it.
    pub call_id: u16,
    /// Number to dial, which overrides the quirk's; truncated to 64 bytes.
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
    /// Returns the values that pptp(8) requests.
    #[must_use]
    pub const fn new(call_id: u16) -> Self {
        Self { call_id, phone: None, window: 3, minimum_bps: 2400, maximum_bps: 10_000_000, framing: 3 }
    }
}

/// Values that the server sends when it accepts a call (§2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallAccept {
    /// Our call ID, which must not be in use.
    pub call_id: u16,
    /// Line speed to report, bit/s.
    pub connect_speed: u32,
    /// Packets that we buffer for the call.
    pub window: u16,
    /// Physical channel to report, for the client's logs.
    pub channel: u32,
}

impl CallAccept {
    /// Returns the values of a fast line.
    #[must_use]
    pub const fn new(call_id: u16) -> Self {
        Self { call_id, connect_speed: 100_000_000, window: 64, channel: 0 }
    }
}
