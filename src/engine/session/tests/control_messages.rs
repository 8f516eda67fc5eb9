//! Control messages of the server in every order and segmentation.

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::pptp::wire::{self, Message, Text};

/// Returns the encoded messages of all types, valid for the session's call.
fn frames() -> Vec<Vec<u8>> {
    let encoded = messages().into_iter().map(|message| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes
    });
    // Incoming calls and the errors of a line, which no server of a tunnel has to send.
    let others = [(9, 5, 1), (10, 5, 77), (11, 77, 0), (14, 77, 0)];
    encoded.chain(others.map(|(kind, first, second)| other(kind, first, second))).collect()
}

/// Returns a message of this type, whose body begins with these two numbers.
fn other(kind: u16, first: u16, second: u16) -> Vec<u8> {
    let length = Message::length_of(kind).unwrap();
    let header = [length, 1, 0x1A2B, 0x3C4D, kind, 0, first, second];
    let mut bytes: Vec<u8> = header.iter().flat_map(|number| number.to_be_bytes()).collect();
    bytes.resize(length.into(), 0);
    bytes
}

/// Returns messages of the types that a server of a tunnel sends, some of them with several results, and its requests.
fn messages() -> Vec<Message> {
    let start = wire::StartControlConnectionReply {
        version: wire::VERSION,
        result: 1,
        error: 0,
        framing: 3,
        bearer: 3,
        max_channels: 0,
        firmware: 1,
        host_name: Text::new("server"),
        vendor: Text::new("server"),
    };
    let call = wire::OutgoingCallReply {
        call_id: 5,
        peer_call_id: 77,
        result: 1,
        error: 0,
        cause: 0,
        connect_speed: 100_000_000,
        window: 64,
        delay: 0,
        channel: 0,
    };
    let refused = wire::OutgoingCallReply { result: 4, ..call.clone() };
    let disconnected =
        wire::CallDisconnectNotify { call_id: 5, result: 1, error: 0, cause: 0, statistics: Text::new("") };
    let text = || Text::new("");
    let request = wire::OutgoingCallRequest {
        call_id: 6,
        serial: 1,
        minimum_bps: 300,
        maximum_bps: 100_000_000,
        bearer: 3,
        framing: 3,
        window: 64,
        delay: 0,
        phone_length: 0,
        phone: text(),
        subaddress: text(),
    };
    vec![
        start.clone().into(),
        wire::StartControlConnectionReply { result: 2, ..start }.into(),
        call.into(),
        refused.into(),
        disconnected.into(),
        wire::StopControlConnectionRequest { reason: 3 }.into(),
        wire::StopControlConnectionReply { result: 1, error: 0 }.into(),
        wire::EchoRequest { identifier: 7 }.into(),
        wire::EchoReply { identifier: 1, result: 1, error: 0 }.into(),
        wire::CallClearRequest { call_id: 5 }.into(),
        wire::SetLinkInfo { peer_call_id: 77, send_accm: 0, receive_accm: 0 }.into(),
        wire::StartControlConnectionRequest {
            version: wire::VERSION,
            framing: 3,
            bearer: 3,
            max_channels: 0,
            firmware: 1,
            host_name: Text::new("server"),
            vendor: Text::new("server"),
        }
        .into(),
        request.into(),
    ]
}

proptest! {
    #[test]
    fn server_messages_in_any_order_are_no_internal_error(
        order in proptest::collection::vec((any::<Index>(), 0..400_usize, 0..3000_u64), 1..12),
        closes in any::<bool>(),
    ) {
        let mut now = Instant::now();
        let mut session = Session::new(spec(), Secret::from("right"), 77, random(1), now);
        session.connected(now, String::new());
        let all = frames();
        let mut waiting = Vec::new();
        for (which, segment, wait) in order {
            let frame: &Vec<u8> = which.get(all.as_slice());
            waiting.extend_from_slice(frame);
            let rest = waiting.split_off(segment.min(waiting.len()));
            session.tcp_input(now, &waiting);
            waiting = rest;
            now += Duration::from_millis(wait);
            session.handle_timeout(now, &mut |_| {});
        }
        session.tcp_input(now, &waiting);
        if closes {
            session.tcp_closed(now);
        }
        let downs: Vec<Failure> = std::iter::from_fn(|| session.poll_event())
            .filter_map(|event| if let SessionEvent::Down(failure) = event { Some(failure) } else { None })
            .collect();
        prop_assert!(downs.len() <= 1, "{downs:?}");
        prop_assert!(!closes || downs.len() == 1);
        for failure in downs {
            prop_assert_ne!(failure.kind, FailureKind::Internal, "{}", failure);
        }
    }
}

#[test]
fn every_message_type_is_sent() {
    let kind = |frame: &Vec<u8>| u16::from_be_bytes([frame[8], frame[9]]);
    let types: std::collections::BTreeSet<u16> = frames().iter().map(kind).collect();
    assert_eq!(types.into_iter().collect::<Vec<_>>(), (1..=15).collect::<Vec<u16>>());
}

#[test]
fn stop_right_after_the_start_reply_gives_the_servers_reason() {
    let now = Instant::now();
    let mut session = Session::new(spec(), Secret::from("right"), 77, random(1), now);
    session.connected(now, String::new());
    let mut bytes = Vec::new();
    messages()[0].encode(&mut bytes);
    Message::from(wire::StopControlConnectionRequest { reason: 3 }).encode(&mut bytes);
    session.tcp_input(now, &bytes);
    let Some(SessionEvent::Down(failure)) = std::iter::from_fn(|| session.poll_event()).last() else {
        panic!("the session has not ended")
    };
    assert_eq!((failure.phase, failure.kind), (Phase::Control, FailureKind::ControlRefused));
    assert!(failure.detail.contains("stopped the control connection"), "{failure}");
}
