//! One connection attempt: the control connection, the call's GRE flow and the PPP link, wired together.
//!
//! Takes bytes from TCP, GRE packets, IP packets and time; produces bytes for TCP, GRE packets, IP packets
//! and events. It does no I/O and reads no clock, so two of them (or one and a server) can be joined in
//! memory. [`Session::gre_input`] and [`Session::tun_input`] pass data packets without an allocation.
//!
//! This file has the engine's interface, the timeouts and the graceful shutdown. `call` handles events of the
//! control connection, `phases` those of the link; `ready_check` and `peer_routes` run between IPCP and
//! [`SessionEvent::Up`]; `packets` is the data path; `liveness` checks whether the server still answers;
//! `path_mtu` finds out how large a packet the path carries; `kernel` has what differs if the kernel moves the packets.

mod call;
mod carrier;
mod early;
mod evidence;
mod fate;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
mod kernel;
mod liveness;
mod packets;
mod path_mtu;
mod peer_routes;
mod phases;
mod ready_check;
mod wrong_calls;

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use self::{
    call::Call, early::EarlyPackets, liveness::LivenessCheck, path_mtu::PathSearch, peer_routes::PeerRoutes,
    ready_check::ReadyCheck,
};
use super::{
    bridge::IN_BUILD,
    message::{LinkUp, Offers, PathMtu, PathSearchEnd, plain},
    spec::Spec,
    verdict::{self, Reached},
};
use crate::{
    deadline::{Deadline, earliest},
    failure::{Failure, Phase, Remedy, UndecidedLogin},
    ppp::{
        link::{self, DownReason},
        mss::Clamper,
    },
    pptp::control::{self, Control},
    secret::Secret,
};

/// An event of a session.
#[derive(Debug)]
pub enum SessionEvent {
    /// A phase begins; the text says how the previous one ended.
    Phase(Phase, String),
    /// What the server has offered so far has changed.
    Offers(Offers),
    /// The call is up, and the kernel is to carry its frames ([`Session::attached`]); the server's call id.
    Attach(u16),
    /// The link carries packets.
    Up(LinkUp),
    /// The path carries less than the link, or again as much.
    PathMtu(PathMtu),
    /// A search of the path's MTU has ended; what it found came before.
    PathSearched(PathSearchEnd),
    /// The session has ended; no event follows.
    Down(Failure),
}

/// How long the kernel may refuse to send any GRE packet before a link that is coming up fails.
const GRE_REFUSED_MAX: Duration = Duration::from_millis(500);

/// Refusals of the kernel to send GRE.
struct GreRefusals {
    since: Instant,
    count: u32,
    error: String,
}

/// One connection attempt.
pub struct Session {
    spec: Spec,
    control: Control,
    call: Option<Call>,
    /// Configuration of the link, used once the call is up.
    link_config: Option<link::LinkConfig>,
    call_id: u16,
    /// Packets that this side buffers, as announced to the server.
    receive_window: u16,
    /// GRE packets of the call that have arrived before the call reply.
    early: EarlyPackets,
    phase: Phase,
    /// The kernel's refusals to send GRE, while it has not accepted any packet.
    gre_refusals: Option<GreRefusals>,
    gre_accepted: bool,
    /// GRE counts as filtered if no packet of the server has arrived by then.
    gre_due: Option<Instant>,
    /// IPCP is open: the server has given an address.
    has_address: bool,
    /// The ready check: the link is up on our side, but not yet confirmed by the server.
    ready_check: Option<ReadyCheck>,
    /// When the first LCP Echo was sent, until it is answered.
    first_echo: Option<Instant>,
    /// The request for the server's routes, after the ready check.
    peer_routes: PeerRoutes,
    /// The running liveness check, if any.
    liveness: Option<LivenessCheck>,
    /// The search for the size of packets that the path carries.
    path: PathSearch,
    /// Round-trip time of the last answered LCP Echo, if any.
    round_trip: Option<Duration>,
    /// When [`Session::measure`] has sent its last echo.
    measured: Option<Instant>,
    /// Why the session ends, once its shutdown has begun.
    ending: Option<Failure>,
    up: bool,
    mss: Clamper,
    /// The server's offers as they were last reported.
    offers: Offers,
    events: VecDeque<SessionEvent>,
}

