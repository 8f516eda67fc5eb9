//! A session and the server's state machines in memory, with a virtual clock: the outcomes that `up` reports.

mod control_messages;
mod ends;
mod evidence;
mod kernel;
mod liveness;
mod losses;
mod packets;
mod path_mtu;
mod peer_routes;
mod round_trips;

use std::net::Ipv4Addr;

use super::*;
use crate::{
    engine::spec::{Limits, Quirks, Remembered, Reorder},
    failure::FailureKind,
    ppp::{
        auth::{AuthProtocol, Users},
        link::{Link, Phase as LinkPhase, Received},
        mppe::{Demand, Policy, Strength},
    },
    pptp::{
        control::CallAccept,
        flow::{Flow, FlowConfig},
        gre::MAX_HEADER,
    },
};

const LATENCY: Duration = Duration::from_millis(10);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// A fault of the server or the path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ServerFault {
    None,
    SilentControl,
    RefusesCall,
    SilentCall,
    NoGre,
    NoEchoReply,
    /// The server's IPV6CP is held back until this many milliseconds after the start.
    Ipv6After(u64),
    HangsUpWhen(LinkPhase),
    /// No GRE packet of the client arrives.
    DeafGre,
    /// The call is ended right after the reply.
    EndsCallAtOnce,
}

enum Wire {
    ToServer(Vec<u8>),
    ToClient(Vec<u8>),
    GreToServer(Vec<u8>),
    GreToClient(Vec<u8>),
}

struct World {
    now: Instant,
    start: Instant,
    client: Session,
    control: Control,
    call: Option<(Flow, Link)>,
    wire: VecDeque<(Instant, Wire)>,
    fault: ServerFault,
    server_policy: Policy,
    /// For this long after the start the server's PPP is not running: it receives and sends nothing.
    ppp_start_delay: Duration,
    /// All packets are lost.
    cut: bool,
    seen: Vec<String>,
    offers: Offers,
    up: Option<(Duration, LinkUp)>,
    down: Option<(Duration, Failure)>,
    server_got: Vec<Vec<u8>>,
    /// IPV6CP frames of the server that are held back.
    held_back: Vec<Vec<u8>>,
    /// What path and server do to GRE packets and Echo-Replies.
    path: path_mtu::LinkPath,
    /// What was found about the path.
    found: Vec<(Duration, PathMtu)>,
    /// When a search of the path's MTU had ended.
    searched: Vec<(Duration, PathSearchEnd)>,
    /// The server's call id, for a kernel that is to have the call.
    attach: Option<u16>,
    /// Frames that the kernel has sent.
    sent: u64,
}

impl World {
    fn new(fault: ServerFault, spec: Spec, password: &str) -> Self {
        let now = Instant::now();
        let mut control = Control::new(control::ControlConfig::server("lab"), now);
        control.connected(now);
        let mut client = Session::new(spec, Secret::from(password), 77, random(1), now);
        client.connected(now, "here".into());
        Self {
            now,
            start: now,
            client,
            control,
            call: None,
            wire: VecDeque::new(),
            fault,
            server_policy: Policy::default(),
            ppp_start_delay: Duration::ZERO,
            cut: false,
            seen: Vec::new(),
            offers: Offers::default(),
            up: None,
            down: None,
            server_got: Vec::new(),
            held_back: Vec::new(),
            path: path_mtu::LinkPath::default(),
            found: Vec::new(),
            searched: Vec::new(),
            attach: None,
            sent: 0,
        }
    }

    /// Advances the clock from event to event until the session ends or `limit` has passed.
    fn run(&mut self, limit: Duration) -> &mut Self {
        let end = self.now + limit;
        for _ in 0..20_000 {
            self.exchange();
            if self.down.is_some() {
                return self;
            }
            let server = self.call.as_ref().and_then(|(flow, link)| {
                [flow.next_timeout().map(|t| t.0), link.next_timeout().map(|t| t.0)]
                    .into_iter()
                    .flatten()
                    .min()
            });
            let next = [
                self.wire.front().map(|(at, _)| *at),
                Some(self.start + self.ppp_start_delay).filter(|at| *at > self.now),
                self.ipv6_at().filter(|at| *at > self.now),
                self.client.next_timeout().map(|(at, _)| at),
                self.control.next_timeout().map(|(at, _)| at),
                server,
            ];
            let Some(next) = next.into_iter().flatten().min().filter(|next| *next <= end) else {
                self.now = end;
                return self;
            };
            self.now = self.now.max(next);
            self.client.handle_timeout(self.now, &mut |_| {});
            self.control.handle_timeout(self.now);
            if let Some((flow, link)) = &mut self.call {
                let now = self.now;
                flow.handle_timeout(now, &mut |frame| {
                    link.handle_input(now, frame);
                });
                link.handle_timeout(now);
            }
            self.deliver();
        }
        panic!("the events do not end");
    }

