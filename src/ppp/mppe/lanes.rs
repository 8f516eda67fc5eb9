//! Four RC4 streams in one loop, in half the time of one after the other: the steps of a stream wait for each other,
//! those of different streams do not. The streams are kept, and applied to the packets when these come.
#![expect(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "the lanes are counted, other indices have 8 bits or are checked before; iterators make it slower"
)]

use std::array;

use zeroize::Zeroize;

use super::rc4::{KEY, Rc4, Table, WORD, mix, next, next_word};

/// Streams at a time. More need more registers than a processor has.
pub(super) const LANES: usize = 4;

/// Most bytes of a stream that are made ahead: more than any packet has.
const ROOM: usize = 2048;

/// Four streams, each with the bytes that were made and not used yet.
pub(super) struct Lanes {
    tables: [Table; LANES],
    j: [u8; LANES],
    /// Bytes made of each stream, and how many of them were used.
    made: [usize; LANES],
    used: [usize; LANES],
    streams: [[u8; ROOM]; LANES],
}

impl Lanes {
    /// Returns lanes without a stream.
    pub fn new() -> Self {
        Self {
            tables: [[0; 256]; LANES],
            j: [0; LANES],
            made: [0; LANES],
            used: [0; LANES],
            streams: [[0; ROOM]; LANES],
        }
    }

    /// Begins the streams of these keys, and makes so many bytes of each. A length of zero means that the lane is not
    /// used, which only the last ones may be.
    pub fn begin(&mut self, keys: &[[u8; KEY]; LANES], lengths: [usize; LANES]) {
        (self.j, self.made, self.used) = ([0; LANES], [0; LANES], [0; LANES]);
        let used = lengths.iter().filter(|length| **length > 0).count();
        if used > 2 {
            mix(&mut self.tables, keys);
        } else {
            for (table, key) in self.tables.iter_mut().zip(keys).take(used) {
                mix(array::from_mut(table), array::from_ref(key));
            }
        }
        let mut sorted = lengths;
        sorted.sort_unstable();
        // As long as three streams are needed, four cost less than these one by one.
        self.make_all(sorted[1]);
        for (lane, length) in lengths.into_iter().enumerate() {
            self.make(lane, length);
        }
    }

    /// Makes bytes of all streams up to this number, from the beginning.
    fn make_all(&mut self, length: usize) {
        let Self { tables, j: all, streams, .. } = self;
        let length = length.min(ROOM);
        let (mut i, mut j) = (0_u8, *all);
        for at in 0..length {
            for lane in 0..LANES {
                let mut own = i;
                streams[lane][at] = next(&mut tables[lane], &mut own, &mut j[lane]);
            }
            i = i.wrapping_add(1);
        }
        *all = j;
        self.made = [length; LANES];
    }

    /// Makes bytes of one stream up to this number.
    fn make(&mut self, lane: usize, length: usize) {
        let Self { tables, j, streams, made, .. } = self;
        let begin = made[lane];
        let missing =
            length.min(ROOM).saturating_sub(begin).next_multiple_of(WORD).min((ROOM - begin) / WORD * WORD);
        let mut i = low_byte(begin);
        let (words, _) = streams[lane][begin..begin + missing].as_chunks_mut();
        for word in words {
            *word = next_word(&mut tables[lane], &mut i, &mut j[lane]).to_le_bytes();
        }
        made[lane] = begin + missing;
    }

    /// Encrypts or decrypts in place, as far as there are bytes of the stream, and returns the rest.
    pub fn apply<'a>(&mut self, lane: usize, bytes: &'a mut [u8]) -> &'a mut [u8] {
        let stream = self.take(lane, bytes.len());
        let (now, rest) = bytes.split_at_mut(stream.len());
        for (byte, key) in now.iter_mut().zip(stream) {
            *byte ^= key;
        }
        rest
    }

    /// Returns the stream of a lane behind the bytes that were made.
    pub fn rest(&self, lane: usize) -> Rc4 {
        Rc4::resumed(&self.tables[lane], low_byte(self.made[lane]), self.j[lane])
    }

    fn take(&mut self, lane: usize, most: usize) -> &[u8] {
        let begin = self.used[lane];
        let end = self.made[lane].min(begin + most);
        self.used[lane] = end;
        &self.streams[lane][begin..end]
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.tables.zeroize();
        self.streams.zeroize();
    }
}

/// Returns the first index of a state that has given so many bytes.
fn low_byte(made: usize) -> u8 {
    made.to_le_bytes()[0]
}
