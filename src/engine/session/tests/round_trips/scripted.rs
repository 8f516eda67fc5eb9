//! The PPP of accel-ppp and of pppd, as far as it decides how many round trips a negotiation takes: which options they
//! reject and nak, and when they open CCP and IPCP. After the sources of accel-ppp and pppd 2.5.

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::{INSIDE, RESOLVER};
use crate::{
    ppp::{
        auth::{self, AuthEvent, AuthProtocol, Users},
        mppe::option as mppe,
        wire::{self, Options, Packet, code, control_frame, protocol, push},
    },
    secret::Secret,
};

/// LCP options.
const MRU: u8 = 1;
const ACCM: u8 = 2;
const AUTH: u8 = 3;
const MAGIC: u8 = 5;
const PFC: u8 = 7;
const ACFC: u8 = 8;
/// IPCP options.
const ADDRESS: u8 = 3;
const DNS: u8 = 129;
/// Interval of retransmissions, pppd's.
const RETRANSMISSION: Duration = Duration::from_secs(3);
/// Our side of CCP: stateless, 128 bits.
const STATELESS_128: u32 = mppe::STATELESS | mppe::BITS_128;

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rejects ACCM, both header compressions and WINS, naks an MRU above 1436, and negotiates IPCP beside CCP.
    /// `requires`: it sends a CCP request; otherwise it waits for the client's, and rejects CCP once the link is open.
    AccelPpp { requires: bool },
    /// Accepts every LCP option, rejects WINS, and opens IPCP when MPPE is open.
    Pppd,
}

/// Agreements of one protocol.
#[derive(Debug, Default)]
struct Layer {
    is_open: bool,
    /// Identifier and frame of our request, once it has been sent.
    request: Option<(u8, Vec<u8>)>,
    /// Whether our request, and whether the client's, has been acknowledged.
    acked: [bool; 2],
}

/// One such server.
pub struct Scripted {
    kind: Kind,
    /// The address that the client gets.
    gives: Ipv4Addr,
    lcp: Layer,
    ccp: Layer,
    ipcp: Layer,
    auth: Option<auth::Server>,
    in_network: bool,
    /// Whether CCP has begun; until then accel-ppp does not wait for it.
    ccp_active: bool,
    next_id: u8,
    /// When unacknowledged requests are sent again.
    again: Instant,
    output: VecDeque<Vec<u8>>,
    /// Packets that the server discards or refuses because they come at a wrong time.
    pub premature: Vec<String>,
    /// Data packets in clear that have arrived.
    pub clear: usize,
}

impl Layer {
    fn note_ack(&mut self, id: u8) {
        self.acked[0] |= self.request.as_ref().is_some_and(|request| request.0 == id);
    }

    fn agreed(&self) -> bool {
        self.acked == [true; 2]
    }
}

impl Scripted {
    pub fn new(kind: Kind, gives: Ipv4Addr, now: Instant) -> Self {
        let mut server = Self {
            kind,
            gives,
            lcp: Layer::default(),
            ccp: Layer::default(),
            ipcp: Layer::default(),
            auth: None,
            in_network: false,
            ccp_active: kind != Kind::AccelPpp { requires: false },
            next_id: 1,
            again: now + RETRANSMISSION,
            output: VecDeque::new(),
            premature: Vec::new(),
            clear: 0,
        };
        let mut options = Vec::new();
        if kind != Kind::Pppd {
            push(&mut options, MRU, &1436_u16.to_be_bytes());
        } else {
            push(&mut options, ACCM, &[0; 4]);
        }
        push(&mut options, AUTH, AuthProtocol::MsChapV2.lcp_option());
        push(&mut options, MAGIC, &[1, 2, 3, 4]);
        if kind == Kind::Pppd {
            push(&mut options, PFC, &[]);
            push(&mut options, ACFC, &[]);
        }
        server.lcp.request = Some(server.request(protocol::LCP, &options));
        server
    }

    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    /// Whether the server passes data in both directions.
    pub fn is_open(&self) -> bool {
        self.ipcp.is_open && (self.ccp.is_open || !self.ccp_active)
    }

