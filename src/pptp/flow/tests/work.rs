//! Defect 12 of pptp-linux 1.10.0: while packets wait behind a gap, each further one walks the whole list of them. What
//! is counted here is work, not time: how often the ring is looked into for one packet.

use super::*;

/// The work that each packet made.
type Work = Vec<u64>;

/// Bounded, whatever waits already.
fn does_not_grow(work: &Work) -> bool {
    let (first, last) = work.split_at(work.len() / 2);
    last.iter().max() <= first.iter().max()
}

/// Packet 2 is missing, and so many follow it, in this order.
fn behind_a_gap(order: impl Iterator<Item = u32>) -> Work {
    let mut receiver = Receiver::running();
    order
        .map(|seq| {
            let before = receiver.flow.ring.looks();
            receiver.arrive(seq).unwrap();
            receiver.flow.ring.looks() - before
        })
        .collect()
}

/// The classic program's queue: a list that is sorted by number, which is walked from its head.
fn in_a_list(order: impl Iterator<Item = u32>) -> Work {
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
fn defect_12_a_packet_costs_the_same_however_many_wait() {
    let ours = behind_a_gap(3..=250);
    assert!(does_not_grow(&ours), "{ours:?}");
    assert!(ours.iter().all(|looks| *looks <= 16), "{ours:?}");
    let classic = in_a_list(3..=250);
    assert!(!does_not_grow(&classic), "the assertion finds the classic program's list");
    // Pairs that are swapped, and behind a gap, too.
    let swapped = || (2..124).flat_map(|pair| [2 * pair + 1, 2 * pair]);
    let ours = behind_a_gap(swapped());
    assert!(does_not_grow(&ours), "{ours:?}");
    assert!(!does_not_grow(&in_a_list(swapped())));
}

/// The end of the gap hands all of them on, and that is no more work for each than to have taken it in.
#[test]
fn defect_12_nor_does_its_release() {
    for waiting in [10, 100, 250] {
        let mut receiver = Receiver::running();
        receiver.arrive_all(3..3 + waiting);
        let before = receiver.flow.ring.looks();
        receiver.arrive(2).unwrap();
        let looks = receiver.flow.ring.looks() - before;
        assert_eq!(receiver.delivered.len(), usize::try_from(waiting).unwrap() + 2);
        assert!(looks <= 4 * u64::from(waiting) + 16, "{looks} for {waiting}");
    }
}
