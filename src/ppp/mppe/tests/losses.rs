//! Long losses: the layer below reports how many packets are missing, and the opener follows.

use std::time::Duration;

use super::*;

/// The last count that no report of losses is needed for, the first that needs one, and the last of all.
const LONG_LOSSES: [usize; 6] = [512, 3583, 3584, 3700, 4000, 4095];

/// Seals and loses `lost` packets after a first one that arrives.
fn after_loss(stateful: bool, lost: usize) -> (Sealer, Opener) {
    let (mut sealer, mut opener) = pair(Strength::Bits128, stateful);
    opener.open(&mut seal(&mut sealer, 0)).unwrap();
    for n in 0..lost {
        seal(&mut sealer, n);
    }
    (sealer, opener)
}

#[test]
fn stateless_mode_follows_any_loss_that_the_count_can_express() {
    for lost in LONG_LOSSES {
        // A report that allows for more changes nothing.
        let most = if lost == 3700 { lost + 255 } else { lost };
        let (mut sealer, mut opener) = after_loss(false, lost);
        opener.set_lost(0, u64::try_from(most).unwrap());
        for n in 0..20 {
            let opened = opener.open(&mut seal(&mut sealer, n)).map(|opened| opened.to_vec());
            assert_eq!(opened, Ok(plain(n)), "{lost} lost, packet {n}");
            opener.set_lost(u64::try_from(lost).unwrap(), u64::try_from(lost).unwrap());
        }
    }
}

#[test]
fn stateful_mode_recovers_from_any_loss_with_one_reset() {
    for style in [ResetStyle::NewKey, ResetStyle::SameKey] {
        for lost in LONG_LOSSES {
            let (mut sealer, mut opener) = after_loss(true, lost);
            sealer.set_reset_style(style);
            let total = u64::try_from(lost).unwrap();
            opener.set_lost(total, total);
            let mut dropped = 0;
            while opener.open(&mut seal(&mut sealer, 7)).is_err() {
                assert!(opener.needs_reset(), "{lost} lost");
                sealer.handle_reset_request();
                dropped += 1;
                assert!(dropped < 3, "{style:?}, {lost} lost");
            }
            for n in 0..600 {
                assert_eq!(opener.open(&mut seal(&mut sealer, n)).unwrap(), plain(n), "{style:?} {lost}");
            }
        }
    }
}

#[test]
fn packet_behind_is_late_unless_enough_were_lost() {
    for (reported, follows) in [(0, false), (3000, false), (3699, false), (3700, true), (u64::MAX, true)] {
        let (mut sealer, mut opener) = after_loss(false, 3700);
        opener.set_lost(0, reported);
        let opened = opener.open(&mut seal(&mut sealer, 1)).map(|opened| opened.to_vec());
        assert_eq!(opened, if follows { Ok(plain(1)) } else { Err(MppeDrop::Late) }, "{reported} lost");
    }
}

#[test]
fn last_count_before_a_loss_is_a_duplicate_only_while_nothing_is_discarded() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, true);
    let first = seal(&mut sealer, 0);
    opener.open(&mut first.clone()).unwrap();
    assert_eq!(opener.open(&mut first.clone()), Err(MppeDrop::Duplicate));
    seal(&mut sealer, 1);
    assert!(opener.open(&mut seal(&mut sealer, 2)).is_err());
    assert!(opener.needs_reset());
    assert_eq!(opener.open(&mut first.clone()), Err(MppeDrop::Late));
}

