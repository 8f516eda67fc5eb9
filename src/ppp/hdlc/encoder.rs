//! Frames to bytes.

use super::{Accm, CHUNK, ESCAPE, FLAG, ONES, TURNED, bits, copy_chunk, fcs, zeros};

/// Writes frames for the peer's receive ACCM.
#[derive(Clone, Debug)]
pub struct Encoder {
    accm: Accm,
}

/// The most bytes that [`Encoder::encode`] appends for a frame of `length` bytes.
#[must_use]
pub const fn encoded_max(length: usize) -> usize {
    2 * (length + 2) + 2
}

impl Encoder {
    /// An encoder that escapes what `accm` says; [`Accm::ALL`] is right until more is known.
    #[must_use]
    pub const fn new(accm: Accm) -> Self {
        Self { accm }
    }

    /// What the peer asked for in LCP, if someone saw it.
    pub const fn set_accm(&mut self, accm: Accm) {
        self.accm = accm;
    }

    /// Appends one frame to `out`: flag, frame and FCS with their escapes, flag. Where the last thing in `out` is a
    /// frame's flag, it serves as this one's opening flag too (RFC 1662 §3.1). Does not allocate when `out` has
    /// [`encoded_max`] bytes to spare.
    pub fn encode(&self, frame: &[u8], out: &mut Vec<u8>) {
        out.reserve(encoded_max(frame.len()));
        if out.last() != Some(&FLAG) {
            out.push(FLAG);
        }
        // RFC 1662 §7: a peer that has just started over has forgotten its map, and LCP is how it will say so.
        let accm = if is_lcp(frame) { Accm::ALL } else { self.accm };
        let check = !fcs::update(fcs::INIT, frame);
        escape(frame, accm, out);
        escape(&check.to_le_bytes(), accm, out);
        out.push(FLAG);
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new(Accm::ALL)
    }
}

fn is_lcp(frame: &[u8]) -> bool {
    frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame).starts_with(&[0xc0, 0x21])
}

fn escape(bytes: &[u8], accm: Accm, out: &mut Vec<u8>) {
    let (chunks, tail) = bytes.as_chunks::<CHUNK>();
    for chunk in chunks {
        let flags =
            |word: u64| zeros(word ^ (ONES * u64::from(FLAG))) | zeros(word ^ (ONES * u64::from(ESCAPE)));
        match accm {
            Accm::NONE => escape_chunk(chunk, bits(chunk, flags), out),
            // All control characters, and those only, have none of their three high bits.
            Accm::ALL => {
                escape_chunk(chunk, bits(chunk, |word| flags(word) | zeros(word & (ONES * 0xe0))), out)
            }
            _ => escape_bytes(chunk, accm, out),
        }
    }
    escape_bytes(tail, accm, out);
}

/// One chunk, in which the bytes of these bits are escaped. Escapes come in crowds (encrypted data has one in seven
/// bytes), so there is no branch but for whether there is another.
fn escape_chunk(chunk: &[u8; CHUNK], mut escaped: u64, out: &mut Vec<u8>) {
    if escaped == 0 {
        out.extend_from_slice(chunk);
        return;
    }
    let mut from = [0_u8; 2 * CHUNK];
    if let Some(begin) = from.first_chunk_mut::<CHUNK>() {
        *begin = *chunk;
    }
    let mut wide = [0_u8; 3 * CHUNK];
    let (mut at, mut used) = (0_usize, 0_usize);
    while escaped != 0 {
        let next = escaped.trailing_zeros() as usize;
        escaped &= escaped - 1;
        copy_chunk(&from, at, &mut wide, used);
        used += next - at;
        if let (Some([escape, turned]), Some(byte)) = (wide.get_mut(used..used + 2), from.get(next)) {
            (*escape, *turned) = (ESCAPE, byte ^ TURNED);
        }
        used += 2;
        at = next + 1;
    }
    copy_chunk(&from, at, &mut wide, used);
    used += CHUNK - at;
    let length = out.len() + used;
    if let Some(whole) = wide.first_chunk::<{ 2 * CHUNK }>() {
        out.extend_from_slice(whole);
    }
    out.truncate(length);
}

fn escape_bytes(bytes: &[u8], accm: Accm, out: &mut Vec<u8>) {
    for byte in bytes {
        if must_escape(*byte, accm) {
            out.extend_from_slice(&[ESCAPE, byte ^ TURNED]);
        } else {
            out.push(*byte);
        }
    }
}

/// Written so that no part of it is skipped.
fn must_escape(byte: u8, accm: Accm) -> bool {
    let control = (byte < 0x20) & (accm.0 >> (byte & 0x1f) & 1 == 1);
    (byte == FLAG) | (byte == ESCAPE) | control
}
