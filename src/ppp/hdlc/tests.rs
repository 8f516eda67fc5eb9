//! Encoder and decoder against each other, against simple reference implementations, and with arbitrary
//! streams.

use proptest::prelude::*;

use super::*;

#[test]
fn encodes_lcp_frame_as_in_rfc_1662() {
    let mut out = Vec::new();
    encode(&[0xff, 0x03, 0xc0, 0x21, 0x01, 0x7e], Accm::NONE, &mut out);
    // In LCP frames all control characters are escaped, whatever the map.
    assert_eq!(out[..11], [0x7e, 0xff, 0x7d, 0x23, 0xc0, 0x21, 0x7d, 0x21, 0x7d, 0x5e, out[10]]);
    assert_eq!(out.last(), Some(&0x7e));
    assert_eq!(decode(&out), [vec![0xff, 0x03, 0xc0, 0x21, 0x01, 0x7e]]);
}

#[test]
fn escapes_the_characters_of_the_map() {
    let frame: Vec<u8> = [0x21_u8].into_iter().chain(0..=255).collect();
    for (accm, escaped) in [(Accm::ALL, 34), (Accm::NONE, 2), (Accm(0x000a_0000), 4), (Accm(1), 3)] {
        let mut out = Vec::new();
        encode(&frame, accm, &mut out);
        let body = &out[1..out.len() - 1];
        let check = !fcs::update(fcs::INIT, &frame);
        let in_map = |byte: u8| byte < 0x20 && accm.0 >> byte & 1 == 1;
        let in_check = check.to_le_bytes().into_iter().filter(|byte| in_map(*byte)).count();
        assert_eq!(body.iter().filter(|byte| **byte == 0x7d).count(), escaped + in_check, "{accm:?}");
        assert!(!body.iter().any(|byte| *byte == 0x7e || in_map(*byte)));
        assert_eq!(decode(&out), std::slice::from_ref(&frame));
    }
}

#[test]
fn consecutive_frames_share_a_flag() {
    let (mut out, mut second) = (Vec::new(), Vec::new());
    encode(b"one!", Accm::ALL, &mut out);
    let first = out.clone();
    encode(b"two!", Accm::ALL, &mut out);
    encode(b"two!", Accm::ALL, &mut second);
    assert_eq!(out, [&first, &second[1..]].concat());
    assert_eq!(decode(&out), [b"one!", b"two!"]);
}

#[test]
fn drop_is_counted_and_next_frame_is_delivered() {
    let mut good = Vec::new();
    encode(b"good", Accm::ALL, &mut good);
    let mut damaged = good.clone();
    damaged[2] ^= 0x40;
    let mut aborted = good[..4].to_vec();
    aborted.extend([0x7d, 0x7e]);
    let long = [&[0x7e][..], &[b'x'; 200], &[0x7e]].concat();
    for (reason, bytes) in [
        (HdlcDrop::BadFcs, damaged),
        (HdlcDrop::Short, vec![0x7e, b'a', b'b', b'c', 0x7e]),
        (HdlcDrop::Long, long),
        (HdlcDrop::Aborted, aborted),
        (HdlcDrop::Noise, b"login: \r\n".to_vec()),
    ] {
        let mut decoder = Decoder::new(100);
        let mut frames = Vec::new();
        decoder.feed(&bytes, |_| panic!("{reason} delivered"));
        decoder.feed(&good, |frame| frames.push(frame.to_vec()));
        assert_eq!(frames, [b"good"], "{reason}");
        for other in HdlcDrop::ALL {
            assert_eq!(
                decoder.counters().drops[other as usize],
                u64::from(other == reason),
                "{reason}: {other}"
            );
        }
        assert_eq!(decoder.counters().frames, 1);
    }
}

#[test]
fn length_limit_is_exact() {
    for (length, delivered) in [(99, 1), (100, 1), (101, 0)] {
        let mut bytes = Vec::new();
        encode(&vec![0x7e; length], Accm::ALL, &mut bytes);
        let mut decoder = Decoder::new(100);
        let mut frames = 0;
        decoder.feed(&bytes, |_| frames += 1);
        assert_eq!(frames, delivered, "{length}");
        assert!(decoder.frame.capacity() <= 102);
    }
}