#[test]
fn losses_before_an_opened_packet_do_not_count_again() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, false);
    let early: Vec<_> = (0..3).map(|n| seal(&mut sealer, n)).collect();
    for n in 0..4000 {
        seal(&mut sealer, n);
    }
    opener.set_lost(4003, 4003);
    assert_eq!(opener.open(&mut seal(&mut sealer, 9)).unwrap(), plain(9));
    for packet in early {
        // 4002 to 4004 behind is 92 to 94 ahead: followed, but no packet comes out.
        assert_eq!(opener.open(&mut packet.clone()), Err(MppeDrop::Garbage));
    }
    let late = seal(&mut sealer, 10);
    assert_eq!(opener.open(&mut late.clone()).unwrap(), plain(10));
    assert_eq!(opener.open(&mut late.clone()), Err(MppeDrop::Duplicate));
    let (_, fresh) = pair(Strength::Bits128, false);
    let mut fresh = fresh.beginning_at(4000);
    fresh.set_lost(4000, 4000);
    assert_eq!(
        fresh.open(&mut [0x9f, 0xff, 1, 2, 3]),
        Err(MppeDrop::Duplicate),
        "a new opener has lost none"
    );
}

/// A loss that the layer below does not know of, as by a server that drops packets between encryption and GRE.
#[test]
fn loss_without_a_report_ends_as_hopeless() {
    let (mut sealer, mut opener) = after_loss(false, 3700);
    let mut sent = 0;
    while !opener.is_hopeless() {
        let _ = opener.open(&mut seal(&mut sealer, sent));
        sent += 1;
        assert!(sent < 450, "never noticed");
    }
}

#[test]
fn forged_jump_costs_no_more_keys_than_its_distance() {
    let cost = |lost: u64, count: u16| {
        let (mut sealer, mut opener) = pair(Strength::Bits128, false);
        opener.open(&mut seal(&mut sealer, 0)).unwrap();
        opener.set_lost(0, lost);
        let before = opener.key_changes();
        let mut forged = [&(0x9000 | count).to_be_bytes()[..], &[0x5a; 60]].concat();
        let result = opener.open(&mut forged).map(|opened| opened.len());
        (result, opener.key_changes() - before)
    };
    // Expected is count 1.
    assert_eq!(cost(0, 1 + 3583), (Err(MppeDrop::Garbage), 3584));
    // Without a matching gap in the GRE sequence the last 512 counts cost nothing.
    for count in [0, 4095, 1 + 3584] {
        let (result, keys) = cost(0, count);
        assert!(matches!(result, Err(MppeDrop::Late | MppeDrop::Duplicate)), "{result:?}");
        assert_eq!(keys, 0, "count {count}");
    }
    assert_eq!(cost(4095, 0), (Err(MppeDrop::Garbage), 4096), "the most that one packet costs");
    assert_eq!(cost(u64::MAX, 0), (Err(MppeDrop::Garbage), 4096));
}

/// Returns a packet with this count that no key decrypts to an IP packet. Up to 256 ahead one in 600 passes.
fn junk(count: u16) -> Vec<u8> {
    [&(0x9000 | count & 0x0fff).to_be_bytes()[..], &[0x5a; 60]].concat()
}

/// Returns the count of a forged packet by its number.
type Order = fn(u16) -> u16;

/// The counts of forged packets are the forger's choice; only the first of them costs what it is ahead.
#[test]
fn forged_jumps_cost_few_keys_each() {
    let orders: [(&str, Order); 4] = [
        ("the same", |_| 3000),
        ("ascending", |n| n * 15),
        ("descending", |n| 3000 - n * 15),
        ("scattered", |n| n.wrapping_mul(1777) % 3000),
    ];
    for (name, order) in orders {
        let (mut sealer, mut opener) = pair(Strength::Bits128, false);
        let mut costs = Vec::new();
        for round in 0..200 {
            // Good packets between them, so that the link is not given up.
            for n in 0..2 {
                assert_eq!(opener.open(&mut seal(&mut sealer, n)).unwrap(), plain(n), "{name}, {round}");
            }
            let before = opener.key_changes();
            let expected = 2 * (round + 1);
            assert_eq!(
                opener.open(&mut junk(expected + 300 + order(round))),
                Err(MppeDrop::Garbage),
                "{name}"
            );
            costs.push(opener.key_changes() - before);
        }
        let total: u64 = costs.iter().sum();
        assert!(total <= 4096 + 400 + 200 * 15, "{name}: {total} key changes for 200 forged packets");
        let mean = costs.iter().rev().take(50).sum::<u64>() / 50;
        assert!(mean <= 40, "{name}: {mean} key changes for each of the last ones");
    }
}

