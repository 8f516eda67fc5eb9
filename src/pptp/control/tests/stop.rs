use super::*;

#[test]
fn a_polite_end_waits_for_each_answer() {
    let (mut client, now) = client_with_call();
    client.stop(now);
    assert_eq!(names(&sent(&mut client)), ["CallClearRequest"]);
    client.stop(now);
    assert_eq!(take_output(&mut client), b"", "asked twice, done once");
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
fn a_silent_peer_delays_the_end_by_two_waits_at_most() {
    let (mut client, start) = client_with_call();
    client.stop(start);
    assert_eq!(client.next_timeout(), Some((start + 2 * SECOND, Timer::Clear)));
    client.handle_timeout(start + 2 * SECOND);
    assert_eq!(names(&sent(&mut client)), ["CallClearRequest", "StopControlConnectionRequest"]);
    assert_eq!(client.next_timeout(), Some((start + 4 * SECOND, Timer::Stop)));
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
fn stopping_ends_in_every_state() {
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
fn a_peer_that_hangs_up_meanwhile_is_no_error() {
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
fn the_peer_stops() {
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
fn both_stop_at_once() {
    let mut pair = Pair::established();
    pair.call(1);
    pair.client.stop(pair.now);
    pair.server.stop(pair.now);
    pair.drive();
    assert_eq!(pair.client_events.last(), Some(&ControlEvent::Closed(ControlEnd::Stopped)));
    assert_eq!(pair.server_events.last(), Some(&ControlEvent::Closed(ControlEnd::Stopped)));
}

#[test]
fn a_server_that_stops_ends_its_calls_first() {
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
fn a_late_reply_to_a_call_that_is_being_cleared_is_no_call() {
    let (mut client, now) = client(ControlConfig::client(Quirks::None));
    client.open_call(now, CallRequest::new(7)).unwrap();
    client.stop(now);
    client.handle_input(now, &encoded(call_reply(7, 99)));
    assert_eq!(events(&mut client), []);
    client.handle_input(now, &encoded(disconnect(99)));
    assert_eq!(events(&mut client), [ControlEvent::CallDown { call_id: 7, reason: CallEnd::Closed }]);
}
