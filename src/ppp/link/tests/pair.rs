//! A client and a server, and a simulated path between them.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use crate::{
    ppp::{
        auth::{AuthProtocol, Credentials, Users},
        link::{DownReason, Link, LinkConfig, LinkEvent, LinkUp, Random, Received, Role},
        mppe::{Demand, Policy, Strength},
        wire,
    },
    secret::Secret,
};

pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 77);
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 53);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// Behaviour of the path; loss, duplication and reordering are chances out of 1000.
#[derive(Clone, Copy, Debug)]
pub struct PathConditions {
    pub latency: Duration,
    pub loss: u32,
    pub duplication: u32,
    pub reordering: u32,
}

pub struct Pair {
    pub now: Instant,
    pub client: Link,
    pub server: Link,
    pub path: PathConditions,
    /// Whether frames in this direction are lost: from the client, from the server.
    pub cut: [bool; 2],
    /// Every frame that was sent, whether or not it arrived.
    pub tap: Vec<(Side, Vec<u8>)>,
    pub client_events: Vec<LinkEvent>,
    pub server_events: Vec<LinkEvent>,
    /// IP packets that were delivered.
    pub client_ip: Vec<Vec<u8>>,
    pub server_ip: Vec<Vec<u8>>,
    in_flight: Vec<(Instant, u64, Side, Vec<u8>)>,
    sent: u64,
    dice: u64,
}

pub fn random(seed: u64) -> Random {
    let mut state = seed;
    Box::new(move |bytes: &mut [u8]| {
        for byte in bytes {
            *byte = u8::try_from(next(&mut state) & 0xff).unwrap();
        }
    })
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

pub fn policy(demand: Demand) -> Policy {
    Policy { demand, ..Policy::default() }
}

pub fn only(strength: Strength) -> Policy {
    Policy { demand: Demand::Require, min: strength, max: strength, stateful: false }
}

pub fn client_config() -> LinkConfig {
    let credentials =
        Credentials { user: "alice".to_owned(), domain: None, password: Secret::from("open sesame") };
    LinkConfig::client(credentials, random(1))
}

pub fn server_config() -> LinkConfig {
    let users = Users::table(vec![("alice".to_owned(), Secret::from("open sesame"))]);
    let mut config = LinkConfig::server("gate", users, SERVER, CLIENT, random(2));
    if let Role::Server(server) = &mut config.role {
        server.dns = vec![DNS];
    }
    config
}

/// An IPv4 packet whose header agrees with its length.
pub fn ip(length: usize, fill: u8) -> Vec<u8> {
    let mut packet = vec![fill; length];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    packet
}

/// An IPv6 packet whose header agrees with its length.
pub fn ipv6(length: usize, fill: u8) -> Vec<u8> {
    let mut packet = vec![fill; length];
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&u16::try_from(length - 40).unwrap().to_be_bytes());
    packet
}

impl Pair {
    pub fn new(client: LinkConfig, server: LinkConfig) -> Self {
        let now = Instant::now();
        Self {
            now,
            client: Link::new(client, now),
            server: Link::new(server, now),
            path: PathConditions {
                latency: Duration::from_millis(10),
                loss: 0,
                duplication: 0,
                reordering: 0,
            },
            cut: [false; 2],
            tap: Vec::new(),
            client_events: Vec::new(),
            server_events: Vec::new(),
            client_ip: Vec::new(),
            server_ip: Vec::new(),
            in_flight: Vec::new(),
            sent: 0,
            dice: 7,
        }
    }

    /// Creates a pair with this encryption, and defaults for everything else.
    pub fn with_mppe(client: Policy, server: Policy) -> Self {
        Self::new(
            LinkConfig { mppe: client, ..client_config() },
            LinkConfig { mppe: server, ..server_config() },
        )
    }

    pub fn with_auth(client: &[AuthProtocol], server: &[AuthProtocol]) -> Self {
        Self::new(
            LinkConfig { accept: client.to_vec(), ..client_config() },
            LinkConfig { accept: server.to_vec(), ..server_config() },
        )
    }

    pub fn seeded(mut self, dice: u64) -> Self {
        self.dice = dice;
        self
    }

    pub fn open(mut self) -> Self {
        self.client.open(self.now);
        self.server.open(self.now);
        self.collect();
        self
    }

