//! HDLC encoder: frames to bytes.

use super::{
    Accm, ESCAPE, ESCAPE_BIT, FLAG,
    chunk::{CHUNK, ChunkMask, EscapeBuffer},
    fcs,
};

/// Returns the most bytes that [`encode`] appends for a frame of `length` bytes.
#[must_use]
pub const fn encoded_max(length: usize) -> usize {
    2 * (length + 2) + 2
}

/// Appends one frame to `out`: flag, escaped frame and FCS, flag. Escapes the characters of `accm`, the peer's
/// receive map; [`Accm::ALL`] is correct until that is known. If `out` ends with a flag, that flag also opens
/// this frame (RFC 1662 §3.1). Does not allocate if `out` has [`encoded_max`] bytes to spare.
pub fn encode(frame: &[u8], accm: Accm, out: &mut Vec<u8>) {
    out.reserve(encoded_max(frame.len()));
    if out.last() != Some(&FLAG) {
        out.push(FLAG);
    }
    // RFC 1662 §7: a peer that has restarted uses the default map again, and negotiates LCP with it.
    let accm = if is_lcp(frame) { Accm::ALL } else { accm };
    let check = !fcs::update(fcs::INIT, frame);
    escape(frame, accm, out);
    for byte in check.to_le_bytes() {
        if must_escape(byte, accm) {
            out.extend_from_slice(&[ESCAPE, byte ^ ESCAPE_BIT]);
        } else {
            out.push(byte);
        }
    }
    out.push(FLAG);
}

fn is_lcp(frame: &[u8]) -> bool {
    frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame).starts_with(&[0xc0, 0x21])
}

fn escape(bytes: &[u8], accm: Accm, out: &mut Vec<u8>) {
    let (mut marks, mut copy) = (ChunkMask::new(), EscapeBuffer::new());
    let (chunks, tail) = bytes.as_chunks::<CHUNK>();
    for chunk in chunks {
        let escaped = to_escape(chunk, accm, &mut marks);
        if escaped == 0 {
            out.extend_from_slice(chunk);
            continue;
        }
        escape_chunk(chunk, escaped, CHUNK, &marks, &mut copy);
        let (used, most) = copy.copied_and_more::<{ 2 * CHUNK }>();
        let length = out.len() + used;
        out.extend_from_slice(most);
        out.truncate(length);
    }
    let mut chunk = [0; CHUNK];
    if let Some(begin) = chunk.get_mut(..tail.len()) {
        begin.copy_from_slice(tail);
        let escaped = to_escape(&chunk, accm, &mut marks) & ((1 << tail.len()) - 1);
        escape_chunk(&chunk, escaped, tail.len(), &marks, &mut copy);
        out.extend_from_slice(copy.copied());
    }
}

/// Marks the bytes to be escaped, and returns a bit for each.
fn to_escape(chunk: &[u8; CHUNK], accm: Accm, marks: &mut ChunkMask) -> u64 {
    let flags = |byte| (byte == FLAG) | (byte == ESCAPE);
    if accm == Accm::NONE {
        return marks.next(chunk, flags);
    }
    let mut escaped = marks.next(chunk, |byte| flags(byte) | (byte < 0x20));
    if accm != Accm::ALL {
        let mut left = escaped;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            if !chunk.get(at).is_some_and(|byte| must_escape(*byte, accm)) {
                escaped ^= 1 << at;
                marks.clear(at);
            }
            left &= left - 1;
        }
    }
    escaped
}

/// Copies the first `length` bytes of a chunk, with an escape before each byte whose bit in `escaped` is set.
fn escape_chunk(
    chunk: &[u8; CHUNK],
    mut escaped: u64,
    length: usize,
    marks: &ChunkMask,
    copy: &mut EscapeBuffer,
) {
    copy.begin(chunk, marks);
    while escaped != 0 {
        copy.run_to(escaped.trailing_zeros() as usize);
        copy.put(ESCAPE);
        escaped &= escaped - 1;
    }
    copy.run_to(length);
}

/// Without short-circuit operators, so that it compiles without branches.
fn must_escape(byte: u8, accm: Accm) -> bool {
    let control = (byte < 0x20) & (accm.0 >> (byte & 0x1f) & 1 == 1);
    (byte == FLAG) | (byte == ESCAPE) | control
}