    pub fn receive(&mut self, now: Instant, frame: &[u8]) {
        let mut frame = frame.to_vec();
        let Ok((number, information)) = wire::split(&mut frame) else { return };
        self.clear += usize::from(number == protocol::IPV4);
        let Some(packet) = Packet::parse(information) else { return };
        match number {
            protocol::LCP => self.lcp(now, packet),
            protocol::CHAP => self.chap(now, information),
            protocol::CCP | protocol::IPCP if !self.in_network => {
                self.note(format!("{number:x} before the network phase"))
            }
            protocol::CCP => self.ccp(packet),
            protocol::IPCP => self.ipcp(packet),
            _ => {}
        }
    }

    fn note(&mut self, words: String) {
        self.premature.push(words);
    }

    fn send(&mut self, number: u16, code: u8, id: u8, data: &[u8]) {
        self.output.push_back(control_frame(number, &Packet { code, id, data }.to_vec()));
    }

    fn request(&mut self, number: u16, options: &[u8]) -> (u8, Vec<u8>) {
        let id = self.next_id;
        self.next_id += 1;
        let packet = Packet { code: code::CONFIGURE_REQUEST, id, data: options };
        let frame = control_frame(number, &packet.to_vec());
        self.output.push_back(frame.clone());
        (id, frame)
    }

    pub fn next_timeout(&self) -> Instant {
        let auth = self.auth.as_ref().and_then(auth::Server::next_timeout);
        auth.map_or(self.again, |(at, _)| at.min(self.again))
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(auth) = &mut self.auth {
            auth.handle_timeout(now);
            self.flush_auth();
        }
        if self.again <= now {
            self.again = now + RETRANSMISSION;
            let waiting = [&self.lcp, &self.ccp, &self.ipcp].into_iter().filter(|layer| !layer.acked[0]);
            let frames = waiting.filter_map(|layer| layer.request.as_ref().map(|(_, frame)| frame.clone()));
            self.output.extend(frames);
        }
    }

    /// Answers a Configure-Request: rejects first, then naks. Returns whether it is acknowledged.
    fn answer(
        &mut self,
        number: u16,
        packet: Packet<'_>,
        judge: impl Fn(u8, &[u8]) -> Option<(u8, Vec<u8>)>,
    ) -> bool {
        let [mut rejects, mut naks] = [Vec::new(), Vec::new()];
        for option in Options::parse(packet.data).unwrap() {
            match judge(option.kind, option.data) {
                Some((code::CONFIGURE_REJECT, _)) => push(&mut rejects, option.kind, option.data),
                Some((_, better)) => push(&mut naks, option.kind, &better),
                None => {}
            }
        }
        let (code, list) = match (rejects.is_empty(), naks.is_empty()) {
            (false, _) => (code::CONFIGURE_REJECT, rejects),
            (true, false) => (code::CONFIGURE_NAK, naks),
            (true, true) => return true,
        };
        self.send(number, code, packet.id, &list);
        false
    }

    fn lcp(&mut self, now: Instant, packet: Packet<'_>) {
        match packet.code {
            code::CONFIGURE_REQUEST => {
                let is_pppd = self.kind == Kind::Pppd;
                if is_pppd && self.lcp.is_open {
                    // It starts over.
                    let request = self.lcp.request.take();
                    self.output.extend(request.iter().map(|(_, frame)| frame.clone()));
                    self.lcp = Layer { request, ..Layer::default() };
                    self.auth = None;
                }
                let judge = |kind: u8, data: &[u8]| match kind {
                    MRU if !is_pppd && data > &1436_u16.to_be_bytes()[..] => {
                        Some((code::CONFIGURE_NAK, 1436_u16.to_be_bytes().to_vec()))
                    }
                    MRU | MAGIC => None,
                    ACCM | PFC | ACFC if is_pppd => None,
                    _ => Some((code::CONFIGURE_REJECT, Vec::new())),
                };
                if self.answer(protocol::LCP, packet, judge) {
                    self.send(protocol::LCP, code::CONFIGURE_ACK, packet.id, packet.data);
                    self.lcp.acked[1] = true;
                }
            }
            code::CONFIGURE_ACK => self.lcp.note_ack(packet.id),
            code::ECHO_REQUEST => self.send(protocol::LCP, code::ECHO_REPLY, packet.id, &[1, 2, 3, 4]),
            _ => {}
        }
        if self.lcp.agreed() && !std::mem::replace(&mut self.lcp.is_open, true) {
            let users = Users::table(vec![("alice".into(), Secret::from("right"))]);
            let timing = auth::Timing::default();
            self.auth = Some(auth::Server::new(AuthProtocol::MsChapV2, "gate", users, [9; 16], now, timing));
            self.flush_auth();
        }
    }