    /// Opens both sides, runs them, and asserts that the client is up.
    pub fn up(self) -> Self {
        let mut pair = self.open();
        pair.run(Duration::from_secs(20));
        assert!(pair.client_up().is_some(), "{:?} / {:?}", pair.client_events, pair.server_events);
        pair
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            if !self.step(end) {
                self.now = end;
                return;
            }
        }
        panic!("the links do not become idle: {:?}", self.tap.iter().rev().take(10).collect::<Vec<_>>());
    }

    /// Handles one arrival or one timeout; returns false if there is none before `end`.
    fn step(&mut self, end: Instant) -> bool {
        let arrival = self.in_flight.iter().map(|(at, number, ..)| (*at, *number)).min();
        let wakes = [self.client.next_timeout(), self.server.next_timeout()];
        let wake = wakes.into_iter().flatten().map(|(at, _)| at).min();
        let next = [arrival.map(|(at, _)| at), wake].into_iter().flatten().min();
        let Some(next) = next.filter(|at| *at <= end) else { return false };
        self.now = self.now.max(next);
        if let Some((at, number)) = arrival
            && at <= self.now
        {
            let index = self.in_flight.iter().position(|(_, one, ..)| *one == number).unwrap();
            let (_, _, to, frame) = self.in_flight.swap_remove(index);
            self.deliver(to, frame);
        } else {
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
        self.collect();
        true
    }

    pub fn deliver(&mut self, to: Side, mut frame: Vec<u8>) {
        let (link, ip) = match to {
            Side::Client => (&mut self.client, &mut self.client_ip),
            Side::Server => (&mut self.server, &mut self.server_ip),
        };
        if let Received::Ip(packet) = link.handle_input(self.now, &mut frame) {
            ip.push(packet.to_vec());
        }
    }

    pub fn collect(&mut self) {
        while let Some(frame) = self.client.poll_output() {
            self.transmit(Side::Client, frame);
        }
        while let Some(frame) = self.server.poll_output() {
            self.transmit(Side::Server, frame);
        }
        self.client_events.extend(std::iter::from_fn(|| self.client.poll_event()));
        self.server_events.extend(std::iter::from_fn(|| self.server.poll_event()));
    }

    pub fn transmit(&mut self, from: Side, frame: Vec<u8>) {
        self.tap.push((from, frame.clone()));
        let (to, cut) = match from {
            Side::Client => (Side::Server, self.cut[0]),
            Side::Server => (Side::Client, self.cut[1]),
        };
        if cut || self.chance(self.path.loss) {
            return;
        }
        let copies = 1 + u32::from(self.chance(self.path.duplication));
        for _ in 0..copies {
            let late = if self.chance(self.path.reordering) { self.path.latency * 3 } else { Duration::ZERO };
            self.sent += 1;
            self.in_flight.push((self.now + self.path.latency + late, self.sent, to, frame.clone()));
        }
    }

    /// Removes the frames of this protocol that are in transit from this side, and returns them.
    pub fn lose(&mut self, from: Side, protocol: u16) -> Vec<Vec<u8>> {
        let matches = |to: Side, frame: &[u8]| {
            let number = wire::split(&mut frame.to_vec()).map(|(number, _)| number);
            to != from && number == Ok(protocol)
        };
        let (lost, kept) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|(.., to, frame)| matches(*to, frame));
        self.in_flight = kept;
        let lost: Vec<(Instant, u64, Side, Vec<u8>)> = lost;
        lost.into_iter().map(|(.., frame)| frame).collect()
    }

    fn chance(&mut self, in_a_thousand: u32) -> bool {
        in_a_thousand > 0 && next(&mut self.dice) % 1000 < u64::from(in_a_thousand)
    }

    /// Sends an IP packet, or returns the reason if the link does not accept it.
    pub fn send_ip(&mut self, from: Side, packet: &[u8]) -> Result<(), crate::ppp::link::LinkDrop> {
        let mut out = vec![0; packet.len() + Link::FRAME_OVERHEAD];
        let link = if from == Side::Client { &mut self.client } else { &mut self.server };
        let length = link.encapsulate(packet, &mut out)?;
        out.truncate(length);
        self.transmit(from, out);
        Ok(())
    }

    pub fn client_up(&self) -> Option<&LinkUp> {
        up(&self.client_events)
    }

    pub fn client_down(&self) -> Option<&DownReason> {
        down(&self.client_events)
    }

    pub fn server_down(&self) -> Option<&DownReason> {
        down(&self.server_events)
    }

    /// Returns the number of frames sent that carry IP in clear.
    pub fn clear_frames(&self) -> usize {
        self.of_protocol(&[wire::protocol::IPV4, wire::protocol::IPV6]).len()
    }

    /// Returns the frames of these protocols, in order.
    pub fn of_protocol(&self, numbers: &[u16]) -> Vec<(Side, Vec<u8>)> {
        let matches = |frame: &[u8]| {
            let mut copy = frame.to_vec();
            wire::split(&mut copy).is_ok_and(|(number, _)| numbers.contains(&number))
        };
        self.tap.iter().filter(|(_, frame)| matches(frame)).cloned().collect()
    }
}

fn up(events: &[LinkEvent]) -> Option<&LinkUp> {
    events.iter().rev().find_map(|event| if let LinkEvent::Up(up) = event { Some(up) } else { None })
}

fn down(events: &[LinkEvent]) -> Option<&DownReason> {
    let all: Vec<_> = events
        .iter()
        .filter_map(|event| if let LinkEvent::Down(reason) = event { Some(reason) } else { None })
        .collect();
    assert!(all.len() <= 1, "more than one Down: {all:?}");
    assert!(all.is_empty() || matches!(events.last(), Some(LinkEvent::Down(_))), "an event follows Down");
    all.first().copied()
}

impl Link {
    /// Restarts LCP, as by an administrator of this side.
    pub fn restart_lcp(&mut self, now: Instant) {
        self.lcp.lower_down(now);
        self.pump(now);
        self.lcp.lower_up(now);
        self.pump(now);
    }
}
