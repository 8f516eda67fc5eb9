//! Test vectors of RFC 3079, and sealer against opener over a lossy path.

mod ahead;
mod losses;

use proptest::prelude::*;

use super::{keys::StartKey, opener::LATE_WINDOW, schedule::Schedule, *};
use crate::ppp::crypto::{LmHash, NtHash};

#[test]
fn rfc_3079_section_3_5() {
    let hash = NtHash::of(b"clientPass");
    let response = unhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF").try_into().unwrap();
    let server = Keys::from_ms_chap_v2(End::Server, &hash, &response);
    let client = Keys::from_ms_chap_v2(End::Client, &hash, &response);
    let cases = [
        (Strength::Bits40, "8B7CDC149B993A1B", "D1269EC49FA62E3E", "9291 3791 7E58 03D6 68D7 5898"),
        // §3.5.2 prints 58 as its last byte; RC4 with the key printed there gives B8.
        (Strength::Bits56, "8B7CDC149B993A1B", "D15C00C49FA62E3E", "3F10 6833 FA44 8DA8 42BC 57B8"),
        (
            Strength::Bits128,
            "8B7CDC149B993A1BA118CB153F56DCCB",
            "405CB2247A7956E6E211007AE27B22D4",
            "8184 8317 DF68 8462 72FB 5ABE",
        ),
    ];
    for (strength, start, session, sealed) in cases {
        // The RFC's "send" is the server's.
        assert_eq!(server.send.bytes(strength).unwrap(), unhex(start));
        assert_eq!(client.receive.bytes(strength), server.send.bytes(strength));
        assert_eq!(client.send.bytes(strength), server.receive.bytes(strength));
        assert_ne!(client.send.bytes(strength), server.send.bytes(strength));
        check_initial(&server.send, strength, session, Some(sealed));
    }
}

#[test]
fn rfc_3079_section_2_5() {
    let challenge = unhex("102db5df085d3041").try_into().unwrap();
    let hash = NtHash::of(b"clientPass");
    let keys = Keys::from_ms_chap_v1(&hash, LmHash::of(b"clientPass").as_ref(), &challenge);
    // §2.5.3 prints ac ca in step 3 and ac c1 in step 4; its result follows from the latter.
    assert_eq!(keys.send.bytes(Strength::Bits128).unwrap(), unhex("a8947850cfc0acc1d1789fb62ddcddb0"));
    check_initial(&keys.send, Strength::Bits40, "d1269e538cec4a08", None);
    check_initial(&keys.send, Strength::Bits56, "d10801538cec4a08", None);
    check_initial(&keys.receive, Strength::Bits128, "59d159bc09f76f1da2a86a28ffec0b1e", None);
}

#[test]
fn ms_chap_v1_short_keys_need_a_lan_manager_hash() {
    let keys = Keys::from_ms_chap_v1(&NtHash::of(b"a long password"), None, &[0; 8]);
    assert!(keys.supports(Strength::Bits128) && !keys.supports(Strength::Bits40));
    assert_eq!(keys.supported_bits(), option::BITS_128);
    assert!(Sealer::new(&keys, Strength::Bits56, false).is_none());
    assert!(Opener::new(&keys, Strength::Bits40, false).is_none());
}

#[test]
fn strongest_in_range_is_chosen() {
    let all = option::BITS_40 | option::BITS_56 | option::BITS_128;
    let choose = |bits, min, max| Strength::strongest(bits, min, max);
    assert_eq!(choose(all, Strength::Bits40, Strength::Bits128), Some(Strength::Bits128));
    assert_eq!(choose(all, Strength::Bits40, Strength::Bits56), Some(Strength::Bits56));
    assert_eq!(choose(option::BITS_40, Strength::Bits56, Strength::Bits128), None);
    assert_eq!(choose(option::STATELESS | option::COMPRESSION, Strength::Bits40, Strength::Bits128), None);
}

#[test]
fn first_headers_match_linux_ppp_mppe() {
    let (mut sealer, _) = pair(Strength::Bits128, false);
    assert_eq!(seal(&mut sealer, 0)[..2], [0x90, 0x00]);
    assert_eq!(seal(&mut sealer, 1)[..2], [0x90, 0x01]);

    let (mut sealer, _) = pair(Strength::Bits128, true);
    assert_eq!(seal(&mut sealer, 0)[..2], [0x10, 0x00]);
    for n in 1..=254_u8 {
        assert_eq!(seal(&mut sealer, n.into())[..2], [0x10, n]);
    }
    assert_eq!(seal(&mut sealer, 255)[..2], [0x90, 0xff], "flag packet");
    assert_eq!(seal(&mut sealer, 256)[..2], [0x11, 0x00]);
    sealer.handle_reset_request();
    sealer.handle_reset_request();
    assert_eq!(seal(&mut sealer, 257)[..2], [0x91, 0x01]);
    assert_eq!(seal(&mut sealer, 258)[..2], [0x11, 0x02]);
}

