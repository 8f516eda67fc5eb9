use super::*;

#[test]
fn silence_ends_the_connection_after_both_waits() {
    let config = ControlConfig {
        idle_wait: Some(20 * SECOND),
        max_echo_wait: 5 * SECOND,
        ..ControlConfig::client(Quirks::None)
    };
    let (mut client, start) = client(config);
    client.open_call(start, CallRequest::new(7)).unwrap();
    client.handle_input(start, &encoded(call_reply(7, 99)));
    events(&mut client);
    take_output(&mut client);

    assert_eq!(client.next_timeout(), Some((start + 20 * SECOND, "echo request")));
    client.handle_timeout(start + 20 * SECOND - MS);
    assert_eq!(take_output(&mut client), b"");
    client.handle_timeout(start + 20 * SECOND);
    assert_eq!(sent(&mut client), [wire::EchoRequest { identifier: 1 }.into()]);

    assert_eq!(client.next_timeout(), Some((start + 25 * SECOND, "echo reply")));
    client.handle_timeout(start + 25 * SECOND - MS);
    assert!(events(&mut client).is_empty());
    client.handle_timeout(start + 25 * SECOND);
    assert_eq!(
        events(&mut client),
        [
            ControlEvent::CallDown { call_id: 7, reason: CallEnd::ControlLost },
            ControlEvent::Closed(ControlEnd::EchoTimeout)
        ]
    );
    assert_eq!(names(&sent(&mut client)), ["CallClearRequest", "StopControlConnectionRequest"]);
}

#[test]
fn echo_identifier_advances_with_each_reply() {
    let (mut client, start) = client(ControlConfig::client(Quirks::None));
    let mut now = start;
    for identifier in 1..4 {
        now = client.next_timeout().unwrap().0;
        client.handle_timeout(now);
        assert_eq!(sent(&mut client), [wire::EchoRequest { identifier }.into()]);
        now += 30 * MS;
        client.handle_input(now, &encoded(wire::EchoReply { identifier, result: 1, error: 0 }));
        assert_eq!(client.counters().echo_round_trip, Some(30 * MS));
    }
    assert_eq!(client.next_timeout(), Some((now + 60 * SECOND, "echo request")));
}

#[test]
fn any_message_resets_idle_but_only_a_reply_advances_the_id() {
    let (mut client, start) = client(ControlConfig::client(Quirks::None));
    client.handle_timeout(start + 60 * SECOND);
    assert_eq!(sent(&mut client), [wire::EchoRequest { identifier: 1 }.into()]);
    let now = start + 70 * SECOND;
    client.handle_input(now, &encoded(wire::EchoReply { identifier: 9, result: 1, error: 0 }));
    assert_eq!(client.counters().echo_replies_mismatched, 1);
    assert_eq!(client.next_timeout(), Some((now + 60 * SECOND, "echo request")));
    client.handle_timeout(now + 60 * SECOND);
    assert_eq!(sent(&mut client), [wire::EchoRequest { identifier: 1 }.into()]);
}

#[test]
fn peer_echo_request_is_answered_and_delays_ours() {
    let (mut client, start) = client(ControlConfig::client(Quirks::None));
    let now = start + 59 * SECOND;
    client.handle_input(now, &encoded(wire::EchoRequest { identifier: 77 }));
    assert_eq!(sent(&mut client), [wire::EchoReply { identifier: 77, result: 1, error: 0 }.into()]);
    client.handle_timeout(start + 60 * SECOND);
    assert_eq!(take_output(&mut client), b"");
    assert_eq!(client.next_timeout(), Some((now + 60 * SECOND, "echo request")));
}

#[test]
fn no_echo_requests_without_idle_wait() {
    let (client, _) = client(ControlConfig { idle_wait: None, ..ControlConfig::client(Quirks::None) });
    assert_eq!(client.next_timeout(), None);
}

#[test]
fn echo_may_stay_unanswered_without_max_echo_wait() {
    let config = ControlConfig { max_echo_wait: Duration::ZERO, ..ControlConfig::client(Quirks::None) };
    let (mut client, start) = client(config);
    client.handle_timeout(start + 60 * SECOND);
    assert_eq!(client.next_timeout(), None);
    client.handle_timeout(start + 6000 * SECOND);
    assert!(client.is_established());
}

#[test]
fn two_peers_keep_each_other_alive_for_a_day() {
    let mut pair = Pair::established();
    let end = pair.now + 24 * 3600 * SECOND;
    while pair.now < end {
        pair.step();
    }
    assert!(pair.client.is_established() && pair.server.is_established());
    let client = pair.client.counters();
    let server = pair.server.counters();
    let requests = client.echo_requests_sent + server.echo_requests_sent;
    // A request also resets the other side's idle timer: each side sends at most one per minute.
    assert!((24 * 60..=2 * 24 * 60).contains(&requests), "{requests}");
    assert_eq!(client.echo_replies_mismatched + server.echo_replies_mismatched, 0);
}

#[test]
fn both_sides_detect_a_dead_network() {
    let mut pair = Pair::established();
    pair.call(3);
    pair.network_down = true;
    let start = pair.now;
    while !(pair.client.is_ended() && pair.server.is_ended()) {
        pair.step();
    }
    assert_eq!(pair.now - start, 120 * SECOND);
    let ends = [
        ControlEvent::CallDown { call_id: 3, reason: CallEnd::ControlLost },
        ControlEvent::Closed(ControlEnd::EchoTimeout),
    ];
    assert_eq!(pair.client_events, ends);
}

#[test]
fn heard_after_counts_messages_later_than_the_moment() {
    let (mut client, start) = client(ControlConfig::client(Quirks::None));
    assert!(!client.heard_after(start));
    let now = start + 10 * SECOND;
    client.handle_input(now, &encoded(wire::EchoRequest { identifier: 3 }));
    assert!(client.heard_after(now - MS));
    assert!(!client.heard_after(now), "a message at the moment itself is not later");
}
