//! The Internet checksum (RFC 1071).
//!
//! Sums are kept in the machine's byte order (RFC 1071 §2 (B)) and swapped once at the end.

use super::fields;

/// A sum of 16-bit words that is not yet folded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last byte counts as if a zero followed.
    pub fn add(self, bytes: &[u8]) -> Self {
        let (longs, rest) = bytes.as_chunks::<4>();
        let mut last = [0; 4];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let all = longs.iter().fold(0_u64, |sum, long| sum + u64::from(u32::from_ne_bytes(*long)));
        Self(self.0 + all + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds one word.
    pub fn add_word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word.to_be()))
    }

    /// Returns the sum, not complemented.
    pub fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::from_be(u16::try_from(sum).unwrap_or(u16::MAX))
    }

    /// Returns the checksum of what was added.
    pub fn checksum(self) -> u16 {
        !self.folded()
    }
}

/// Returns the sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) without the length.
pub(super) fn pseudo_header(addresses: &[u8], protocol: u8) -> Sum {
    Sum::default().add(addresses).add_word(u16::from(protocol))
}

/// Returns whether the checksum of a TCP or UDP packet is right; `at` is the offset of the TCP or UDP header.
pub(super) fn is_right(packet: &[u8], at: usize, ipv6: bool, protocol: u8) -> bool {
    let (Some(addresses), Some(body)) = (fields::addresses(packet, ipv6), packet.get(at..)) else {
        return false;
    };
    let Ok(length) = u16::try_from(body.len()) else { return false };
    pseudo_header(addresses, protocol).add_word(length).add(body).folded() == 0xffff
}
