//! How many round trips a tunnel takes to come up: with a fixed delay in each direction, the time until
//! [`SessionEvent::Up`] divided by twice the delay. The TCP handshake, which precedes a session, counts as one.

mod scripted;

use super::*;
use scripted::{Kind, Scripted};

/// Delay in each direction: a round trip is shorter than the first retransmission.
const DELAY: Duration = Duration::from_millis(80);
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);

/// The server's side of the call.
enum Server {
    Ours(Box<Link>),
    Scripted(Box<Scripted>),
}

impl Server {
    fn receive(&mut self, now: Instant, frame: &mut [u8]) {
        match self {
            Self::Ours(link) => {
                link.handle_input(now, frame);
            }
            Self::Scripted(server) => server.receive(now, frame),
        }
    }
}

/// One dial.
struct Dial {
    now: Instant,
    start: Instant,
    client: Session,
    control: Control,
    server: Option<Server>,
    kind: Option<Kind>,
    flow: Option<Flow>,
    gives: Ipv4Addr,
    /// The resolvers of our server.
    resolvers: Vec<Ipv4Addr>,
    wire: VecDeque<(Instant, Wire)>,
    /// GRE packets of the client that are lost, counted from the first.
    lost: Vec<usize>,
    /// Both ends use IPv6, and the client reads the packets that have come by the same time before it handles what
    /// follows from them.
    is_ipv6: bool,
    sent: usize,
    up: Option<(Duration, LinkUp)>,
    down: Option<Failure>,
    /// Whether the server was open when the client reported that the link is up.
    was_open: bool,
}

/// Returns a dial to a server: ours if `kind` is `None`.
fn dial(kind: Option<Kind>, remembered: Option<Remembered>) -> Dial {
    dial_with(kind, Spec { remembered, ..spec() })
}

fn dial_with(kind: Option<Kind>, spec: Spec) -> Dial {
    let now = Instant::now();
    let mut control = Control::new(control::ControlConfig::server("lab"), now);
    control.connected(now);
    let is_ipv6 = spec.ipv6;
    let mut client = Session::new(spec, Secret::from("right"), 77, random(1), now);
    client.connected(now, "here".into());
    Dial {
        now,
        start: now,
        client,
        control,
        server: None,
        kind,
        flow: None,
        gives: GIVEN,
        resolvers: vec![RESOLVER, RESOLVER],
        wire: VecDeque::new(),
        lost: Vec::new(),
        is_ipv6,
        sent: 0,
        up: None,
        down: None,
        was_open: false,
    }
}

impl Dial {
    /// Runs until the link is up or the session has ended.
    fn run(mut self) -> Self {
        for _ in 0..10_000 {
            self.exchange();
            if self.up.is_some() || self.down.is_some() {
                break;
            }
            let link = match &self.server {
                Some(Server::Ours(link)) => link.next_timeout(),
                Some(Server::Scripted(server)) => Some((server.next_timeout(), "server")),
                None => None,
            };
            let flow = self.flow.as_ref().and_then(Flow::next_timeout);
            let due = [self.client.next_timeout(), self.control.next_timeout(), link, flow];
            let due = due.into_iter().flatten().map(|(at, _)| at);
            let Some(next) = due.chain(self.wire.front().map(|(at, _)| *at)).min() else { break };
            self.now = self.now.max(next);
            let now = self.now;
            while let Some((_, what)) = self.wire.pop_front_if(|(at, _)| *at <= now) {
                self.deliver(what);
            }
            self.client.handle_timeout(now, &mut |_| {});
            self.control.handle_timeout(now);
            if let (Some(flow), Some(server)) = (&mut self.flow, &mut self.server) {
                flow.handle_timeout(now, &mut |frame| server.receive(now, frame));
                match server {
                    Server::Ours(link) => link.handle_timeout(now),
                    Server::Scripted(server) => server.handle_timeout(now),
                }
            }
        }
        self
    }

    fn deliver(&mut self, what: Wire) {
        let now = self.now;
        match what {
            Wire::ToServer(bytes) => self.control.handle_input(now, &bytes),
            Wire::ToClient(bytes) => self.client.tcp_input(now, &bytes),
            Wire::GreToClient(mut packet) => {
                self.client.gre_input(now, &mut packet, &mut |_| {});
                // Each packet is answered by itself, as by the event loop at such a distance.
                if !self.is_ipv6 {
                    self.exchange();
                }
            }
            Wire::GreToServer(mut packet) => {
                let (Some(flow), Some(server)) = (&mut self.flow, &mut self.server) else { return };
                // Dropped: an acknowledgement alone.
                let _dropped = flow.receive(now, &mut packet, &mut |frame| server.receive(now, frame));
            }
        }
    }

