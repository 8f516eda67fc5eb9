//! LCP Echo-Requests and Discard-Requests that test the path (RFC 1661 §5.8, §5.9). They take no part in the detection
//! of a silent peer: neither a request without an answer nor an answer counts there.

use std::time::Instant;

use super::{Link, LinkEvent, MPPE_OVERHEAD};
use crate::ppp::wire::{FRAME_HEADER_MAX, HEADER_LEN, code, control_frame, protocol};

/// Requests whose answer is awaited; an earlier one is forgotten.
const PENDING_MAX: usize = 8;

impl Link {
    /// Returns the frame of an Echo-Request, and its identifier; [`LinkEvent::PathAnswered`] follows when the peer
    /// replies. `as_long_as` is the size of an IP packet in bytes: the frame is then as long as a data frame with that
    /// packet. Otherwise it is short. `None` if LCP is not open.
    pub fn path_echo(&mut self, as_long_as: Option<u16>) -> Option<(u8, Vec<u8>)> {
        let length = as_long_as.map_or(0, |size| self.data_frame_length(size) - FRAME_HEADER_MAX);
        let (id, frame) = self.path_frame(code::ECHO_REQUEST, length)?;
        self.counters.echoes_sent = self.counters.echoes_sent.saturating_add(1);
        if self.echo.path.len() >= PENDING_MAX {
            self.echo.path.pop_front();
        }
        self.echo.path.push_back(id);
        Some((id, frame))
    }

    /// Returns the frame of a short Echo-Request whose answer is timed ([`LinkCounters::round_trip`]); `None` if the link
    /// sends no echoes, or the peer has rejected them.
    ///
    /// [`LinkCounters::round_trip`]: super::LinkCounters::round_trip
    pub fn timed_echo(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.echo.next?;
        let (id, frame) = self.path_echo(None)?;
        self.echo.timed = Some((id, now));
        Some(frame)
    }

    /// Returns the length of a data frame with an IP packet of this size, both in bytes, without compression of its
    /// header.
    #[must_use]
    pub fn data_frame_length(&self, size: u16) -> usize {
        let overhead = if self.cipher.may_seal() { MPPE_OVERHEAD } else { 0 };
        FRAME_HEADER_MAX + usize::from(size) + usize::from(overhead)
    }

    /// Returns the frame of a short Discard-Request, which has no answer, and its identifier.
    pub fn path_discard(&mut self) -> Option<(u8, Vec<u8>)> {
        self.path_frame(code::DISCARD_REQUEST, 0)
    }

    /// Returns the frame of an LCP packet of at least `length` bytes with our magic number.
    fn path_frame(&mut self, code: u8, length: usize) -> Option<(u8, Vec<u8>)> {
        if !self.lcp.is_opened() {
            return None;
        }
        let mut data = self.lcp.options().magic().to_be_bytes().to_vec();
        data.resize(length.saturating_sub(HEADER_LEN).max(data.len()), 0);
        let id = self.lcp.send_new(code, &data);
        self.counters.sent_control = self.counters.sent_control.saturating_add(1);
        Some((id, control_frame(protocol::LCP, &self.lcp.poll_output()?)))
    }

    /// Handles an Echo-Reply to [`Link::path_echo`]; returns whether it is one.
    pub(super) fn path_answered(&mut self, id: u8) -> bool {
        let Some(at) = self.echo.path.iter().position(|pending| *pending == id) else { return false };
        self.echo.path.remove(at);
        self.counters.echoes_answered = self.counters.echoes_answered.saturating_add(1);
        self.event(LinkEvent::PathAnswered(id));
        true
    }
}