#[test]
fn lossless_stream_survives_count_wraparound() {
    for strength in Strength::ALL {
        for stateful in [false, true] {
            let (mut sealer, mut opener) = pair(strength, stateful);
            for n in 0..9000 {
                let mut packet = seal(&mut sealer, n);
                assert_eq!(opener.open(&mut packet).unwrap(), plain(n), "{strength} {stateful} {n}");
            }
        }
    }
}

#[test]
fn rejected_packet_leaves_the_state_unchanged() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, false);
    let mut out = [0xee; 64];
    for protocol in [0xc021_u16, 0x8021, 0x80fd, 0x00fd, 0x001f, 0] {
        assert_eq!(sealer.seal_parts(protocol, &[1], &mut out), Err(SealError::NotCarried));
    }
    assert_eq!(sealer.seal_parts(0x21, &plain(0)[2..], &mut out[..20]), Err(SealError::NoRoom));
    assert_eq!(out, [0xee; 64]);
    assert_eq!(opener.open(&mut seal(&mut sealer, 0)).unwrap(), plain(0));
}

/// The fuzz target that compares both ways of opening relies on it.
#[test]
fn state_is_all_that_decides_besides_the_keys() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, true);
    let first = opener.state();
    let (mut lost, mut next) = (seal(&mut sealer, 1), seal(&mut sealer, 2));
    assert!(opener.open(&mut next).is_err());
    let (expected, discarding, _) = opener.state();
    assert_eq!((expected, discarding), (first.0, true), "a stateful stream waits for a reset");
    lost.truncate(1);
    assert!(opener.open(&mut lost).is_err());
    let (mut sealer, mut opener) = pair(Strength::Bits128, false);
    let first = opener.state();
    assert!(opener.open(&mut seal(&mut sealer, 1)).is_ok());
    assert_eq!(opener.state(), (first.0 + 1, false, 0));
}

#[test]
fn stateless_mode_bridges_gaps_up_to_the_window() {
    for gap in [1, 2, 255, 256, 2048, 4095 - usize::from(LATE_WINDOW)] {
        let (mut sealer, mut opener) = pair(Strength::Bits128, false);
        opener.open(&mut seal(&mut sealer, 0)).unwrap();
        for n in 0..gap {
            seal(&mut sealer, n);
        }
        for n in 0..3 {
            assert_eq!(opener.open(&mut seal(&mut sealer, n)).unwrap(), plain(n), "gap {gap}");
        }
    }
}

#[test]
fn late_and_duplicate_packets_are_dropped() {
    for stateful in [false, true] {
        let (mut sealer, mut opener) = pair(Strength::Bits128, stateful);
        let old: Vec<_> = (0..700)
            .map(|n| {
                let packet = seal(&mut sealer, n);
                opener.open(&mut packet.clone()).unwrap();
                packet
            })
            .collect();
        assert_eq!(opener.open(&mut old[699].clone()), Err(MppeDrop::Duplicate));
        for packet in &old[700 - usize::from(LATE_WINDOW)..699] {
            assert_eq!(opener.open(&mut packet.clone()), Err(MppeDrop::Late));
        }
        assert!(!opener.needs_reset());
        assert_eq!(opener.open(&mut seal(&mut sealer, 1)).unwrap(), plain(1));
    }
}

#[test]
fn forged_gap_does_not_end_a_stateless_stream() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, false);
    opener.open(&mut seal(&mut sealer, 0)).unwrap();
    for (n, count) in [(1, 0x9123_u16), (2, 0x97ff), (3, 0x9005)] {
        let mut forged = [&count.to_be_bytes()[..], &[0x5a; 60]].concat();
        assert_eq!(opener.open(&mut forged), Err(MppeDrop::Garbage));
        assert_eq!(opener.open(&mut seal(&mut sealer, n)).unwrap(), plain(n));
    }
    assert!(!opener.is_hopeless());
}

#[test]
fn malformed_packets_are_dropped_with_a_reason() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, false);
    assert_eq!(opener.open(&mut []), Err(MppeDrop::Short));
    assert_eq!(opener.open(&mut [0x90]), Err(MppeDrop::Short));
    assert_eq!(opener.open(&mut [0x90, 0]), Err(MppeDrop::Short));
    let packet = seal(&mut sealer, 0);
    let with_flags = |flags: u8| [&[flags][..], &packet[1..]].concat();
    assert_eq!(opener.open(&mut with_flags(0x80)), Err(MppeDrop::NotEncrypted));
    assert_eq!(opener.open(&mut with_flags(0x10)), Err(MppeDrop::NotFlushed));
    // RFC 3078 §3: bits B and C mean nothing in MPPE.
    assert_eq!(opener.open(&mut with_flags(0xf0)).unwrap(), plain(0));
}

