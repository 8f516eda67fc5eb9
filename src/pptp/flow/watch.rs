//! Watches whether the peer acknowledges one particular packet.
//!
//! An acknowledgement names the highest number received (RFC 2637 §4.2), so that of a later packet says nothing about
//! an earlier one. Only its own number shows that a packet has arrived.

use std::{ops::Range, time::Instant};

use super::Flow;
use crate::pptp::gre::{self, Header, MAX_HEADER};

/// What the peer has acknowledged of the watched packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acked {
    /// Neither the packet nor the one before it.
    #[default]
    Nothing,
    /// The packet before it: everything sent before has arrived, or was overtaken.
    Before,
    /// A later packet, and never exactly this one.
    Beyond,
    /// Exactly this packet: it has arrived.
    Exactly,
}

#[derive(Debug)]
pub(super) struct Watch {
    seq: u32,
    acked: Acked,
}

impl Watch {
    pub const fn acknowledged(&mut self, ack: u32) {
        self.acked = match (self.acked, ack.wrapping_sub(self.seq).cast_signed()) {
            (Acked::Exactly, _) | (_, 0) => Acked::Exactly,
            (Acked::Beyond, _) | (_, 1..) => Acked::Beyond,
            (_, -1) => Acked::Before,
            (earlier, _) => earlier,
        };
    }
}

impl Flow {
    /// Writes a header of full length, 16 bytes, before the payload, as [`Flow::put_header`] does. It repeats the last
    /// acknowledgement if none is pending.
    pub fn put_full_header(&mut self, now: Instant, payload: usize, out: &mut [u8]) -> Option<Range<usize>> {
        let length = u16::try_from(payload).ok()?;
        self.count_sent(now);
        let ack = self.acks.take_last();
        let header = Header { call_id: self.config.peer_call_id, seq: Some(self.sent), ack };
        let mut bytes = [0; MAX_HEADER];
        let size = gre::emit(header, length, &mut bytes);
        let start = MAX_HEADER.checked_sub(size)?;
        out.get_mut(start..MAX_HEADER)?.copy_from_slice(bytes.get(..size)?);
        Some(start..MAX_HEADER + payload)
    }

    /// Watches the acknowledgement of the packet sent last, instead of an earlier one.
    pub const fn watch_last(&mut self) {
        self.watch = Some(Watch { seq: self.sent, acked: Acked::Nothing });
    }

    /// Returns what the peer has acknowledged of the watched packet.
    #[must_use]
    pub fn watched(&self) -> Acked {
        self.watch.as_ref().map_or(Acked::Nothing, |watch| watch.acked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_number_acknowledges_a_packet() {
        let cases = [
            (&[][..], Acked::Nothing),
            (&[3], Acked::Nothing),
            (&[6], Acked::Before),
            (&[6, 8], Acked::Beyond),
            (&[8, 6], Acked::Beyond),
            (&[6, 7], Acked::Exactly),
            (&[7, 6, 9], Acked::Exactly),
            (&[8, 7], Acked::Exactly),
        ];
        for (acks, expected) in cases {
            let mut watch = Watch { seq: 7, acked: Acked::Nothing };
            acks.iter().for_each(|ack| watch.acknowledged(*ack));
            assert_eq!(watch.acked, expected, "{acks:?}");
        }
    }

    #[test]
    fn watched_number_wraps() {
        let mut watch = Watch { seq: 0, acked: Acked::Nothing };
        watch.acknowledged(u32::MAX);
        assert_eq!(watch.acked, Acked::Before);
        watch.acknowledged(0);
        assert_eq!(watch.acked, Acked::Exactly);
    }
}
