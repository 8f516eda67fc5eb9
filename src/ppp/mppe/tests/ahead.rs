//! Sealers and openers that know the lengths of the next packets give the same results as those that do not.

use std::time::{Duration, Instant};

use proptest::{collection::vec, sample::Index};

use super::*;

/// What happens to one packet between sealer and opener.
#[derive(Clone, Debug)]
enum Fate {
    Arrives,
    Lost,
    /// Arrives again, that many packets later.
    Twice(usize),
    /// Arrives that many packets later.
    Late(usize),
    /// One byte differs, in the header or behind it.
    Bent(Index, u8),
    /// Another packet with this header comes before it.
    Forged([u8; 2], usize),
    /// Many are lost before it, as the layer below reports.
    AfterLoss(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        30 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => (1_usize..20).prop_map(Fate::Twice),
        1 => (1_usize..20).prop_map(Fate::Late),
        1 => (any::<Index>(), 1_u8..).prop_map(|(at, mask)| Fate::Bent(at, mask)),
        1 => (any::<[u8; 2]>(), 0_usize..300).prop_map(|(header, length)| Fate::Forged(header, length)),
        1 => (1_usize..600).prop_map(Fate::AfterLoss),
    ]
}

/// A packet of this length in all.
fn of_length(length: usize) -> Vec<u8> {
    ip_packet(length.max(20))
}

/// Seals with both, and checks that the results are the same.
fn sealed_by(both: &mut [Sealer; 2], length: usize) -> Vec<u8> {
    let packet = of_length(length);
    let [one, other] = both.each_mut().map(|sealer| {
        let mut out = vec![0; packet.len() + HEADER];
        assert_eq!(sealer.seal_parts(0x21, &packet[2..], &mut out), Ok(out.len()));
        out
    });
    assert_eq!(one, other);
    one
}

/// Opens with both, and checks that the results and states are the same.
fn opened_by(both: &mut [Opener; 2], packet: &[u8]) -> Result<Vec<u8>, MppeDrop> {
    let [one, other] = both.each_mut().map(|opener| {
        let opened = opener.open(&mut packet.to_vec()).map(|opened| opened.to_vec());
        (opened, format!("{opener:?}"), opener.key_changes(), opener.needs_reset(), opener.is_hopeless())
    });
    assert_eq!(one, other);
    one.0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The lengths are right, too short, too long, of other packets, or of more packets than come.
    #[test]
    fn expected_packets_give_the_same_results(
        batches in vec((vec((fate(), 20_usize..1500), 1..20), vec(0_usize..3000, 0..4), -3_i8..4), 1..12),
        strength in 0..3_usize,
        stateful: bool,
    ) {
        let two = || [(); 2].map(|()| pair(Strength::ALL[strength], stateful));
        let [(first, plain_opener), (second, ahead_opener)] = two();
        let (mut sealers, mut openers) = ([first, second], [plain_opener, ahead_opener]);
        let (mut now, mut lost) = (Instant::now(), 0);
        let mut late: Vec<(usize, Vec<u8>)> = Vec::new();
        for (packets, wrong, shift) in batches {
            now += Duration::from_millis(30);
            let right = packets.iter().map(|(_, length)| *length + 2 * usize::from(shift == 0));
            let skipped = usize::from(shift.unsigned_abs()).min(if shift < 0 { 3 } else { 0 });
            let announced = || right.clone().skip(skipped).chain(wrong.iter().copied());
            sealers[1].expect(announced());
            openers[1].expect(announced());
            for opener in &mut openers {
                opener.set_time(now);
                opener.set_lost(lost, lost);
            }
            for (fate, length) in packets {
                if let Fate::AfterLoss(count) = fate {
                    for _ in 0..count {
                        sealed_by(&mut sealers, 30);
                    }
                    lost += u64::try_from(count).unwrap();
                    openers.iter_mut().for_each(|opener| opener.set_lost(lost, lost));
                }
                let mut packet = sealed_by(&mut sealers, length);
                match fate {
                    Fate::Arrives | Fate::AfterLoss(_) => {}
                    Fate::Lost => continue,
                    Fate::Twice(after) => late.push((after, packet.clone())),
                    Fate::Late(after) => {
                        late.push((after, packet));
                        continue;
                    }
                    Fate::Bent(at, mask) => packet[at.index(length)] ^= mask,
                    Fate::Forged(header, length) => {
                        let _ = opened_by(&mut openers, &[&header[..], &vec![0x5a; length]].concat());
                    }
                }
                let opened = opened_by(&mut openers, &packet);
                if openers[0].needs_reset() {
                    sealers.iter_mut().for_each(Sealer::handle_reset_request);
                }
                prop_assert!(opened.is_err() || !openers[0].is_hopeless());
                for (after, _) in &mut late {
                    *after -= 1;
                }
                while let Some(at) = late.iter().position(|(after, _)| *after == 0) {
                    let (_, packet) = late.remove(at);
                    let _ = opened_by(&mut openers, &packet);
                }
            }
        }
    }
}

#[test]
fn expected_packets_are_opened_as_they_were_sealed() {
    for strength in Strength::ALL {
        let (mut sealer, mut opener) = pair(strength, false);
        for round in 0..300 {
            let lengths: Vec<usize> = (0..round % 70).map(|n| 20 + (n * 37 + round * 11) % 1480).collect();
            sealer.expect(lengths.iter().copied());
            opener.expect(lengths.iter().map(|length| length + 2 + HEADER));
            for length in lengths {
                let packet = of_length(length);
                let mut out = vec![0; packet.len() + HEADER];
                sealer.seal_parts(0x21, &packet[2..], &mut out).unwrap();
                assert_eq!(opener.open(&mut out).unwrap(), packet, "{strength} {round}");
            }
        }
    }
}

#[test]
fn keys_ahead_outlive_a_forged_count() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, false);
    opener.expect([44; 8].into_iter());
    opener.open(&mut seal(&mut sealer, 0)).unwrap();
    // Far ahead: the trial leads to garbage, and the key returns.
    assert_eq!(opener.open(&mut [&[0x93, 0x11][..], &[0x5a; 60]].concat()), Err(MppeDrop::Garbage));
    for n in 1..20 {
        assert_eq!(opener.open(&mut seal(&mut sealer, n)).unwrap(), plain(n));
    }
}
