//! The data path of a session: GRE packets to IP packets and back, or to and from the pty of an external PPP.
//!
//! Owns the space for headers, and the order of flow, link, MSS clamping and route request on the path of a
//! packet. [`crate::pptp::flow`] handles sequence and acknowledgement, the link PPP frames. Nothing is
//! allocated per packet.

use std::{net::Ipv4Addr, ops::Range, time::Instant};

use super::{Call, Session, carrier::Carrier, peer_routes::PeerRoutes};
use crate::{
    engine::ppp_side::PppSide,
    failure::Phase,
    ppp::{
        link::Received,
        mss::{Clamper, Direction},
    },
    pptp::{
        flow::DropReason,
        gre::{self, MAX_HEADER},
    },
};

/// Upper bound of an IP packet through the tunnel, in bytes; well above the MRU of PPP, at most 1500.
pub(super) const LARGEST_PACKET: usize = 2048;

impl Session {
    /// Shows the packets that [`Session::gre_input`] gets next.
    pub fn expect_gre<'a>(&mut self, packets: impl Iterator<Item = &'a [u8]>) {
        if let Some(Call { flow, link, .. }) = &mut self.call {
            link.expect_frames(flow.in_order(packets));
        }
    }

    /// Returns whether [`Session::expect_packets`] saves time.
    #[must_use]
    pub fn is_sealing_ahead(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.link.is_sealing_ahead())
    }

    /// Sets the lengths of the packets that [`Session::tun_input`] gets next.
    pub fn expect_packets(&mut self, lengths: impl Iterator<Item = usize>) {
        if let Some(Call { link, .. }) = &mut self.call {
            link.expect_packets(lengths);
        }
    }

    /// Processes a GRE packet without its IP header; passes IP packets for the tun device to `to_tun`.
    pub fn gre_input(&mut self, now: Instant, packet: &mut [u8], to_tun: &mut impl FnMut(&[u8])) {
        let Self { call: Some(call), mss, peer_routes: offers, .. } = self else {
            if self.phase == Phase::Call && gre::peek_call_id(packet) == Some(self.call_id) {
                self.early.keep(packet);
            }
            return;
        };
        let Call { flow, link, received, last_heard, wrong_calls, carrier, .. } = call;
        link.set_lost(flow.lost_before(packet));
        let taken = flow.receive(now, packet, &mut |frame| {
            // Else the frame comes by the kernel's channel too, and this packet is only counted.
            if *carrier != Carrier::Kernel {
                pass_in(now, frame, link, mss, offers, to_tun);
            }
        });
        if taken.is_ok() {
            *received += 1;
            *last_heard = Some(now);
        } else if taken == Err(DropReason::WrongCall)
            && let Some(other) = gre::peek_call_id(packet)
            && wrong_calls.record(now, other)
        {
            tracing::warn!(
                "GRE packets for many calls that are not ours come from the server's address; another host probably tries all call ids (counter gre.rx_wrong_call)"
            );
        }
    }

    /// Handles the timeouts of flow and link: releases packets that waited too long for an earlier one.
    pub(super) fn call_timeout(&mut self, now: Instant, to_tun: &mut impl FnMut(&[u8])) {
        let Self { call: Some(Call { flow, link, carrier, .. }), mss, peer_routes: offers, .. } = self else {
            return;
        };
        link.set_lost(flow.lost_when_due());
        flow.handle_timeout(now, &mut |frame| {
            if *carrier != Carrier::Kernel {
                pass_in(now, frame, link, mss, offers, to_tun);
            }
        });
        link.handle_timeout(now);
    }

    /// Encapsulates an IP packet from the tun device. Returns the range of the GRE packet in `out`, or `None`
    /// if it was dropped and counted. `out` must hold the packet and its headers.
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

    /// Processes bytes read from the daemon's pty; passes each GRE packet to `send`, header and frame
    /// separately.
    pub fn pty_input(&mut self, now: Instant, bytes: &[u8], mut send: impl FnMut(&[u8], &[u8])) {
        let Some(Call { flow, link: PppSide::External(bridge), .. }) = &mut self.call else { return };
        bridge.take_from_daemon(now, bytes, |frame| {
            let mut header = [0; MAX_HEADER];
            if let Some(size) = flow.header(now, frame.len(), &mut header) {
                send(header.get(..size).unwrap_or_default(), frame);
            }
        });
    }

    /// Returns the bytes to write to the daemon's pty; [`Session::pty_sent`] removes them.
    #[must_use]
    pub fn pty_output(&self) -> &[u8] {
        match &self.call {
            Some(Call { link: PppSide::External(bridge), .. }) => bridge.stream.to_write(),
            _ => &[],
        }
    }

    /// Removes `count` written bytes.
    pub fn pty_sent(&mut self, count: usize) {
        if let Some(Call { link: PppSide::External(bridge), .. }) = &mut self.call {
            bridge.stream.written(count);
        }
    }

    /// Writes the next GRE packet that is not data from the tun device: a control frame of the link, a route
    /// request, or an acknowledgement without payload. Returns its range in `out`.
    pub fn gre_output(&mut self, now: Instant, out: &mut [u8]) -> Option<Range<usize>> {
        let Call { flow, link, carrier, .. } = self.call.as_mut()?;
        if *carrier != Carrier::Engine {
            // The kernel acknowledges.
            let _not_sent = flow.poll_ack(now);
            return None;
        }
        while let Some(frame) = link.poll_output() {
            if let Some(place) = out.get_mut(MAX_HEADER..MAX_HEADER + frame.len()) {
                place.copy_from_slice(&frame);
                if let Some(packet) = flow.put_header(now, frame.len(), out) {
                    return Some(packet);
                }
            }
        }
        while let Some(packet) = self.peer_routes.poll_packet() {
            let length = out.get_mut(MAX_HEADER..).and_then(|room| link.encapsulate(&packet, room).ok());
            if let Some(packet) = length.and_then(|length| flow.put_header(now, length, out)) {
                return Some(packet);
            }
        }
        if let Some(packet) = self.path.poll_packet(now, flow, out) {
            return Some(packet);
        }
        let ack = flow.poll_ack(now)?;
        out.get_mut(..ack.len())?.copy_from_slice(&ack);
        Some(0..ack.len())
    }
}

/// Returns whether an IP packet is a GRE packet of this call to the server. While an uplink is down, or until
/// the supervisor has noticed that it is back, the route to the server is missing and another one leads into
/// the tunnel: each packet would loop and grow, and thousands of them never reach the server.
fn is_own(packet: &[u8], server: Ipv4Addr, peer_call_id: u16) -> bool {
    // Our packets have no IP options (RFC 791 §3.1).
    packet.split_first_chunk::<20>().is_some_and(|(ip, rest)| {
        ip[0] == 0x45
            && ip[9] == gre::IP_PROTOCOL
            && ip[16..] == server.octets()
            && gre::peek_call_id(rest) == Some(peer_call_id)
    })
}

/// Handles a PPP frame of the server, in sequence: an IP packet goes to the tun device, unless it answers the
/// route request.
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
