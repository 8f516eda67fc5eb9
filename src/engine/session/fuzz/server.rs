//! The server of a fuzzed session: our own server roles, which answer by the rules.

use std::{collections::VecDeque, net::Ipv4Addr, time::Instant};

use super::setup::ServerSetup;
use crate::{
    ppp::{
        auth::Users,
        link::{DownReason, Link, LinkConfig, Random, Received},
    },
    pptp::{
        control::{CallAccept, Control, ControlConfig, ControlEvent},
        flow::{Flow, FlowConfig},
        gre::MAX_HEADER,
    },
    secret::Secret,
};

/// The server's call id.
const CALL_ID: u16 = 9;
/// Most packets on the path in one direction; later ones are lost.
const QUEUE: usize = 64;

/// The server, and what it has ready for the client.
pub(super) struct Server {
    setup: ServerSetup,
    control: Control,
    call: Option<(Flow, Link)>,
    seed: u8,
    /// GRE packets on the way to the client.
    pub gre: VecDeque<Vec<u8>>,
    /// Bytes of TCP on the way to the client.
    pub tcp: Vec<u8>,
    /// IP packets that have come out of the tunnel.
    pub received: Vec<Vec<u8>>,
}

impl Server {
    pub fn new(setup: ServerSetup, seed: u8, now: Instant) -> Self {
        let mut control = Control::new(ControlConfig::server("fuzz"), now);
        control.connected(now);
        Self { setup, control, call: None, seed, gre: VecDeque::new(), tcp: Vec::new(), received: Vec::new() }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let call = self.call.as_ref().and_then(|(flow, link)| {
            let timers = [flow.next_timeout(), link.next_timeout()];
            timers.into_iter().flatten().map(|(at, _)| at).min()
        });
        call.into_iter().chain(self.control.next_timeout().map(|(at, _)| at)).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.control.handle_timeout(now);
        if let Some((flow, link)) = &mut self.call {
            let received = &mut self.received;
            flow.handle_timeout(now, &mut |frame| pass(now, link, frame, received));
            link.handle_timeout(now);
        }
        self.settle(now);
    }

    pub fn tcp_input(&mut self, now: Instant, bytes: &[u8]) {
        self.control.handle_input(now, bytes);
        self.settle(now);
    }

    pub fn gre_input(&mut self, now: Instant, packet: &mut [u8]) {
        if let Some((flow, link)) = &mut self.call {
            let received = &mut self.received;
            let _dropped = flow.receive(now, packet, &mut |frame| pass(now, link, frame, received));
        }
        self.settle(now);
    }

    /// Sends an IP packet through the tunnel, if the link is up.
    pub fn send(&mut self, now: Instant, packet: &[u8]) -> bool {
        let Some((flow, link)) = &mut self.call else { return false };
        let mut out = vec![0; MAX_HEADER + packet.len() + Link::FRAME_OVERHEAD];
        let sent = out.get_mut(MAX_HEADER..).and_then(|frame| link.encapsulate(packet, frame).ok());
        let range = sent.and_then(|length| flow.put_header(now, length, &mut out));
        let Some(packet) = range.and_then(|range| out.get(range)) else { return false };
        push(&mut self.gre, packet.to_vec());
        true
    }

    /// Ends something: the link gracefully, the link, the call, or the control connection.
    pub fn end(&mut self, now: Instant, choice: u8) {
        match (choice & 3, &mut self.call) {
            (0, Some((_, link))) => link.close(now, DownReason::Closed),
            (1, Some((_, link))) => link.lower_down(now),
            (2, _) => {
                let _none = self.control.close_call(now, CALL_ID);
            }
            _ => self.control.stop(now),
        }
        self.settle(now);
    }

    /// Begins PPP anew, as a server does whose PPP was restarted: the client has to renegotiate.
    pub fn restart_link(&mut self, now: Instant) {
        let link = self.link(now);
        if let Some((_, old)) = &mut self.call {
            *old = link;
        }
        self.settle(now);
    }

    fn link(&mut self, now: Instant) -> Link {
        self.seed = self.seed.wrapping_add(41);
        let password = if self.setup.password_is_right { "right" } else { "another" };
        let users = Users::table(vec![
            ("alice".to_owned(), Secret::from(password)),
            ("DOMAIN\\alice".to_owned(), Secret::from(password)),
        ]);
        let [ours, theirs] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        let mut config = LinkConfig::server("fuzz", users, ours, theirs, random(self.seed));
        config.mppe = self.setup.mppe;
        config.accept.clone_from(&self.setup.accept);
        config.ipv6 = self.setup.ipv6;
        if let crate::ppp::link::Role::Server(server) = &mut config.role {
            server.insists = self.setup.insists;
        }
        Link::new(config, now)
    }

    /// Handles its events, and collects its output.
    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.control.poll_event() {
            match event {
                ControlEvent::IncomingCall { peer_call_id, .. } => {
                    let _refused = self.control.accept_call(now, peer_call_id, CallAccept::new(CALL_ID));
                }
                ControlEvent::CallUp { call_id, peer_call_id, .. } => {
                    let link = self.link(now);
                    self.call = Some((Flow::new(FlowConfig::new(call_id, peer_call_id), now), link));
                }
                ControlEvent::CallDown { .. } => self.call = None,
                _ => {}
            }
        }
        let bytes = self.control.poll_output();
        let count = bytes.len();
        self.tcp.extend_from_slice(bytes);
        self.control.consume_output(count);
        let Some((flow, link)) = &mut self.call else { return };
        link.open(now);
        while link.poll_event().is_some() {}
        while let Some(frame) = link.poll_output() {
            let mut out = vec![0; MAX_HEADER];
            out.extend_from_slice(&frame);
            if let Some(range) = flow.put_header(now, frame.len(), &mut out) {
                push(&mut self.gre, out.get(range).unwrap_or_default().to_vec());
            }
        }
        if let Some(ack) = flow.poll_ack(now) {
            push(&mut self.gre, ack.to_vec());
        }
    }
}

/// Adds a packet to a queue of the path.
pub(super) fn push(queue: &mut VecDeque<Vec<u8>>, packet: Vec<u8>) {
    if queue.len() < QUEUE {
        queue.push_back(packet);
    }
}

/// Returns a source of bytes that are the same for the same seed.
pub(super) fn random(seed: u8) -> Random {
    let mut state = seed;
    Box::new(move |bytes: &mut [u8]| {
        for byte in bytes {
            state = state.wrapping_mul(37).wrapping_add(11);
            *byte = state;
        }
    })
}

fn pass(now: Instant, link: &mut Link, frame: &mut [u8], received: &mut Vec<Vec<u8>>) {
    if let Received::Ip(ip) = link.handle_input(now, frame) {
        received.push(ip.to_vec());
    }
}