    fn deliver(&mut self) {
        while self.wire.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, mut what)) = self.wire.pop_front() else { return };
            if self.cut || !self.path.carries(&mut what) {
                continue;
            }
            match what {
                Wire::ToServer(bytes) => {
                    if self.fault != ServerFault::SilentControl {
                        self.control.handle_input(self.now, &bytes);
                    }
                }
                Wire::ToClient(bytes) => self.client.tcp_input(self.now, &bytes),
                Wire::GreToServer(mut packet) => self.server_gre(&mut packet),
                Wire::GreToClient(mut packet) => {
                    self.client.gre_input(self.now, &mut packet, &mut |_| {});
                    self.client.after(self.now);
                }
            }
        }
    }

    fn server_gre(&mut self, packet: &mut [u8]) {
        if self.now - self.start < self.ppp_start_delay || self.fault == ServerFault::DeafGre {
            return;
        }
        let Some((flow, link)) = &mut self.call else { return };
        let (now, got) = (self.now, &mut self.server_got);
        let taken = flow.receive(now, packet, &mut |frame| {
            if let Received::Ip(ip) = link.handle_input(now, frame) {
                got.push(ip.to_vec());
            }
        });
        taken.unwrap();
    }

    /// Puts everything that the state machines have ready on the wire.
    fn exchange(&mut self) {
        let arrival = self.now + LATENCY;
        self.client.after(self.now);
        let bytes = self.client.tcp_output().to_vec();
        self.client.tcp_sent(bytes.len());
        if !bytes.is_empty() {
            self.wire.push_back((arrival, Wire::ToServer(bytes)));
        }
        let mut out = vec![0; 2048];
        while let Some(range) = self.client.gre_output(self.now, &mut out) {
            self.wire.push_back((arrival, Wire::GreToServer(out[range].to_vec())));
        }
        while let Some(event) = self.client.poll_event() {
            let at = self.now - self.start;
            match event {
                SessionEvent::Phase(phase, _) => self.seen.push(phase.word().to_owned()),
                SessionEvent::Offers(offers) => self.offers = offers,
                SessionEvent::Attach(call) => self.attach = Some(call),
                SessionEvent::Up(link) => self.up = Some((at, link)),
                SessionEvent::PathMtu(path) => self.found.push((at, path)),
                SessionEvent::PathSearched(end) => self.searched.push((at, end)),
                SessionEvent::Down(failure) => self.down = Some((at, failure)),
            }
        }
        self.serve();
        let bytes = self.control.poll_output().to_vec();
        self.control.consume_output(bytes.len());
        if !bytes.is_empty() {
            self.wire.push_back((arrival, Wire::ToClient(bytes)));
        }
        self.serve_link(arrival);
    }

    fn serve(&mut self) {
        while let Some(event) = self.control.poll_event() {
            match event {
                control::ControlEvent::IncomingCall { peer_call_id, .. } => match self.fault {
                    ServerFault::RefusesCall => {
                        self.control.refuse_call(self.now, peer_call_id, 4, 0, 0).unwrap()
                    }
                    ServerFault::SilentCall => {}
                    _ => self.control.accept_call(self.now, peer_call_id, CallAccept::new(9)).unwrap(),
                },
                control::ControlEvent::CallUp { call_id, .. }
                    if self.fault == ServerFault::EndsCallAtOnce =>
                {
                    self.control.close_call(self.now, call_id).unwrap();
                }
                control::ControlEvent::CallUp { call_id, peer_call_id, .. } => {
                    let users = Users::table(vec![("alice".into(), Secret::from("right"))]);
                    let mut config = link::LinkConfig::server("lab", users, INSIDE, GIVEN, random(2));
                    config.mppe = self.server_policy;
                    config.mru = self.path.server_mru.unwrap_or(config.mru);
                    config.ipv6 = matches!(self.fault, ServerFault::Ipv6After(_));
                    let link = Link::new(config, self.now);
                    self.call = Some((Flow::new(FlowConfig::new(call_id, peer_call_id), self.now), link));
                }
                control::ControlEvent::CallDown { .. } => self.call = None,
                _ => {}
            }
        }
    }

    fn serve_link(&mut self, arrival: Instant) {
        if self.now - self.start < self.ppp_start_delay {
            return;
        }
        let ipv6_at = self.ipv6_at();
        let Some((flow, link)) = &mut self.call else { return };
        link.open(self.now);
        while link.poll_event().is_some() {}
        let mut out = vec![0; 2048];
        let is_late = ipv6_at.is_some_and(|at| self.now < at);
        let held_back = if is_late { Vec::new() } else { std::mem::take(&mut self.held_back) };
        let mut frames: VecDeque<_> = held_back.into();
        while let Some(frame) = frames.pop_front().or_else(|| link.poll_output()) {
            // IPV6CP, with or without address and control fields.
            if is_late && [frame.get(..2), frame.get(2..4)].contains(&Some(&[0x80, 0x57])) {
                self.held_back.push(frame);
                continue;
            }
            // FF 03 C0 21 and the code: 10 is an Echo-Reply.
            let is_reply = frame.get(2..5) == Some(&[0xc0, 0x21, 10]);
            if self.fault == ServerFault::NoGre || (self.fault == ServerFault::NoEchoReply && is_reply) {
                continue;
            }
            let Some(frame) = self.path.reply(frame, is_reply) else { continue };
            out[MAX_HEADER..MAX_HEADER + frame.len()].copy_from_slice(&frame);
            let range = flow.put_header(self.now, frame.len(), &mut out).unwrap();
            self.wire.push_back((arrival, Wire::GreToClient(out[range].to_vec())));
        }
        if let Some(ack) = flow.poll_ack(self.now)
            && self.fault != ServerFault::NoGre
        {
            self.wire.push_back((arrival, Wire::GreToClient(ack.to_vec())));
        }
        if self.fault == ServerFault::HangsUpWhen(link.phase()) {
            self.control.close_call(self.now, 9).unwrap();
        }
    }

    fn ipv6_at(&self) -> Option<Instant> {
        match self.fault {
            ServerFault::Ipv6After(late) => Some(self.start + Duration::from_millis(late)),
            _ => None,
        }
    }

    fn failure(&self) -> (&Duration, &Failure) {
        self.down.as_ref().map(|(at, failure)| (at, failure)).expect("the session has not ended")
    }
}

