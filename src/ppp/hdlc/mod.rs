//! HDLC-like framing on an octet stream (RFC 1662 §4, asynchronous): flags, transparency, FCS-16.
//!
//! Used on a pty or a pipe to ppp(8) or pppd(8). Converts between bytes and frames, and does no I/O. A frame
//! is the same as in GRE: everything between the flags without the FCS. Whether it has address and control
//! bytes and a compressed protocol field is agreed between the two PPP ends and does not matter here.
//!
//! Synchronous mode (`--sync`) does not use this module, because it has no framing: one write is one frame,
//! and one read returns one frame as long as the reader keeps up; nothing in the stream marks the end of a
//! frame. No length inside a frame can replace the mark (MPPE, ACFC, PFC and empty Configure-Requests have
//! none where the classic client expects it).

mod chunk;
mod decoder;
mod encoder;
mod fcs;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, DecoderCounters, HdlcDrop};
pub use encoder::{encode, encoded_max};

/// Flag, which begins and ends each frame (RFC 1662 §3.1).
const FLAG: u8 = 0x7e;
/// Escape, which means that bit 5 of the next byte is inverted (RFC 1662 §4.2).
const ESCAPE: u8 = 0x7d;
/// The bit that an escape inverts.
const ESCAPE_BIT: u8 = 0x20;

/// Asynchronous-Control-Character-Map (RFC 1662 §7.1): if bit n is set, the sender escapes byte n, and the
/// receiver ignores that byte when it is not escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accm(pub u32);

impl Accm {
    /// All control characters: the default until another map is agreed, and always the map for LCP.
    pub const ALL: Self = Self(u32::MAX);
    /// No control characters.
    pub const NONE: Self = Self(0);

    fn contains(self, byte: u8) -> bool {
        byte < 0x20 && self.0 >> byte & 1 == 1
    }
}

/// Returns the length of the longest prefix of `bytes` without flags, escapes and, with `controls`, bytes
/// below 0x20. Reads eight bytes at a time.
fn plain_run(bytes: &[u8], controls: bool) -> usize {
    let (chunks, tail) = bytes.as_chunks::<8>();
    for (number, chunk) in chunks.iter().enumerate() {
        let special = special_mask(*chunk, controls);
        if special != 0 {
            return 8 * number + special.trailing_zeros() as usize / 8;
        }
    }
    let rest = tail.iter().take_while(|byte| !is_special(**byte, controls)).count();
    8 * chunks.len() + rest
}

/// Returns zero if none of eight bytes is special. Otherwise the lowest set bit lies in the first special
/// byte; bits above it may be wrong.
fn special_mask(chunk: [u8; 8], controls: bool) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(chunk);
    // A byte smaller than `limit` borrows, which sets its high bit; a byte that had it set before is not
    // small.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let low = if controls { below(word, 0x20) } else { 0 };
    equal(FLAG) | equal(ESCAPE) | low
}

fn is_special(byte: u8, controls: bool) -> bool {
    byte == FLAG || byte == ESCAPE || (controls && byte < 0x20)
}
