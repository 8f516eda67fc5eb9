use super::*;

#[test]
fn graceful_stop_waits_for_each_reply() {
    let (mut client, now) = client_with_call();
    client.stop(now);
    assert_eq!(names(&sent(&mut client)), ["CallClearRequest"]);
    client.stop(now);
    assert_eq!(take_output(&mut client), b"", "the second stop sent a message");
    client.handle_input(now, &encoded(disconnect(99)));
    assert_eq!(events(&mut client), [ControlEvent::CallDown { call_id: 7, reason: CallEnd::Closed }]);
    assert_eq!(sent(&mut client), [wire::StopControlConnectionRequest { reason: 3 }.into()]);
    client.handle_input(now, &encoded(wire::EchoRequest { identifier: 4 }));
    assert_eq!(names(&sent(&mut client)), ["EchoReply"]);
    client.handle_input(now, &encoded(wire::StopControlConnectionReply { result: 1, error: 0 }));
    assert_eq!(events(&mut client), [ControlEvent::Closed(ControlEnd::Stopped)]);
    assert_eq!(client.next_timeout(), None);
}

#[test]
fn silent_peer_delays_stop_by_at_most_two_timeouts() {
    let (mut client, start) = client_with_call();
    client.stop(start);
    assert_eq!(client.next_timeout(), Some((start + 2 * SECOND, "call disconnect")));
    client.handle_timeout(start + 2 * SECOND);
    assert_eq!(names(&sent(&mut client)), ["CallClearRequest", "StopControlConnectionRequest"]);
    assert_eq!(client.next_timeout(), Some((start + 4 * SECOND, "stop reply")));
    client.handle_timeout(start + 4 * SECOND);
    assert_eq!(
        events(&mut client),
        [
            ControlEvent::CallDown { call_id: 7, reason: CallEnd::Closed },
            ControlEvent::Closed(ControlEnd::Stopped)
        ]
    );
}

#[test]
fn stop_completes_from_every_state() {
    type Setup = fn() -> (Control, Instant);
    let states: [(&str, Setup); 8] = [
        ("before TCP", || {
            let now = Instant::now();
            (Control::new(ControlConfig::client(Quirks::None), now), now)
        }),
        ("starting", || starting(ControlConfig::client(Quirks::None))),
        ("established", || client(ControlConfig::client(Quirks::None))),
        ("call requested", || {
            let (mut client, now) = client(ControlConfig::client(Quirks::None));
            client.open_call(now, CallRequest::new(7)).unwrap();
            (client, now)
        }),
        ("call up", client_with_call),
        ("call clearing", || {
            let (mut client, now) = client_with_call();
            client.close_call(now, 7).unwrap();
            (client, now)
        }),
        ("echo outstanding", || {
            let (mut client, now) = client_with_call();
            client.handle_timeout(now + 60 * SECOND);
            (client, now + 60 * SECOND)
        }),
        ("ended", || {
            let (mut client, now) = client_with_call();
            client.handle_closed(now);
            (client, now)
        }),
    ];
    for (name, state) in states {
        let (mut client, start) = state();
        client.stop(start);
        let mut now = start;
        while let Some((at, _)) = client.next_timeout() {
            now = at;
            client.handle_timeout(now);
        }
        assert!(client.is_ended(), "{name}");
        assert!(now - start <= 4 * SECOND, "{name}");
        let ends =
            events(&mut client).into_iter().filter(|event| matches!(event, ControlEvent::Closed(_))).count();
        assert_eq!(ends, 1, "{name}");
    }
}

#[test]
fn tcp_close_during_stop_is_no_error() {
    let (mut client, now) = client_with_call();
    client.stop(now);
    client.handle_closed(now);
    assert_eq!(
        events(&mut client),
        [
            ControlEvent::CallDown { call_id: 7, reason: CallEnd::Closed },
            ControlEvent::Closed(ControlEnd::Stopped)
        ]
    );
}

#[test]
fn stop_request_of_the_peer_ends_the_connection() {
    let (mut client, now) = client_with_call();
    client.handle_input(now, &encoded(wire::StopControlConnectionRequest { reason: 3 }));
    assert_eq!(sent(&mut client), [wire::StopControlConnectionReply { result: 1, error: 0 }.into()]);
    let end = ControlEnd::PeerStopped { reason: 3 };
    assert_eq!(end.to_string(), "the peer stopped the control connection: the server is being shut down");
    assert_eq!(
        events(&mut client),
        [ControlEvent::CallDown { call_id: 7, reason: CallEnd::ControlLost }, ControlEvent::Closed(end)]
    );
}

#[test]
fn simultaneous_stop_ends_both_sides() {
    let mut pair = Pair::established();
    pair.call(1);
    pair.client.stop(pair.now);
    pair.server.stop(pair.now);
    pair.drive();
    assert_eq!(pair.client_events.last(), Some(&ControlEvent::Closed(ControlEnd::Stopped)));
    assert_eq!(pair.server_events.last(), Some(&ControlEvent::Closed(ControlEnd::Stopped)));
}

#[test]
fn stopping_server_ends_its_calls_first() {
    let mut pair = Pair::established();
    pair.call(1);
    pair.call(2);
    pair.server.stop(pair.now);
    pair.drive();
    assert_eq!(
        pair.server_events,
        [
            ControlEvent::CallDown { call_id: 1001, reason: CallEnd::Closed },
            ControlEvent::CallDown { call_id: 1002, reason: CallEnd::Closed },
            ControlEvent::Closed(ControlEnd::Stopped),
        ]
    );
    let ended = || CallEnd::Disconnected { result: 3, error: 0, cause: 0 };
    assert_eq!(
        pair.client_events,
        [
            ControlEvent::CallDown { call_id: 1, reason: ended() },
            ControlEvent::CallDown { call_id: 2, reason: ended() },
            ControlEvent::Closed(ControlEnd::PeerStopped { reason: 3 }),
        ]
    );
}

#[test]
fn late_reply_does_not_bring_up_a_call_being_cleared() {
    let (mut client, now) = client(ControlConfig::client(Quirks::None));
    client.open_call(now, CallRequest::new(7)).unwrap();
    client.stop(now);
    client.handle_input(now, &encoded(call_reply(7, 99)));
    assert_eq!(events(&mut client), []);
    client.handle_input(now, &encoded(disconnect(99)));
    assert_eq!(events(&mut client), [ControlEvent::CallDown { call_id: 7, reason: CallEnd::Closed }]);
}