#[test]
fn peer_with_other_keys_soon_becomes_hopeless() {
    for stateful in [false, true] {
        let (mut sealer, _) = pair(Strength::Bits128, stateful);
        let other = Keys::from_ms_chap_v2(End::Server, &NtHash::of(b"x"), &[1; 24]);
        let mut opener = Opener::new(&other, Strength::Bits128, stateful).unwrap();
        let mut sent = 0;
        while !opener.is_hopeless() {
            let _ = opener.open(&mut seal(&mut sealer, sent));
            if opener.needs_reset() {
                sealer.handle_reset_request();
            }
            sent += 1;
            assert!(sent < 300, "stateful {stateful}");
        }
        assert_eq!(opener.open(&mut seal(&mut sealer, sent)), Err(MppeDrop::Hopeless));
    }
}

#[test]
fn one_reset_recovers_a_stateful_loss() {
    for style in [ResetStyle::NewKey, ResetStyle::SameKey] {
        for lost in [1_usize, 2, 200, 254, 255, 256, 257, 600, 3000] {
            let (mut sealer, mut opener) = pair(Strength::Bits56, true);
            sealer.set_reset_style(style);
            assert_eq!(opener.open(&mut seal(&mut sealer, 0)).unwrap(), plain(0));
            for n in 0..lost {
                seal(&mut sealer, n);
            }
            let mut waited = 0;
            while opener.open(&mut seal(&mut sealer, 7)).is_err() {
                // A flag packet resynchronizes by itself; otherwise a reset is requested.
                if waited == 3 {
                    assert!(opener.needs_reset());
                    sealer.handle_reset_request();
                }
                waited += 1;
                assert!(waited < 6, "{style:?} {lost}");
            }
            opener.handle_reset_ack();
            assert!(!opener.needs_reset());
            for n in 0..600 {
                assert_eq!(opener.open(&mut seal(&mut sealer, n)).unwrap(), plain(n), "{style:?} {lost}");
            }
        }
    }
}

#[test]
fn peer_reset_style_is_detected() {
    for style in [ResetStyle::NewKey, ResetStyle::SameKey] {
        let (mut sealer, mut opener) = pair(Strength::Bits128, true);
        sealer.set_reset_style(style);
        for round in 0..50 {
            seal(&mut sealer, round);
            assert_eq!(opener.open(&mut seal(&mut sealer, round)), Err(MppeDrop::AwaitingReset));
            // Two resets in a row, the first packet lost: with `NewKey` the key changes twice.
            sealer.handle_reset_request();
            seal(&mut sealer, round);
            sealer.handle_reset_request();
            assert_eq!(
                opener.open(&mut seal(&mut sealer, round)).unwrap(),
                plain(round),
                "{style:?} {round}"
            );
            assert_eq!(opener.reset_style(), Some(style));
        }
    }
}

#[test]
fn flag_packets_without_the_a_bit_are_accepted() {
    let (mut sealer, mut opener) = pair(Strength::Bits128, true);
    for n in 0..1000 {
        let mut packet = seal(&mut sealer, n);
        packet[0] &= 0x7f;
        assert_eq!(opener.open(&mut packet).unwrap(), plain(n));
    }
}

/// A measurement, not a test: `cargo test --release --lib mppe::tests::speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    for stateful in [false, true] {
        let (mut sealer, mut opener) = pair(Strength::Bits128, stateful);
        let packet = ip_packet(1400);
        let mut out = vec![0; 1500];
        let (mut sealing, mut opening) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
        let rounds = 100_000_u32;
        for _ in 0..rounds {
            let begin = std::time::Instant::now();
            let length = sealer.seal_parts(0x21, &packet[2..], &mut out).unwrap();
            sealing += begin.elapsed();
            let begin = std::time::Instant::now();
            opener.open(&mut out[..length]).unwrap();
            opening += begin.elapsed();
        }
        println!(
            "stateful {stateful}: seal {:?}, open {:?} for 1400 bytes",
            sealing / rounds,
            opening / rounds
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// Arrives after this many other packets.
    Delayed(usize),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        6 => Just(Fate::Arrives),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => (1..40_usize).prop_map(Fate::Delayed),
    ];
    proptest::collection::vec(fate, 1..700)
}

