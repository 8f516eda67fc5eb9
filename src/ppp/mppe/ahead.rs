//! Keys and key streams of the packets that come next, four at a time.
//!
//! In stateless mode each packet has a key of its own, which follows from the one before alone. So where the lengths
//! of the next packets are known, their keys and streams can be made together, before anything is known of their
//! contents. They are stored with the key that they follow, and used only while that is the present one: the results
//! are those of one packet after the other, whatever arrives.

use zeroize::Zeroize;

use super::{
    lanes::{LANES, Lanes},
    rc4::{KEY, Rc4},
};

/// Most lengths that are stored: those of the packets of one system call.
const PACKETS: usize = 64;

/// Fewer keys than this take as long together as one after the other.
pub(super) const LEAST: usize = 3;

/// The lengths of the next packets, and what was made for the first ones.
pub(super) struct Ahead {
    lengths: [usize; PACKETS],
    /// The lengths for which nothing was made yet are those from `first` to `last`.
    first: usize,
    last: usize,
    /// The keys of the lanes, each after the one that it follows.
    keys: [[u8; KEY]; LANES + 1],
    /// The lanes that are not used yet are those from `next` to `count`.
    next: usize,
    count: usize,
    lanes: Lanes,
}

impl Ahead {
    /// Returns one that expects nothing.
    pub fn new() -> Self {
        Self {
            lengths: [0; PACKETS],
            first: 0,
            last: 0,
            keys: [[0; KEY]; LANES + 1],
            next: 0,
            count: 0,
            lanes: Lanes::new(),
        }
    }

    /// Sets the lengths of the next packets, in place of those that were set before.
    pub fn expect(&mut self, lengths: impl Iterator<Item = usize>) {
        // The first ones have their keys already.
        let made = self.count - self.next;
        (self.first, self.last) = (0, 0);
        for (slot, length) in self.lengths.iter_mut().zip(lengths.skip(made)) {
            *slot = length.max(1);
            self.last += 1;
        }
    }

    /// Returns the next lane and its key, if that follows `present`.
    pub fn take(&mut self, present: &[u8; KEY]) -> Option<(usize, [u8; KEY])> {
        let lane = self.next;
        let [before, key] = self.keys.get(lane..self.count + 1)?.first_chunk()?;
        if before != present {
            // The present key has jumped.
            self.count = self.next;
            return None;
        }
        self.next += 1;
        Some((lane, *key))
    }

    /// Returns the lengths of the next packets for [`Ahead::make`], zero for lanes that none is for, or `None` if the
    /// next key had better be made alone. Each is returned once.
    pub fn next_lengths(&mut self) -> Option<[usize; LANES]> {
        let waiting = self.lengths.get(self.first..self.last).unwrap_or_default();
        if waiting.len() < LEAST {
            self.first = self.last.min(self.first + 1);
            return None;
        }
        let mut lengths = [0; LANES];
        for (lane, length) in lengths.iter_mut().zip(waiting) {
            *lane = *length;
            self.first += 1;
        }
        Some(lengths)
    }

    /// Makes the streams of the lanes with a length. `keys` are theirs, after the present one; `ciphers` the same as
    /// RC4 takes them.
    pub fn make(
        &mut self,
        keys: [[u8; KEY]; LANES + 1],
        ciphers: &[[u8; KEY]; LANES],
        lengths: [usize; LANES],
    ) {
        self.keys = keys;
        (self.next, self.count) = (0, lengths.iter().filter(|length| **length > 0).count());
        self.lanes.begin(ciphers, lengths);
    }

    /// Encrypts or decrypts in place, as far as the lane's stream was made, and returns the rest.
    pub fn apply<'a>(&mut self, lane: usize, bytes: &'a mut [u8]) -> &'a mut [u8] {
        self.lanes.apply(lane, bytes)
    }

    /// Returns the lane's stream behind what was made of it.
    pub fn rest(&self, lane: usize) -> Rc4 {
        self.lanes.rest(lane)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_taken_in_order_behind_the_keys_that_they_follow() {
        let mut ahead = Ahead::new();
        ahead.expect([100, 100, 100].into_iter());
        let lengths = ahead.next_lengths().unwrap();
        let mut keys = [[0; KEY]; LANES + 1];
        for (key, first) in keys.iter_mut().zip(1..) {
            key[0] = first;
        }
        let ciphers = [[7; KEY]; LANES];
        ahead.make(keys, &ciphers, lengths);
        assert_eq!(ahead.take(&keys[0]), Some((0, keys[1])));
        assert_eq!(ahead.take(&keys[1]), Some((1, keys[2])));
        assert_eq!(ahead.take(&[9; KEY]), None, "another key is present: it has jumped");
        assert_eq!(ahead.take(&keys[2]), None, "what was made is of no use any more");
    }
}
