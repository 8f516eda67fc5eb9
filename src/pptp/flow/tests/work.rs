//! Defect 12 of pptp-linux 1.10.0: while packets wait behind a gap, each further one walks the whole list of
//! them. These tests measure work, not time: how many ring slots are accessed per packet.

use super::*;

/// Slots accessed, or list entries visited, for each packet.
type Work = Vec<u64>;

/// Returns whether no packet in the second half cost more than the most expensive one in the first half.
fn does_not_grow(work: &Work) -> bool {
    let (first, last) = work.split_at(work.len() / 2);
    last.iter().max() <= first.iter().max()
}

/// Returns the work of packets that arrive in this order while packet 2 is missing.
fn work_behind_gap(order: impl Iterator<Item = u32>) -> Work {
    let mut receiver = Receiver::running();
    order
        .map(|seq| {
            let before = receiver.flow.ring.accesses();
            receiver.arrive(seq).unwrap();
            receiver.flow.ring.accesses() - before
        })
        .collect()
}

/// Returns the work of pptp(8)'s queue: a list sorted by number, walked from its head.
fn work_in_list(order: impl Iterator<Item = u32>) -> Work {
    let mut list: Vec<u32> = Vec::new();
    order
        .map(|seq| {
            let at = list.iter().take_while(|other| **other < seq).count();
            list.insert(at, seq);
            u64::try_from(at).unwrap() + 1
        })
        .collect()
}

#[test]
fn defect_12_cost_per_packet_is_independent_of_the_queue() {
    let ours = work_behind_gap(3..=250);
    assert!(does_not_grow(&ours), "{ours:?}");
    assert!(ours.iter().all(|slots| *slots <= 16), "{ours:?}");
    let classic = work_in_list(3..=250);
    assert!(!does_not_grow(&classic), "the assertion does not detect the list of the classic program");
    // The same for swapped pairs behind a gap.
    let swapped = || (2..124).flat_map(|pair| [2 * pair + 1, 2 * pair]);
    let ours = work_behind_gap(swapped());
    assert!(does_not_grow(&ours), "{ours:?}");
    assert!(!does_not_grow(&work_in_list(swapped())));
}

/// Closing the gap delivers all waiting packets, with bounded work for each.
#[test]
fn defect_12_closing_a_gap_is_linear_work() {
    for waiting in [10, 100, 250] {
        let mut receiver = Receiver::running();
        receiver.arrive_all(3..3 + waiting);
        let before = receiver.flow.ring.accesses();
        receiver.arrive(2).unwrap();
        let slots = receiver.flow.ring.accesses() - before;
        assert_eq!(receiver.delivered.len(), usize::try_from(waiting).unwrap() + 2);
        assert!(slots <= 4 * u64::from(waiting) + 16, "{slots} for {waiting}");
    }
}