    fn exchange(&mut self) {
        let (now, arrival) = (self.now, self.now + DELAY);
        self.client.after(now);
        let bytes = self.client.tcp_output().to_vec();
        self.client.tcp_sent(bytes.len());
        if !bytes.is_empty() {
            self.wire.push_back((arrival, Wire::ToServer(bytes)));
        }
        let mut out = vec![0; 2048];
        while let Some(range) = self.client.gre_output(now, &mut out) {
            self.sent += 1;
            if !self.lost.contains(&self.sent) {
                self.wire.push_back((arrival, Wire::GreToServer(out[range].to_vec())));
            }
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                SessionEvent::Up(link) => {
                    self.up = Some((now - self.start, link));
                    self.was_open = match &self.server {
                        Some(Server::Scripted(server)) => server.is_open(),
                        _ => true,
                    };
                }
                SessionEvent::Down(failure) => self.down = Some(failure),
                _ => {}
            }
        }
        while let Some(event) = self.control.poll_event() {
            match event {
                control::ControlEvent::IncomingCall { peer_call_id, .. } => {
                    self.control.accept_call(now, peer_call_id, CallAccept::new(9)).unwrap();
                }
                control::ControlEvent::CallUp { call_id, peer_call_id, .. } => {
                    self.flow = Some(Flow::new(FlowConfig::new(call_id, peer_call_id), now));
                    self.server = Some(self.new_server());
                }
                _ => {}
            }
        }
        let bytes = self.control.poll_output().to_vec();
        self.control.consume_output(bytes.len());
        if !bytes.is_empty() {
            self.wire.push_back((arrival, Wire::ToClient(bytes)));
        }
        let (Some(flow), Some(server)) = (&mut self.flow, &mut self.server) else { return };
        let mut next = || match server {
            Server::Ours(link) => link.poll_output(),
            Server::Scripted(server) => server.poll_output(),
        };
        while let Some(frame) = next() {
            out[MAX_HEADER..MAX_HEADER + frame.len()].copy_from_slice(&frame);
            let range = flow.put_header(now, frame.len(), &mut out).unwrap();
            self.wire.push_back((arrival, Wire::GreToClient(out[range].to_vec())));
        }
        if let Some(ack) = flow.poll_ack(now) {
            self.wire.push_back((arrival, Wire::GreToClient(ack.to_vec())));
        }
    }

    fn new_server(&self) -> Server {
        if let Some(kind) = self.kind {
            return Server::Scripted(Box::new(Scripted::new(kind, self.gives, self.now)));
        }
        let users = Users::table(vec![("alice".into(), Secret::from("right"))]);
        let mut config = link::LinkConfig::server("lab", users, INSIDE, self.gives, random(2));
        if let link::Role::Server(server) = &mut config.role {
            server.dns.clone_from(&self.resolvers);
        }
        (config.mppe, config.ipv6) = (spec().mppe, self.is_ipv6);
        let mut link = Link::new(config, self.now);
        link.open(self.now);
        Server::Ours(Box::new(link))
    }

    /// Returns the round trips until the link was up, with the TCP handshake.
    fn round_trips(&self) -> f64 {
        let (at, _) = self.up.as_ref().unwrap_or_else(|| panic!("not up: {:?}", self.down));
        1.0 + at.as_secs_f64() / (2.0 * DELAY.as_secs_f64())
    }

    fn remembered(&self) -> Remembered {
        let (_, up) = self.up.as_ref().expect("not up");
        Remembered { address: up.local, dns: up.dns.clone(), mru: up.mru }
    }

    fn scripted(&self) -> &Scripted {
        match &self.server {
            Some(Server::Scripted(server)) => server,
            _ => panic!("no scripted server"),
        }
    }
}

const ACCEL: Kind = Kind::AccelPpp { requires: true };
const LAZY_ACCEL: Kind = Kind::AccelPpp { requires: false };

