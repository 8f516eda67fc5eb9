//! Frames to bytes.

use super::{Accm, ESCAPE, FLAG, TURNED, fcs, plain_run, specials};

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
    let controls = accm != Accm::NONE;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(plain_run(rest, controls).min(rest.len()));
        out.extend_from_slice(run);
        rest = after;
        // Escapes come in crowds (encrypted data has one in seven bytes), so go on by eights until they thin out.
        while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
            if specials(*chunk, controls) == 0 {
                break;
            }
            escape_chunk(*chunk, accm, out);
            rest = after;
        }
        if rest.len() < 8 {
            for byte in rest {
                if must_escape(*byte, accm) {
                    out.extend_from_slice(&[ESCAPE, byte ^ TURNED]);
                } else {
                    out.push(*byte);
                }
            }
            return;
        }
    }
}

/// Eight bytes to eight to sixteen, without a branch on the data.
fn escape_chunk(chunk: [u8; 8], accm: Accm, out: &mut Vec<u8>) {
    let mut wide = [0_u8; 16];
    let mut used = 0_usize;
    for byte in chunk {
        let escaped = u8::from(must_escape(byte, accm));
        if let Some(slot) = wide.get_mut(used & 15) {
            *slot = ESCAPE;
        }
        used += usize::from(escaped);
        if let Some(slot) = wide.get_mut(used & 15) {
            *slot = byte ^ (escaped * TURNED);
        }
        used += 1;
    }
    let length = out.len() + used;
    out.extend_from_slice(&wide);
    out.truncate(length);
}

/// Written so that no part of it is skipped.
fn must_escape(byte: u8, accm: Accm) -> bool {
    let control = (byte < 0x20) & (accm.0 >> (byte & 0x1f) & 1 == 1);
    (byte == FLAG) | (byte == ESCAPE) | control
}
