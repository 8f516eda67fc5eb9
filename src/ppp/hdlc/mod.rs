//! HDLC-like framing on an octet stream (RFC 1662 §4, asynchronous): flags, transparency, FCS-16.
//!
//! This is what a pty or a pipe to ppp(8) or pppd(8) carries. It owns bytes to frames and frames to bytes, and no
//! reading or writing. A frame here is what GRE carries: everything between the flags without the FCS, address and
//! control bytes present or compressed away as the two PPP ends agreed, which is none of our business.
//!
//! Synchronous mode (`--sync`) has no framing at all: one write is one frame, and one read gives one frame as long
//! as the reader keeps up; nothing in the stream marks where one ends. None of this module is used for it, and no
//! length inside the frame may be trusted to cut it (MPPE, ACFC, PFC and empty Configure-Requests have none where
//! the classic client looks for it).

mod chunk;
mod decoder;
mod encoder;
mod fcs;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, DecoderCounters, HdlcDrop};
pub use encoder::{Encoder, encoded_max};

/// Begins and ends each frame (RFC 1662 §3.1).
const FLAG: u8 = 0x7e;
/// Says that the next byte has its bit 5 turned (RFC 1662 §4.2).
const ESCAPE: u8 = 0x7d;
/// The bit that is turned.
const TURNED: u8 = 0x20;

/// Asynchronous-Control-Character-Map (RFC 1662 §7.1): bit n says that byte n is escaped by the sender, and that
/// the receiver ignores it when it comes unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accm(pub u32);

impl Accm {
    /// All control characters: what holds until something else is agreed, and for LCP always.
    pub const ALL: Self = Self(u32::MAX);
    /// No control characters.
    pub const NONE: Self = Self(0);

    fn contains(self, byte: u8) -> bool {
        byte < 0x20 && self.0 >> byte & 1 == 1
    }
}

/// How many bytes at the start of `bytes` are surely neither flag nor escape nor, with `controls`, below 0x20.
/// Looks at eight at a time.
fn plain_run(bytes: &[u8], controls: bool) -> usize {
    let (chunks, tail) = bytes.as_chunks::<8>();
    for (number, chunk) in chunks.iter().enumerate() {
        let special = specials(*chunk, controls);
        if special != 0 {
            return 8 * number + special.trailing_zeros() as usize / 8;
        }
    }
    let rest = tail.iter().take_while(|byte| !is_special(**byte, controls)).count();
    8 * chunks.len() + rest
}

/// Zero when none of eight bytes is special. Otherwise the lowest bit that is set lies in the first that is; the
/// bits above it may lie.
fn specials(chunk: [u8; 8], controls: bool) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(chunk);
    // A byte smaller than what is taken from it borrows, which sets its high bit; one that had it set is not small.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let low = if controls { below(word, 0x20) } else { 0 };
    equal(FLAG) | equal(ESCAPE) | low
}

fn is_special(byte: u8, controls: bool) -> bool {
    byte == FLAG || byte == ESCAPE || (controls && byte < 0x20)
}
