//! Memory stays bounded whatever the peer sends, even if the owner fetches nothing.

use super::*;

#[test]
fn echo_request_flood_fills_a_few_kilobytes() {
    let (mut client, now) = client(ControlConfig::client(Quirks::None));
    let flood = encoded(wire::EchoRequest { identifier: 1 }).repeat(10_000);
    client.handle_input(now, &flood);
    assert!((4096..=4116).contains(&client.poll_output().len()), "4 KiB, and the answer that crosses them");
    let counters = client.counters();
    assert_eq!(counters.echo_requests_answered + counters.echo_requests_unanswered, 10_000);
    assert!(client.is_established(), "the flood ended the connection");
}

#[test]
fn calls_beyond_max_channels_are_refused() {
    let mut pair = Pair::new(
        ControlConfig::client(Quirks::None),
        ControlConfig { max_channels: 2, ..ControlConfig::server("pac") },
    );
    pair.drive();
    pair.call(1);
    pair.call(2);
    pair.client.open_call(pair.now, CallRequest::new(3)).unwrap();
    pair.drive();
    assert_eq!(pair.client_events, [ControlEvent::CallRefused { call_id: 3, result: 2, error: 4, cause: 0 }]);
}

#[test]
fn client_calls_are_limited() {
    let (mut client, now) = client(ControlConfig::client(Quirks::None));
    for id in 0..128 {
        client.open_call(now, CallRequest::new(id)).unwrap();
    }
    assert_eq!(client.open_call(now, CallRequest::new(128)), Err(CallError::TooMany));
}

#[test]
fn peer_that_cycles_calls_without_reading_is_dropped() {
    let mut pair = Pair::established();
    pair.client.open_call(pair.now, CallRequest::new(1)).unwrap();
    let mut flood = take_output(&mut pair.client);
    flood.extend(encoded(wire::CallClearRequest { call_id: 1 }));
    pair.server.handle_input(pair.now, &flood.repeat(10_000));
    assert!(pair.server.poll_output().len() <= MAX_OUTPUT + 220);
    let events = events(&mut pair.server);
    assert!(events.len() <= MAX_EVENTS + 1);
    assert!(matches!(events.last(), Some(ControlEvent::Closed(ControlEnd::Protocol(_)))));
}

#[test]
fn peer_that_reads_nothing_is_dropped() {
    let mut pair = Pair::established();
    pair.client.open_call(pair.now, CallRequest::new(1)).unwrap();
    let flood = take_output(&mut pair.client).repeat(10_000);
    pair.server.handle_input(pair.now, &flood);
    assert!(pair.server.poll_output().len() <= MAX_OUTPUT + 220);
    let end = ControlEnd::Protocol("the peer does not read what we send");
    assert_eq!(events(&mut pair.server).last(), Some(&ControlEvent::Closed(end)));
}

#[test]
fn set_link_info_flood_does_not_end_the_connection() {
    let (mut client, now) = client_with_call();
    let info = wire::SetLinkInfo { peer_call_id: 7, send_accm: u32::MAX, receive_accm: u32::MAX };
    client.handle_input(now, &encoded(info).repeat(10_000));
    assert!(client.is_established());
    assert_eq!(events(&mut client).len(), MAX_EVENTS / 2);
    assert_eq!(client.counters().set_link_info_dropped, 10_000 - MAX_EVENTS as u64 / 2);
}

#[test]
fn input_after_the_end_is_ignored() {
    let (mut client, now) = client_with_call();
    let mut bytes = encoded(wire::StopControlConnectionRequest { reason: 1 });
    bytes.extend(encoded(wire::EchoRequest { identifier: 1 }).repeat(100));
    client.handle_input(now, &bytes);
    assert_eq!(names(&sent(&mut client)), ["StopControlConnectionReply"]);
    client.handle_input(now, &bytes);
    client.handle_timeout(now + 1000 * SECOND);
    assert_eq!(take_output(&mut client), b"");
}
