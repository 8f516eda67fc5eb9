//! The data path while a capture is on: the same as without, with each packet and what became of it.

use std::{ops::Range, time::Instant};

use super::Engine;
use crate::{
    engine::{
        capture::{Capture, record::Kind},
        session::{Session, SessionEvent},
    },
    net::transport,
};

/// Processes a packet of the raw socket as `receive_gre` does; returns whether it is IPv4.
pub(super) fn receive(
    capture: &mut Capture,
    session: &mut Session,
    now: Instant,
    datagram: &mut [u8],
    to_tun: &mut impl FnMut(&[u8]),
) -> bool {
    // Before it is decrypted in place.
    let at = capture.add(Kind::GreIn, datagram);
    let Some(packet) = transport::strip_ip_header(datagram) else {
        capture.comment(at, "dropped: io.not_ipv4");
        return false;
    };
    let before = session.before_packet();
    session.gre_input(now, packet, &mut |ip| {
        capture.add(Kind::InnerIn, ip);
        to_tun(ip);
    });
    match before.as_ref().and_then(|before| session.fate(before)) {
        Some(fate) => capture.comment(at, fate),
        None => capture.comment(at, "before the call: kept until the call reply, if it is for this call"),
    }
    true
}

/// Encapsulates a packet of the tun device as [`Session::tun_input`] does.
pub(super) fn send(
    capture: &mut Capture,
    session: &mut Session,
    now: Instant,
    ip: &[u8],
    out: &mut [u8],
) -> Option<Range<usize>> {
    let at = capture.add(Kind::InnerOut, ip);
    let before = session.before_packet();
    let packet = session.tun_input(now, ip, out);
    if let Some(fate) = before.as_ref().and_then(|before| session.fate(before)) {
        capture.comment(at, fate);
    }
    packet
}

impl Engine {
    /// Captures the ends of the control connection, once it is open.
    pub(super) fn capture_connection(&mut self) {
        let local = transport::local_end(&self.tcp).filter(|_| self.tcp.is_open());
        if let (Some(capture), Some(local)) = (&mut self.outgoing.capture, local) {
            capture.connection(local, self.server);
        }
    }

    /// Captures an event as a note.
    pub(super) fn capture_event(&mut self, event: &SessionEvent) {
        let Some(capture) = &mut self.outgoing.capture else { return };
        match event {
            SessionEvent::Phase(phase, _) => capture.note(format_args!("phase {phase} has begun")),
            SessionEvent::Up(link) => capture.note(format_args!("the link is up, MTU {}", link.mtu)),
            SessionEvent::Down(failure) => capture.note(format_args!("the session has ended: {failure}")),
            SessionEvent::Attach(_) => {
                capture.note(format_args!("the kernel moves the packets, which are not captured"))
            }
            SessionEvent::Offers(_) | SessionEvent::PathMtu(_) | SessionEvent::PathSearched(_) => {}
        }
    }

    /// Passes on what was captured. A capture without a reader ends.
    pub(super) fn flush_capture(&mut self) {
        if let Some(capture) = &mut self.outgoing.capture
            && !capture.flush()
        {
            self.outgoing.capture = None;
        }
    }
}
