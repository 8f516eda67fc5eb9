//! What a control connection reports: events, ends with their words, timers, counters.

use std::fmt;

use crate::pptp::{cause, wire::StreamCounters};

/// Something that the owner of the control connection wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// Both sides agree: calls may be made.
    Established {
        /// What the peer says of itself.
        peer: Peer,
    },
    /// Server: a client wants a call; answer with `accept_call` or `refuse_call`.
    IncomingCall {
        /// The client's identifier of the call.
        peer_call_id: u16,
        /// The client's serial number of the call.
        serial: u16,
        /// Number that the client wants dialed, printable; empty if none.
        phone: String,
        /// Packets that the client buffers.
        peer_window: u16,
        /// Lowest acceptable line speed, bit/s.
        minimum_bps: u32,
        /// Highest acceptable line speed, bit/s.
        maximum_bps: u32,
    },
    /// GRE may flow.
    CallUp {
        /// Our identifier: the key of packets that we receive.
        call_id: u16,
        /// The peer's identifier: the key of packets that we send.
        peer_call_id: u16,
        /// Packets that the peer buffers.
        peer_window: u16,
        /// Line speed, bit/s.
        connect_speed: u32,
    },
    /// Client: the server does not make the call. [`cause::call_refusal_words`] has the words.
    CallRefused {
        /// Our identifier.
        call_id: u16,
        /// Result code.
        result: u8,
        /// General error code.
        error: u8,
        /// Cause code of the telephone network.
        cause: u16,
    },
    /// The call is over: GRE must not flow any more.
    CallDown {
        /// Our identifier.
        call_id: u16,
        /// Why.
        reason: CallEnd,
    },
    /// The peer tells of its PPP options; all ones say that framing should escape everything.
    SetLinkInfo {
        /// Our identifier.
        call_id: u16,
        /// Characters to escape when sending.
        send_accm: u32,
        /// Characters to discard when receiving.
        receive_accm: u32,
    },
    /// Nothing more comes, and nothing more goes but the output that is still there: send it, then close TCP.
    Closed(ControlEnd),
}

/// What the peer says of itself, printable.
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
    /// The peer asked for its end (Call-Clear-Request).
    PeerCleared,
    /// No Outgoing-Call-Reply in time; or, on the server, no decision.
    ReplyTimeout,
    /// The control connection ended; its own end says why.
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
    /// Client: no Start-Control-Connection-Reply in time, nor anything else.
    SccrpTimeout,
    /// Server: no Start-Control-Connection-Request in time.
    SccrqTimeout,
    /// What the peer sent was never PPTP.
    NotPptp,
    /// Client: the server refused. [`cause::start_refusal_words`] has the words.
    Refused {
        /// Result code.
        result: u8,
        /// General error code.
        error: u8,
    },
    /// The peer speaks another version.
    Version {
        /// The peer's version, 0x0100 being ours.
        theirs: u16,
    },
    /// The peer stayed silent after an Echo-Request.
    EchoTimeout,
    /// The peer stopped the control connection.
    PeerStopped {
        /// The peer's reason. [`cause::stop_reason_words`] has the words.
        reason: u8,
    },
    /// The peer closed TCP without a word.
    PeerClosed,
    /// We stopped it.
    Stopped,
    /// The peer behaves in a way that cannot be borne.
    Protocol(&'static str),
}

impl fmt::Display for ControlEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SccrpTimeout => f.write_str("the server does not answer on the control connection"),
            Self::SccrqTimeout => f.write_str("the client asks for nothing on the control connection"),
            Self::NotPptp => f.write_str("the peer does not speak PPTP"),
            Self::Refused { result, error } => {
                write!(
                    f,
                    "the server refused the control connection: {}",
                    cause::start_refusal_words(*result, *error)
                )
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

/// Why the machine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The first message of the peer is due.
    Start,
    /// The peer has been silent long enough for an Echo-Request.
    Idle,
    /// A sign of life after our Echo-Request is due.
    EchoReply,
    /// An Outgoing-Call-Reply, or the decision on a call, is due.
    Call,
    /// A Call-Disconnect-Notify is due.
    Clear,
    /// A Stop-Control-Connection-Reply is due.
    Stop,
}

/// Why a call cannot be opened, accepted, refused or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Not now: the control connection is not established, or is being stopped.
    #[error("the control connection is not established")]
    NotEstablished,
    /// The other side does that.
    #[error("this side of the control connection does not do that")]
    Role,
    /// The call id is taken.
    #[error("call id {0} is in use")]
    InUse(u16),
    /// No more calls on this control connection.
    #[error("too many calls on one control connection")]
    TooMany,
    /// There is no such call, or not in that state.
    #[error("there is no call {0}")]
    Unknown(u16),
}

/// What the control connection has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControlCounters {
    /// What the stream decoder has met.
    pub stream: StreamCounters,
    /// Messages that had no business to come then, ignored.
    pub unexpected: u64,
    /// Messages for calls that do not exist, ignored.
    pub unknown_call: u64,
    /// Incoming calls and line error reports, which this client has no use for, ignored.
    pub ignored: u64,
    /// Echo-Requests sent.
    pub echo_requests_sent: u64,
    /// Echo-Requests answered.
    pub echo_requests_answered: u64,
    /// Echo-Requests not answered because the peer does not read its replies.
    pub echo_requests_unanswered: u64,
    /// Echo-Replies with a wrong identifier.
    pub echo_replies_mismatched: u64,
    /// Set-Link-Info not reported because its reader is too slow.
    pub set_link_info_dropped: u64,
    /// Time between the last Echo-Request and its reply.
    pub echo_round_trip: Option<std::time::Duration>,
}