#[test]
fn flood_of_forged_packets_spends_a_budget() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, false);
    let mut now = std::time::Instant::now();
    opener.set_time(now);
    let before = opener.key_changes();
    let (mut refused, mut expected) = (0, 0_u16);
    // Two seconds with 5000 forged and 1000 good packets each.
    for n in 0..10_000_u16 {
        if n.is_multiple_of(5) {
            now += Duration::from_millis(1);
            opener.set_time(now);
            assert_eq!(opener.open(&mut seal(&mut sealer, 7)).unwrap(), plain(7), "good packet {n}");
            expected = (expected + 1) & 0x0fff;
        }
        match opener.open(&mut junk(expected + 300 + n.wrapping_mul(1777) % 3000)) {
            Err(MppeDrop::OverBudget) => refused += 1,
            Err(MppeDrop::Garbage) => {}
            other => panic!("{other:?}"),
        }
    }
    let wasted = opener.key_changes() - before - 2000;
    assert!(refused > 5000 && wasted < 3 * 9000 + 4096, "{refused} refused, {wasted} key changes wasted");
    // A loss is followed as soon as the budget allows.
    for n in 0..300 {
        seal(&mut sealer, n);
    }
    opener.set_time(now + Duration::from_millis(50));
    assert_eq!(opener.open(&mut seal(&mut sealer, 9)).unwrap(), plain(9));
}

#[test]
fn stored_keys_stay_right_over_rounds_and_jumps() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, false);
    let (mut state, mut expected) = (7_u32, 0_u16);
    let mut now = std::time::Instant::now();
    for n in 0..600 {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
        let lost = u16::try_from(state >> 16).unwrap() % 300;
        for _ in 0..lost {
            seal(&mut sealer, 1);
        }
        assert_eq!(opener.open(&mut seal(&mut sealer, n)).unwrap(), plain(n), "{n}: {lost} lost");
        expected = (expected + lost + 1) & 0x0fff;
        // Trials ahead fill the store.
        let ahead = 300 + u16::try_from(state & 0xffff).unwrap() % 3200;
        assert_eq!(opener.open(&mut junk(expected + ahead)), Err(MppeDrop::Garbage));
        for n in 0..3 {
            assert_eq!(opener.open(&mut seal(&mut sealer, n)).unwrap(), plain(n));
        }
        expected = (expected + 3) & 0x0fff;
        now += Duration::from_secs(2);
        opener.set_time(now);
    }
}

#[test]
fn forged_reset_costs_few_keys() {
    for (lost, most) in [(0, 34), (u64::MAX, 16 + 2 + 16 + 64)] {
        let (mut sealer, mut opener) = pair(Strength::Bits128, true);
        opener.open(&mut seal(&mut sealer, 0)).unwrap();
        opener.set_lost(0, lost);
        let before = opener.key_changes();
        assert_eq!(opener.open(&mut [&[0x98, 0x12][..], &[0x5a; 60]].concat()), Err(MppeDrop::Garbage));
        let keys = opener.key_changes() - before;
        assert!(keys <= most, "{keys} key changes");
    }
}

/// A packet in its place that arrives spoilt costs itself alone: RFC 3078 §8.1 changes the key for each count.
#[test]
fn spoilt_packet_in_sequence_costs_only_itself() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, false);
    for n in 0..5000 {
        let mut packet = seal(&mut sealer, n);
        if n % 7 == 3 {
            // The first byte of the plaintext, which is the protocol.
            packet[2] ^= 0xff;
            assert_eq!(opener.open(&mut packet), Err(MppeDrop::Garbage), "packet {n}");
        } else {
            assert_eq!(opener.open(&mut packet).unwrap(), plain(n), "packet {n}");
        }
    }
    assert!(!opener.is_hopeless());
}
