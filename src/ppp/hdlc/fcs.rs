//! The 16-bit frame check sequence (RFC 1662 appendix C.2). Long frames are folded, 128 bytes at a time; the
//! remainder goes through tables, eight bytes at a time.
//!
//! The generator is P = x^16 + x^12 + x^5 + 1. Squaring a polynomial over GF(2) doubles its exponents, so
//! P^64 is x^1024 + x^768 + x^320 + 1, a multiple of P: a byte can be removed if it is added 32, 88 and 128
//! bytes further on. That takes three exclusive ors for eight bytes.

/// FCS of no bytes.
pub(super) const INIT: u16 = 0xffff;
/// FCS over a frame and its FCS, if the frame is intact.
pub(super) const GOOD: u16 = 0xf0b8;

/// Words of eight bytes that are folded together: 1024 bits.
const WORDS: usize = 16;
/// Distances, in words, at which a removed word is added, besides [`WORDS`]: 32 and 88 bytes.
const NEAR: usize = 4;
const FAR: usize = 11;

/// Continues `fcs` over `bytes`. The complement of the result is sent, low byte first.
pub(super) fn update(fcs: u16, bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<8>();
    let (blocks, more) = words.as_chunks::<WORDS>();
    // The last block is not removed: it holds the remainder.
    let Some((last, blocks)) = blocks.split_last().filter(|(_, blocks)| blocks.len() > 1) else {
        return by_tables(fcs, bytes);
    };
    let mut folded = [0_u64; WORDS];
    let mut begin = u64::from(fcs);
    for block in blocks {
        for (at, word) in block.iter().enumerate() {
            let word = u64::from_le_bytes(*word) ^ begin;
            begin = 0;
            // `folded[at]` is the word `WORDS` before; the nearer words are in this block or the previous
            // one.
            let value = word
                ^ word_at(&folded, at)
                ^ word_at(&folded, at + WORDS - NEAR)
                ^ word_at(&folded, at + WORDS - FAR);
            if let Some(place) = folded.get_mut(at) {
                *place = value;
            }
        }
    }
    let mut left = [[0; 8]; WORDS];
    for (at, (left, word)) in left.iter_mut().zip(last).enumerate() {
        let mut value = u64::from_le_bytes(*word) ^ word_at(&folded, at);
        for distance in [NEAR, FAR] {
            if at < distance {
                value ^= word_at(&folded, at + WORDS - distance);
            }
        }
        *left = value.to_le_bytes();
    }
    by_tables(by_tables(by_tables(0, left.as_flattened()), more.as_flattened()), rest)
}

/// Never out of bounds: the compiler detects that and omits the check.
fn word_at(words: &[u64; WORDS], at: usize) -> u64 {
    words.get(at % WORDS).copied().unwrap_or_default()
}

/// Does the same as [`update`], with tables alone.
fn by_tables(mut fcs: u16, bytes: &[u8]) -> u16 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in chunks {
        let [low, high] = fcs.to_le_bytes();
        fcs = at(&TABLES.0, a ^ low)
            ^ at(&TABLES.1, b ^ high)
            ^ at(&TABLES.2, *c)
            ^ at(&TABLES.3, *d)
            ^ at(&TABLES.4, *e)
            ^ at(&TABLES.5, *f)
            ^ at(&TABLES.6, *g)
            ^ at(&TABLES.7, *h);
    }
    for byte in rest {
        let [low, _] = fcs.to_le_bytes();
        fcs = (fcs >> 8) ^ at(&TABLES.7, byte ^ low);
    }
    fcs
}

type Table = [u16; 256];

/// Table n is for a byte that is followed by 7 - n further bytes.
static TABLES: (Table, Table, Table, Table, Table, Table, Table, Table) =
    (table(8), table(7), table(6), table(5), table(4), table(3), table(2), table(1));

/// Returns the effect of each byte value on the FCS after `bytes` bytes: the byte itself and zeros.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses an index out of bounds"
)]
#[expect(clippy::cast_possible_truncation, reason = "value counts to 255; From is not const")]
const fn table(bytes: u32) -> Table {
    let mut table = [0; 256];
    let mut value = 0;
    while value < 256 {
        let mut fcs = value as u16;
        let mut bit = 0;
        while bit < 8 * bytes {
            fcs = if fcs & 1 == 1 { (fcs >> 1) ^ 0x8408 } else { fcs >> 1 };
            bit += 1;
        }
        table[value] = fcs;
        value += 1;
    }
    table
}

/// Never out of bounds: the compiler detects that and omits the check.
fn at(table: &Table, byte: u8) -> u16 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bit_by_bit(bytes: &[u8]) -> u16 {
        bytes.iter().fold(INIT, |fcs, byte| {
            (0..8).fold(
                fcs ^ u16::from(*byte),
                |fcs, _| {
                    if fcs & 1 == 1 { (fcs >> 1) ^ 0x8408 } else { fcs >> 1 }
                },
            )
        })
    }

    #[test]
    fn matches_check_value_of_crc_16_x_25() {
        assert_eq!(!update(INIT, b"123456789"), 0x906e);
        assert_eq!(update(INIT, &[]), INIT);
    }

    #[test]
    fn first_table_entries_match_rfc_1662() {
        assert_eq!(TABLES.7[..6], [0x0000, 0x1189, 0x2312, 0x329b, 0x4624, 0x57ad]);
    }

    proptest! {
        #[test]
        fn matches_bitwise_computation(bytes in proptest::collection::vec(any::<u8>(), 0..1600), cut in 0..1600_usize) {
            let cut = cut.min(bytes.len());
            let fcs = update(INIT, &bytes);
            prop_assert_eq!(fcs, bit_by_bit(&bytes));
            prop_assert_eq!(update(update(INIT, &bytes[..cut]), &bytes[cut..]), fcs);
            prop_assert_eq!(update(fcs, &(!fcs).to_le_bytes()), GOOD);
        }
    }
}
