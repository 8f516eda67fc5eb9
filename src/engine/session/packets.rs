//! The data path of a dial: GRE packets to IP packets and back, or to and from the pty of a daemon that speaks PPP.
//!
//! Owns the room that headers need, and what passes whom on the way: flow, link, the clamping of TCP's MSS, answers
//! for the offers. Order and acknowledgement are [`crate::pptp::flow`]'s, PPP frames the link's. Nothing is allocated per packet.

use std::{net::Ipv4Addr, ops::Range, time::Instant};

use super::{Call, Session, peer_routes::PeerRoutes};
use crate::{
    engine::{
        mss::{Clamper, Direction},
        ppp_side::PppSide,
    },
    ppp::link::{Link, Received},
    pptp::gre::{self, MAX_HEADER},
};

/// No IP packet through the tunnel is larger, in bytes: the MRU of PPP is at most 1500, with room to spare.
pub(super) const LARGEST_PACKET: usize = 2048;

impl Session {
    /// A GRE packet without its IP header; IP packets for the tun device come out through `to_tun`.
    pub fn gre_input(&mut self, now: Instant, packet: &mut [u8], to_tun: &mut impl FnMut(&[u8])) {
        let Self { call: Some(Call { flow, link, heard, last_heard, .. }), mss, offers, .. } = self else {
            return;
        };
        let taken = flow.receive(now, packet, &mut |frame| pass_in(now, frame, link, mss, offers, to_tun));
        if taken.is_ok() {
            *heard = true;
            *last_heard = Some(now);
        }
    }

    /// What waited in vain for an earlier packet goes on, and the link does what is due.
    pub(super) fn call_timeout(&mut self, now: Instant, to_tun: &mut impl FnMut(&[u8])) {
        let Self { call: Some(Call { flow, link, .. }), mss, offers, .. } = self else { return };
        flow.handle_timeout(now, &mut |frame| pass_in(now, frame, link, mss, offers, to_tun));
        link.handle_timeout(now);
    }

    /// An IP packet from the tun device. Gives the place of the GRE packet in `out`, or `None` when it was
    /// dropped and counted. `out` needs the packet's length and [`Session::overhead`].
    pub fn tun_input(&mut self, now: Instant, packet: &[u8], out: &mut [u8]) -> Option<Range<usize>> {
        let Self { call, mss, spec, .. } = self;
        let Call { flow, link, looped, .. } = call.as_mut()?;
        if is_own(packet, *spec.server.ip(), flow.peer_call_id()) {
            *looped += 1;
            return None;
        }
        let packet = mss.pass(Direction::Out, packet);
        let length = link.encapsulate(packet, out.get_mut(MAX_HEADER..)?).ok()?;
        flow.put_header(now, length, out)
    }

    /// What one read of the daemon's pty gave; `send` gets each GRE packet, header and frame apart.
    pub fn pty_input(&mut self, now: Instant, bytes: &[u8], mut send: impl FnMut(&[u8], &[u8])) {
        let Some(Call { flow, link: PppSide::External(bridge), .. }) = &mut self.call else { return };
        bridge.from_daemon(now, bytes, |frame| {
            let mut header = [0; MAX_HEADER];
            if let Some(size) = flow.header(now, frame.len(), &mut header) {
                send(header.get(..size).unwrap_or_default(), frame);
            }
        });
    }

    /// Bytes for the daemon's pty; [`Session::pty_sent`] takes them away.
    #[must_use]
    pub fn pty_output(&self) -> &[u8] {
        match &self.call {
            Some(Call { link: PppSide::External(bridge), .. }) => bridge.to_write(),
            _ => &[],
        }
    }

    /// So many bytes have gone.
    pub fn pty_sent(&mut self, count: usize) {
        if let Some(Call { link: PppSide::External(bridge), .. }) = &mut self.call {
            bridge.written(count);
        }
    }

    /// Bytes by which a GRE packet may be longer than its IP packet.
    #[must_use]
    pub const fn overhead() -> usize {
        MAX_HEADER + Link::FRAME_OVERHEAD
    }

    /// The next GRE packet that is not data from the tun device: a control frame of the link, or a lone
    /// acknowledgement. Gives its place in `out`.
    pub fn gre_output(&mut self, now: Instant, out: &mut [u8]) -> Option<Range<usize>> {
        let Call { flow, link, .. } = self.call.as_mut()?;
        while let Some(frame) = link.poll_output() {
            if let Some(place) = out.get_mut(MAX_HEADER..MAX_HEADER + frame.len()) {
                place.copy_from_slice(&frame);
                if let Some(packet) = flow.put_header(now, frame.len(), out) {
                    return Some(packet);
                }
            }
        }
        while let Some(packet) = self.offers.poll_packet() {
            let length = out.get_mut(MAX_HEADER..).and_then(|room| link.encapsulate(&packet, room).ok());
            if let Some(packet) = length.and_then(|length| flow.put_header(now, length, out)) {
                return Some(packet);
            }
        }
        let ack = flow.poll_ack(now)?;
        out.get_mut(..ack.len())?.copy_from_slice(&ack);
        Some(0..ack.len())
    }
}

/// Whether an IP packet is one that this call has sent to the server. While an uplink is down, or until the supervisor has
/// seen that it is up again, the route to the server is gone and another one leads there, into the tunnel: what is
/// sent then would come back longer each time, thousands of packets that the server misses.
fn is_own(packet: &[u8], server: Ipv4Addr, peer_call_id: u16) -> bool {
    // Ours have no options (RFC 791 §3.1).
    packet.split_first_chunk::<20>().is_some_and(|(ip, rest)| {
        ip[0] == 0x45
            && ip[9] == gre::IP_PROTOCOL
            && ip[16..] == server.octets()
            && gre::call_of(rest) == Some(peer_call_id)
    })
}

/// A PPP frame of the server, in its turn: an IP packet goes on to the tun device, unless it answers the offers.
fn pass_in(
    now: Instant,
    frame: &mut [u8],
    link: &mut PppSide,
    mss: &mut Clamper,
    offers: &mut PeerRoutes,
    to_tun: &mut impl FnMut(&[u8]),
) {
    if let Received::Ip(ip) = link.handle_input(now, frame)
        && !offers.take(ip)
    {
        to_tun(mss.pass(Direction::In, ip));
    }
}
