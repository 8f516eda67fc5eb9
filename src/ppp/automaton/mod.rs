//! The option negotiation automaton (RFC 1661 §4), generic over a protocol's options.
//!
//! Owns states, restart timer, counters and identifiers, and the packets with codes 1 to 7. Does not own the
//! meaning of an option ([`OptionSet`]) or the consequences of a layer going up or down ([`Signal`]).
//!
//! RFC 1661 leaves two choices open. Here a retransmission keeps its identifier, so that a late answer still
//! counts, and only the first answer to a request is processed, so that a duplicated Configure-Ack cannot
//! tear down an open layer. One rule deviates: a copy of the request that opened a layer counts as a
//! retransmission that crossed our Ack, and is acknowledged again, up to three times. The RFC tears the layer
//! down each time, endlessly on a slow path.

mod options;
mod receive;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use options::{OptionSet, Reply, Verdict};
pub use table::{Action, Event, State, transition};

use crate::deadline::Deadline;
use crate::ppp::wire::{PacketBuilder, code};

/// Longest reason in a Terminate-Request, in bytes. Longer ones are cut, whether sent or received.
const REASON_MAX: usize = 200;

/// Limit of each queue. The owner fetches after every call, so it is not reached.
const QUEUE_MAX: usize = 32;

/// Most copies of the request that opened the layer that count as retransmissions. A peer that sends more has
/// started over with the same identifier and options.
const COPIES_MAX: u32 = 3;

/// Negotiation is given up after this many times Max-Failure refusals in a row.
const GIVE_UP_FACTOR: u32 = 4;

/// Least wait before the first retransmission of a request that follows the peer's: the path has carried a packet of the
/// peer just now, and a copy that crosses the peer's answer and our acknowledgement makes it start over.
const HEARD_WAIT: Duration = Duration::from_secs(1);

/// Timers and counters (RFC 1661 §4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Wait before the first retransmission. Short, because pptpd with a connect delay may miss the first
    /// request.
    pub first: Duration,
    /// Longest wait; the wait doubles with each retransmission up to this (the RFC's restart timer is 3 s).
    pub cap: Duration,
    /// Max-Configure: transmissions of a Configure-Request without an answer.
    pub max_configure: u32,
    /// Max-Terminate: transmissions of a Terminate-Request without an answer.
    pub max_terminate: u32,
    /// Max-Failure: Configure-Naks sent before they become Rejects.
    pub max_failure: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(3),
            max_configure: 10,
            max_terminate: 2,
            max_failure: 5,
        }
    }
}

/// A report from the automaton to its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// This layer is up.
    Up,
    /// This layer is down. It negotiates again unless `Finished` follows.
    Down,
    /// The lower layer is needed.
    Started,
    /// This layer has ended and does not restart by itself.
    Finished(Finish),
    /// The peer sent a Terminate-Request with this reason (cut to 200 bytes), in any state.
    TerminateRequested(Vec<u8>),
    /// The peer rejected this code, which is not essential.
    CodeRejected(u8),
}

/// Why a layer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Max-Configure requests were sent without reaching an agreement.
    Timeout,
    /// One side requested termination, and it is complete.
    Terminated,
    /// The peer rejected the protocol or one of its basic codes.
    Rejected,
    /// The peer refuses every request of ours.
    NotConverging,
}

/// Why a packet was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketDrop {
    /// The length field is impossible.
    Malformed,
    /// The option list is truncated, or an option has an impossible length.
    BadOptions,
    /// A reply that belongs to no outstanding request, or does not match it.
    Unmatched,
    /// The lower layer is not up.
    NotReady,
}

/// Result of handling a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Handled.
    Done,
    /// A code specific to the protocol (see [`OptionSet::knows_code`]), for the owner to handle.
    Extra(crate::ppp::wire::Packet<'a>),
    /// Ignored.
    Dropped(PacketDrop),
}

/// One protocol's automaton with its options.
#[derive(Debug)]
pub struct Automaton<O> {
    options: O,
    timing: Timing,
    state: State,
    /// Transmissions left before a timeout is final.
    restart: u32,
    /// Wait before the next retransmission.
    interval: Duration,
    deadline: Option<Instant>,
    /// When our last Configure-Request was sent, retransmissions included.
    requested: Option<Instant>,
    next_id: u8,
    request_id: u8,
    /// The request that the last one has replaced before its answer came, which is then ignored.
    replaced: Option<u8>,
    /// The peer has answered our last request with a Terminate-Ack: its side of the layer is closed.
    is_closed_at_peer: bool,
    /// Options of our last Configure-Request; `answered` is set once a reply has matched it.
    request: Vec<u8>,
    answered: bool,
    /// When that request was first sent.
    request_sent: Option<Instant>,
    /// Longest time that the peer has taken to answer, including retransmissions after loss.
    response_time: Duration,
    /// Identifier and options of the peer's request that was acknowledged last; `copies` counts its
    /// repetitions.
    acknowledged: Option<(u8, Vec<u8>)>,
    copies: u32,
    naks_sent: u32,
    refusals: u32,
    close_reason: Vec<u8>,
    /// Length in bytes to which rejected packets are cut.
    reject_limit: usize,
    output: VecDeque<Vec<u8>>,
    signals: VecDeque<Signal>,
}