fn spec() -> Spec {
    let second = Duration::from_secs(1);
    Spec {
        name: "vpn".into(),
        loglevel: 1,
        server: "192.0.2.1:1723".parse().unwrap(),
        call_id: 77,
        limits: Limits {
            connect: 5 * second,
            control: 6 * second,
            call: 7 * second,
            gre: 8 * second,
            lcp: 9 * second,
            auth: 9 * second,
            network: 9 * second,
            stop: second,
        },
        quirks: Quirks::None,
        phone: None,
        idle_wait: Some(60 * second),
        max_echo_wait: 60 * second,
        reorder: Reorder::Adaptive { max: Duration::from_millis(300) },
        missing_window: None,
        transmit_window: false,
        user: "alice".into(),
        domain: None,
        auth: vec![AuthProtocol::MsChapV2],
        mppe: Policy {
            demand: Demand::Require,
            min: Strength::Bits128,
            max: Strength::Bits128,
            stateful: false,
        },
        lcp_echo: None,
        mru: None,
        mtu_limit: 1460,
        follow_path: true,
        ipv6: false,
        remembered: None,
        want_dns: true,
        unauthenticated: false,
        prefer_stronger: true,
        external: false,
        kernel: false,
        mss: crate::ppp::mss::Mss::Auto,
        was_up: false,
        best_effort: false,
        peer_routes: false,
    }
}

fn random(seed: u8) -> link::Random {
    let mut next = seed;
    Box::new(move |bytes| {
        for byte in bytes {
            next = next.wrapping_mul(37).wrapping_add(11);
            *byte = next;
        }
    })
}

fn run_with(fault: ServerFault) -> World {
    let mut world = World::new(fault, spec(), "right");
    world.run(Duration::from_secs(60));
    world
}

