//! Escaping by chunks: finds the special bytes of a chunk, and copies it with escapes inserted or removed.
//! Safe code in which the compiler needs no bounds checks and few branches: encrypted data has about one
//! escape in eight bytes, so a branch for each would often be mispredicted.

use super::ESCAPE_BIT;

/// Bytes that are examined together: one bit of a word for each.
pub(super) const CHUNK: usize = 64;
/// Bytes moved by one copy, even if fewer are needed.
const STRIDE: usize = 32;
/// Powers of two that hold a chunk, and a chunk with an escape before each byte.
const SOURCE_SIZE: usize = 2 * CHUNK;
const COPY_SIZE: usize = 4 * CHUNK;

/// Returns the position of the first `byte`.
pub(super) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let mut before = 0;
    for chunk in bytes.chunks(STRIDE) {
        if chunk.iter().fold(false, |any, other| any | (*other == byte)) {
            return chunk.iter().position(|other| *other == byte).map(|at| before + at);
        }
        before += chunk.len();
    }
    None
}

/// The marked bytes of a chunk.
pub(super) struct ChunkMask {
    /// [`ESCAPE_BIT`] for each marked byte, after the mark of the last byte of the previous chunk.
    marks: [u8; CHUNK + 1],
}

impl ChunkMask {
    pub const fn new() -> Self {
        Self { marks: [0; CHUNK + 1] }
    }

    /// Marks the bytes of the next chunk for which `which` holds, and returns a bit for each byte, lowest
    /// first.
    pub fn next(&mut self, chunk: &[u8; CHUNK], which: impl Fn(u8) -> bool) -> u64 {
        self.marks[0] = self.marks[CHUNK];
        let Some(marks) = self.marks.last_chunk_mut::<CHUNK>() else { return 0 };
        mark(chunk, marks, which);
        let (words, _) = marks.as_chunks::<8>();
        // The multiplication gathers the eight marks in the highest byte.
        words.iter().rev().fold(0, |bits, word| {
            let eight = u64::from_le_bytes(*word) / u64::from(ESCAPE_BIT);
            bits << 8 | eight.wrapping_mul(0x0102_0408_1020_4080) >> 56
        })
    }

    /// Clears the mark of a byte.
    pub fn clear(&mut self, at: usize) {
        if let Some(mark) = self.marks.get_mut(at + 1) {
            *mark = 0;
        }
    }

    /// Returns whether the byte before the next chunk was marked.
    pub const fn carry(&self) -> bool {
        self.marks[CHUNK] != 0
    }

    /// Sets whether the byte before the next chunk was marked.
    pub const fn set_carry(&mut self, marked: bool) {
        self.marks[CHUNK] = if marked { ESCAPE_BIT } else { 0 };
    }
}

/// A separate function, so that the compiler vectorises the comparison.
#[inline(never)]
fn mark(chunk: &[u8; CHUNK], marks: &mut [u8; CHUNK], which: impl Fn(u8) -> bool) {
    for (mark, byte) in marks.iter_mut().zip(chunk) {
        *mark = if which(*byte) { ESCAPE_BIT } else { 0 };
    }
}

/// A chunk and its copy. Both buffers have spare bytes at the end, because data is copied in whole strides;
/// surplus bytes are overwritten later, or cut off at the end.
pub(super) struct EscapeBuffer {
    from: [u8; SOURCE_SIZE + 2 * STRIDE],
    to: [u8; COPY_SIZE + 2 * STRIDE],
    at: usize,
    used: usize,
}

impl EscapeBuffer {
    pub const fn new() -> Self {
        Self { from: [0; SOURCE_SIZE + 2 * STRIDE], to: [0; COPY_SIZE + 2 * STRIDE], at: 0, used: 0 }
    }

    /// Starts the copy of a chunk, with bit 5 of each marked byte inverted.
    pub fn begin(&mut self, chunk: &[u8; CHUNK], marks: &ChunkMask) {
        if let Some(marks) = marks.marks.last_chunk() {
            self.invert_marked(chunk, marks);
        }
    }

    /// Starts the copy of a chunk, with bit 5 of each byte after a marked byte inverted.
    pub fn begin_after(&mut self, chunk: &[u8; CHUNK], marks: &ChunkMask) {
        if let Some(marks) = marks.marks.first_chunk() {
            self.invert_marked(chunk, marks);
        }
    }

    fn invert_marked(&mut self, chunk: &[u8; CHUNK], marks: &[u8; CHUNK]) {
        for ((from, byte), mark) in self.from.iter_mut().zip(chunk).zip(marks) {
            *from = byte ^ mark;
        }
        (self.at, self.used) = (0, 0);
    }

    /// Copies the bytes before `end` that have not been copied yet. They are at most one chunk, so the masks
    /// change no value; they only make bounds checks unnecessary.
    pub fn run_to(&mut self, end: usize) {
        let (at, place) = (self.at & (SOURCE_SIZE - 1), self.used & (COPY_SIZE - 1));
        stride(&self.from, at, &mut self.to, place);
        let length = end.wrapping_sub(self.at);
        if length > STRIDE {
            stride(&self.from, at + STRIDE, &mut self.to, place + STRIDE);
        }
        self.used = self.used.wrapping_add(length);
        self.at = end;
    }

    /// Appends a byte to the copy.
    pub fn put(&mut self, byte: u8) {
        if let Some(to) = self.to.get_mut(self.used & (COPY_SIZE - 1)) {
            *to = byte;
        }
        self.used += 1;
    }

    /// Skips the next byte of the chunk.
    pub const fn skip(&mut self) {
        self.at += 1;
    }

    /// Returns the copy.
    pub fn copied(&self) -> &[u8] {
        self.to.get(..self.used).unwrap_or_default()
    }

    /// Returns the length of the copy, and the first `N` bytes of its buffer, including surplus bytes.
    pub fn copied_and_more<const N: usize>(&self) -> (usize, &[u8; N]) {
        (self.used, self.to.first_chunk().unwrap_or(&[0; N]))
    }
}

fn stride(
    from: &[u8; SOURCE_SIZE + 2 * STRIDE],
    at: usize,
    to: &mut [u8; COPY_SIZE + 2 * STRIDE],
    place: usize,
) {
    if let (Some(from), Some(to)) = (from.get(at..at + STRIDE), to.get_mut(place..place + STRIDE)) {
        to.copy_from_slice(from);
    }
}
