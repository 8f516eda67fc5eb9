//! The clockwork of the control connection: what is due, and what happens then.

use std::time::{Duration, Instant};

use super::{
    CallEnd, CallState, Control, ControlEnd, ControlEvent, Phase, Role, Timer, calls::Call, since,
    stop_reason, wire,
};

/// The keepalive of RFC 2637 §3.1.4.
///
/// Anything that the peer says is a sign of life, not only the reply that we asked for: to end a tunnel that
/// works because one kind of message is lost would help nobody.
#[derive(Debug)]
pub(super) struct Keepalive {
    idle_wait: Option<Duration>,
    max_echo_wait: Duration,
    heard: Instant,
    /// When our last Echo-Request went, while it is not answered.
    asked: Option<Instant>,
    /// Nothing at all has come since then.
    silent: bool,
    /// The identifier of the next request, or of the one that is not answered yet.
    identifier: u32,
}

impl Keepalive {
    pub const fn new(idle_wait: Option<Duration>, max_echo_wait: Duration, now: Instant) -> Self {
        Self { idle_wait, max_echo_wait, heard: now, asked: None, silent: false, identifier: 1 }
    }

    /// The peer lives.
    pub const fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.silent = false;
    }

    /// Whether the peer has said anything after this moment.
    pub fn heard_after(&self, moment: Instant) -> bool {
        self.heard > moment
    }

    fn ask(&mut self, now: Instant) -> u32 {
        self.asked = Some(now);
        self.silent = true;
        self.identifier
    }

    /// A reply with this identifier: how long it took, if it is the one that we wait for.
    pub fn replied(&mut self, now: Instant, identifier: u32) -> Option<Duration> {
        let asked = self.asked?;
        if identifier != self.identifier {
            return None;
        }
        self.asked = None;
        self.identifier = self.identifier.wrapping_add(1);
        Some(since(now, asked))
    }

    fn next_timeout(&self) -> Option<(Instant, Timer)> {
        match self.asked {
            Some(_) if self.silent && self.max_echo_wait.is_zero() => None,
            Some(asked) if self.silent => Some((asked + self.max_echo_wait, Timer::EchoReply)),
            _ => Some((self.heard + self.idle_wait?, Timer::Idle)),
        }
    }
}

impl Control {
    /// The earliest moment at which [`handle_timeout`](Self::handle_timeout) has something to do, and what.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, Timer)> {
        let phase = match self.phase {
            Phase::Idle | Phase::Ended => return None,
            Phase::Starting { until } => Some((until, Timer::Start)),
            Phase::Established => self.keepalive.next_timeout(),
            Phase::Clearing => None,
            Phase::Stopping { until } => Some((until, Timer::Stop)),
        };
        let calls = self.calls.iter().filter_map(|call| {
            let timer = match call.state {
                CallState::Clearing { .. } => Timer::Clear,
                CallState::WaitReply { .. } | CallState::Offered { .. } | CallState::Up => Timer::Call,
            };
            Some((call.deadline()?, timer))
        });
        calls.chain(phase).min_by_key(|(at, _)| *at)
    }

    /// Does what is due; nothing if nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_calls(now);
        match self.phase {
            Phase::Starting { until } if until <= now => self.start_timeout(),
            Phase::Stopping { until } if until <= now => self.end(ControlEnd::Stopped),
            Phase::Established => self.keep_alive(now),
            Phase::Clearing => self.stop_when_cleared(now),
            Phase::Idle | Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Ended => {}
        }
        self.end_if_unbearable();
    }

    /// Asks for a sign of life at once, as after a change of the network; unless Echo-Requests are off. The usual
    /// limit for the answer applies; who wants to know sooner looks at [`heard_after`](Self::heard_after).
    pub fn probe(&mut self, now: Instant) {
        if self.phase == Phase::Established && self.keepalive.idle_wait.is_some() {
            self.send_echo(now);
        }
    }

    /// Whether the peer has said anything after this moment.
    #[must_use]
    pub fn heard_after(&self, moment: Instant) -> bool {
        self.keepalive.heard_after(moment)
    }

    /// The peer is gone, as its owner knows: it is told, should it still hear us, and not waited for.
    pub fn give_up(&mut self) {
        if matches!(self.phase, Phase::Idle | Phase::Ended) {
            return;
        }
        // Should only its half of the path be dead, the peer can still free its calls.
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
        let identifier = self.keepalive.ask(now);
        self.counters.echo_requests_sent += 1;
        self.send(wire::EchoRequest { identifier });
    }

    fn start_timeout(&mut self) {
        if self.config.role == Role::Pns {
            self.send_stop(stop_reason::NONE);
        }
        self.end(match self.config.role {
            _ if self.heard_only_junk() => ControlEnd::NotPptp,
            Role::Pns => ControlEnd::SccrpTimeout,
            Role::Pac => ControlEnd::SccrqTimeout,
        });
    }

    fn keep_alive(&mut self, now: Instant) {
        match self.keepalive.next_timeout() {
            Some((at, Timer::Idle)) if at <= now => self.send_echo(now),
            Some((at, Timer::EchoReply)) if at <= now => self.give_up(),
            _ => {}
        }
    }

    fn expire_calls(&mut self, now: Instant) {
        let due: Vec<Call> =
            self.calls.iter().filter(|call| call.deadline().is_some_and(|at| at <= now)).copied().collect();
        for call in due {
            match call.state {
                CallState::WaitReply { .. } => {
                    // The call may yet come up over there: ask for its end, and keep the id until it is known.
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