    fn chap(&mut self, now: Instant, packet: &[u8]) {
        if let Some(auth) = &mut self.auth {
            auth.handle_input(now, protocol::CHAP, packet).unwrap();
            self.flush_auth();
        }
    }

    fn flush_auth(&mut self) {
        let Some(auth) = &mut self.auth else { return };
        while let Some((number, packet)) = auth.poll_output() {
            self.output.push_back(control_frame(number, &packet));
        }
        if let Some(AuthEvent::Success { .. }) = auth.poll_event() {
            self.auth = None;
            self.in_network = true;
            if self.ccp_active {
                self.begin_ccp();
            }
            if self.kind != Kind::Pppd {
                self.begin_ipcp();
            }
        }
    }

    fn begin_ccp(&mut self) {
        let mut options = Vec::new();
        push(&mut options, mppe::TYPE, &STATELESS_128.to_be_bytes());
        self.ccp.request = Some(self.request(protocol::CCP, &options));
    }

    fn begin_ipcp(&mut self) {
        let mut options = Vec::new();
        push(&mut options, ADDRESS, &INSIDE.octets());
        self.ipcp.request = Some(self.request(protocol::IPCP, &options));
    }

    fn ccp(&mut self, packet: Packet<'_>) {
        if self.is_open() && !self.ccp.is_open {
            self.note("CCP after the link is open".to_owned());
            return self.send(protocol::LCP, code::PROTOCOL_REJECT, 99, &[0x80, 0xfd]);
        }
        match packet.code {
            code::CONFIGURE_REQUEST => {
                if !std::mem::replace(&mut self.ccp_active, true) {
                    self.begin_ccp();
                }
                let better = STATELESS_128.to_be_bytes();
                let judge = |kind: u8, data: &[u8]| match kind {
                    mppe::TYPE => (data != better).then(|| (code::CONFIGURE_NAK, better.to_vec())),
                    _ => Some((code::CONFIGURE_REJECT, Vec::new())),
                };
                if self.answer(protocol::CCP, packet, judge) {
                    self.send(protocol::CCP, code::CONFIGURE_ACK, packet.id, packet.data);
                    self.ccp.acked[1] = true;
                }
            }
            code::CONFIGURE_ACK => self.ccp.note_ack(packet.id),
            _ => {}
        }
        if self.ccp.agreed() && !std::mem::replace(&mut self.ccp.is_open, true) && self.kind == Kind::Pppd {
            self.begin_ipcp();
        }
    }

    fn ipcp(&mut self, packet: Packet<'_>) {
        if self.ipcp.request.is_none() {
            self.note("IPCP before it is open".to_owned());
            return self.send(protocol::IPCP, code::TERMINATE_ACK, packet.id, &[]);
        }
        match packet.code {
            code::CONFIGURE_REQUEST => {
                let gives = self.gives.octets();
                let judge = |kind: u8, data: &[u8]| {
                    let given = match kind {
                        ADDRESS => gives,
                        DNS => RESOLVER.octets(),
                        131 => RESOLVER.octets(),
                        _ => return Some((code::CONFIGURE_REJECT, Vec::new())),
                    };
                    (data != given).then(|| (code::CONFIGURE_NAK, given.to_vec()))
                };
                if !self.answer(protocol::IPCP, packet, judge) {
                    return;
                }
                if self.ccp_active && !self.ccp.is_open {
                    self.note("IPCP is agreed before CCP is open".to_owned());
                    return self.send(protocol::IPCP, code::TERMINATE_ACK, packet.id, &[]);
                }
                self.send(protocol::IPCP, code::CONFIGURE_ACK, packet.id, packet.data);
                self.ipcp.acked[1] = true;
            }
            code::CONFIGURE_ACK => self.ipcp.note_ack(packet.id),
            _ => {}
        }
        self.ipcp.is_open |= self.ipcp.agreed();
    }
}
