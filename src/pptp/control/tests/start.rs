use super::*;

#[test]
fn both_sides_learn_the_other_host_and_vendor() {
    let mut pair = Pair::new(ControlConfig::client(Quirks::None), ControlConfig::server("pac"));
    pair.drive();
    let [ControlEvent::Established { peer: server }] = &pair.client_events[..] else { panic!() };
    assert_eq!((&*server.host_name, &*server.vendor), ("pac", "pptpctl"));
    let [ControlEvent::Established { peer: client }] = &pair.server_events[..] else { panic!() };
    assert_eq!((&*client.host_name, &*client.vendor), ("local", "cananian"));
}

#[test]
fn whole_connection_works_with_any_segmentation() {
    for cut in 1..=170 {
        let mut pair = Pair::new(ControlConfig::client(Quirks::None), ControlConfig::server("pac"));
        pair.cut = cut;
        pair.drive();
        pair.call(5);
        pair.client.stop(pair.now);
        pair.drive();
        assert_eq!(pair.client_events.last(), Some(&ControlEvent::Closed(ControlEnd::Stopped)), "cut {cut}");
        assert_eq!(
            pair.server_events.last(),
            Some(&ControlEvent::Closed(ControlEnd::PeerStopped { reason: 3 }))
        );
    }
}

#[test]
fn silence_ends_the_start_after_reply_timeout() {
    // Turning echoes off does not turn off the other timers.
    for idle_wait in [None, Some(SECOND)] {
        let (mut client, start) =
            starting(ControlConfig { idle_wait, ..ControlConfig::client(Quirks::None) });
        let due = start + 10 * SECOND;
        assert_eq!(client.next_timeout(), Some((due, "first message")));
        client.handle_timeout(due - MS);
        assert!(client.poll_event().is_none());
        client.handle_timeout(due);
        assert_eq!(events(&mut client), [ControlEvent::Closed(ControlEnd::SccrpTimeout)]);
        assert_eq!(names(&sent(&mut client)), ["StopControlConnectionRequest"]);
        assert_eq!(client.next_timeout(), None);
    }
}

#[test]
fn server_without_a_request_times_out() {
    let now = Instant::now();
    let mut server = Control::new(ControlConfig::server("pac"), now);
    server.connected(now);
    assert_eq!(take_output(&mut server), b"");
    server.handle_timeout(now + 10 * SECOND);
    assert_eq!(events(&mut server), [ControlEvent::Closed(ControlEnd::SccrqTimeout)]);
}

#[test]
fn start_reply_results_zero_and_one_are_success() {
    for result in [0, 1] {
        let (mut client, now) = starting(ControlConfig::client(Quirks::None));
        client.handle_input(now, &encoded(StartControlConnectionReply { result, ..start_reply() }));
        assert!(client.is_established());
    }
}

#[test]
fn start_refusal_reports_its_reason() {
    let (mut client, now) = starting(ControlConfig::client(Quirks::None));
    let reply = StartControlConnectionReply { result: 4, error: 0, ..start_reply() };
    client.handle_input(now, &encoded(reply));
    assert_eq!(events(&mut client), [ControlEvent::Closed(ControlEnd::Refused { result: 4, error: 0 })]);
    assert_eq!(sent(&mut client), [wire::StopControlConnectionRequest { reason: 2 }.into()]);
    assert_eq!(
        ControlEnd::Refused { result: 4, error: 0 }.to_string(),
        "the server refused the control connection: not authorized to open a control connection (result 4)"
    );
}

#[test]
fn client_rejects_another_version() {
    for (version, result) in [(0x0200, 1), (0x0100, 5), (0, 0)] {
        let (mut client, now) = starting(ControlConfig::client(Quirks::None));
        client.handle_input(now, &encoded(StartControlConnectionReply { version, result, ..start_reply() }));
        assert_eq!(events(&mut client), [ControlEvent::Closed(ControlEnd::Version { theirs: version })]);
        assert_eq!(sent(&mut client), [wire::StopControlConnectionRequest { reason: 2 }.into()]);
    }
}