#[test]
fn round_trips_of_a_first_dial_and_of_a_redial() {
    for (kind, first, again) in [
        (None, 7.0, 6.0),
        (Some(ACCEL), 7.0, 6.0),
        (Some(LAZY_ACCEL), 7.0, 7.0),
        (Some(Kind::Pppd), 7.0, 7.0),
    ] {
        let dialled = dial(kind, None).run();
        // A retransmission would make it a fraction.
        assert!((dialled.round_trips() - first).abs() < 0.01, "{kind:?}: {}", dialled.round_trips());
        let (_, up) = dialled.up.as_ref().unwrap();
        assert_eq!((up.local, up.peer, &up.dns[..]), (GIVEN, INSIDE, &[RESOLVER][..]), "{kind:?}");
        assert!(up.encryption.contains("128") && dialled.was_open, "{kind:?}: {up:?}");
        let redialled = dial(kind, Some(dialled.remembered())).run();
        assert!((redialled.round_trips() - again).abs() < 0.01, "{kind:?}: {}", redialled.round_trips());
        assert!(redialled.was_open && redialled.remembered() == dialled.remembered(), "{kind:?}");
    }
}

/// IPV6CP opens with a packet that is handled together with the one that opens IPCP.
#[test]
fn ipv6_is_up_with_the_link_whatever_comes_together() {
    let remembered = dial(None, None).run().remembered();
    for remembered in [None, Some(remembered)] {
        let is_redial = remembered.is_some();
        let dialled = dial_with(None, Spec { remembered, ipv6: true, ..spec() }).run();
        assert!(dialled.up.as_ref().unwrap().1.ipv6.is_some(), "a redial: {is_redial}");
    }
}

/// Nothing reaches a server before it is ready for it, apart from one request that `LAZY_ACCEL` defers on a redial.
#[test]
fn nothing_is_sent_prematurely() {
    for kind in [ACCEL, LAZY_ACCEL, Kind::Pppd] {
        let dialled = dial(Some(kind), None).run();
        assert_eq!(dialled.scripted().premature, [""; 0], "{kind:?}");
        let redialled = dial(Some(kind), Some(dialled.remembered())).run();
        let premature = if kind == LAZY_ACCEL { 1 } else { 0 };
        assert_eq!(redialled.scripted().premature.len(), premature, "{:?}", redialled.scripted().premature);
    }
}

/// It rejects the options, and only then names the address.
#[test]
fn server_without_resolvers_costs_one_round_trip_once() {
    for resolvers in [vec![], vec![RESOLVER]] {
        let dialled = Dial { resolvers: resolvers.clone(), ..dial(None, None) }.run();
        assert!((dialled.round_trips() - 8.0).abs() < 0.01, "{resolvers:?}: {}", dialled.round_trips());
        let remembered = dialled.remembered();
        assert_eq!(remembered.dns, resolvers);
        let redialled = Dial { resolvers: resolvers.clone(), ..dial(None, Some(remembered)) }.run();
        assert!((redialled.round_trips() - 6.0).abs() < 0.01, "{resolvers:?}: {}", redialled.round_trips());
    }
}

/// The server gives another address than before: the redial is as fast as a first dial.
#[test]
fn changed_address_costs_one_round_trip() {
    for kind in [None, Some(ACCEL), Some(Kind::Pppd)] {
        let other = Ipv4Addr::new(10, 0, 0, 99);
        let remembered = dial(kind, None).run().remembered();
        let redialled = Dial { gives: other, ..dial(kind, Some(remembered)) }.run();
        assert_eq!(redialled.up.as_ref().map(|(_, up)| up.local), Some(other));
        assert!((redialled.round_trips() - 7.0).abs() < 0.01, "{kind:?}: {}", redialled.round_trips());
    }
}

/// A server that opens the link without CCP if the first CCP request is lost does not get that far.
#[test]
fn any_lost_packet_is_made_up_for() {
    for kind in [None, Some(ACCEL), Some(LAZY_ACCEL), Some(Kind::Pppd)] {
        let remembered = dial(kind, None).run().remembered();
        for remembered in [None, Some(remembered)] {
            for lost in 1..16 {
                let dialled = Dial { lost: vec![lost], ..dial(kind, remembered.clone()) }.run();
                let Some((at, up)) = &dialled.up else {
                    panic!("{kind:?}, packet {lost} is lost: {:?}", dialled.down)
                };
                assert!(up.encryption.contains("128"), "{kind:?}, packet {lost} is lost: {up:?}");
                assert!(*at < Duration::from_secs(10), "{kind:?}, packet {lost} is lost: {at:?}");
            }
        }
    }
}
