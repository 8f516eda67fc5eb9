//! Timers of the control connection.

use std::time::{Duration, Instant};

use super::{
    CallEnd, CallState, Control, ControlEnd, ControlEvent, Phase, Role, calls::Call, since, stop_reason, wire,
};
use crate::deadline::{Deadline, earliest};

/// The keepalive of RFC 2637 §3.1.4.
///
/// Any message of the peer shows that it is alive, not only the Echo-Reply: the loss of one kind of message
/// must not end a tunnel that works.
#[derive(Debug)]
pub(super) struct Keepalive {
    idle_wait: Option<Duration>,
    max_echo_wait: Duration,
    /// When the last message of the peer arrived.
    last_received: Instant,
    /// When we sent the last Echo-Request, while it is unanswered.
    request_sent: Option<Instant>,
    /// Whether no message at all has arrived since then.
    silent: bool,
    /// The identifier of the next request, or of the unanswered one.
    identifier: u32,
}

impl Keepalive {
    pub const fn new(idle_wait: Option<Duration>, max_echo_wait: Duration, now: Instant) -> Self {
        Self {
            idle_wait,
            max_echo_wait,
            last_received: now,
            request_sent: None,
            silent: false,
            identifier: 1,
        }
    }

    /// Records that a message of the peer arrived.
    pub const fn message_received(&mut self, now: Instant) {
        self.last_received = now;
        self.silent = false;
    }

    /// Returns whether a message of the peer arrived after `moment`.
    pub fn heard_after(&self, moment: Instant) -> bool {
        self.last_received > moment
    }

    fn start_request(&mut self, now: Instant) -> u32 {
        self.request_sent = Some(now);
        self.silent = true;
        self.identifier
    }

    /// Records an Echo-Reply; returns the round trip if it answers the outstanding request.
    pub fn replied(&mut self, now: Instant, identifier: u32) -> Option<Duration> {
        let asked = self.request_sent?;
        if identifier != self.identifier {
            return None;
        }
        self.request_sent = None;
        self.identifier = self.identifier.wrapping_add(1);
        Some(since(now, asked))
    }

    fn next_timeout(&self) -> Option<Deadline> {
        match self.request_sent {
            Some(_) if self.silent && self.max_echo_wait.is_zero() => None,
            Some(asked) if self.silent => Some((asked + self.max_echo_wait, "echo reply")),
            _ => Some((self.last_received + self.idle_wait?, "echo request")),
        }
    }
}

impl Control {
    /// Returns the earliest time at which [`handle_timeout`](Self::handle_timeout) must be called, and why.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Deadline> {
        let phase = match self.phase {
            Phase::Idle | Phase::Ended => return None,
            Phase::Starting { until } => Some((until, "first message")),
            Phase::Established => self.keepalive.next_timeout(),
            Phase::Clearing => None,
            Phase::Stopping { until } => Some((until, "stop reply")),
        };
        let calls = self.calls.iter().map(|call| {
            let timer = match call.state {
                CallState::Clearing { .. } => "call disconnect",
                CallState::WaitReply { .. } | CallState::Offered { .. } | CallState::Up => "call reply",
            };
            Some((call.deadline()?, timer))
        });
        earliest(calls.chain([phase]))
    }

    /// Processes every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_calls(now);
        match self.phase {
            Phase::Starting { until } if until <= now => self.start_timeout(),
            Phase::Stopping { until } if until <= now => self.end(ControlEnd::Stopped),
            Phase::Established => self.keep_alive(now),
            Phase::Clearing => self.stop_when_cleared(now),
            Phase::Idle | Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Ended => {}
        }
        self.end_if_limit_exceeded();
    }

    /// Sends an Echo-Request at once, for example after a network change, unless Echo-Requests are off.
    /// `max_echo_wait` applies; an owner with a shorter timeout checks [`heard_after`](Self::heard_after).
    pub fn probe(&mut self, now: Instant) {
        if self.phase == Phase::Established && self.keepalive.idle_wait.is_some() {
            self.send_echo(now);
        }
    }

    /// Returns whether a message of the peer arrived after `moment`.
    #[must_use]
    pub fn heard_after(&self, moment: Instant) -> bool {
        self.keepalive.heard_after(moment)
    }

    /// Ends the control connection with a dead peer. Queues shutdown messages in case the peer still receives
    /// them, but does not wait for replies.
    pub fn give_up(&mut self) {
        if matches!(self.phase, Phase::Idle | Phase::Ended) {
            return;
        }
        // If only the path from the peer to us is broken, the peer can still free its calls.
        if self.config.role == Role::Pns {
            let ids: Vec<u16> = self.calls.iter().map(|call| call.local).collect();
            for call_id in ids {
                self.send(wire::CallClearRequest { call_id });
            }
        }
        self.send_stop(stop_reason::NONE);
        self.end(ControlEnd::EchoTimeout);
    }

    fn send_echo(&mut self, now: Instant) {
        let identifier = self.keepalive.start_request(now);
        self.counters.echo_requests_sent += 1;
        self.send(wire::EchoRequest { identifier });
    }

    fn start_timeout(&mut self) {
        if self.config.role == Role::Pns {
            self.send_stop(stop_reason::NONE);
        }
        self.end(match self.config.role {
            _ if self.received_only_junk() => self.not_pptp(),
            Role::Pns => ControlEnd::SccrpTimeout,
            Role::Pac => ControlEnd::SccrqTimeout,
        });
    }

    fn keep_alive(&mut self, now: Instant) {
        match self.keepalive.next_timeout() {
            Some((at, _)) if at > now => {}
            Some(_) if self.keepalive.silent => self.give_up(),
            Some(_) => self.send_echo(now),
            None => {}
        }
    }

    fn expire_calls(&mut self, now: Instant) {
        let due: Vec<Call> =
            self.calls.iter().filter(|call| call.deadline().is_some_and(|at| at <= now)).copied().collect();
        for call in due {
            match call.state {
                CallState::WaitReply { .. } => {
                    // The server may still bring the call up: request its end, and keep the ID meanwhile.
                    if let Some(call) = self.calls.local(call.local) {
                        call.start_clearing(now, self.config.stop_timeout, true);
                    }
                    self.send(wire::CallClearRequest { call_id: call.local });
                    self.emit(ControlEvent::CallDown { call_id: call.local, reason: CallEnd::ReplyTimeout });
                }
                CallState::Offered { .. } => {
                    if let Some(peer) = call.peer {
                        self.calls.remove_peer(peer);
                        self.refuse(peer, 6, 0, 0);
                    }
                }
                CallState::Clearing { announced, .. } => {
                    self.calls.remove_local(call.local);
                    if !announced {
                        self.emit(ControlEvent::CallDown { call_id: call.local, reason: CallEnd::Closed });
                    }
                }
                CallState::Up => {}
            }
        }
    }
}
