//! One dial, pure: the control connection, the call's GRE flow and the PPP link, wired together.
//!
//! Bytes from TCP, GRE packets, IP packets and time go in; bytes for TCP, GRE packets, IP packets and events
//! come out. It does no I/O and reads no clock, so two of them (or one and a server) can be joined in memory.
//! Data packets pass through [`Session::gre_input`] and [`Session::tun_input`] without an allocation.
//!
//! Here is what the shell calls, what is due when, and the polite end. `call` makes a call of what the control
//! connection reports, `phases` the phases of what the link reports; `proof` and `offers` stand between IPCP and
//! [`SessionEvent::Up`]; `packets` is the way of the data; `doubt` asks whether the server is still there.

mod call;
mod liveness;
mod packets;
mod peer_routes;
mod phases;
mod ready_check;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use self::{call::Call, liveness::LivenessCheck, peer_routes::PeerRoutes, ready_check::ReadyCheck};
use super::{
    failure::{Failure, FailureKind, Phase},
    message::{LinkUp, plain},
    mss::Clamper,
    spec::Spec,
};
use crate::{
    ppp::link::{self, DownReason},
    pptp::control::{self, Control},
    secret::Secret,
};

/// What happened.
#[derive(Debug)]
pub enum SessionEvent {
    /// A phase begins; how the one before it ended.
    Phase(Phase, String),
    /// The link carries packets.
    Up(LinkUp),
    /// The end; nothing comes after it.
    Down(Failure),
}

/// One dial.
pub struct Session {
    spec: Spec,
    control: Control,
    call: Option<Call>,
    /// What the link is made from, once the call is up.
    link_config: Option<link::LinkConfig>,
    call_id: u16,
    phase: Phase,
    /// No GRE packet of the server by then means that they are filtered.
    gre_due: Option<Instant>,
    /// The link is up for us; whether it is for the server as well has to be shown yet.
    proof: Option<ReadyCheck>,
    /// What the server is asked for once the link is proven, and before it counts as up.
    offers: PeerRoutes,
    /// Whether the server is still there, while that is in doubt.
    doubt: Option<LivenessCheck>,
    /// How long the server took over an LCP Echo; `None`: it has never answered one.
    round_trip: Option<Duration>,
    /// Why it ends, while the polite end is under way.
    ending: Option<Failure>,
    up: bool,
    mss: Clamper,
    events: VecDeque<SessionEvent>,
}

impl Session {
    /// A dial that waits for TCP. `call_id` is the one to ask for; a quirk may change it.
    #[must_use]
    pub fn new(spec: Spec, password: Secret, call_id: u16, mut random: link::Random, now: Instant) -> Self {
        let offers = PeerRoutes::new(spec.peer_routes && !spec.external, &mut random);
        let config = control::ControlConfig {
            reply_timeout: spec.limits.control,
            call_timeout: spec.limits.call,
            idle_wait: spec.idle_wait,
            max_echo_wait: spec.max_echo_wait,
            stop_timeout: spec.limits.stop,
            ..control::ControlConfig::client(spec.quirks)
        };
        Self {
            control: Control::new(config, now),
            call: None,
            link_config: Some(phases::link_config(&spec, password, random)),
            call_id: spec.quirks.differences().call_id.unwrap_or(call_id),
            phase: Phase::Connect,
            gre_due: None,
            proof: None,
            offers,
            doubt: None,
            round_trip: None,
            ending: None,
            up: false,
            mss: Clamper::new(packets::LARGEST_PACKET),
            events: VecDeque::new(),
            spec,
        }
    }

    /// The key of the GRE packets that will come in.
    #[must_use]
    pub fn call_id(&self) -> u16 {
        self.call_id
    }

    /// The phase, for a failure that the caller sees.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// TCP is up; `detail` says between whom.
    pub fn connected(&mut self, now: Instant, detail: String) {
        self.enter(Phase::Control, detail);
        self.control.connected(now);
    }

    /// Bytes from TCP.
    pub fn tcp_input(&mut self, now: Instant, bytes: &[u8]) {
        self.control.handle_input(now, bytes);
        self.after(now);
    }

    /// TCP is closed by the other side, or broken.
    pub fn tcp_closed(&mut self, now: Instant) {
        self.control.handle_closed(now);
        self.after(now);
    }

    /// Bytes for TCP; [`Session::tcp_sent`] takes them away.
    #[must_use]
    pub fn tcp_output(&self) -> &[u8] {
        self.control.poll_output()
    }

    /// So many bytes have gone.
    pub fn tcp_sent(&mut self, count: usize) {
        self.control.consume_output(count);
    }

    /// Whether someone else speaks PPP, at the other end of a pty.
    #[must_use]
    pub const fn is_external(&self) -> bool {
        self.spec.external
    }

    /// Whether packets from the tun device are wanted now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up && self.ending.is_none()
    }

    /// Must follow every round of inputs: turns what the machines report into events.
    pub fn after(&mut self, now: Instant) {
        // The link first: when both end in one round, it is the link that knows why.
        self.link_events(now);
        while let Some(event) = self.control.poll_event() {
            self.control_event(now, event);
        }
        self.link_events(now);
        self.settle_offers(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, to_tun: &mut impl FnMut(&[u8])) {
        self.control.handle_timeout(now);
        self.call_timeout(now, to_tun);
        self.after(now);
        self.prove(now);
        self.settle_doubt(now);
        if self.gre_due.is_some_and(|due| due <= now) {
            self.gre_due = None;
            if self.ending.is_none() && self.call.as_ref().is_some_and(|call| !call.heard) {
                let seconds = self.spec.limits.gre.as_secs_f32();
                let detail = format!(
                    "the call is up and the control connection is fine, but no GRE packet came within {seconds} s"
                );
                self.fail(now, Failure::new(Phase::Lcp, FailureKind::GreFiltered, detail));
            }
        }
    }

    /// When [`Session::handle_timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let call = self.call.as_ref();
        [
            self.control.next_timeout().map(|(at, _)| at),
            call.and_then(|call| call.flow.next_timeout()).map(|(at, _)| at),
            call.and_then(|call| call.link.next_timeout()),
            self.gre_due,
            self.proof.as_ref().map(ReadyCheck::next_timeout),
            self.doubt.as_ref().map(LivenessCheck::next_timeout),
            self.offers.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Ends it politely, for this reason: LCP Terminate, Call-Clear-Request, Stop-Control-Connection-Request,
    /// each bounded. [`SessionEvent::Down`] follows. A second call changes nothing.
    pub fn fail(&mut self, now: Instant, failure: Failure) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(failure);
        self.gre_due = None;
        match &mut self.call {
            Some(call) => call.link.close(now, DownReason::Closed),
            None => self.control.stop(now),
        }
        self.after(now);
    }

    /// Counters by name.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, u64)> {
        let call = self.call.as_ref();
        let mut counters = super::statistics::counters(
            &self.control.counters(),
            call.map(|call| call.flow.counters()),
            call.and_then(|call| call.link.link_counters()),
            call.and_then(|call| call.link.pty_counters()),
            self.mss.counters(),
        );
        counters.extend(call.map(|call| ("drop.loop".to_owned(), call.looped)));
        counters.extend(self.offers.counters());
        counters
    }

    fn enter(&mut self, phase: Phase, detail: String) {
        self.phase = phase;
        self.events.push_back(SessionEvent::Phase(phase, plain(&detail)));
    }
}

#[cfg(test)]
mod tests;