/// Sends one packet for each fate. Every opened packet must equal the sent one and, soon after the last loss,
/// every packet must be opened.
fn run_over_path(strength: Strength, stateful: bool, style: ResetStyle, fates: &[Fate]) {
    let (mut sealer, mut opener) = pair(strength, stateful);
    sealer.set_reset_style(style);
    let mut delayed: Vec<(usize, usize, Vec<u8>)> = Vec::new();
    for (n, fate) in fates.iter().enumerate() {
        if opener.needs_reset() && n % 5 == 0 {
            sealer.handle_reset_request();
        }
        let packet = seal(&mut sealer, n);
        let mut arriving: Vec<_> =
            delayed.extract_if(.., |(due, ..)| *due <= n).map(|(_, n, packet)| (n, packet)).collect();
        match fate {
            Fate::Arrives => arriving.push((n, packet)),
            Fate::Lost => {}
            Fate::Twice => arriving.extend([(n, packet.clone()), (n, packet)]),
            Fate::Delayed(by) => delayed.push((n + by, n, packet)),
        }
        for (n, mut packet) in arriving {
            if let Ok(opened) = opener.open(&mut packet) {
                assert_eq!(opened, plain(n));
            }
        }
    }
    let mut has_recovered = false;
    for n in 0..300 {
        if opener.needs_reset() && n % 5 == 0 {
            sealer.handle_reset_request();
        }
        let result = opener.open(&mut seal(&mut sealer, n)).map(|opened| opened.to_vec());
        has_recovered |= result.is_ok();
        assert!(has_recovered || n < 20, "{result:?}");
        if has_recovered {
            assert_eq!(result, Ok(plain(n)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn stateless_stream_survives_loss_and_reordering(fates in fates(), strength in 0..3_usize) {
        run_over_path(Strength::ALL[strength], false, ResetStyle::NewKey, &fates);
    }

    #[test]
    fn stateful_stream_survives_loss_and_reordering(fates in fates(), strength in 0..3_usize, same: bool) {
        let style = if same { ResetStyle::SameKey } else { ResetStyle::NewKey };
        run_over_path(Strength::ALL[strength], true, style, &fates);
    }

    #[test]
    fn opener_accepts_arbitrary_bytes(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20),
        stateful: bool,
    ) {
        let (_, mut opener) = pair(Strength::Bits40, stateful);
        for mut packet in packets {
            let _ = opener.open(&mut packet);
        }
    }

    /// No eight consecutive bytes of the packet appear unencrypted at their place in the output.
    #[test]
    fn sealed_packet_contains_no_plaintext(payload in proptest::collection::vec(any::<u8>(), 16..200), stateful: bool, skip in 0..300_usize) {
        let (mut sealer, _) = pair(Strength::Bits128, stateful);
        for n in 0..skip {
            seal(&mut sealer, n);
        }
        let packet = [&[0, 0x21][..], &payload].concat();
        let mut out = vec![0; packet.len() + HEADER];
        let length = sealer.seal_parts(0x21, &packet[2..], &mut out).unwrap();
        prop_assert_eq!(length, packet.len() + HEADER);
        for (at, window) in packet.windows(8).enumerate() {
            prop_assert_ne!(&out[HEADER + at..][..8], window);
        }
    }
}

fn pair(strength: Strength, stateful: bool) -> (Sealer, Opener) {
    let hash = NtHash::of(b"clientPass");
    let client = Keys::from_ms_chap_v2(End::Client, &hash, &[7; 24]);
    let server = Keys::from_ms_chap_v2(End::Server, &hash, &[7; 24]);
    (Sealer::new(&client, strength, stateful).unwrap(), Opener::new(&server, strength, stateful).unwrap())
}

/// Returns packet number `n`: an IPv4 packet that contains `n`, behind a two-byte PPP protocol field.
fn plain(n: usize) -> Vec<u8> {
    let mut packet = ip_packet(40 + n % 50);
    packet[22..26].copy_from_slice(&u32::try_from(n).unwrap().to_be_bytes());
    packet
}

fn ip_packet(length: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; length + 2];
    packet[..4].copy_from_slice(&[0, 0x21, 0x45, 0]);
    packet[4..6].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    packet
}

fn seal(sealer: &mut Sealer, n: usize) -> Vec<u8> {
    let packet = plain(n);
    let mut out = vec![0; packet.len() + HEADER];
    assert_eq!(sealer.seal_parts(0x21, &packet[2..], &mut out), Ok(out.len()));
    out
}

fn check_initial(start: &StartKey, strength: Strength, session: &str, sealed: Option<&str>) {
    let mut schedule = Schedule::new(start, strength).unwrap();
    assert_eq!(schedule.session_key(), unhex(session), "{strength}");
    if let Some(sealed) = sealed {
        let mut message = *b"test message";
        schedule.apply(&mut message);
        assert_eq!(message[..], unhex(sealed), "{strength}");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let text = text.replace(' ', "");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
