//! The bytes that pptp-linux 1.10.0 sends, with and without its quirk (as in versions where it worked).

use super::*;

const HEADER_SCCRQ: &[u8] = b"\x00\x9C\x00\x01\x1A\x2B\x3C\x4D\x00\x01\x00\x00";
const HEADER_OCRQ: &[u8] = b"\x00\xA8\x00\x01\x1A\x2B\x3C\x4D\x00\x07\x00\x00";

fn padded(text: &[u8]) -> Vec<u8> {
    let mut field = text.to_vec();
    field.resize(64, 0);
    field
}

#[test]
fn start_request_matches_pptp_linux() {
    let plain = [
        HEADER_SCCRQ,
        b"\x01\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x03\xFF\xFF\x00\x01",
        &padded(b"local"),
        &padded(b"cananian"),
    ];
    let bezeq = [
        HEADER_SCCRQ,
        b"\x01\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x60\x21",
        &padded(b"RELAY_PPP1"),
        &padded(b"MS Win NT"),
    ];
    for (quirks, expected) in [(Quirks::None, plain), (Quirks::BezeqIsrael, bezeq)] {
        let now = Instant::now();
        let mut client = Control::new(ControlConfig::client(quirks), now);
        client.connected(now);
        assert_eq!(take_output(&mut client), expected.concat());
    }
}

#[test]
fn call_request_matches_pptp_linux() {
    let (mut plain, now) = client(ControlConfig::client(Quirks::None));
    assert_eq!(plain.open_call(now, CallRequest::new(0x1234)), Ok(0x1234));
    let expected = [
        HEADER_OCRQ,
        b"\x12\x34\x00\x00\x00\x00\x09\x60\x00\x98\x96\x80\x00\x00\x00\x03\x00\x00\x00\x03\x00\x03\x00\x00\x00\x00\x00\x00",
        &padded(b""),
        &padded(b""),
    ];
    assert_eq!(take_output(&mut plain), expected.concat());
    // The second call on the connection has the next serial number.
    plain.open_call(now, CallRequest::new(0x1235)).unwrap();
    assert_eq!(take_output(&mut plain)[12..16], [0x12, 0x35, 0, 1]);
}

#[test]
fn call_request_with_quirk_matches_pptp_linux() {
    let (mut bezeq, now) = client(ControlConfig::client(Quirks::BezeqIsrael));
    assert_eq!(bezeq.open_call(now, CallRequest::new(0x1234)), Ok(0));
    let expected = [
        HEADER_OCRQ,
        b"\x00\x00\x00\x00\x00\x00\x09\x60\x00\x98\x96\x80\x00\x00\x00\x02\x00\x00\x00\x03\x00\x03\x00\x00\x00\x0A\x00\x00",
        &padded(b"RELAY_PPP1"),
        &padded(b""),
    ];
    assert_eq!(take_output(&mut bezeq), expected.concat());
}

#[test]
fn phone_number_overrides_the_quirk() {
    for quirks in [Quirks::None, Quirks::BezeqIsrael] {
        let (mut client, now) = client(ControlConfig::client(quirks));
        let request = CallRequest { phone: Some("5551234".to_owned()), ..CallRequest::new(1) };
        client.open_call(now, request).unwrap();
        let bytes = take_output(&mut client);
        assert_eq!(bytes[36..40], [0, 7, 0, 0]);
        assert_eq!(bytes[40..104], padded(b"5551234"));
    }
    let (mut client, now) = client(ControlConfig::client(Quirks::None));
    let request = CallRequest { phone: Some("7".repeat(70)), ..CallRequest::new(1) };
    client.open_call(now, request).unwrap();
    let bytes = take_output(&mut client);
    assert_eq!(bytes[36..40], [0, 64, 0, 0], "the first 64 bytes count");
    assert_eq!(bytes[40..104], [b'7'; 64]);
}

#[test]
fn set_link_info_follows_the_reply_only_with_the_quirk() {
    let (mut bezeq, now) = client(ControlConfig::client(Quirks::BezeqIsrael));
    bezeq.open_call(now, CallRequest::new(0x1234)).unwrap();
    take_output(&mut bezeq);
    bezeq.handle_input(now, &encoded(call_reply(0, 0x00AB)));
    assert_eq!(
        take_output(&mut bezeq),
        b"\x00\x18\x00\x01\x1A\x2B\x3C\x4D\x00\x0F\x00\x00\x00\xAB\x00\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"
    );
    assert!(matches!(events(&mut bezeq)[..], [ControlEvent::CallUp { call_id: 0, peer_call_id: 0xAB, .. }]));

    let (mut plain, now) = client(ControlConfig::client(Quirks::None));
    plain.open_call(now, CallRequest::new(0x1234)).unwrap();
    take_output(&mut plain);
    plain.handle_input(now, &encoded(call_reply(0x1234, 0x00AB)));
    assert_eq!(take_output(&mut plain), b"");
}

#[test]
fn clear_request_carries_the_requested_call_id() {
    for (quirks, id) in [(Quirks::None, 0x1234_u16), (Quirks::BezeqIsrael, 0)] {
        let (mut client, now) = client(ControlConfig::client(quirks));
        let call_id = client.open_call(now, CallRequest::new(0x1234)).unwrap();
        client.handle_input(now, &encoded(call_reply(call_id, 0x00AB)));
        take_output(&mut client);
        client.close_call(now, call_id).unwrap();
        let mut expected = b"\x00\x10\x00\x01\x1A\x2B\x3C\x4D\x00\x0C\x00\x00".to_vec();
        expected.extend(id.to_be_bytes());
        expected.extend([0, 0]);
        assert_eq!(take_output(&mut client), expected);
    }
}

#[test]
fn quirk_works_end_to_end() {
    let mut pair = Pair::new(ControlConfig::client(Quirks::BezeqIsrael), ControlConfig::server("pac"));
    pair.drive();
    assert_eq!(pair.client.open_call(pair.now, CallRequest::new(0x1234)), Ok(0));
    pair.drive();
    let link_info = ControlEvent::SetLinkInfo { call_id: 1000, send_accm: u32::MAX, receive_accm: u32::MAX };
    assert!(pair.server_events.contains(&link_info), "{:?}", pair.server_events);
    assert_eq!(pair.client.open_call(pair.now, CallRequest::new(2)), Err(CallError::InUse(0)));
    pair.client.stop(pair.now);
    pair.drive();
    assert_eq!(
        pair.client_events[1..],
        [
            ControlEvent::CallUp {
                call_id: 0,
                peer_call_id: 1000,
                peer_window: 64,
                connect_speed: 100_000_000
            },
            ControlEvent::CallDown { call_id: 0, reason: CallEnd::Closed },
            ControlEvent::Closed(ControlEnd::Stopped),
        ]
    );
}