impl Session {
    /// Creates a session that waits for TCP. `call_id` is the call id to request; a quirk may replace it.
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
            receive_window: call::RECEIVE_WINDOW,
            early: EarlyPackets::default(),
            phase: Phase::Connect,
            gre_refusals: None,
            gre_accepted: false,
            gre_due: None,
            has_address: false,
            ready_check: None,
            first_echo: None,
            peer_routes: offers,
            liveness: None,
            path: PathSearch::default(),
            round_trip: None,
            measured: None,
            ending: None,
            up: false,
            mss: Clamper::new(packets::LARGEST_PACKET),
            offers: Offers::default(),
            events: VecDeque::new(),
            spec,
        }
    }

    /// Returns our call id, the key of incoming GRE packets.
    #[must_use]
    pub fn call_id(&self) -> u16 {
        self.call_id
    }

    /// Returns the current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Starts the control connection over TCP; `detail` names the two ends.
    pub fn connected(&mut self, now: Instant, detail: String) {
        self.enter(Phase::Control, detail);
        self.control.connected(now);
    }

    /// Processes bytes from TCP.
    pub fn tcp_input(&mut self, now: Instant, bytes: &[u8]) {
        self.control.handle_input(now, bytes);
        self.after(now);
    }

    /// Handles the end of the TCP connection.
    pub fn tcp_closed(&mut self, now: Instant) {
        self.control.handle_closed(now);
        self.after(now);
    }

    /// Returns the bytes to send over TCP; [`Session::tcp_sent`] removes them.
    #[must_use]
    pub fn tcp_output(&self) -> &[u8] {
        self.control.poll_output()
    }

    /// Removes `count` sent bytes.
    pub fn tcp_sent(&mut self, count: usize) {
        self.control.consume_output(count);
    }

    /// Records that the kernel has accepted GRE packets to send.
    pub fn gre_sent(&mut self) {
        self.gre_accepted = true;
        self.gre_refusals = None;
    }

    /// Records that the kernel has refused to send GRE packets. A rule that drops them on output is reported to the
    /// sender as EPERM, on some systems as EACCES; other errors may pass and are ignored.
    pub fn gre_refused(&mut self, now: Instant, error: &io::Error) {
        if error.kind() == io::ErrorKind::PermissionDenied && !self.gre_accepted {
            let first = || GreRefusals { since: now, count: 0, error: error.to_string() };
            let refusals = self.gre_refusals.get_or_insert_with(first);
            refusals.count = refusals.count.saturating_add(1);
        }
    }

    /// Returns whether an external daemon runs PPP, on a pty.
    #[must_use]
    pub const fn is_external(&self) -> bool {
        IN_BUILD.is_some() && self.spec.external
    }

    /// Returns whether the tunnel's MTU follows the path, so that no packet has to be sent in fragments. With IPv6 the
    /// device may have to carry longer packets than the path (RFC 8200 §5).
    #[must_use]
    pub const fn follows_path(&self) -> bool {
        self.spec.follow_path && !self.spec.external && !self.spec.ipv6
    }

    /// Limits the receive window to what the GRE socket's buffer holds, in bytes. To be called before the connection.
    pub fn set_receive_buffer(&mut self, bytes: usize) {
        // What Linux accounts for a packet of 1500 bytes. Its limit includes that; that of other systems is lower.
        const PACKET: usize = 2304;
        let packets = u16::try_from(bytes / PACKET).unwrap_or(u16::MAX);
        self.receive_window = call::RECEIVE_WINDOW.min(packets).max(1);
    }

    /// Returns whether the server's window has room for a packet.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.call.as_ref().is_none_or(|call| call.flow.may_send())
    }

    /// Returns whether packets from the tun device are accepted now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up && self.ending.is_none()
    }

    /// Turns reports of the state machines into events. Must follow every batch of inputs.
    pub fn after(&mut self, now: Instant) {
        // Link events first: if both end together, the link has the reason.
        self.link_events(now);
        while let Some(event) = self.control.poll_event() {
            self.control_event(now, event);
        }
        self.link_events(now);
        self.poll_routes(now);
    }

    /// Handles all timeouts that are due.
    pub fn handle_timeout(&mut self, now: Instant, to_tun: &mut impl FnMut(&[u8])) {
        self.control.handle_timeout(now);
        self.call_timeout(now, to_tun);
        self.peer_routes.handle_timeout(now);
        self.after(now);
        self.poll_ready_check(now);
        self.poll_liveness(now);
        self.poll_path(now);
        if let Some(refusals) = &self.gre_refusals
            && self.gre_refusal_due().is_some_and(|(due, _)| due <= now)
        {
            let failure = verdict::of_gre_refusal(self.phase, refusals.count, &refusals.error);
            self.end_with(failure);
            self.gre_due = None;
            // The link cannot end gracefully: nothing can be sent to its peer.
            self.lower_down(now);
        }
        if self.gre_due.is_some_and(|due| due <= now) {
            self.gre_due = None;
            let seen = self.evidence().unwrap_or_default();
            if self.ending.is_none() && seen.gre_received == 0 && self.call.is_some() {
                self.fail(now, verdict::of_silence(self.spec.limits.gre, &seen));
            } else if self.ending.is_none()
                && self.phase == Phase::Lcp
                && verdict::gets_none_of_our_gre(&seen)
            {
                self.fail(now, verdict::of_lcp_timeout(self.phase, &seen));
            }
        }
    }

    /// Returns when [`Session::handle_timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Deadline> {
        let call = self.call.as_ref();
        earliest([
            self.control.next_timeout(),
            call.and_then(|call| call.flow.next_timeout()),
            call.and_then(|call| call.link.next_timeout()),
            self.gre_due.map(|at| (at, "first GRE packet")),
            self.gre_refusal_due(),
            self.ready_check.as_ref().and_then(ReadyCheck::next_timeout),
            self.liveness.as_ref().and_then(LivenessCheck::next_timeout),
            self.path.next_timeout(),
            self.peer_routes.next_timeout(),
        ])
    }

    fn gre_refusal_due(&self) -> Option<Deadline> {
        let refusals = self.gre_refusals.as_ref().filter(|_| !self.up && self.ending.is_none())?;
        Some((refusals.since + GRE_REFUSED_MAX, "the kernel refuses GRE"))
    }

    /// Returns the next event, in order.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Shuts the session down gracefully, for this reason: LCP Terminate, Call-Clear-Request,
    /// Stop-Control-Connection-Request, each with a time limit. [`SessionEvent::Down`] follows. A second call
    /// changes nothing.
    pub fn fail(&mut self, now: Instant, failure: Failure) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(self.with_evidence(failure));
        self.gre_due = None;
        match &mut self.call {
            Some(call) => call.link.close(now, DownReason::Closed),
            None => self.control.stop(now),
        }
        self.after(now);
    }

    /// Returns the counters by name.
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
        counters.extend(self.peer_routes.counters());
        counters
    }

    /// Returns the round trip of the last LCP Echo that was timed.
    #[must_use]
    pub fn echo_round_trip(&self) -> Option<Duration> {
        self.call.as_ref()?.link.link_counters()?.round_trip
    }

    /// Sets why the session ends, unless that is set. A log-in that the server has not decided is marked as such.
    fn end_with(&mut self, failure: Failure) {
        if self.ending.is_some() {
            return;
        }
        let failure = self.with_evidence(failure);
        let undecided = failure.remedy() != Remedy::Nothing
            && failure.undecided_login.is_none()
            && self.reached().login_pending;
        self.ending.get_or_insert(if undecided {
            failure.undecided(UndecidedLogin::Unanswered)
        } else {
            failure
        });
    }

    /// Returns how far this session has come.
    fn reached(&self) -> Reached {
        let is_pending = |call: &Call| call.link.is_login_pending();
        let login_pending = self.phase == Phase::Authentication && self.call.as_ref().is_some_and(is_pending);
        Reached { phase: self.phase, has_address: self.has_address, login_pending }
    }

    fn enter(&mut self, phase: Phase, detail: String) {
        self.phase = phase;
        self.events.push_back(SessionEvent::Phase(phase, plain(&detail)));
    }
}

#[cfg(test)]
mod tests;
