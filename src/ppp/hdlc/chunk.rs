//! Bytes by chunks: where in one the bytes are that matter, and a copy in which escapes are put in or left out. Safe code that
//! leaves the compiler no check of bounds and few branches: encrypted data has an escape in every eight bytes, so that a
//! branch for each would be foretold wrongly as often as not.

use super::TURNED;

/// Bytes that are looked at together: a bit of a word for each.
pub(super) const CHUNK: usize = 64;
/// Bytes that are copied at once, whether there are as many or not.
const STRIDE: usize = 32;
/// Powers of two that hold a chunk, and the same with an escape before each byte.
const FROM: usize = 2 * CHUNK;
const TO: usize = 4 * CHUNK;

/// Where `byte` is first.
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

/// Which bytes of a chunk are meant.
pub(super) struct ChunkMask {
    /// [`TURNED`] for each that is, behind the mark of the last byte of the chunk before.
    marks: [u8; CHUNK + 1],
}

impl ChunkMask {
    pub const fn new() -> Self {
        Self { marks: [0; CHUNK + 1] }
    }

    /// Marks the bytes of the next chunk; gives a bit for each, the lowest for the first.
    pub fn next(&mut self, chunk: &[u8; CHUNK], which: impl Fn(u8) -> bool) -> u64 {
        self.marks[0] = self.marks[CHUNK];
        let Some(marks) = self.marks.last_chunk_mut::<CHUNK>() else { return 0 };
        mark(chunk, marks, which);
        let (words, _) = marks.as_chunks::<8>();
        // The multiplication gathers the eight marks in the highest byte.
        words.iter().rev().fold(0, |bits, word| {
            let eight = u64::from_le_bytes(*word) / u64::from(TURNED);
            bits << 8 | eight.wrapping_mul(0x0102_0408_1020_4080) >> 56
        })
    }

    /// Takes the mark of a byte away.
    pub fn clear(&mut self, at: usize) {
        if let Some(mark) = self.marks.get_mut(at + 1) {
            *mark = 0;
        }
    }

    /// Whether the byte before the next chunk was marked.
    pub const fn carry(&self) -> bool {
        self.marks[CHUNK] != 0
    }

    /// Says whether it was.
    pub const fn set_carry(&mut self, marked: bool) {
        self.marks[CHUNK] = if marked { TURNED } else { 0 };
    }
}

/// By itself, so that the compiler does nothing with the bytes but to compare many at a time.
#[inline(never)]
fn mark(chunk: &[u8; CHUNK], marks: &mut [u8; CHUNK], which: impl Fn(u8) -> bool) {
    for (mark, byte) in marks.iter_mut().zip(chunk) {
        *mark = if which(*byte) { TURNED } else { 0 };
    }
}

/// A chunk and the copy of it. Behind both there is room, because what is copied is not counted but copied by strides;
/// what was too much is overwritten, or cut off at the end.
pub(super) struct EscapeBuffer {
    from: [u8; FROM + 2 * STRIDE],
    to: [u8; TO + 2 * STRIDE],
    at: usize,
    used: usize,
}

impl EscapeBuffer {
    pub const fn new() -> Self {
        Self { from: [0; FROM + 2 * STRIDE], to: [0; TO + 2 * STRIDE], at: 0, used: 0 }
    }

    /// Begins with a chunk of which each byte that is marked is turned.
    pub fn begin(&mut self, chunk: &[u8; CHUNK], marks: &ChunkMask) {
        if let Some(marks) = marks.marks.last_chunk() {
            self.turn(chunk, marks);
        }
    }

    /// Begins with a chunk of which each byte behind one that is marked is turned.
    pub fn begin_behind(&mut self, chunk: &[u8; CHUNK], marks: &ChunkMask) {
        if let Some(marks) = marks.marks.first_chunk() {
            self.turn(chunk, marks);
        }
    }

    fn turn(&mut self, chunk: &[u8; CHUNK], marks: &[u8; CHUNK]) {
        for ((from, byte), mark) in self.from.iter_mut().zip(chunk).zip(marks) {
            *from = byte ^ mark;
        }
        (self.at, self.used) = (0, 0);
    }

    /// Copies the bytes before `end` that are not yet done with. They are no more than a chunk, so that the masks change
    /// nothing but that nobody has to look whether they do.
    pub fn run_to(&mut self, end: usize) {
        let (at, place) = (self.at & (FROM - 1), self.used & (TO - 1));
        stride(&self.from, at, &mut self.to, place);
        let length = end.wrapping_sub(self.at);
        if length > STRIDE {
            stride(&self.from, at + STRIDE, &mut self.to, place + STRIDE);
        }
        self.used = self.used.wrapping_add(length);
        self.at = end;
    }

    /// Puts in a byte.
    pub fn put(&mut self, byte: u8) {
        if let Some(to) = self.to.get_mut(self.used & (TO - 1)) {
            *to = byte;
        }
        self.used += 1;
    }

    /// Leaves out the next byte.
    pub const fn skip(&mut self) {
        self.at += 1;
    }

    /// The copy.
    pub fn copied(&self) -> &[u8] {
        self.to.get(..self.used).unwrap_or_default()
    }

    /// How long the copy is, and it with what happens to be behind it.
    pub fn copied_and_more<const N: usize>(&self) -> (usize, &[u8; N]) {
        (self.used, self.to.first_chunk().unwrap_or(&[0; N]))
    }
}

fn stride(from: &[u8; FROM + 2 * STRIDE], at: usize, to: &mut [u8; TO + 2 * STRIDE], place: usize) {
    if let (Some(from), Some(to)) = (from.get(at..at + STRIDE), to.get_mut(place..place + STRIDE)) {
        to.copy_from_slice(from);
    }
}
