//! GRE packets of the call that arrive before the call reply.
//!
//! TCP and GRE are not ordered against each other: a server sends its first LCP request right after the
//! Outgoing-Call-Reply, and retransmits it only after 1 to 3 s. A few packets are kept, and handled as soon as
//! the call is up.

/// Most packets that are kept: what a server sends until the reply arrives, even if TCP retransmits it.
const MOST_PACKETS: usize = 8;

/// Most bytes that are kept. A server's first LCP request has less than 100.
const MOST_BYTES: usize = 4096;

/// The packets that are kept, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct EarlyPackets {
    packets: Vec<Vec<u8>>,
    bytes: usize,
}

impl EarlyPackets {
    /// Keeps a packet without its IP header, unless there are too many.
    pub fn keep(&mut self, packet: &[u8]) {
        let bytes = self.bytes.saturating_add(packet.len());
        if self.packets.len() < MOST_PACKETS && bytes <= MOST_BYTES {
            self.bytes = bytes;
            self.packets.push(packet.to_vec());
        }
    }

    /// Removes and returns the packets.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(self).packets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_and_bytes_are_bounded() {
        let mut early = EarlyPackets::default();
        for n in 0..100 {
            early.keep(&[n; 20]);
        }
        let kept = early.take();
        assert_eq!(kept.len(), MOST_PACKETS);
        assert_eq!(kept[1], [1; 20]);
        assert!(early.take().is_empty());
        for _ in 0..100 {
            early.keep(&[0; 1500]);
        }
        assert_eq!(early.take().len(), MOST_BYTES / 1500);
        early.keep(&[0; 2 * MOST_BYTES]);
        assert!(early.take().is_empty());
    }
}
