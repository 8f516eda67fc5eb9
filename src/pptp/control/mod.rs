//! One control connection with any number of calls, in either role (RFC 2637 §3).
//!
//! ```text
//!            connected        SCCRQ / SCCRP            stop: CCR           last CDN: StopCCRQ
//!   Closed ─────────► Starting ─────────► Established ─────────► Clearing ─────────► Stopping
//!  (not yet)             │ timeout, refusal    │ peer stops, silence   │ each wait bounded   │ StopCCRP
//!                        └─────────────────────┴───────────┬───────────┴─────────────────────┘
//!                                                          ▼
//!                                                        Ended ─► Event::Closed, once
//! ```
//!
//! Owns: the order of messages, every timeout on TCP 1723 once TCP is up, the calls. Does not own: the TCP
//! socket, GRE (see `flow`), or the choice of call ids. Each timeout is its own; none depends on `idle_wait`.
//! Memory is bounded whatever the peer sends: so many calls, so much output, so many events.

mod calls;
mod config;
mod event;
mod receive;
#[cfg(test)]
mod tests;
mod timers;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use calls::{Call, CallState, Calls};
pub use config::{CallAccept, CallRequest, ControlConfig, Role};
pub use event::{CallEnd, CallError, ControlCounters, ControlEnd, ControlEvent, Peer, Timer};
use timers::Keepalive;

use crate::pptp::wire::{self, Message, StreamDecoder, Text};

/// Output that the peer does not read before we give up on it, in bytes.
const MAX_OUTPUT: usize = 64 * 1024;
/// Output above which Echo-Requests are not answered any more, in bytes.
const MAX_OUTPUT_FOR_ECHO: usize = 4 * 1024;
/// Events that the owner does not fetch before we give up on the peer that causes them.
const MAX_EVENTS: usize = 1024;
/// Bytes that make no message before the first message.
const MAX_JUNK: u64 = 1024;

/// Reasons in Stop-Control-Connection-Request (§2.3).
mod stop_reason {
    pub const NONE: u8 = 1;
    pub const PROTOCOL: u8 = 2;
    pub const LOCAL_SHUTDOWN: u8 = 3;
}

/// The machine.
#[derive(Debug)]
pub struct Control {
    config: ControlConfig,
    phase: Phase,
    decoder: StreamDecoder,
    calls: Calls,
    keepalive: Keepalive,
    next_serial: u16,
    output: Vec<u8>,
    events: VecDeque<ControlEvent>,
    counters: ControlCounters,
    /// A limit has been passed: the end comes once the message at hand is dealt with.
    unbearable: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// TCP is not up yet.
    Idle,
    /// The first message of the peer is due.
    Starting {
        until: Instant,
    },
    Established,
    /// Stopping: the calls are being cleared, each with its own deadline.
    Clearing,
    /// Stopping: Stop-Control-Connection-Request sent.
    Stopping {
        until: Instant,
    },
    Ended,
}

impl Control {
    /// A control connection whose TCP connection is still to come.
    #[must_use]
    pub fn new(config: ControlConfig, now: Instant) -> Self {
        Self {
            keepalive: Keepalive::new(config.idle_wait, config.max_echo_wait, now),
            config,
            phase: Phase::Idle,
            decoder: StreamDecoder::default(),
            calls: Calls::default(),
            next_serial: 0,
            output: Vec::new(),
            events: VecDeque::new(),
            counters: ControlCounters::default(),
            unbearable: None,
        }
    }

    /// TCP is up: the client asks, the server waits.
    pub fn connected(&mut self, now: Instant) {
        if self.phase != Phase::Idle {
            return;
        }
        self.phase = Phase::Starting { until: now + self.config.reply_timeout };
        if self.config.role == Role::Pns {
            self.send(wire::StartControlConnectionRequest {
                version: wire::VERSION,
                framing: self.config.framing,
                bearer: self.config.bearer,
                max_channels: self.config.max_channels,
                firmware: self.config.firmware,
                host_name: Text::new(&self.config.host_name),
                vendor: Text::new(&self.config.vendor),
            });
        }
    }

