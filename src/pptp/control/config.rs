//! Parameters of a control connection and of its calls.

use std::time::Duration;

use crate::pptp::quirks::Quirks;

/// The side of the control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// PPTP network server: opens the control connection and requests calls. Commonly called the client.
    Pns,
    /// PPTP access concentrator: answers. Commonly called the server.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "freebsd", feature = "fuzzing", test)),
        expect(dead_code, reason = "no server runs on this system")
    )]
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
