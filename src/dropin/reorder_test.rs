//! `--test-type`: reorders outgoing packets, to test servers and their reorder queues.
//!
//! Every `--test-rate` packets, type 1 swaps two; type 2 holds ten back, sends the eleventh, then the ten;
//! type 3 sends the ten in reverse. No packet is lost, unlike with the classic program's type 3, which loses
//! one. Allocates memory per packet, which is acceptable for a test.

/// Packets held back by types 2 and 3.
const HELD: usize = 10;

/// State of the reordering.
#[derive(Debug)]
pub struct ReorderTest {
    hold: usize,
    reverse: bool,
    rate: u32,
    since: u32,
    held: Vec<Vec<u8>>,
}

impl ReorderTest {
    /// Returns a reorderer of type 1 to 3; `None` for type 0.
    #[must_use]
    pub fn new(kind: u8, rate: u32) -> Option<Self> {
        let hold = match kind {
            0 => return None,
            1 => 1,
            _ => HELD,
        };
        Some(Self { hold, reverse: kind == 3, rate, since: 0, held: Vec::new() })
    }

    /// Takes an outgoing packet and passes those to be sent now to `send`.
    pub fn pass(&mut self, packet: &[u8], mut send: impl FnMut(&[u8])) {
        if self.held.is_empty() {
            self.since += 1;
            if self.since < self.rate {
                return send(packet);
            }
            self.since = 0;
        }
        if self.held.len() < self.hold {
            self.held.push(packet.to_vec());
            return;
        }
        send(packet);
        self.finish(send);
    }

    /// Sends the packets still held back, at the end.
    pub fn finish(&mut self, mut send: impl FnMut(&[u8])) {
        if self.reverse {
            self.held.reverse();
        }
        for held in self.held.drain(..) {
            send(&held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(kind: u8, rate: u32, count: u8) -> Vec<u8> {
        let mut reordering = ReorderTest::new(kind, rate).unwrap();
        let mut sent = Vec::new();
        for n in 0..count {
            reordering.pass(&[n], |packet| sent.push(packet[0]));
        }
        reordering.finish(|packet| sent.push(packet[0]));
        sent
    }

    #[test]
    fn each_kind_reorders_as_documented() {
        assert!(ReorderTest::new(0, 1).is_none());
        assert_eq!(order(1, 3, 8), [0, 1, 3, 2, 4, 5, 7, 6]);
        assert_eq!(order(2, 2, 14), [0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13]);
        assert_eq!(order(3, 2, 13), [0, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 12]);
    }

    #[test]
    fn no_packet_is_lost() {
        for kind in 1..=3 {
            for rate in [1, 2, 7] {
                let mut sent = order(kind, rate, 100);
                sent.sort_unstable();
                assert_eq!(sent, (0..100).collect::<Vec<_>>(), "{kind} {rate}");
            }
        }
    }
}
