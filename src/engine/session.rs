//! One dial, pure: the control connection, the call's GRE flow and the PPP link, wired together.
//!
//! Bytes from TCP, GRE packets, IP packets and time go in; bytes for TCP, GRE packets, IP packets and events
//! come out. It does no I/O and reads no clock, so two of them (or one and a server) can be joined in memory.
//! Data packets pass through [`Session::gre_input`] and [`Session::tun_input`] without an allocation.

mod doubt;
mod offers;

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use self::{doubt::Doubt, offers::Offers};
use super::{
    bridge::{self, Bridge},
    failure::{Failure, FailureKind, Phase},
    message::{LinkUp, plain},
    mss::{Clamper, Way},
    side::Side,
    spec::{Limits, Spec},
    verdict,
};
use crate::{
    ppp::{
        auth::Credentials,
        link::{self, DownReason, Link, Received},
    },
    pptp::{
        cause,
        control::{self, CallEnd, CallRequest, Control, ControlEnd},
        flow::{Flow, FlowConfig, Reorder},
    },
    secret::Secret,
};

/// Room that a data packet needs in front of its PPP frame: the largest GRE header (RFC 2637 §4.1).
pub const GRE_HEADER: usize = 16;

/// Packets that we buffer, as announced in the call request: what the reorder ring holds at ease.
const RECEIVE_WINDOW: u16 = 64;

/// No IP packet through the tunnel is larger, in bytes: the MRU of PPP is at most 1500, with room to spare.
const LARGEST_PACKET: usize = 2048;

/// How long the server may take to show that it is through with IPCP; one that answers no LCP Echo is believed
/// after that.
const PROOF_LIMIT: Duration = Duration::from_secs(1);

/// How long until it is asked once more.
const PROOF_AGAIN: Duration = Duration::from_millis(250);

/// What happened.
#[derive(Debug)]
pub enum Event {
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
    link_config: Option<link::Config>,
    call_id: u16,
    phase: Phase,
    /// No GRE packet of the server by then means that they are filtered.
    gre_due: Option<Instant>,
    /// The link is up for us; whether it is for the server as well, an LCP Echo shows: it has our last
    /// Configure-Ack when it answers what came after that, and the first packet will not find a door still shut.
    proof: Option<Proof>,
    /// What the server is asked for once the link is proven, and before it counts as up.
    offers: Offers,
    /// Whether the server is still there, while that is in doubt.
    doubt: Option<Doubt>,
    /// How long the server took over an LCP Echo; `None`: it has never answered one.
    round_trip: Option<Duration>,
    /// Why it ends, while the polite end is under way.
    ending: Option<Failure>,
    up: bool,
    mss: Clamper,
    events: VecDeque<Event>,
}

struct Proof {
    up: LinkUp,
    began: Instant,
    again: Instant,
    until: Instant,
}

struct Call {
    flow: Flow,
    link: Side,
    heard: bool,
    /// When a packet of this call came last.
    last_heard: Option<Instant>,
}

