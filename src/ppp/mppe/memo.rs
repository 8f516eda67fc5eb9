//! Key changes that were computed before, for fuzzing: the inputs of a target all begin with the same few keys, and a
//! jump of the count costs thousands of changes.

use std::cell::RefCell;

/// Places for key changes: several times the keys of all chains that inputs reach.
const PLACES: usize = 1 << 17;
/// Places that are tried for one key.
const TRIES: usize = 4;

/// The input of a key change: start key and session key, each of 16 bytes or of 8 and zeros.
pub(super) type Input = [[u8; 16]; 2];

/// A key change and its result.
type Change = (Input, [u8; 16]);

thread_local! {
    static KNOWN: RefCell<Vec<Option<Change>>> = RefCell::new(vec![None; PLACES + TRIES]);
}

/// Returns the session key that follows, from `compute` if it is not known.
pub(super) fn change(input: &Input, compute: impl FnOnce() -> [u8; 16]) -> [u8; 16] {
    // Bytes of the session key that are in each key, and not salted.
    let [start, [_, _, _, _, a, b, c, d, ..]] = input;
    let place = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or_default() % PLACES;
    let place = place ^ usize::from(start.first().copied().unwrap_or_default());
    KNOWN.with_borrow_mut(|known| {
        let tried = known.get_mut(place..place + TRIES).unwrap_or_default();
        if let Some((_, next)) = tried.iter().flatten().find(|(known, _)| known == input) {
            return *next;
        }
        let next = compute();
        let free = tried.iter().position(Option::is_none).unwrap_or_default();
        if let Some(slot) = tried.get_mut(free) {
            *slot = Some((*input, next));
        }
        next
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_change_is_not_computed_again() {
        let none = || unreachable!("computed twice");
        // The same place for all, and more keys than fit there.
        let key = |byte| [[1; 16], [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, byte]];
        for byte in 0..6 {
            assert_eq!(change(&key(byte), || [byte; 16]), [byte; 16]);
            assert_eq!(change(&key(byte), none), [byte; 16]);
        }
        assert_eq!(change(&key(1), none), [1; 16]);
        let other = [[3; 16], key(1)[1]];
        assert_eq!(change(&other, || [9; 16]), [9; 16]);
        assert_eq!(change(&other, none), [9; 16]);
    }
}