#[test]
fn short_frames_round_trip() {
    for frame in
        [&[0x80, 0x21, 1, 1, 0, 4][..], &[0xff, 0x03, 0x80, 0x21, 1, 1, 0, 4], &[0xfd, 0x90], &[0x21, 0x45]]
    {
        let mut out = Vec::new();
        encode(frame, Accm::ALL, &mut out);
        assert_eq!(decode(&out), [frame.to_vec()]);
    }
}

/// A benchmark, not a test: `cargo test --release --lib hdlc::tests::speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let mut seed = 1_u32;
    let random: Vec<u8> = (0..1400)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        })
        .collect();
    for (name, frame) in [("random", random), ("text", vec![b'x'; 1400]), ("zeros", vec![0; 1400])] {
        for accm in [Accm::ALL, Accm::NONE] {
            let mut out = Vec::with_capacity(encoded_max(1400));
            let rounds = 100_000_u32;
            let begin = std::time::Instant::now();
            for _ in 0..rounds {
                out.clear();
                encode(std::hint::black_box(&frame), accm, &mut out);
            }
            let encoding = begin.elapsed() / rounds;
            let mut decoder = Decoder::new(1600);
            let begin = std::time::Instant::now();
            for _ in 0..rounds {
                decoder.feed(std::hint::black_box(&out), |_| {});
            }
            println!("{name} {accm:x?}: encode {encoding:?}, decode {:?}", begin.elapsed() / rounds);
            assert_eq!(decoder.counters().frames, u64::from(rounds));
        }
    }
}

fn decode(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    Decoder::new(2000).feed(bytes, |frame| frames.push(frame.to_vec()));
    frames
}

/// Bytes among which flags, escapes and control characters are common.
fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), 0..0x20_u8, Just(FLAG), Just(ESCAPE), Just(0x5e_u8)];
    proptest::collection::vec(byte, length)
}

/// Encodes byte by byte, exactly as RFC 1662 §4.2 describes it.
fn reference_encode(frame: &[u8], accm: Accm) -> Vec<u8> {
    let lcp = frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame).starts_with(&[0xc0, 0x21]);
    let map = if lcp { u32::MAX } else { accm.0 };
    let check = frame.iter().fold(0xffff_u16, |fcs, byte| {
        (0..8)
            .fold(fcs ^ u16::from(*byte), |fcs, _| if fcs & 1 == 1 { (fcs >> 1) ^ 0x8408 } else { fcs >> 1 })
    });
    let mut out = vec![0x7e];
    for byte in frame.iter().copied().chain((!check).to_le_bytes()) {
        if byte == 0x7d || byte == 0x7e || (byte < 0x20 && map & (1 << byte) != 0) {
            out.extend([0x7d, byte ^ 0x20]);
        } else {
            out.push(byte);
        }
    }
    out.push(0x7e);
    out
}