impl Session {
    /// A dial that waits for TCP. `call_id` is the one to ask for; a quirk may change it.
    #[must_use]
    pub fn new(spec: Spec, password: Secret, call_id: u16, mut random: link::Random, now: Instant) -> Self {
        let offers = Offers::new(spec.peer_routes && !spec.external, &mut random);
        let config = control::Config {
            reply_timeout: spec.limits.control,
            call_timeout: spec.limits.call,
            idle_wait: spec.idle_wait,
            max_echo_wait: spec.max_echo_wait,
            stop_timeout: spec.limits.stop,
            ..control::Config::client(spec.quirks)
        };
        Self {
            control: Control::new(config, now),
            call: None,
            link_config: Some(link_config(&spec, password, random)),
            call_id: spec.quirks.differences().call_id.unwrap_or(call_id),
            phase: Phase::Connect,
            gre_due: None,
            proof: None,
            offers,
            doubt: None,
            round_trip: None,
            ending: None,
            up: false,
            mss: Clamper::new(LARGEST_PACKET),
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

    /// A GRE packet without its IP header; IP packets for the tun device come out through `to_tun`.
    pub fn gre_input(&mut self, now: Instant, packet: &mut [u8], to_tun: &mut impl FnMut(&[u8])) {
        let Self { call: Some(Call { flow, link, heard, last_heard }), mss, offers, .. } = self else { return };
        let taken = flow.receive(now, packet, &mut |frame| {
            if let Received::Ip(ip) = link.handle_input(now, frame)
                && !offers.take(ip)
            {
                to_tun(mss.pass(Way::In, ip));
            }
        });
        if taken.is_ok() {
            *heard = true;
            *last_heard = Some(now);
        }
    }

    /// An IP packet from the tun device. Gives the place of the GRE packet in `out`, or `None` when it was
    /// dropped and counted. `out` needs the packet's length and [`Session::overhead`].
    pub fn tun_input(&mut self, now: Instant, packet: &[u8], out: &mut [u8]) -> Option<Range<usize>> {
        let Self { call, mss, .. } = self;
        let Call { flow, link, .. } = call.as_mut()?;
        let packet = mss.pass(Way::Out, packet);
        let length = link.encapsulate(packet, out.get_mut(GRE_HEADER..)?).ok()?;
        with_header(flow, now, length, out)
    }

    /// What one read of the daemon's pty gave; `send` gets each GRE packet, header and frame apart.
    pub fn pty_input(&mut self, now: Instant, bytes: &[u8], mut send: impl FnMut(&[u8], &[u8])) {
        let Some(Call { flow, link: Side::External(bridge), .. }) = &mut self.call else { return };
        bridge.from_daemon(now, bytes, |frame| {
            let mut header = [0; GRE_HEADER];
            if let Some(size) = flow.header(now, frame.len(), &mut header) {
                send(header.get(..size).unwrap_or_default(), frame);
            }
        });
    }

    /// Bytes for the daemon's pty; [`Session::pty_sent`] takes them away.
    #[must_use]
    pub fn pty_output(&self) -> &[u8] {
        match &self.call {
            Some(Call { link: Side::External(bridge), .. }) => bridge.to_write(),
            _ => &[],
        }
    }

    /// So many bytes have gone.
    pub fn pty_sent(&mut self, count: usize) {
        if let Some(Call { link: Side::External(bridge), .. }) = &mut self.call {
            bridge.written(count);
        }
    }

    /// Whether someone else speaks PPP, at the other end of a pty.
    #[must_use]
    pub const fn is_external(&self) -> bool {
        self.spec.external
    }

    /// Bytes by which a GRE packet may be longer than its IP packet.
    #[must_use]
    pub const fn overhead() -> usize {
        GRE_HEADER + Link::FRAME_OVERHEAD
    }

    /// The next GRE packet that is not data from the tun device: a control frame of the link, or a lone
    /// acknowledgement. Gives its place in `out`.
    pub fn gre_output(&mut self, now: Instant, out: &mut [u8]) -> Option<Range<usize>> {
        let Call { flow, link, .. } = self.call.as_mut()?;
        while let Some(frame) = link.poll_output() {
            if let Some(place) = out.get_mut(GRE_HEADER..GRE_HEADER + frame.len()) {
                place.copy_from_slice(&frame);
                if let Some(packet) = with_header(flow, now, frame.len(), out) {
                    return Some(packet);
                }
            }
        }
        while let Some(packet) = self.offers.poll_packet() {
            let length = out.get_mut(GRE_HEADER..).and_then(|room| link.encapsulate(&packet, room).ok());
            if let Some(packet) = length.and_then(|length| with_header(flow, now, length, out)) {
                return Some(packet);
            }
        }
        let ack = flow.poll_ack(now)?;
        out.get_mut(..ack.len())?.copy_from_slice(&ack);
        Some(0..ack.len())
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
        if let Self { call: Some(Call { flow, link, .. }), mss, offers, .. } = self {
            flow.handle_timeout(now, &mut |frame| {
                if let Received::Ip(ip) = link.handle_input(now, frame)
                    && !offers.take(ip)
                {
                    to_tun(mss.pass(Way::In, ip));
                }
            });
            link.handle_timeout(now);
        }
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
            self.proof.as_ref().map(|proof| proof.again.min(proof.until)),
            self.doubt.as_ref().map(Doubt::next_timeout),
            self.offers.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends it politely, for this reason: LCP Terminate, Call-Clear-Request, Stop-Control-Connection-Request,
    /// each bounded. [`Event::Down`] follows. A second call changes nothing.
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
        counters.extend(self.offers.counters());
        counters
    }

    /// Asks for the proof when it is time to, or does without.
    fn prove(&mut self, now: Instant) {
        let (Some(proof), Some(call)) = (&mut self.proof, &mut self.call) else { return };
        if proof.until <= now {
            tracing::info!("the server answers no LCP Echo; taken to be up");
            self.proven(now);
        } else if proof.again <= now {
            proof.again = now + PROOF_AGAIN;
            call.link.probe(now);
        }
    }

    fn proven(&mut self, now: Instant) {
        if let (Some(proof), None) = (self.proof.take(), &self.ending) {
            self.ask_for_offers(now, proof.up);
        }
    }

    fn enter(&mut self, phase: Phase, detail: String) {
        self.phase = phase;
        self.events.push_back(Event::Phase(phase, plain(&detail)));
    }

    fn link_events(&mut self, now: Instant) {
        while let Some(event) = self.call.as_mut().and_then(|call| call.link.poll_event()) {
            self.link_event(now, event);
        }
    }

    fn control_event(&mut self, now: Instant, event: control::Event) {
        match event {
            control::Event::Established { peer } => {
                let vendor = if peer.vendor.is_empty() { "unnamed" } else { &peer.vendor };
                self.enter(Phase::Call, format!("{vendor} firmware {} ({})", peer.firmware, peer.host_name));
                let request = CallRequest {
                    phone: self.spec.phone.clone(),
                    window: RECEIVE_WINDOW,
                    ..CallRequest::new(self.call_id)
                };
                if let Err(error) = self.control.open_call(now, request) {
                    self.fail(now, Failure::new(Phase::Call, FailureKind::Internal, error.to_string()));
                }
            }
            control::Event::CallUp { call_id, peer_call_id, connect_speed, .. } => {
                self.call_up(now, call_id, peer_call_id, connect_speed);
            }
            control::Event::CallRefused { result, error, cause, .. } => {
                let words = plain(&cause::call_refusal_words(result, error, cause));
                self.fail(now, Failure::new(Phase::Call, FailureKind::CallRefused, words));
            }
            control::Event::CallDown { reason, .. } => {
                // The server may hang up because of what our link has told it: then the link says why.
                self.lower_down(now);
                if self.ending.is_none() && reason != CallEnd::ControlLost {
                    self.ending = Some(verdict::of_call(self.phase, &reason));
                    self.gre_due = None;
                }
                if self.ending.is_some() {
                    self.control.stop(now);
                }
            }
            control::Event::Closed(end) => self.closed(now, &end),
            // A hint about asynchronous framing, of which there is none on our side.
            control::Event::SetLinkInfo { .. } => {}
            // We are the one who calls.
            control::Event::IncomingCall { .. } => {}
        }
    }

    fn call_up(&mut self, now: Instant, call_id: u16, peer_call_id: u16, speed: u32) {
        let Some(config) = self.link_config.take() else { return };
        self.enter(
            Phase::Lcp,
            format!("call {call_id}, the server's {peer_call_id}, {} Mbit/s", speed / 1_000_000),
        );
        let flow = Flow::new(
            FlowConfig {
                local_call_id: call_id,
                peer_call_id,
                window: RECEIVE_WINDOW,
                reorder: self.spec.reorder.map_or(Reorder::Off, |max| Reorder::Adaptive { max }),
                missing_window: self.spec.missing_window,
            },
            now,
        );
        let link = if self.spec.external {
            let Limits { lcp, auth, network, .. } = self.spec.limits;
            let limits = bridge::Limits { lcp, auth, network };
            Side::External(Bridge::new(limits, self.spec.mtu_limit, now))
        } else {
            let mut link = Link::new(config, now);
            link.open(now);
            Side::Builtin(link)
        };
        self.gre_due = Some(now + self.spec.limits.gre);
        self.call = Some(Call { flow, link, heard: false, last_heard: None });
    }

    fn link_event(&mut self, now: Instant, event: link::Event) {
        match event {
            link::Event::LcpUp { peer_mru, auth } => {
                let by = auth.map_or_else(|| "no authentication".to_owned(), |protocol| protocol.to_string());
                self.enter_link_phase(Phase::Authentication, format!("MRU {peer_mru}, {by}"));
            }
            link::Event::Authenticated { protocol, peer_name, message } => {
                let says = message.filter(|m| !m.is_empty()).map_or_else(String::new, |m| format!(": {m}"));
                let name = if peer_name.is_empty() { String::new() } else { format!(" by {peer_name}") };
                self.enter_link_phase(Phase::Encryption, format!("{protocol}, accepted{name}{says}"));
            }
            link::Event::Encryption(mppe) => {
                let words = mppe.map_or_else(|| "none".to_owned(), |mppe| mppe.to_string());
                self.enter_link_phase(Phase::Addresses, words);
            }
            link::Event::Up(up) => {
                if self.ending.is_none() {
                    self.mss.set(self.spec.mss, up.mtu);
                    let proof = Proof { up: link_up(&up), began: now, again: now, until: now + PROOF_LIMIT };
                    self.proof = Some(proof);
                    self.prove(now);
                }
            }
            link::Event::PeerAnswered => self.answered(now),
            link::Event::Ipv6Up(ids) => tracing::debug!(?ids, "IPv6 may flow"),
            link::Event::Ipv6Down => tracing::debug!("IPv6 may not flow"),
            link::Event::Renegotiating => {
                tracing::info!("the server starts the link over");
                self.up = false;
                self.proof = None;
                self.offers.forget();
                self.doubt = None;
            }
            link::Event::Down(reason) => self.link_down(now, &reason),
        }
    }

    /// After a renegotiation the phases pass once more; the supervisor has been told once.
    fn enter_link_phase(&mut self, phase: Phase, detail: String) {
        if phase > self.phase {
            self.enter(phase, detail);
        } else {
            tracing::info!("{phase} again: {}", plain(&detail));
        }
    }

    fn link_down(&mut self, now: Instant, reason: &DownReason) {
        self.up = false;
        self.proof = None;
        self.offers.forget();
        self.doubt = None;
        self.gre_due = None;
        // That the call went away is no reason; who took it away has one.
        if self.ending.is_none() && *reason != DownReason::LowerLayerDown {
            // The link sees frames only; a server that merely acknowledges is heard as well.
            let reason = match reason {
                DownReason::LcpTimeout { .. } if self.call.as_ref().is_some_and(|call| call.heard) => {
                    &DownReason::LcpTimeout { heard_anything: true }
                }
                other => other,
            };
            self.ending = Some(verdict::of_link(self.phase, reason));
        }
        self.control.stop(now);
        // What `stop` reports at once has to be heard in this round.
        while let Some(event) = self.control.poll_event() {
            self.control_event(now, event);
        }
    }

    fn lower_down(&mut self, now: Instant) {
        if let Some(call) = &mut self.call {
            call.link.lower_down(now);
        }
        self.link_events(now);
    }

    fn closed(&mut self, now: Instant, end: &ControlEnd) {
        self.lower_down(now);
        self.up = false;
        let failure = self.ending.take().unwrap_or_else(|| verdict::of_control(self.phase, end));
        self.ending = Some(failure.clone());
        if !matches!(self.events.back(), Some(Event::Down(_))) {
            self.events.push_back(Event::Down(failure));
        }
    }
}

/// Puts the GRE header right before the frame that stands at [`GRE_HEADER`].
fn with_header(flow: &mut Flow, now: Instant, length: usize, out: &mut [u8]) -> Option<Range<usize>> {
    let mut header = [0; GRE_HEADER];
    let size = flow.header(now, length, &mut header)?;
    let start = GRE_HEADER.checked_sub(size)?;
    out.get_mut(start..GRE_HEADER)?.copy_from_slice(header.get(..size)?);
    Some(start..GRE_HEADER + length)
}

fn link_config(spec: &Spec, password: Secret, random: link::Random) -> link::Config {
    let credentials = Credentials { user: spec.user.clone(), domain: spec.domain.clone(), password };
    let mut config = link::Config::client(credentials, random);
    if let link::Role::Client(client) = &mut config.role {
        client.dns = spec.want_dns;
        client.wins = spec.want_dns;
    }
    config.mru = spec.mru.unwrap_or(spec.mtu_limit);
    config.mtu_limit = spec.mtu_limit;
    config.echo = spec.lcp_echo.map(|(interval, failures)| link::Echo { interval, failures });
    config.accept.clone_from(&spec.auth);
    config.mppe = spec.mppe;
    config.ipv6 = spec.ipv6;
    // pptpd starts a pppd for each call, which hears nothing of what came before it was there.
    config.timing.negotiation.first = std::time::Duration::from_millis(200);
    config.timing.lcp = spec.limits.lcp;
    config.timing.auth = spec.limits.auth;
    config.timing.network = spec.limits.network;
    config.timing.terminate = spec.limits.stop;
    config
}

fn link_up(up: &link::LinkUp) -> LinkUp {
    LinkUp {
        local: up.local,
        peer: up.peer,
        dns: up.dns.iter().copied().filter(|address| !address.is_unspecified()).take(2).collect(),
        wins: up.wins.iter().copied().filter(|address| !address.is_unspecified()).take(2).collect(),
        ipv6: up.ipv6.map(|ids| (u64::from_be_bytes(ids.local), u64::from_be_bytes(ids.peer))),
        mtu: up.mtu,
        encryption: up.mppe.map_or_else(|| "none".to_owned(), |mppe| mppe.to_string()),
        authentication: up.auth.map_or_else(|| "none".to_owned(), |auth| auth.to_string()),
        routes: None,
    }
}

#[cfg(test)]
mod tests;