#[test]
fn phases_are_reported_in_order_until_up() {
    let world = run_with(ServerFault::None);
    assert_eq!(world.seen, ["control", "call", "lcp", "authentication", "encryption", "addresses"]);
    let (at, link) = world.up.as_ref().unwrap();
    assert_eq!((link.local, link.peer, link.mtu), (GIVEN, INSIDE, 1456));
    assert!(link.encryption.contains("128") && link.authentication.contains("MS-CHAPv2"), "{link:?}");
    assert!(*at < LATENCY * 40, "only round trips, no waits: {at:?}");
    assert_eq!(
        world.offers,
        Offers { auth: vec!["MS-CHAPv2".into()], mppe: Some("MPPE-40/MPPE-56/MPPE-128".into()) }
    );
    assert!(world.client.is_up());
}

/// IPV6CP may open after IPCP: `up` waits for it until the limit of the ready check.
#[test]
fn ipv6_may_open_after_ipcp() {
    for (after, is_there) in [(0, true), (400, true), (1000, true), (30_000, false)] {
        let off = Policy { demand: Demand::Off, ..spec().mppe };
        let mut world =
            World::new(ServerFault::Ipv6After(after), Spec { ipv6: true, mppe: off, ..spec() }, "right");
        world.server_policy = off;
        world.run(Duration::from_secs(60));
        let (at, link) = world.up.as_ref().expect("the session is not up");
        assert_eq!(link.ipv6.is_some(), is_there, "IPV6CP after {after} ms");
        let latest = if is_there { Duration::from_millis(after) } else { ready_check::LIMIT };
        assert!(*at < latest + LATENCY * 40, "IPV6CP after {after} ms: up after {at:?}");
        assert!(world.down.is_none());
    }
    // A server without IPv6 causes no delay.
    let mut world = World::new(ServerFault::None, Spec { ipv6: true, ..spec() }, "right");
    let (at, link) = world.run(Duration::from_secs(60)).up.as_ref().expect("the session is not up");
    assert!(link.ipv6.is_none() && *at < LATENCY * 40, "{at:?}");
}

#[test]
fn server_without_echo_reply_is_up_after_a_second() {
    // On a redial our last Configure-Ack is the last packet: only an echo can show that it has arrived.
    let before = Remembered { address: GIVEN, dns: Vec::new(), mru: None };
    let redial = Spec { remembered: Some(before), ..spec() };
    let mut world = World::new(ServerFault::NoEchoReply, redial, "right");
    let (at, _) = world.run(Duration::from_secs(60)).up.as_ref().unwrap();
    assert!((ready_check::LIMIT..ready_check::LIMIT + LATENCY * 40).contains(at), "{at:?}");
    assert!(world.down.is_none());
}

#[test]
fn answer_to_a_later_request_replaces_the_echo_reply() {
    let world = run_with(ServerFault::NoEchoReply);
    let (at, _) = world.up.as_ref().unwrap();
    assert!(*at < LATENCY * 40, "{at:?}");
    assert!(world.down.is_none());
}

#[test]
fn silent_server_times_out_in_each_phase() {
    let cases = [
        (ServerFault::SilentControl, FailureKind::ControlSilent, Phase::Control, 6),
        (ServerFault::SilentCall, FailureKind::CallTimeout, Phase::Call, 7),
        (ServerFault::NoGre, FailureKind::GreFiltered, Phase::Lcp, 8),
    ];
    for (fault, kind, phase, seconds) in cases {
        let world = run_with(fault);
        let (at, failure) = world.failure();
        assert_eq!((failure.kind, failure.phase), (kind, phase), "{failure}");
        // The graceful shutdown follows, whose waits are a second each.
        let limit = Duration::from_secs(seconds);
        assert!((limit..limit + Duration::from_secs(4)).contains(at), "{kind:?} at {at:?}");
    }
}

#[test]
fn late_server_ppp_is_answered_at_once() {
    // Each time lies between two retransmissions: the link comes up before the next one.
    for late in [130, 330, 700, 1300] {
        let mut world = World::new(ServerFault::None, spec(), "right");
        world.ppp_start_delay = Duration::from_millis(late);
        world.run(Duration::from_secs(10));
        let (at, _) = world.up.as_ref().unwrap();
        assert!(*at < Duration::from_millis(late) + LATENCY * 40, "late by {late} ms, up at {at:?}");
    }
}
