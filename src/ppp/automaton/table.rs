//! The state transition table of RFC 1661 §4.1, as data.

/// The ten states (RFC 1661 §4.2), in the RFC's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The lower layer is down, and the layer was not opened.
    Initial,
    /// The layer was opened, but the lower layer is down.
    Starting,
    /// The lower layer is up, but the layer was not opened.
    Closed,
    /// The layer was opened and has finished: the peer terminated or never answered.
    Stopped,
    /// Terminate-Request sent; leads to Closed.
    Closing,
    /// Terminate-Request or -Ack sent; leads to Stopped.
    Stopping,
    /// Configure-Request sent.
    ReqSent,
    /// Configure-Request sent and acknowledged by the peer.
    AckRcvd,
    /// Configure-Request sent; the peer's request acknowledged.
    AckSent,
    /// Both requests acknowledged.
    Opened,
}

/// The sixteen events (RFC 1661 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The lower layer is up.
    Up,
    /// The lower layer is down.
    Down,
    /// Administrative open.
    Open,
    /// Administrative close.
    Close,
    /// TO+: the restart timer expired with transmissions left.
    TimeoutRetry,
    /// TO-: the restart timer expired for the last time.
    TimeoutFinal,
    /// RCR+: an acceptable Configure-Request.
    RequestGood,
    /// RCR-: a Configure-Request that needs a Nak or Reject.
    RequestBad,
    /// RCA: a Configure-Ack.
    Ack,
    /// RCN: a Configure-Nak or -Reject.
    NakOrReject,
    /// RTR: a Terminate-Request.
    TerminateRequest,
    /// RTA: a Terminate-Ack.
    TerminateAck,
    /// RUC: an unknown code.
    UnknownCode,
    /// RXJ+: a Code- or Protocol-Reject that is not fatal.
    RejectHarmless,
    /// RXJ-: a Code- or Protocol-Reject of something essential.
    RejectFatal,
}

/// Action of a transition (RFC 1661 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// tlu: report to the upper layers that this one is up.
    LayerUp,
    /// tld: report to the upper layers that this one is down.
    LayerDown,
    /// tls: report to the lower layer that it is needed.
    LayerStarted,
    /// tlf: report to the lower layer that it is no longer needed.
    LayerFinished,
    /// irc: initialise the restart counter.
    InitRestart,
    /// zrc: zero the restart counter, for one more timer period.
    ZeroRestart,
    /// scr: send a Configure-Request.
    SendRequest,
    /// sca: send a Configure-Ack.
    SendAck,
    /// scn: send a Configure-Nak or -Reject.
    SendNak,
    /// str: send a Terminate-Request.
    SendTerminate,
    /// sta: send a Terminate-Ack.
    SendTerminateAck,
    /// scj: send a Code-Reject.
    SendCodeReject,
}

impl State {
    /// Returns whether options are being negotiated: Req-Sent, Ack-Rcvd or Ack-Sent.
    #[must_use]
    pub const fn negotiating(self) -> bool {
        matches!(self, Self::ReqSent | Self::AckRcvd | Self::AckSent)
    }

    /// Returns whether the restart timer runs in this state (RFC 1661 §4.1: states 4 to 8).
    #[must_use]
    pub const fn timed(self) -> bool {
        self.negotiating() || matches!(self, Self::Closing | Self::Stopping)
    }
}

