use proptest::{collection::vec, prelude::*};

use super::{
    messages::{IncomingCallConnected, IncomingCallReply, IncomingCallRequest, WanErrorNotify},
    *,
};

const KINDS: std::ops::RangeInclusive<u16> = 1..=15;

#[test]
fn message_lengths_match_the_rfc() {
    let lengths: Vec<_> = KINDS.map(|kind| Message::length_of(kind).unwrap()).collect();
    assert_eq!(lengths, [156, 156, 16, 16, 16, 20, 168, 32, 220, 24, 28, 16, 148, 40, 24]);
    for kind in KINDS {
        let message = zeros(kind);
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(bytes.len(), usize::from(Message::length_of(kind).unwrap()), "{message:?}");
        assert_eq!(message.kind(), kind);
    }
}

#[test]
fn field_offsets_match_the_rfc() {
    // Every byte of the body is its own offset, so that a field's value shows where it was read.
    let read = |kind: u16| {
        let mut bytes = encoded(&zeros(kind));
        for (at, byte) in bytes.iter_mut().enumerate().skip(12) {
            *byte = u8::try_from(at).unwrap();
        }
        Message::decode(&bytes).unwrap()
    };
    let u16_at = |at: u8| u16::from_be_bytes([at, at + 1]);
    let u32_at = |at: u8| u32::from_be_bytes([at, at + 1, at + 2, at + 3]);
    assert_eq!(
        read(13),
        CallDisconnectNotify {
            call_id: u16_at(12),
            result: 14,
            error: 15,
            cause: u16_at(16),
            statistics: text_at(20),
        }
        .into()
    );
    assert_eq!(
        read(11),
        IncomingCallConnected {
            peer_call_id: u16_at(12),
            connect_speed: u32_at(16),
            window: u16_at(20),
            delay: u16_at(22),
            framing: u32_at(24),
        }
        .into()
    );
    assert_eq!(
        read(10),
        IncomingCallReply {
            call_id: u16_at(12),
            peer_call_id: u16_at(14),
            result: 16,
            error: 17,
            window: u16_at(18),
            delay: u16_at(20),
        }
        .into()
    );
    assert_eq!(
        read(9),
        IncomingCallRequest {
            call_id: u16_at(12),
            serial: u16_at(14),
            bearer: u32_at(16),
            channel: u32_at(20),
            dialed_length: u16_at(24),
            dialing_length: u16_at(26),
            dialed: text_at(28),
            dialing: text_at(92),
            subaddress: text_at(156),
        }
        .into()
    );
    assert_eq!(
        read(14),
        WanErrorNotify {
            peer_call_id: u16_at(12),
            crc_errors: u32_at(16),
            framing_errors: u32_at(20),
            hardware_overruns: u32_at(24),
            buffer_overruns: u32_at(28),
            timeouts: u32_at(32),
            alignment_errors: u32_at(36),
        }
        .into()
    );
    assert_eq!(
        read(8),
        OutgoingCallReply {
            call_id: u16_at(12),
            peer_call_id: u16_at(14),
            result: 16,
            error: 17,
            cause: u16_at(18),
            connect_speed: u32_at(20),
            window: u16_at(24),
            delay: u16_at(26),
            channel: u32_at(28),
        }
        .into()
    );
    assert_eq!(
        read(2),
        StartControlConnectionReply {
            version: u16_at(12),
            result: 14,
            error: 15,
            framing: u32_at(16),
            bearer: u32_at(20),
            max_channels: u16_at(24),
            firmware: u16_at(26),
            host_name: text_at(28),
            vendor: text_at(92),
        }
        .into()
    );
    assert_eq!(read(6), EchoReply { identifier: u32_at(12), result: 16, error: 17 }.into());
}

#[test]
fn small_messages_match_byte_for_byte() {
    let cases: [(Message, &[u8]); 5] = [
        (
            StopControlConnectionRequest { reason: 3 }.into(),
            b"\x00\x10\x00\x01\x1A\x2B\x3C\x4D\x00\x03\0\0\x03\0\0\0",
        ),
        (
            StopControlConnectionReply { result: 1, error: 2 }.into(),
            b"\x00\x10\x00\x01\x1A\x2B\x3C\x4D\x00\x04\0\0\x01\x02\0\0",
        ),
        (EchoRequest { identifier: 7 }.into(), b"\x00\x10\x00\x01\x1A\x2B\x3C\x4D\x00\x05\0\0\0\0\0\x07"),
        (
            EchoReply { identifier: 7, result: 1, error: 0 }.into(),
            b"\x00\x14\x00\x01\x1A\x2B\x3C\x4D\x00\x06\0\0\0\0\0\x07\x01\0\0\0",
        ),
        (
            CallClearRequest { call_id: 0x1234 }.into(),
            b"\x00\x10\x00\x01\x1A\x2B\x3C\x4D\x00\x0C\0\0\x12\x34\0\0",
        ),
    ];
    for (message, bytes) in cases {
        assert_eq!(encoded(&message), bytes);
        assert_eq!(Message::decode(bytes), Some(message));
    }
}