    /// Bytes have come over TCP, cut anyhow.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        let mut input = bytes;
        while !matches!(self.phase, Phase::Idle | Phase::Ended) {
            let Some(message) = self.decoder.next_message(&mut input) else { break };
            self.receive(now, &message);
            self.end_if_unbearable();
        }
        if self.heard_only_junk() && self.decoder.counters().skipped_bytes >= MAX_JUNK {
            self.end(ControlEnd::NotPptp);
        }
    }

    /// TCP has ended: the peer closed or reset it.
    pub fn handle_closed(&mut self, _now: Instant) {
        let end = match self.phase {
            Phase::Clearing | Phase::Stopping { .. } => ControlEnd::Stopped,
            _ if self.heard_only_junk() => ControlEnd::NotPptp,
            _ => ControlEnd::PeerClosed,
        };
        self.end(end);
        self.output.clear();
    }

    /// Client: asks for a call and says which call id it has, which a quirk may have chosen.
    ///
    /// # Errors
    /// The call was not asked for: see [`CallError`].
    pub fn open_call(&mut self, now: Instant, request: CallRequest) -> Result<u16, CallError> {
        if self.config.role != Role::Pns {
            return Err(CallError::Role);
        }
        if self.phase != Phase::Established {
            return Err(CallError::NotEstablished);
        }
        let row = self.config.quirks.differences();
        let call_id = row.call_id.unwrap_or(request.call_id);
        self.check_new_call(call_id)?;
        let phone = request.phone.as_deref().or(row.phone).unwrap_or_default();
        let phone: Text<64> = Text::new(phone);
        let serial = row.serial.unwrap_or(self.next_serial);
        self.next_serial = self.next_serial.wrapping_add(1);
        self.send(wire::OutgoingCallRequest {
            call_id,
            serial,
            minimum_bps: request.minimum_bps,
            maximum_bps: request.maximum_bps,
            bearer: row.call_bearer,
            framing: request.framing,
            window: request.window,
            delay: 0,
            phone_length: u16::try_from(phone.bytes().len()).unwrap_or_default(),
            phone,
            subaddress: Text::EMPTY,
        });
        let until = now + self.config.call_timeout;
        self.calls.add(Call {
            local: call_id,
            peer: None,
            peer_window: 0,
            state: CallState::WaitReply { until },
        });
        Ok(call_id)
    }

    /// Server: makes the call that [`ControlEvent::IncomingCall`] told of.
    ///
    /// # Errors
    /// The call does not wait for that, or the call id is taken: see [`CallError`].
    pub fn accept_call(
        &mut self,
        _now: Instant,
        peer_call_id: u16,
        accept: CallAccept,
    ) -> Result<(), CallError> {
        if self.calls.local(accept.call_id).is_some() {
            return Err(CallError::InUse(accept.call_id));
        }
        let call = self.calls.offered(peer_call_id).ok_or(CallError::Unknown(peer_call_id))?;
        call.local = accept.call_id;
        call.state = CallState::Up;
        let peer_window = call.peer_window;
        self.send(wire::OutgoingCallReply {
            call_id: accept.call_id,
            peer_call_id,
            result: 1,
            error: 0,
            cause: 0,
            connect_speed: accept.connect_speed,
            window: accept.window,
            delay: 0,
            channel: accept.channel,
        });
        self.emit(ControlEvent::CallUp {
            call_id: accept.call_id,
            peer_call_id,
            peer_window,
            connect_speed: accept.connect_speed,
        });
        Ok(())
    }

    /// Server: does not make the call that [`ControlEvent::IncomingCall`] told of.
    ///
    /// # Errors
    /// The call does not wait for that: see [`CallError`].
    pub fn refuse_call(
        &mut self,
        _now: Instant,
        peer_call_id: u16,
        result: u8,
        error: u8,
        cause: u16,
    ) -> Result<(), CallError> {
        self.calls.offered(peer_call_id).ok_or(CallError::Unknown(peer_call_id))?;
        self.calls.remove_peer(peer_call_id);
        self.refuse(peer_call_id, result, error, cause);
        Ok(())
    }

    /// Ends one call; [`ControlEvent::CallDown`] follows, on the client when the server has confirmed or has had its
    /// time to.
    ///
    /// # Errors
    /// There is no such call: see [`CallError`].
    pub fn close_call(&mut self, now: Instant, call_id: u16) -> Result<(), CallError> {
        let call = self.calls.local(call_id).ok_or(CallError::Unknown(call_id))?;
        match (call.state, self.config.role) {
            (CallState::Clearing { .. }, _) => {}
            (_, Role::Pns) => {
                call.start_clearing(now, self.config.stop_timeout, false);
                self.send(wire::CallClearRequest { call_id });
            }
            (_, Role::Pac) => {
                self.calls.remove_local(call_id);
                self.notify_disconnect(call_id, 3);
                self.emit(ControlEvent::CallDown { call_id, reason: CallEnd::Closed });
            }
        }
        Ok(())
    }

    /// Ends everything politely: the calls, then the control connection; [`ControlEvent::Closed`] follows, after at
    /// most two times `stop_timeout`.
    pub fn stop(&mut self, now: Instant) {
        match self.phase {
            Phase::Idle => self.end(ControlEnd::Stopped),
            Phase::Starting { .. } => {
                // Nobody has answered yet: tell, but do not wait for somebody who may not be there.
                if self.config.role == Role::Pns {
                    self.send_stop(stop_reason::LOCAL_SHUTDOWN);
                }
                self.end(ControlEnd::Stopped);
            }
            Phase::Established => {
                self.phase = Phase::Clearing;
                match self.config.role {
                    Role::Pns => self.clear_all_calls(now),
                    Role::Pac => self.disconnect_all_calls(),
                }
                self.stop_when_cleared(now);
            }
            Phase::Clearing | Phase::Stopping { .. } | Phase::Ended => {}
        }
    }

    /// The bytes to send over TCP next; empty if there are none. They stay until
    /// [`consume_output`](Self::consume_output) takes them away, so that a slow peer fills our memory only up
    /// to a limit.
    #[must_use]
    pub fn poll_output(&self) -> &[u8] {
        &self.output
    }

    /// The first `count` bytes of the output have gone.
    pub fn consume_output(&mut self, count: usize) {
        self.output.drain(..count.min(self.output.len()));
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ControlEvent> {
        self.events.pop_front()
    }

    /// Whether calls can be opened.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// Whether it is all over, but for output and events that are still to be fetched.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// What has been met so far.
    #[must_use]
    pub fn counters(&self) -> ControlCounters {
        ControlCounters { stream: *self.decoder.counters(), ..self.counters }
    }

    fn check_new_call(&mut self, call_id: u16) -> Result<(), CallError> {
        if self.calls.local(call_id).is_some() {
            return Err(CallError::InUse(call_id));
        }
        if self.calls.is_full(calls::MAX_CALLS) {
            return Err(CallError::TooMany);
        }
        Ok(())
    }

    fn clear_all_calls(&mut self, now: Instant) {
        let mut ids = Vec::new();
        for call in self.calls.iter_mut() {
            if !matches!(call.state, CallState::Clearing { .. }) {
                call.start_clearing(now, self.config.stop_timeout, false);
                ids.push(call.local);
            }
        }
        for call_id in ids {
            self.send(wire::CallClearRequest { call_id });
        }
    }

    fn disconnect_all_calls(&mut self) {
        for call in self.calls.take_all() {
            match (call.state, call.peer) {
                (CallState::Offered { .. }, Some(peer)) => self.refuse(peer, 7, 0, 0),
                _ => {
                    self.notify_disconnect(call.local, 3);
                    self.emit(ControlEvent::CallDown { call_id: call.local, reason: CallEnd::Closed });
                }
            }
        }
    }

    /// The second step of a polite end, when the first is done.
    fn stop_when_cleared(&mut self, now: Instant) {
        if self.phase == Phase::Clearing && self.calls.is_empty() {
            self.send_stop(stop_reason::LOCAL_SHUTDOWN);
            self.phase = Phase::Stopping { until: now + self.config.stop_timeout };
        }
    }

    fn send_stop(&mut self, reason: u8) {
        self.send(wire::StopControlConnectionRequest { reason });
    }

    fn refuse(&mut self, peer_call_id: u16, result: u8, error: u8, cause: u16) {
        self.send(wire::OutgoingCallReply {
            call_id: 0,
            peer_call_id,
            result,
            error,
            cause,
            connect_speed: 0,
            window: 0,
            delay: 0,
            channel: 0,
        });
    }

    fn notify_disconnect(&mut self, call_id: u16, result: u8) {
        self.send(wire::CallDisconnectNotify {
            call_id,
            result,
            error: 0,
            cause: 0,
            statistics: Text::EMPTY,
        });
    }

    fn send(&mut self, message: impl Into<Message>) {
        if self.output.len() >= MAX_OUTPUT {
            self.unbearable = Some("the peer does not read what we send");
            return;
        }
        message.into().encode(&mut self.output);
    }

    fn emit(&mut self, event: ControlEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.unbearable = Some("the peer makes more events than we can handle");
            return;
        }
        self.events.push_back(event);
    }

    fn heard_only_junk(&self) -> bool {
        let stream = self.decoder.counters();
        stream.messages == 0 && stream.unknown_type == 0 && stream.skipped_bytes > 0
    }

    fn end_if_unbearable(&mut self) {
        if let Some(what) = self.unbearable.take() {
            self.end(ControlEnd::Protocol(what));
        }
    }

    /// The one way to the end. Its events are beyond the limit for events: one for each call, and one.
    fn end(&mut self, end: ControlEnd) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        for call in self.calls.take_all() {
            let reason = if end == ControlEnd::Stopped { CallEnd::Closed } else { CallEnd::ControlLost };
            match call.state {
                CallState::Clearing { announced: true, .. } | CallState::Offered { .. } => {}
                CallState::Clearing { .. } => {
                    self.events
                        .push_back(ControlEvent::CallDown { call_id: call.local, reason: CallEnd::Closed });
                }
                CallState::WaitReply { .. } | CallState::Up => {
                    self.events.push_back(ControlEvent::CallDown { call_id: call.local, reason });
                }
            }
        }
        self.events.push_back(ControlEvent::Closed(end));
    }
}

/// Time between two instants, zero if they are the wrong way round.
fn since(now: Instant, then: Instant) -> Duration {
    now.saturating_duration_since(then)
}