#[test]
fn server_refuses_another_version() {
    let now = Instant::now();
    let mut server = Control::new(ControlConfig::server("pac"), now);
    server.connected(now);
    server.handle_input(
        now,
        &encoded(wire::StartControlConnectionRequest {
            version: 0x0200,
            framing: 3,
            bearer: 3,
            max_channels: 0,
            firmware: 0,
            host_name: Text::EMPTY,
            vendor: Text::EMPTY,
        }),
    );
    let replies = sent(&mut server);
    assert!(matches!(&replies[..], [Message::StartControlConnectionReply(reply)] if reply.result == 5));
    assert_eq!(events(&mut server), [ControlEvent::Closed(ControlEnd::Version { theirs: 0x0200 })]);
}

#[test]
fn junk_before_the_reply_is_skipped() {
    let (mut client, now) = starting(ControlConfig::client(Quirks::None));
    client.handle_input(now, b"\x00\x9C\x00\x01\x1A\x2B\x3C");
    client.handle_input(now, &encoded(start_reply()));
    assert!(client.is_established());
    assert_eq!(client.counters().stream.skipped_bytes, 7);
}

#[test]
fn non_pptp_server_is_distinguished_from_a_silent_one() {
    let banner = b"SSH-2.0-OpenSSH_9.2p1\r\n";
    let not_pptp = ControlEnd::NotPptp { first: banner.to_vec() };
    assert_eq!(not_pptp.to_string(), "the peer does not speak PPTP; it sends \"SSH-2.0-OpenSSH_9.2p1\"");
    let (mut client, now) = starting(ControlConfig::client(Quirks::None));
    client.handle_input(now, banner);
    client.handle_closed(now);
    assert_eq!(events(&mut client), [ControlEvent::Closed(not_pptp.clone())]);

    let (mut client, now) = starting(ControlConfig::client(Quirks::None));
    client.handle_input(now, banner);
    let (due, timer) = client.next_timeout().unwrap();
    assert!(due <= now + SECOND, "{timer}");
    client.handle_timeout(due);
    assert_eq!(events(&mut client), [ControlEvent::Closed(not_pptp.clone())]);

    let (mut client, now) = starting(ControlConfig::client(Quirks::None));
    client.handle_input(now, &banner.repeat(50));
    let first = banner.repeat(2)[..FIRST_BYTES].to_vec();
    let not_pptp = ControlEnd::NotPptp { first };
    assert_eq!(events(&mut client), [ControlEvent::Closed(not_pptp.clone())], "without waiting");
}

#[test]
fn tcp_close_is_reported_once() {
    let (mut client, now) = starting(ControlConfig::client(Quirks::None));
    client.handle_closed(now);
    assert_eq!(events(&mut client), [ControlEvent::Closed(ControlEnd::PeerClosed)]);
    client.handle_closed(now);
    client.handle_input(now, &encoded(start_reply()));
    assert_eq!(events(&mut client), [], "the end is reported again");
}

#[test]
fn early_messages_are_counted_and_ignored() {
    let (mut client, now) = starting(ControlConfig::client(Quirks::None));
    client.handle_input(now, &encoded(call_reply(1, 2)));
    client.handle_input(now, &encoded(wire::StopControlConnectionReply { result: 1, error: 0 }));
    client.handle_input(now, &encoded(start_reply()));
    client.handle_input(now, &encoded(start_reply()));
    assert!(client.is_established());
    assert_eq!((client.counters().unexpected, client.counters().unknown_call), (2, 1));
    assert_eq!(
        Control::new(ControlConfig::server("pac"), now).open_call(now, CallRequest::new(1)),
        Err(CallError::Role)
    );
    let mut early = Control::new(ControlConfig::client(Quirks::None), now);
    assert_eq!(early.open_call(now, CallRequest::new(1)), Err(CallError::NotEstablished));
}
