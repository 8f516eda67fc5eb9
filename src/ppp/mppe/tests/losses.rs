//! Long losses: the layer below reports how many packets are missing, and the opener follows.

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
