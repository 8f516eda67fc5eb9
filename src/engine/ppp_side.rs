//! The PPP of a call: our own [`Link`], or a daemon behind a [`Bridge`], with one interface.

use std::time::Instant;

use super::bridge::Bridge;
use crate::deadline::Deadline;
use crate::ppp::{
    ccp::MppeRefusal,
    link::{self, DownReason, Link, LinkDrop, LinkEvent, MppeStart, Received, Unit},
    stream::PppCounters,
};

/// The PPP side of a call.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each call; a box would only cost the data path a detour"
)]
pub(super) enum PppSide {
    /// Our own PPP, between GRE and the tun device.
    Builtin(Link),
    /// A daemon at the other end of a pty.
    External(Bridge),
}

impl PppSide {
    /// Processes a frame of the peer.
    pub fn handle_input<'a>(&mut self, now: Instant, frame: &'a mut [u8]) -> Received<'a> {
        match self {
            Self::Builtin(link) => link.handle_input(now, frame),
            Self::External(bridge) => {
                bridge.take_from_peer(now, frame);
                Received::Control
            }
        }
    }

    /// Reports how many frames of the peer were lost in total, at least and at most.
    pub fn set_lost(&mut self, (least, most): (u64, u64)) {
        if let Self::Builtin(link) = self {
            link.set_lost(least, most);
        }
    }

    /// Encapsulates an IP packet for the peer; a daemon has its own network device.
    pub fn encapsulate(&mut self, ip: &[u8], out: &mut [u8]) -> Result<usize, LinkDrop> {
        match self {
            Self::Builtin(link) => link.encapsulate(ip, out),
            Self::External(_) => Err(LinkDrop::NotUp),
        }
    }

    /// Returns whether [`PppSide::expect_packets`] saves time.
    pub fn is_sealing_ahead(&self) -> bool {
        matches!(self, Self::Builtin(link) if link.is_sealing_ahead())
    }

    /// Sets the lengths of the next packets for [`PppSide::encapsulate`].
    pub fn expect_packets(&mut self, lengths: impl Iterator<Item = usize>) {
        if let Self::Builtin(link) = self {
            link.expect_packets(lengths);
        }
    }

    /// Shows the next frames for [`PppSide::handle_input`].
    pub fn expect_frames<'a>(&mut self, frames: impl Iterator<Item = &'a [u8]>) {
        if let Self::Builtin(link) = self {
            link.expect_frames(frames);
        }
    }

    /// Returns what a PPP unit of the kernel is to do ([`Link::unit`]); a daemon sets its own.
    pub fn unit(&self) -> Unit {
        match self {
            Self::Builtin(link) => link.unit(),
            Self::External(_) => Unit::default(),
        }
    }

    /// Returns the parameters of MPPE that belong to a frame ([`Link::mppe_start`]).
    pub fn mppe_start(&self, frame: &[u8]) -> Option<MppeStart> {
        match self {
            Self::Builtin(link) => link.mppe_start(frame),
            Self::External(_) => None,
        }
    }

    /// Records that data packets have come, which only the kernel sees.
    pub fn note_data(&mut self) {
        if let Self::Builtin(link) = self {
            link.note_data();
        }
    }

    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Builtin(link) => link.poll_output(),
            Self::External(_) => None,
        }
    }

    /// Returns whether the peer has processed our last Configure-Ack; not known of a daemon's PPP.
    pub fn is_confirmed(&self) -> bool {
        match self {
            Self::Builtin(link) => link.is_confirmed(),
            Self::External(_) => false,
        }
    }

    /// Returns the MRU of our own PPP, in bytes.
    pub fn requested_mru(&self) -> Option<u16> {
        match self {
            Self::Builtin(link) => Some(link.requested_mru()),
            Self::External(_) => None,
        }
    }

    /// Returns whether IPV6CP is still undecided; a daemon's is not waited for.
    pub fn is_ipv6_undecided(&self) -> bool {
        match self {
            Self::Builtin(link) => link.is_ipv6_undecided(),
            Self::External(_) => false,
        }
    }

    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        match self {
            Self::Builtin(link) => link.poll_event(),
            Self::External(bridge) => bridge.poll_event(),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Builtin(link) => link.handle_timeout(now),
            Self::External(bridge) => bridge.handle_timeout(now),
        }
    }

    pub fn next_timeout(&self) -> Option<Deadline> {
        match self {
            Self::Builtin(link) => link.next_timeout(),
            Self::External(bridge) => bridge.next_timeout(),
        }
    }

    pub fn close(&mut self, now: Instant, reason: DownReason) {
        match self {
            Self::Builtin(link) => link.close(now, reason),
            Self::External(bridge) => bridge.close(reason),
        }
    }

    pub fn lower_down(&mut self, now: Instant) {
        match self {
            Self::Builtin(link) => link.lower_down(now),
            Self::External(bridge) => bridge.close(DownReason::LowerLayerDown),
        }
    }

    pub fn probe(&mut self, now: Instant) {
        match self {
            Self::Builtin(link) => link.probe(now),
            Self::External(bridge) => bridge.probe(),
        }
    }

    /// Returns the link for a test of the path; a daemon's PPP cannot be used for that.
    pub fn testable(&mut self) -> Option<&mut Link> {
        match self {
            Self::Builtin(link) => Some(link),
            Self::External(_) => None,
        }
    }

    /// Returns whether credentials were sent that the peer has not accepted; of a daemon's PPP, whether it
    /// authenticates.
    pub fn is_login_pending(&self) -> bool {
        match self {
            Self::Builtin(link) => link.is_login_pending(),
            Self::External(bridge) => bridge.is_authenticating(),
        }
    }

    /// Returns how many LCP Configure-Requests of the peer, and replies to those of this side, have arrived.
    pub fn lcp_received(&self) -> (u64, u64) {
        match self {
            Self::Builtin(link) => (link.counters().lcp_requests, link.counters().lcp_replies),
            Self::External(bridge) => bridge.lcp_received(),
        }
    }

    /// Returns the authentication protocols that the peer has offered and this side did not accept; of a daemon's
    /// PPP, all that it has offered.
    pub fn offered_auth(&self) -> &[String] {
        match self {
            Self::Builtin(link) => link.offered_auth(),
            Self::External(bridge) => bridge.offered_auth(),
        }
    }

    /// Returns what the peer has refused of MPPE; not known of a daemon's PPP.
    pub fn mppe_refusal(&self) -> Option<MppeRefusal> {
        match self {
            Self::Builtin(link) => link.mppe_refusal(),
            Self::External(_) => None,
        }
    }

    /// Returns what the peer has offered ([`Link::offers`]); nothing of a daemon's PPP.
    pub fn offers(&self) -> (&[String], Option<String>) {
        match self {
            Self::Builtin(link) => link.offers(),
            Self::External(_) => (&[], None),
        }
    }

    /// Returns the counters of our own PPP.
    pub fn link_counters(&self) -> Option<&link::LinkCounters> {
        match self {
            Self::Builtin(link) => Some(link.counters()),
            Self::External(_) => None,
        }
    }

    /// Returns the counters of the pty.
    pub fn pty_counters(&self) -> Option<&PppCounters> {
        match self {
            Self::Builtin(_) => None,
            Self::External(bridge) => Some(bridge.counters()),
        }
    }
}
