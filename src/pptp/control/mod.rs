//! One control connection with any number of calls, in either role (RFC 2637 §3).
//!
//! ```text
//!            connected        SCCRQ / SCCRP            stop: CCR           last CDN: StopCCRQ
//!    Idle ──────────► Starting ─────────► Established ─────────► Clearing ─────────► Stopping
//!                        │ timeout, refusal    │ peer stops, silence   │ each wait bounded   │ StopCCRP
//!                        └─────────────────────┴───────────┬───────────┴─────────────────────┘
//!                                                          ▼
//!                                                        Ended ─► ControlEvent::Closed, once
//! ```
//!
//! Owns the order of messages, the calls, and every timeout of the control connection once TCP is up. Does
//! not own the TCP socket, GRE (see `flow`), or the choice of call IDs. The timeouts are independent of each
//! other and of `idle_wait`. Memory is bounded whatever the peer sends: calls, output and events are limited.

mod calls;
mod config;
mod event;
mod receive;
#[cfg(any(target_os = "linux", target_os = "freebsd", feature = "fuzzing", test))]
mod server;
#[cfg(test)]
mod tests;
mod timers;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use calls::{Call, CallState, Calls};
pub use config::{CallRequest, ControlConfig, Role};
pub use event::{CallEnd, CallError, ControlCounters, ControlEnd, ControlEvent, Peer};
#[cfg(any(target_os = "linux", target_os = "freebsd", feature = "fuzzing", test))]
pub use server::CallAccept;
use timers::Keepalive;

use crate::pptp::wire::{self, Message, StreamDecoder, Text};

/// Output that the peer may leave unread before the connection is ended, in bytes.
const MAX_OUTPUT: usize = 64 * 1024;
/// Output above which Echo-Requests are not answered any more, in bytes.
const MAX_OUTPUT_FOR_ECHO: usize = 4 * 1024;
/// Events that may be queued before the connection is ended because the peer causes too many.
const MAX_EVENTS: usize = 1024;
/// Bytes that may be skipped before the first message until the peer counts as not PPTP.
const MAX_JUNK: u64 = 1024;
/// After the first skipped byte, the first message is awaited this long: a captive portal or a web server is
/// reported at once.
const JUNK_WAIT: Duration = Duration::from_secs(1);
/// How many of the peer's first bytes are kept, to be shown if they are not PPTP.
pub const FIRST_BYTES: usize = 32;

/// Reasons in Stop-Control-Connection-Request (§2.3).
mod stop_reason {
    pub const NONE: u8 = 1;
    pub const PROTOCOL: u8 = 2;
    pub const LOCAL_SHUTDOWN: u8 = 3;
}

/// The state machine of one control connection.
#[derive(Debug)]
pub struct Control {
    config: ControlConfig,
    phase: Phase,
    decoder: StreamDecoder,
    /// The first bytes of the peer.
    first: Vec<u8>,
    calls: Calls,
    keepalive: Keepalive,
    next_serial: u16,
    output: Vec<u8>,
    events: VecDeque<ControlEvent>,
    counters: ControlCounters,
    /// A limit was exceeded: the connection ends once the current message has been processed.
    limit_exceeded: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// TCP is not up yet.
    Idle,
    /// Waiting for the peer's first message.
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
    /// Creates a control connection whose TCP connection is not up yet.
    #[must_use]
    pub fn new(config: ControlConfig, now: Instant) -> Self {
        Self {
            keepalive: Keepalive::new(config.idle_wait, config.max_echo_wait, now),
            config,
            phase: Phase::Idle,
            decoder: StreamDecoder::default(),
            first: Vec::new(),
            calls: Calls::default(),
            next_serial: 0,
            output: Vec::new(),
            events: VecDeque::new(),
            counters: ControlCounters::default(),
            limit_exceeded: None,
        }
    }

    /// Starts the control connection when TCP is up: the client sends a request, the server waits for one.
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

    /// Processes bytes received over TCP, in any segmentation.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        let kept = FIRST_BYTES.saturating_sub(self.first.len()).min(bytes.len());
        self.first.extend(bytes.get(..kept).unwrap_or_default());
        let mut input = bytes;
        while !matches!(self.phase, Phase::Idle | Phase::Ended) {
            let Some(message) = self.decoder.next_message(&mut input) else { break };
            self.receive(now, &message);
            self.end_if_limit_exceeded();
        }
        if self.received_only_junk() {
            if self.decoder.counters().skipped_bytes >= MAX_JUNK {
                self.end(self.not_pptp());
            } else if let Phase::Starting { until } = &mut self.phase {
                *until = (*until).min(now + JUNK_WAIT);
            }
        }
    }

    /// Ends the control connection because the peer closed or reset TCP.
    pub fn handle_closed(&mut self, _now: Instant) {
        let end = match self.phase {
            Phase::Clearing | Phase::Stopping { .. } => ControlEnd::Stopped,
            _ if self.received_only_junk() => self.not_pptp(),
            _ => ControlEnd::PeerClosed,
        };
        self.end(end);
        self.output.clear();
    }

    /// Client: requests a call and returns its call ID, which a quirk may have chosen.
    ///
    /// # Errors
    /// Returns a [`CallError`] if the call was not requested.
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

    /// Ends one call; [`ControlEvent::CallDown`] follows, on the client once the server has confirmed or
    /// `stop_timeout` has passed.
    ///
    /// # Errors
    /// Returns a [`CallError`] if there is no such call.
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

    /// Shuts down gracefully, first the calls, then the control connection; [`ControlEvent::Closed`] follows
    /// after at most twice `stop_timeout`.
    pub fn stop(&mut self, now: Instant) {
        match self.phase {
            Phase::Idle => self.end(ControlEnd::Stopped),
            Phase::Starting { .. } => {
                // The server has not answered yet: notify it, but do not wait for a reply.
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

    /// Returns the bytes to send over TCP next; empty if there are none. They stay queued until
    /// [`consume_output`](Self::consume_output) removes them, so that a slow peer's output is limited.
    #[must_use]
    pub fn poll_output(&self) -> &[u8] {
        &self.output
    }

    /// Removes the first `count` bytes of the output, which have been sent.
    pub fn consume_output(&mut self, count: usize) {
        self.output.drain(..count.min(self.output.len()));
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<ControlEvent> {
        self.events.pop_front()
    }

    /// Returns whether calls can be opened.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// Returns the counters, including those of the stream decoder.
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

    /// Continues a graceful shutdown with Stop-Control-Connection-Request once all calls are cleared.
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
            self.limit_exceeded = Some("the peer does not read what we send");
            return;
        }
        message.into().encode(&mut self.output);
    }

    fn emit(&mut self, event: ControlEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.limit_exceeded = Some("the peer makes more events than we can handle");
            return;
        }
        self.events.push_back(event);
    }

    fn not_pptp(&self) -> ControlEnd {
        ControlEnd::NotPptp { first: self.first.clone() }
    }

    fn received_only_junk(&self) -> bool {
        let stream = self.decoder.counters();
        stream.messages == 0 && stream.unknown_type == 0 && stream.skipped_bytes > 0
    }

    fn end_if_limit_exceeded(&mut self) {
        if let Some(what) = self.limit_exceeded.take() {
            self.end(ControlEnd::Protocol(what));
        }
    }

    /// Ends the control connection. May exceed the limit of events by one for each call and one for the end.
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

/// Returns the time from `then` to `now`, zero if `now` is earlier.
fn since(now: Instant, then: Instant) -> Duration {
    now.saturating_duration_since(then)
}
