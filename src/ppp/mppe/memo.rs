//! Key changes that were computed before, for fuzzing: the inputs of a target all begin with the same few keys, and a
//! jump of the count costs thousands of changes.

use std::cell::RefCell;

/// Places for key changes; more than the keys of all chains that inputs reach.
const PLACES: usize = 1 << 16;

/// The input of a key change (start and session key) and its result.
type Change = ([u8; 32], [u8; 16]);

thread_local! {
    static KNOWN: RefCell<Vec<Option<Change>>> = RefCell::new(vec![None; PLACES]);
}

/// Returns the session key that follows, from `compute` if it is not known.
pub(super) fn change(start: &[u8], session: &[u8], compute: impl FnOnce() -> [u8; 16]) -> [u8; 16] {
    let mut input = [0; 32];
    for (slot, byte) in input.iter_mut().zip(start.iter().chain(session)) {
        *slot = *byte;
    }
    // The last bytes of a session key are not salted.
    let place = match (start, session) {
        ([first, ..], [.., high, low]) => {
            usize::from(u16::from_be_bytes([*high, *low])) ^ usize::from(*first)
        }
        _ => 0,
    };
    KNOWN.with_borrow_mut(|known| match known.get_mut(place) {
        Some(Some((same, next))) if *same == input => *next,
        Some(slot) => {
            let next = compute();
            *slot = Some((input, next));
            next
        }
        None => compute(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_change_is_not_computed_again() {
        let (start, session) = ([1; 16], [2; 16]);
        assert_eq!(change(&start, &session, || [3; 16]), [3; 16]);
        assert_eq!(change(&start, &session, || unreachable!("computed twice")), [3; 16]);
        // Another start key, in the same place and in another one.
        let mut other = start;
        other[15] = 9;
        assert_eq!(change(&other, &session, || [4; 16]), [4; 16]);
        assert_eq!(change(&[5; 16], &session, || [6; 16]), [6; 16]);
        assert_eq!(change(&other, &session, || unreachable!("computed twice")), [4; 16]);
    }
}