/// Returns the frames between the flags of a stream, escapes removed. A frame that ends with an escape is
/// aborted; bytes after the last flag are no frame.
fn reference_decode(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut spans: Vec<&[u8]> = stream.split(|byte| *byte == 0x7e).collect();
    spans.pop();
    let mut frames = Vec::new();
    for span in spans.into_iter().skip(1) {
        let (mut frame, mut bytes) = (Vec::new(), span.iter());
        let mut aborted = false;
        while let Some(byte) = bytes.next() {
            if *byte == 0x7d {
                match bytes.next() {
                    Some(byte) => frame.push(byte ^ 0x20),
                    None => aborted = true,
                }
            } else {
                frame.push(*byte);
            }
        }
        if !aborted {
            frames.push(frame);
        }
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn encoder_matches_reference(frame in bytes(0..700), accm in prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)]) {
        let mut out = b"before".to_vec();
        encode(&frame, Accm(accm), &mut out);
        prop_assert_eq!(&out[6..], reference_encode(&frame, Accm(accm)));
        prop_assert!(out.len() - 6 <= encoded_max(frame.len()));
    }

    /// Includes consecutive escapes and reads that end anywhere. Some frames get a correct FCS, so that they
    /// pass.
    #[test]
    fn decoder_matches_reference(
        spans in proptest::collection::vec(
            (bytes(0..400), prop_oneof![Just(0..1_usize), Just(0..3), Just(60..70)], any::<bool>()),
            0..5,
        ),
        piece in 1..200_usize,
        longest in prop_oneof![Just(1000_usize), Just(150), Just(64)],
    ) {
        let mut stream = vec![0x7e];
        for (span, escapes, whole) in &spans {
            let mut span: Vec<u8> = span.iter().copied().filter(|byte| *byte != 0x7e).collect();
            span.extend(escapes.clone().map(|_| 0x7d));
            let decoded = reference_decode(&[&[0x7e], &span[..], &[0x7e]].concat());
            if let ([frame], true) = (&decoded[..], whole) {
                let fcs = !fcs::update(fcs::INIT, frame);
                for byte in fcs.to_le_bytes() {
                    span.extend([0x7d, byte ^ 0x20]);
                }
            }
            stream.extend(span);
            stream.push(0x7e);
        }
        // Decodes the whole stream, because an escape before a flag does not escape a byte.
        let expected: Vec<Vec<u8>> = reference_decode(&stream)
            .into_iter()
            .filter(|frame| (4..=longest + 2).contains(&frame.len()))
            .filter(|frame| fcs::update(fcs::INIT, frame) == fcs::GOOD)
            .map(|frame| frame[..frame.len() - 2].to_vec())
            .collect();
        let (mut decoder, mut got) = (Decoder::new(longest), Vec::new());
        for piece in stream.chunks(piece) {
            decoder.feed(piece, |frame| got.push(frame.to_vec()));
            prop_assert!(decoder.frame.capacity() <= longest + 2);
        }
        prop_assert_eq!(got, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn frames_round_trip(
        frames in proptest::collection::vec(bytes(2..300), 0..6),
        accm in prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)],
        pieces in proptest::collection::vec(1..50_usize, 1..40),
    ) {
        let mut stream = Vec::new();
        for frame in &frames {
            let before = stream.len();
            encode(frame, Accm(accm), &mut stream);
            prop_assert!(stream.len() - before <= encoded_max(frame.len()));
        }
        let mut decoder = Decoder::new(300);
        let mut got = Vec::new();
        let mut rest = &stream[..];
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            decoder.feed(now, |frame| got.push(frame.to_vec()));
            rest = later;
        }
        prop_assert_eq!(&got, &frames);
        prop_assert_eq!(decoder.counters().drops, [0; 5]);
    }

    #[test]
    fn result_does_not_depend_on_read_sizes(stream in bytes(0..600), cut in 0..600_usize) {
        let run = |pieces: &[&[u8]]| {
            let mut decoder = Decoder::new(64);
            let mut got = Vec::new();
            for piece in pieces {
                decoder.feed(piece, |frame| got.push(frame.to_vec()));
                assert!(decoder.frame.len() <= 66);
            }
            (got, *decoder.counters())
        };
        let (head, tail) = stream.split_at(cut.min(stream.len()));
        let whole = run(&[&stream]);
        prop_assert_eq!(&run(&[head, tail]), &whole);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&run(&bytes), &whole);
    }

    #[test]
    fn fcs_detects_one_damaged_byte(frame in bytes(2..100), at in 0..100_usize, mask in 1..=255_u8) {
        let mut stream = Vec::new();
        encode(&frame, Accm::ALL, &mut stream);
        let at = 1 + at % (stream.len() - 2);
        stream[at] ^= mask;
        for got in decode(&stream) {
            prop_assert_ne!(got, frame.clone());
        }
    }
}

#[test]
fn drop_reasons_have_labels_of_their_own() {
    for (at, reason) in HdlcDrop::ALL.iter().enumerate() {
        assert!(reason.label().starts_with("hdlc_"), "{reason}");
        assert!(HdlcDrop::ALL[..at].iter().all(|other| other.label() != reason.label()), "{reason}");
    }
}