impl<O: OptionSet> Automaton<O> {
    /// Creates an automaton in state Initial.
    pub fn new(options: O, timing: Timing) -> Self {
        Self {
            options,
            timing,
            state: State::Initial,
            restart: 0,
            interval: timing.first,
            deadline: None,
            requested: None,
            next_id: 1,
            request_id: 0,
            replaced: None,
            is_closed_at_peer: false,
            request: Vec::new(),
            answered: true,
            request_sent: None,
            response_time: Duration::ZERO,
            acknowledged: None,
            copies: 0,
            naks_sent: 0,
            refusals: 0,
            close_reason: Vec::new(),
            reject_limit: 128,
            output: VecDeque::new(),
            signals: VecDeque::new(),
        }
    }

    /// Reports that the lower layer came up. Ignored if it is up already.
    pub fn lower_up(&mut self, now: Instant) {
        self.apply(now, Event::Up, None);
    }

    /// Reports that the lower layer went down. Ignored if it is down already.
    pub fn lower_down(&mut self, now: Instant) {
        self.apply(now, Event::Down, None);
    }

    /// Opens the layer (administrative Open).
    pub fn open(&mut self, now: Instant) {
        self.apply(now, Event::Open, None);
    }

    /// Closes the layer (administrative Close). The reason goes into the Terminate-Request.
    pub fn close(&mut self, now: Instant, reason: &str) {
        self.close_reason = reason.as_bytes().get(..REASON_MAX).unwrap_or(reason.as_bytes()).to_vec();
        self.apply(now, Event::Close, None);
    }

    /// Handles a Protocol-Reject of this protocol (RFC 1661 §5.7).
    pub fn protocol_rejected(&mut self, now: Instant) {
        self.apply(now, Event::RejectFatal, None);
    }

    /// Stops the automaton for good, in any state. Packets already queued can still be fetched.
    pub fn stop(&mut self) {
        self.state = State::Initial;
        self.deadline = None;
        self.signals.clear();
    }

    /// Reports the first frame from the peer. A request that has waited for a quarter of [`Timing::first`]
    /// was probably lost (a server may start its PPP only when the call is up), so it is retransmitted at
    /// once.
    pub fn first_frame_received(&mut self, now: Instant) {
        let waiting =
            self.requested.is_some_and(|at| now.saturating_duration_since(at) >= self.timing.first / 4);
        if waiting {
            self.repeat_request(now);
        }
    }

    /// Returns whether the peer has answered our last request with a Terminate-Ack, as one does whose layer is not
    /// open yet (RFC 1661 §4.1, state Closed). It can be sent again with [`Self::repeat_request`].
    pub fn is_closed_at_peer(&self) -> bool {
        self.is_closed_at_peer && !self.answered && matches!(self.state, State::ReqSent | State::AckSent)
    }

    /// Retransmits our Configure-Request at once, unless it has been answered.
    pub fn repeat_request(&mut self, now: Instant) {
        if !self.answered && matches!(self.state, State::ReqSent | State::AckSent) {
            self.deadline = Some(now);
            self.handle_timeout(now);
        }
    }

    /// Sends a changed Configure-Request in place of one that has no answer yet.
    fn replace_request(&mut self, now: Instant) {
        self.replaced = Some(self.request_id);
        self.interval = self.first_wait().max(HEARD_WAIT);
        self.send_request(now, false);
    }

