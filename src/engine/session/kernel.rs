//! A call whose packets the kernel moves, by a PPTP socket and a PPP unit. No I/O.
//!
//! The kernel encapsulates every frame of the call from the first one, so that the sequence numbers are one series; data
//! packets do not come here at all. Until the kernel has the call, the server's first frames come by the engine's raw
//! socket. Until the link is up that socket still gets a copy of each packet, which is counted: the evidence for a
//! failure is the same on both paths.

use std::time::Instant;

use super::{Call, Session, carrier::Carrier};
use crate::{
    engine::verdict,
    ppp::link::{DownReason, Link, MppeStart, Unit},
    pptp::gre::MAX_HEADER,
};

impl Session {
    /// Returns whether the kernel is to get the call and has not reported it yet. Packets of the raw socket must wait: those
    /// that come now may come by the channel, too.
    #[must_use]
    pub fn awaits_kernel(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.carrier == Carrier::KernelSoon)
    }

    /// Records that the kernel has the call: from now on frames pass by [`Session::frame_input`] and
    /// [`Session::frame_output`].
    pub fn attached(&mut self, now: Instant) {
        if let Some(call) = &mut self.call {
            call.carrier = Carrier::Kernel;
        }
        self.after(now);
    }

    /// Processes a frame that the kernel does not handle itself: one of a control protocol, or one that it cannot decrypt.
    pub fn frame_input(&mut self, now: Instant, frame: &mut [u8]) {
        let Some(call) = &mut self.call else { return };
        let had_mppe = call.link.unit().ccp_up;
        let stopped = had_mppe && Link::stops_mppe(frame);
        call.last_heard = Some(now);
        if self.up {
            // Before the link is up, the copy that the raw socket gets is counted.
            call.received += 1;
        }
        call.link.handle_input(now, frame);
        if stopped && call.link.unit().ccp_up {
            // The link has dropped the frame as malformed, but the kernel has stopped the encryption because of it.
            let lost = verdict::of_link(self.reached(), &DownReason::EncryptionLost, &self.offers());
            self.fail(now, lost);
        }
        self.after(now);
    }

    /// Returns the next frame for the kernel to send.
    pub fn frame_output(&mut self, now: Instant) -> Option<Vec<u8>> {
        let Call { flow, link, carrier: Carrier::Kernel, .. } = self.call.as_mut()? else { return None };
        let frame = link.poll_output().or_else(|| self.path.poll_frame())?;
        // The flow counts along: the server acknowledges these numbers, which are the kernel's.
        let _not_sent = flow.header(now, frame.len(), &mut [0; MAX_HEADER]);
        Some(frame)
    }

    /// Returns what the unit is to do now ([`Link::unit`]).
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.call
            .as_ref()
            .filter(|_| self.ending.is_none())
            .map_or_else(Unit::default, |call| call.link.unit())
    }

    /// Returns the parameters of MPPE that belong to a frame to be sent ([`Link::mppe_start`]).
    #[must_use]
    pub fn mppe_start(&self, frame: &[u8]) -> Option<MppeStart> {
        self.call.as_ref()?.link.mppe_start(frame)
    }

    /// Records that data packets of the server have come since the last call.
    pub fn data_came(&mut self, now: Instant) {
        if let Some(call) = &mut self.call {
            call.last_heard = Some(now);
            call.link.note_data();
        }
    }
}