#[test]
fn wrong_lengths_are_rejected() {
    for kind in KINDS {
        let good = encoded(&zeros(kind));
        for length in 0..good.len() {
            assert_eq!(Message::decode(&good[..length]), None);
        }
        let mut long = good.clone();
        long.push(0);
        assert_eq!(Message::decode(&long), None, "a byte after the message");
        let mut wrong_length = good;
        wrong_length[1] ^= 4;
        assert_eq!(Message::decode(&wrong_length), None, "a length of another type");
    }
}

#[test]
fn junk_before_a_message_is_skipped() {
    let echo = EchoRequest { identifier: 5 };
    for junk in [
        &b"\xFF\xFE\xFD\xFC\xFB\xFA\xF9"[..],
        b"\x00\x10\x00\x01\x1A\x2B\x3C",
        b"\0\0\0\0\0\0\0",
        b"\x00\x10",
    ] {
        let mut bytes = junk.to_vec();
        echo.clone().into_message().encode(&mut bytes);
        let mut decoder = StreamDecoder::default();
        assert_eq!(decode_all(&mut decoder, &bytes), [echo.clone().into_message()], "{junk:x?}");
        assert_eq!(decoder.counters().skipped_bytes, junk.len() as u64);
    }
}

#[test]
fn known_type_with_wrong_length_is_skipped() {
    let mut bytes = encoded(&EchoRequest { identifier: 5 }.into());
    bytes[1] = 20;
    EchoRequest { identifier: 6 }.into_message().encode(&mut bytes);
    let mut decoder = StreamDecoder::default();
    assert_eq!(decode_all(&mut decoder, &bytes), [EchoRequest { identifier: 6 }.into()]);
    assert_eq!(decoder.counters().skipped_bytes, 16);
}

#[test]
fn unknown_types_are_counted_and_skipped_whole() {
    let mut bytes = encoded(&EchoRequest { identifier: 5 }.into());
    bytes[9] = 16;
    let mut management = encoded(&EchoRequest { identifier: 5 }.into());
    management[3] = 2;
    bytes.extend(management);
    EchoRequest { identifier: 6 }.into_message().encode(&mut bytes);
    let mut decoder = StreamDecoder::default();
    assert_eq!(decode_all(&mut decoder, &bytes), [EchoRequest { identifier: 6 }.into()]);
    let expected = StreamCounters { messages: 1, unknown_type: 2, ..StreamCounters::default() };
    assert_eq!(*decoder.counters(), expected);
}

#[test]
fn nonzero_reserved_header_field_is_only_counted() {
    let mut bytes = encoded(&EchoRequest { identifier: 5 }.into());
    bytes[10] = 0xAB;
    let mut decoder = StreamDecoder::default();
    assert_eq!(decode_all(&mut decoder, &bytes), [EchoRequest { identifier: 5 }.into()]);
    assert_eq!(decoder.counters().reserved_not_zero, 1);
}

#[test]
fn stream_may_be_split_at_any_byte() {
    let messages: Vec<_> = KINDS.map(zeros).collect();
    let bytes: Vec<u8> = messages.iter().flat_map(encoded).collect();
    for cut in 0..=bytes.len() {
        let mut decoder = StreamDecoder::default();
        let mut decoded = decode_all(&mut decoder, &bytes[..cut]);
        decoded.extend(decode_all(&mut decoder, &bytes[cut..]));
        assert_eq!(decoded, messages, "cut at {cut}");
        assert_eq!(decoder.counters().skipped_bytes, 0);
    }
}

proptest! {
    #[test]
    fn messages_round_trip(message in any_message()) {
        prop_assert_eq!(Message::decode(&encoded(&message)), Some(message));
    }

    #[test]
    fn decoder_accepts_arbitrary_bytes(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
        decode_all(&mut StreamDecoder::default(), &bytes);
    }

    /// Every message is found, whatever is between them, as long as no part of that looks like a message.
    #[test]
    fn messages_survive_junk_and_segmentation(
        parts in vec((vec(0x50_u8..=0xFF, 0..20), any_message()), 1..6),
        cuts in vec(1_usize..50, 1..10),
    ) {
        let mut bytes = Vec::new();
        for (junk, message) in &parts {
            bytes.extend(junk);
            message.encode(&mut bytes);
        }
        let mut decoder = StreamDecoder::default();
        let mut decoded = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            decoded.extend(decode_all(&mut decoder, now));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let messages: Vec<_> = parts.into_iter().map(|(_, message)| message).collect();
        prop_assert_eq!(decoded, messages);
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    // Random body bytes reach every value of every field.
    (KINDS, vec(any::<u8>(), MAX_LENGTH)).prop_map(|(kind, body)| Message::read_body(kind, &body).unwrap())
}

fn zeros(kind: u16) -> Message {
    Message::read_body(kind, &[0; MAX_LENGTH]).unwrap()
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn decode_all(decoder: &mut StreamDecoder, mut bytes: &[u8]) -> Vec<Message> {
    std::iter::from_fn(|| decoder.next_message(&mut bytes)).collect()
}

fn text_at<const N: usize>(at: u8) -> Text<N> {
    let bytes: Vec<u8> = (at..).take(N).collect();
    let mut bytes = &bytes[..];
    fields::Field::read(&mut bytes).unwrap()
}

trait IntoMessage {
    fn into_message(self) -> Message;
}

impl<T: Into<Message>> IntoMessage for T {
    fn into_message(self) -> Message {
        self.into()
    }
}