    /// Retransmits or gives up if the restart timer has expired; otherwise does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        self.deadline = None;
        let event = if self.restart > 0 { Event::TimeoutRetry } else { Event::TimeoutFinal };
        self.apply(now, event, None);
    }

    /// Returns when [`Self::handle_timeout`] must be called next.
    pub fn next_timeout(&self) -> Option<Deadline> {
        self.deadline.map(|at| (at, O::NAME))
    }

    /// Returns the next packet to send, without frame header.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    /// Returns the next signal.
    pub fn poll_signal(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    /// Returns the state (RFC 1661 §4.2).
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns whether the layer is up.
    pub fn is_opened(&self) -> bool {
        self.state == State::Opened
    }

    /// Returns the protocol's options.
    pub fn options(&self) -> &O {
        &self.options
    }

    /// Returns the protocol's options, to change what the next negotiation accepts.
    pub fn options_mut(&mut self) -> &mut O {
        &mut self.options
    }

    /// Sets the length, header included, to which rejected packets are cut: the peer's MRU (RFC 1661 §5.6,
    /// §5.7).
    pub fn set_reject_limit(&mut self, bytes: usize) {
        self.reject_limit = bytes;
    }

    /// Returns the longest time that the peer has taken to answer a request.
    pub fn response_time(&self) -> Duration {
        self.response_time
    }

    /// Raises the known response time of the peer to `time`. Retransmissions wait at least twice as long, up
    /// to [`Timing::cap`]: on a slow path, a copy of an answered request makes the peer start over.
    pub fn expect_response_time(&mut self, time: Duration) {
        self.response_time = self.response_time.max(time);
    }

    /// Sends a protocol-specific packet under a fresh identifier, which is returned.
    pub fn send_new(&mut self, code: u8, data: &[u8]) -> u8 {
        let id = self.fresh_id();
        self.send(code, id, data);
        id
    }

    /// Sends a protocol-specific packet.
    pub fn send(&mut self, code: u8, id: u8, data: &[u8]) {
        if self.output.len() < QUEUE_MAX {
            let mut packet = PacketBuilder::new(code, id);
            packet.bytes(data);
            self.output.push_back(packet.finish());
        }
    }

    /// Sends a rejected packet back behind `head`, cut to the limit set by [`Self::set_reject_limit`].
    pub fn send_reject(&mut self, code: u8, head: &[u8], rejected: &[u8]) {
        let room = self.reject_limit.saturating_sub(crate::ppp::wire::HEADER_LEN + head.len());
        let mut data = head.to_vec();
        data.extend_from_slice(rejected.get(..room).unwrap_or(rejected));
        self.send_new(code, &data);
    }

    fn signal(&mut self, signal: Signal) {
        if self.signals.len() < QUEUE_MAX {
            self.signals.push_back(signal);
        }
    }

    fn fresh_id(&mut self) -> u8 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    /// Performs the actions of one event. `what` is the packet that caused it, for the actions that answer
    /// it.
    fn apply(&mut self, now: Instant, event: Event, what: Option<Answer<'_>>) {
        let Some((actions, next)) = transition(self.state, event) else { return };
        let fresh = next.negotiating() && !self.state.negotiating();
        let finish = match event {
            Event::TimeoutFinal if self.refusals >= self.give_up_at() => Finish::NotConverging,
            Event::TimeoutFinal if self.state.negotiating() => Finish::Timeout,
            Event::RejectFatal => Finish::Rejected,
            _ => Finish::Terminated,
        };
        self.state = next;
        if fresh {
            self.options.restart();
            self.replaced = None;
            self.naks_sent = 0;
            self.refusals = 0;
            self.interval = self.first_wait();
        }
        for action in actions {
            match action {
                Action::LayerUp => self.signal(Signal::Up),
                Action::LayerDown => self.signal(Signal::Down),
                Action::LayerStarted => self.signal(Signal::Started),
                Action::LayerFinished => self.signal(Signal::Finished(finish)),
                Action::InitRestart => self.init_restart(),
                Action::ZeroRestart => {
                    self.restart = 0;
                    self.deadline = now.checked_add(self.first_wait());
                }
                Action::SendRequest => self.send_request(now, event == Event::TimeoutRetry),
                Action::SendTerminate => self.send_terminate(now),
                Action::SendAck | Action::SendNak | Action::SendTerminateAck | Action::SendCodeReject => {
                    if let Some(what) = &what {
                        self.answer(what);
                    }
                }
            }
        }
        if !self.state.timed() {
            self.deadline = None;
        }
    }

    fn init_restart(&mut self) {
        let terminating = matches!(self.state, State::Closing | State::Stopping);
        self.restart = if terminating { self.timing.max_terminate } else { self.timing.max_configure };
        self.interval = self.first_wait();
    }

    fn first_wait(&self) -> Duration {
        let slow = self.response_time.saturating_mul(2).min(self.timing.cap);
        self.timing.first.max(slow)
    }

    fn send_request(&mut self, now: Instant, again: bool) {
        if !again {
            self.request_id = self.fresh_id();
            self.request.clear();
            self.options.request(&mut self.request);
            self.request_sent = Some(now);
        }
        self.answered = false;
        self.is_closed_at_peer = false;
        let request = std::mem::take(&mut self.request);
        self.send(code::CONFIGURE_REQUEST, self.request_id, &request);
        self.request = request;
        self.requested = Some(now);
        self.arm(now);
    }

    fn send_terminate(&mut self, now: Instant) {
        let reason = self.close_reason.clone();
        self.send_new(code::TERMINATE_REQUEST, &reason);
        self.arm(now);
    }

    fn arm(&mut self, now: Instant) {
        self.restart = self.restart.saturating_sub(1);
        self.deadline = now.checked_add(self.interval);
        self.interval = self.interval.saturating_mul(2).min(self.timing.cap.max(self.timing.first));
    }

    fn give_up_at(&self) -> u32 {
        self.timing.max_failure.saturating_mul(GIVE_UP_FACTOR).max(1)
    }
}

/// A packet that an action answers.
enum Answer<'a> {
    /// Configure-Request: its identifier, its options and our verdict.
    Configure { id: u8, options: crate::ppp::wire::Options<'a>, verdict: Verdict },
    /// Terminate-Request, or any other packet that is answered with Terminate-Ack.
    Terminate { id: u8 },
    /// A packet with an unknown code, whole.
    Unknown { packet: &'a [u8] },
}