/// Returns one cell of the table: the actions in order, and the next state. `None` for the cells that the RFC
/// marks "-", where the event cannot occur. The RFC's restart option (r) and passive option (p) are not
/// implemented.
#[must_use]
pub const fn transition(state: State, event: Event) -> Option<(&'static [Action], State)> {
    use Action::{
        InitRestart as Irc, LayerDown as Tld, LayerFinished as Tlf, LayerStarted as Tls, LayerUp as Tlu,
        SendAck as Sca, SendCodeReject as Scj, SendNak as Scn, SendRequest as Scr, SendTerminate as Str,
        SendTerminateAck as Sta, ZeroRestart as Zrc,
    };
    use Event as E;
    use State::{AckRcvd, AckSent, Closed, Closing, Initial, Opened, ReqSent, Starting, Stopped, Stopping};

    let cell: (&'static [Action], State) = match (event, state) {
        (E::Up, Initial) => (&[], Closed),
        (E::Up, Starting) => (&[Irc, Scr], ReqSent),

        (E::Down, Closed | Closing) => (&[], Initial),
        (E::Down, Stopped) => (&[Tls], Starting),
        (E::Down, Stopping | ReqSent | AckRcvd | AckSent) => (&[], Starting),
        (E::Down, Opened) => (&[Tld], Starting),

        (E::Open, Initial) => (&[Tls], Starting),
        (E::Open, Closed) => (&[Irc, Scr], ReqSent),
        (E::Open, Closing) => (&[], Stopping),
        (E::Open, same) => (&[], same),

        (E::Close, Initial) => (&[], Initial),
        (E::Close, Starting) => (&[Tlf], Initial),
        (E::Close, Closed | Stopped) => (&[], Closed),
        (E::Close, Closing | Stopping) => (&[], Closing),
        (E::Close, ReqSent | AckRcvd | AckSent) => (&[Irc, Str], Closing),
        (E::Close, Opened) => (&[Tld, Irc, Str], Closing),

        (E::TimeoutRetry, Closing | Stopping) => (&[Str], state),
        (E::TimeoutRetry, ReqSent | AckRcvd) => (&[Scr], ReqSent),
        (E::TimeoutRetry, AckSent) => (&[Scr], AckSent),
        (E::TimeoutFinal, Closing) => (&[Tlf], Closed),
        (E::TimeoutFinal, Stopping | ReqSent | AckRcvd | AckSent) => (&[Tlf], Stopped),

        // Combinations that cannot occur: packets without a lower layer, timeouts without a timer, a second
        // Up or Down.
        (E::Up | E::Down | E::TimeoutRetry | E::TimeoutFinal, _) | (_, Initial | Starting) => return None,

        (E::RequestGood | E::RequestBad | E::Ack | E::NakOrReject, Closed) => (&[Sta], Closed),
        (E::RequestGood | E::RequestBad | E::Ack | E::NakOrReject, Closing | Stopping) => (&[], state),
        (E::RequestGood, Stopped) => (&[Irc, Scr, Sca], AckSent),
        (E::RequestGood, ReqSent | AckSent) => (&[Sca], AckSent),
        (E::RequestGood, AckRcvd) => (&[Sca, Tlu], Opened),
        (E::RequestGood, Opened) => (&[Tld, Scr, Sca], AckSent),

        (E::RequestBad, Stopped) => (&[Irc, Scr, Scn], ReqSent),
        (E::RequestBad, ReqSent) => (&[Scn], ReqSent),
        (E::RequestBad, AckRcvd) => (&[Scn], AckRcvd),
        (E::RequestBad, AckSent) => (&[Scn], ReqSent),
        (E::RequestBad, Opened) => (&[Tld, Scr, Scn], ReqSent),

        (E::Ack | E::NakOrReject, Stopped) => (&[Sta], Stopped),
        (E::Ack, ReqSent) => (&[Irc], AckRcvd),
        (E::Ack | E::NakOrReject, AckRcvd) => (&[Scr], ReqSent),
        (E::Ack, AckSent) => (&[Irc, Tlu], Opened),
        (E::Ack | E::NakOrReject, Opened) => (&[Tld, Scr], ReqSent),

        (E::NakOrReject, ReqSent) => (&[Irc, Scr], ReqSent),
        (E::NakOrReject, AckSent) => (&[Irc, Scr], AckSent),

        (E::TerminateRequest, Closed | Stopped | Closing | Stopping) => (&[Sta], state),
        (E::TerminateRequest, ReqSent | AckRcvd | AckSent) => (&[Sta], ReqSent),
        (E::TerminateRequest, Opened) => (&[Tld, Zrc, Sta], Stopping),

        (E::TerminateAck, Closing) => (&[Tlf], Closed),
        (E::TerminateAck, Stopping) => (&[Tlf], Stopped),
        (E::TerminateAck, AckRcvd) => (&[], ReqSent),
        (E::TerminateAck, Opened) => (&[Tld, Scr], ReqSent),
        (E::TerminateAck, Closed | Stopped | ReqSent | AckSent) => (&[], state),

        (E::UnknownCode, _) => (&[Scj], state),

        (E::RejectHarmless, AckRcvd) => (&[], ReqSent),
        (E::RejectHarmless, _) => (&[], state),

        (E::RejectFatal, Closed | Closing) => (&[Tlf], Closed),
        (E::RejectFatal, Stopped | Stopping | ReqSent | AckRcvd | AckSent) => (&[Tlf], Stopped),
        (E::RejectFatal, Opened) => (&[Tld, Irc, Str], Stopping),
    };
    Some(cell)
}
