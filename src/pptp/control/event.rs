//! Events, reasons for ending, timers, errors and counters of a control connection.

use std::fmt;

use crate::pptp::{cause, wire::StreamCounters};

/// An event for the owner of the control connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// The control connection is established: calls may be opened.
    Established {
        /// The peer's description of itself.
        peer: Peer,
    },
    /// Server: a client requests a call; answer with `accept_call` or `refuse_call`.
    IncomingCall {
        /// The client's call ID.
        peer_call_id: u16,
        /// The client's serial number of the call.
        serial: u16,
        /// Number that the client asks to dial, printable; empty if none.
        phone: String,
        /// Packets that the client buffers.
        peer_window: u16,
        /// Lowest acceptable line speed, bit/s.
        minimum_bps: u32,
        /// Highest acceptable line speed, bit/s.
        maximum_bps: u32,
    },
    /// The call is up: GRE packets may be sent.
    CallUp {
        /// Our call ID: the key of packets that we receive.
        call_id: u16,
        /// The peer's call ID: the key of packets that we send.
        peer_call_id: u16,
        /// Packets that the peer buffers.
        peer_window: u16,
        /// Line speed, bit/s.
        connect_speed: u32,
    },
    /// Client: the server refused the call. [`cause::call_refusal_words`] describes the codes.
    CallRefused {
        /// Our call ID.
        call_id: u16,
        /// Result code.
        result: u8,
        /// General error code.
        error: u8,
        /// Cause code of the telephone network.
        cause: u16,
    },
    /// The call is over: no more GRE packets may be sent.
    CallDown {
        /// Our call ID.
        call_id: u16,
        /// Why the call ended.
        reason: CallEnd,
    },
    /// The peer sent its PPP options; an ACCM of all ones means that framing escapes every control character.
    SetLinkInfo {
        /// Our call ID.
        call_id: u16,
        /// Characters to escape when sending.
        send_accm: u32,
        /// Characters to discard when receiving.
        receive_accm: u32,
    },
    /// The last event. Send the output that is still queued, then close TCP.
    Closed(ControlEnd),
}

/// The peer's description of itself, with control characters replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Host name.
    pub host_name: String,
    /// Vendor.
    pub vendor: String,
    /// Firmware revision.
    pub firmware: u16,
    /// Maximum channels.
    pub max_channels: u16,
    /// Framing capabilities: bit 0 asynchronous, bit 1 synchronous.
    pub framing: u32,
    /// Bearer capabilities: bit 0 analog, bit 1 digital.
    pub bearer: u32,
}

/// Why a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// We ended it.
    Closed,
    /// The server ended it (Call-Disconnect-Notify).
    Disconnected {
        /// Result code.
        result: u8,
        /// General error code.
        error: u8,
        /// Cause code of the telephone network.
        cause: u16,
    },
    /// The peer requested the end (Call-Clear-Request).
    PeerCleared,
    /// Client: no Outgoing-Call-Reply in time.
    ReplyTimeout,
    /// The control connection ended; its [`ControlEnd`] has the reason.
    ControlLost,
}

impl fmt::Display for CallEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("ended by us"),
            Self::Disconnected { result, error, cause } => {
                write!(f, "ended by the server: {}", cause::disconnect_words(*result, *error, *cause))
            }
            Self::PeerCleared => f.write_str("ended by the peer"),
            Self::ReplyTimeout => f.write_str("the server did not answer the call request"),
            Self::ControlLost => f.write_str("the control connection ended"),
        }
    }
}

/// Why a control connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEnd {
    /// Client: no Start-Control-Connection-Reply in time.
    SccrpTimeout,
    /// Server: no Start-Control-Connection-Request in time.
    SccrqTimeout,
    /// The peer sent bytes, but none of them were PPTP.
    NotPptp {
        /// The first bytes that it sent, at most [`FIRST_BYTES`](super::FIRST_BYTES).
        first: Vec<u8>,
    },
    /// Client: the server refused. [`cause::start_refusal_words`] describes the codes.
    Refused {
        /// Result code.
        result: u8,
        /// General error code.
        error: u8,
    },
    /// The peer uses another protocol version.
    Version {
        /// The peer's version; ours is 0x0100.
        theirs: u16,
    },
    /// The peer stayed silent after an Echo-Request.
    EchoTimeout,
    /// The peer stopped the control connection.
    PeerStopped {
        /// The peer's reason. [`cause::stop_reason_words`] describes it.
        reason: u8,
    },
    /// The peer closed TCP without stopping the control connection.
    PeerClosed,
    /// We stopped it.
    Stopped,
    /// The peer exceeded a limit: of unread output or of events.
    Protocol(&'static str),
}

impl fmt::Display for ControlEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SccrpTimeout => f.write_str("the server does not answer on the control connection"),
            Self::SccrqTimeout => f.write_str("the client asks for nothing on the control connection"),
            Self::NotPptp { first } => {
                write!(f, "the peer does not speak PPTP; it sends {}", quoted(first))
            }
            Self::Refused { result, error } => {
                write!(
                    f,
                    "the server refused the control connection: {}",
                    cause::start_refusal_words(*result, *error)
                )
            }
            // A server that refuses the version sends ours back.
            Self::Version { theirs: 0x100 } => {
                f.write_str("the peer refuses version 1.0 of PPTP, and there is no other (result 5)")
            }
            Self::Version { theirs } => {
                write!(f, "the peer speaks version {}.{} of PPTP, not 1.0", theirs >> 8, theirs & 0xFF)
            }
            Self::EchoTimeout => f.write_str("the peer does not answer echo requests any more"),
            Self::PeerStopped { reason } => {
                write!(f, "the peer stopped the control connection: {}", cause::stop_reason_words(*reason))
            }
            Self::PeerClosed => f.write_str("the peer closed the control connection"),
            Self::Stopped => f.write_str("stopped by us"),
            Self::Protocol(what) => write!(f, "protocol error: {what}"),
        }
    }
}

/// Returns the first line of a text in quotation marks, and anything else as hexadecimal numbers.
fn quoted(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    match std::str::from_utf8(line) {
        Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => format!("\"{text}\""),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}

/// Why a call cannot be opened, accepted, refused or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The control connection is not established, or is being stopped.
    #[error("the control connection is not established")]
    NotEstablished,
    /// Only the other role may do this.
    #[error("this side of the control connection does not do that")]
    Role,
    /// The call ID is in use.
    #[error("call id {0} is in use")]
    InUse(u16),
    /// The control connection has the maximum number of calls.
    #[error("too many calls on one control connection")]
    TooMany,
    /// There is no such call, or it is in another state.
    #[error("there is no call {0}")]
    Unknown(u16),
}

/// Counters of a control connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControlCounters {
    /// Counters of the stream decoder.
    pub stream: StreamCounters,
    /// Messages that are invalid in the current state, ignored.
    pub unexpected: u64,
    /// Messages for calls that do not exist, ignored.
    pub unknown_call: u64,
    /// Incoming calls and line error reports, which are not supported, ignored.
    pub ignored: u64,
    /// Echo-Requests sent.
    pub echo_requests_sent: u64,
    /// Echo-Requests answered.
    pub echo_requests_answered: u64,
    /// Echo-Requests not answered because the peer does not read its replies.
    pub echo_requests_unanswered: u64,
    /// Echo-Replies with a wrong identifier.
    pub echo_replies_mismatched: u64,
    /// Set-Link-Info not reported because the owner fetches events too slowly.
    pub set_link_info_dropped: u64,
    /// Time between the last Echo-Request and its reply.
    pub echo_round_trip: Option<std::time::Duration>,
}
