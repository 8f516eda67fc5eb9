//! RC4, faster than the crate `rc4`, with which the tests compare it. `lanes` has four streams at a time.
#![expect(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "indices of 8 bits, into a table with an element for each"
)]

use std::array;

use zeroize::Zeroize;

/// Length of the key. A key of 8 bytes gives the same cipher as one of 16 that repeats it.
pub(super) const KEY: usize = 16;

/// Bytes of a stream that are combined before they are stored: a third less time than one by one.
pub(super) const WORD: usize = 8;

/// The values of a state.
pub(super) type Table = [u8; 256];

/// The table before a key is mixed in.
pub(super) const IDENTITY: Table = {
    let mut table = [0; 256];
    let mut value = 0;
    while value < 256 {
        table[value] = value.to_le_bytes()[0];
        value += 1;
    }
    table
};

/// The state of one stream.
pub(super) struct Rc4 {
    table: Table,
    i: u8,
    j: u8,
}

impl Rc4 {
    /// Creates a stream.
    pub fn new(key: &[u8; KEY]) -> Self {
        let mut cipher = Self { table: [0; 256], i: 0, j: 0 };
        cipher.restart(key);
        cipher
    }

    /// Returns a stream that has come to this state.
    pub fn resumed(table: &Table, i: u8, j: u8) -> Self {
        Self { table: *table, i, j }
    }

    /// Begins a stream with this key in place of the present one.
    pub fn restart(&mut self, key: &[u8; KEY]) {
        mix(array::from_mut(&mut self.table), array::from_ref(key));
        (self.i, self.j) = (0, 0);
    }

    /// Encrypts or decrypts in place.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let Self { table, i, j } = self;
        let (words, rest) = bytes.as_chunks_mut();
        for word in words {
            *word = (u64::from_le_bytes(*word) ^ next_word(table, i, j)).to_le_bytes();
        }
        for byte in rest {
            *byte ^= next(table, i, j);
        }
    }
}

impl Drop for Rc4 {
    fn drop(&mut self) {
        self.table.zeroize();
    }
}

/// Mixes a key into each table. A separate function: it is slower where the compiler knows more of its surroundings.
#[inline(never)]
pub(super) fn mix<const N: usize>(tables: &mut [Table; N], keys: &[[u8; KEY]; N]) {
    tables.fill(IDENTITY);
    let mut j = [0_u8; N];
    for row in 0..16 {
        for column in 0..KEY {
            let i = row * KEY + column;
            for lane in 0..N {
                let value = tables[lane][i];
                j[lane] = j[lane].wrapping_add(value).wrapping_add(keys[lane][column]);
                tables[lane][i] = tables[lane][usize::from(j[lane])];
                tables[lane][usize::from(j[lane])] = value;
            }
        }
    }
}

/// Returns the next bytes of a stream, the first one lowest.
#[inline(always)]
pub(super) fn next_word(table: &mut Table, i: &mut u8, j: &mut u8) -> u64 {
    let mut word = 0;
    for at in 0..WORD {
        word |= u64::from(next(table, i, j)) << (8 * at);
    }
    word
}

/// Returns the next byte of a stream.
#[inline(always)]
pub(super) fn next(table: &mut Table, i: &mut u8, j: &mut u8) -> u8 {
    *i = i.wrapping_add(1);
    *j = j.wrapping_add(table[usize::from(*i)]);
    let (a, b) = (table[usize::from(*i)], table[usize::from(*j)]);
    table[usize::from(*i)] = b;
    table[usize::from(*j)] = a;
    table[usize::from(a.wrapping_add(b))]
}

#[cfg(test)]
mod tests {
    use ::rc4::{KeyInit, StreamCipher};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Returns what the crate `rc4` makes of these bytes with this key, of 8 or 16 bytes.
    fn oracle(key: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut all = bytes.to_vec();
        ::rc4::Rc4::new_from_slice(key).unwrap().apply_keystream(&mut all);
        all
    }

    /// RFC 6229 §2, the key of 128 bits, offsets 0 and 16.
    #[test]
    fn published_key_stream_is_reproduced() {
        let key: [u8; KEY] = std::array::from_fn(|at| at.to_le_bytes()[0] + 1);
        let mut stream = [0; 32];
        Rc4::new(&key).apply(&mut stream);
        let expected = [
            0x9a, 0xc7, 0xcc, 0x9a, 0x60, 0x9d, 0x1e, 0xf7, 0xb2, 0x93, 0x28, 0x99, 0xcd, 0xe4, 0x1b, 0x97,
            0x52, 0x48, 0xc4, 0x95, 0x90, 0x14, 0x12, 0x6a, 0x6e, 0x8a, 0x84, 0xf1, 0x1d, 0x1a, 0x9e, 0x1c,
        ];
        assert_eq!(stream, expected);
    }

    proptest! {
        #[test]
        fn stream_equals_that_of_the_crate(key: [u8; KEY], bytes in vec(any::<u8>(), 0..2000), cut: prop::sample::Index) {
            let expected = oracle(&key, &bytes);
            let mut in_place = bytes.clone();
            let cut = cut.index(bytes.len() + 1);
            let mut cipher = Rc4::new(&[9; KEY]);
            cipher.apply(&mut [0; 77]);
            cipher.restart(&key);
            let (head, tail) = in_place.split_at_mut(cut);
            cipher.apply(head);
            cipher.apply(tail);
            prop_assert_eq!(&in_place, &expected);
        }

        #[test]
        fn key_of_eight_bytes_is_the_same_twice(key: [u8; 8], bytes in vec(any::<u8>(), 0..100)) {
            let twice: [u8; KEY] = [key, key].concat().try_into().unwrap();
            let mut own = bytes.clone();
            Rc4::new(&twice).apply(&mut own);
            prop_assert_eq!(own, oracle(&key, &bytes));
        }
    }
}
