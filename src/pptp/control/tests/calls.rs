use super::*;

#[test]
fn two_calls_share_a_connection_and_end_separately() {
    let mut pair = Pair::established();
    pair.call(1);
    pair.call(2);
    assert_eq!(pair.client.open_call(pair.now, CallRequest::new(2)), Err(CallError::InUse(2)));
    pair.client.close_call(pair.now, 1).unwrap();
    pair.drive();
    assert_eq!(pair.client_events, [ControlEvent::CallDown { call_id: 1, reason: CallEnd::Closed }]);
    assert_eq!(pair.server_events, [ControlEvent::CallDown { call_id: 1001, reason: CallEnd::PeerCleared }]);
    assert_eq!(pair.client.close_call(pair.now, 1), Err(CallError::Unknown(1)));
    pair.call(1);
    pair.server.close_call(pair.now, 1002).unwrap();
    pair.drive();
    let ended = CallEnd::Disconnected { result: 3, error: 0, cause: 0 };
    assert_eq!(pair.client_events, [ControlEvent::CallDown { call_id: 2, reason: ended }]);
    assert_eq!(pair.server_events, [ControlEvent::CallDown { call_id: 1002, reason: CallEnd::Closed }]);
}

#[test]
fn call_refusal_carries_its_codes() {
    let (mut client, now) = client(ControlConfig::client(Quirks::None));
    client.open_call(now, CallRequest::new(7)).unwrap();
    let reply = wire::OutgoingCallReply { result: 4, error: 0, cause: 17, ..call_reply(7, 0) };
    client.handle_input(now, &encoded(reply));
    assert_eq!(
        events(&mut client),
        [ControlEvent::CallRefused { call_id: 7, result: 4, error: 0, cause: 17 }]
    );
    assert!(client.open_call(now, CallRequest::new(7)).is_ok(), "the id is free again");
}

#[test]
fn second_call_reply_is_counted_and_ignored() {
    let (mut client, now) = client_with_call();
    for count in 1..=2 {
        client.handle_input(now, &encoded(call_reply(7, 55)));
        assert_eq!((events(&mut client), client.counters().unexpected), (Vec::new(), count));
    }
    // The call has the peer's first identifier.
    client.handle_input(now, &encoded(disconnect(99)));
    assert!(matches!(events(&mut client)[..], [ControlEvent::CallDown { call_id: 7, .. }]));
}

#[test]
fn call_reply_with_result_zero_is_a_refusal() {
    let (mut client, now) = client(ControlConfig::client(Quirks::None));
    client.open_call(now, CallRequest::new(7)).unwrap();
    client.handle_input(now, &encoded(wire::OutgoingCallReply { result: 0, ..call_reply(7, 5) }));
    assert!(matches!(events(&mut client)[..], [ControlEvent::CallRefused { result: 0, .. }]));
}

#[test]
fn call_without_reply_is_cleared_after_call_timeout() {
    let config = ControlConfig { idle_wait: None, ..ControlConfig::client(Quirks::None) };
    let (mut client, start) = client(config);
    client.open_call(start, CallRequest::new(7)).unwrap();
    take_output(&mut client);
    let due = start + 30 * SECOND;
    assert_eq!(client.next_timeout(), Some((due, "call reply")));
    client.handle_timeout(due);
    assert_eq!(events(&mut client), [ControlEvent::CallDown { call_id: 7, reason: CallEnd::ReplyTimeout }]);
    assert_eq!(sent(&mut client), [wire::CallClearRequest { call_id: 7 }.into()]);
    // Late messages are tolerated and not reported.
    client.handle_input(due, &encoded(call_reply(7, 99)));
    client.handle_input(due, &encoded(disconnect(99)));
    assert_eq!(events(&mut client), []);
    assert!(client.is_established());
    assert!(client.open_call(due, CallRequest::new(7)).is_ok());
}

#[test]
fn clearing_a_call_ends_after_stop_timeout() {
    let (mut client, now) = client_with_call();
    client.close_call(now, 7).unwrap();
    client.close_call(now, 7).unwrap();
    assert_eq!(names(&sent(&mut client)), ["CallClearRequest"], "once");
    assert_eq!(client.next_timeout(), Some((now + 2 * SECOND, "call disconnect")));
    client.handle_timeout(now + 2 * SECOND);
    assert_eq!(events(&mut client), [ControlEvent::CallDown { call_id: 7, reason: CallEnd::Closed }]);
    assert!(client.is_established());
}

#[test]
fn server_ends_a_call_with_disconnect_notify() {
    let (mut client, now) = client_with_call();
    client.handle_input(now, &encoded(disconnect(7)));
    assert_eq!(events(&mut client), [], "the id is the server's, not ours");
    assert_eq!(client.counters().unknown_call, 1);
    client.handle_input(now, &encoded(disconnect(99)));
    let reason = CallEnd::Disconnected { result: 3, error: 0, cause: 16 };
    assert_eq!(
        reason.to_string(),
        "ended by the server: ended by the server's administration (result 3); normal call clearing (cause 16)"
    );
    assert_eq!(events(&mut client), [ControlEvent::CallDown { call_id: 7, reason }]);
}

#[test]
fn server_refuses_a_call_with_disconnect_notify_instead_of_a_reply() {
    let (mut client, now) = client(ControlConfig::client(Quirks::None));
    client.open_call(now, CallRequest::new(7)).unwrap();
    client.handle_input(now, &encoded(disconnect(99)));
    let reason = CallEnd::Disconnected { result: 3, error: 0, cause: 16 };
    assert_eq!(events(&mut client), [ControlEvent::CallDown { call_id: 7, reason }]);
}

#[test]
fn server_ends_a_call_with_clear_request() {
    let (mut client, now) = client_with_call();
    client.handle_input(now, &encoded(wire::CallClearRequest { call_id: 99 }));
    assert_eq!(events(&mut client), [], "the id is ours, not the server's");
    client.handle_input(now, &encoded(wire::CallClearRequest { call_id: 7 }));
    assert_eq!(events(&mut client), [ControlEvent::CallDown { call_id: 7, reason: CallEnd::PeerCleared }]);
    let [Message::CallDisconnectNotify(notify)] = &sent(&mut client)[..] else { panic!() };
    assert_eq!((notify.call_id, notify.result), (7, 1));
}

#[test]
fn disconnect_notify_with_our_id_completes_clearing() {
    let (mut client, now) = client_with_call();
    client.close_call(now, 7).unwrap();
    client.handle_input(now, &encoded(disconnect(7)));
    assert_eq!(events(&mut client), [ControlEvent::CallDown { call_id: 7, reason: CallEnd::Closed }]);
}

#[test]
fn unsupported_messages_are_ignored() {
    let (mut client, now) = client_with_call();
    for kind in [9_u16, 10, 11, 14] {
        let length = Message::length_of(kind).unwrap();
        let mut bytes = Vec::from(length.to_be_bytes());
        bytes.extend([0, 1, 0x1A, 0x2B, 0x3C, 0x4D]);
        bytes.extend(kind.to_be_bytes());
        bytes.resize(usize::from(length), 0);
        client.handle_input(now, &bytes);
    }
    assert_eq!(client.counters().ignored, 4);
    assert_eq!((events(&mut client), take_output(&mut client)), (vec![], vec![]));
}

#[test]
fn server_refuses_a_call_or_times_out() {
    let mut pair = Pair::established();
    for id in [1, 2] {
        pair.client.open_call(pair.now, CallRequest::new(id)).unwrap();
    }
    let requests = take_output(&mut pair.client);
    pair.server.handle_input(pair.now, &requests);
    assert_eq!(events(&mut pair.server).len(), 2);
    pair.server.refuse_call(pair.now, 1, 7, 0, 21).unwrap();
    pair.drive();
    assert_eq!(
        pair.client_events,
        [ControlEvent::CallRefused { call_id: 1, result: 7, error: 0, cause: 21 }]
    );
    pair.client_events.clear();
    pair.step();
    assert_eq!(pair.client_events, [ControlEvent::CallRefused { call_id: 2, result: 6, error: 0, cause: 0 }]);
    let late = pair.server.accept_call(pair.now, 2, CallAccept::new(9));
    assert_eq!(late, Err(CallError::Unknown(2)));
}

#[test]
fn server_rejects_duplicate_call_ids() {
    let mut pair = Pair::established();
    pair.call(1);
    pair.client.open_call(pair.now, CallRequest::new(2)).unwrap();
    let request = take_output(&mut pair.client);
    pair.server.handle_input(pair.now, &request);
    assert_eq!(pair.server.accept_call(pair.now, 2, CallAccept::new(1001)), Err(CallError::InUse(1001)));
    take_output(&mut pair.server);
    pair.server.handle_input(pair.now, &request);
    let [Message::OutgoingCallReply(reply)] = &sent(&mut pair.server)[..] else { panic!() };
    assert_eq!((reply.result, reply.error), (2, 5));
    assert!(
        pair.server.accept_call(pair.now, 2, CallAccept::new(1002)).is_ok(),
        "the first request is no longer pending"
    );
}

#[test]
fn clear_request_followed_by_tcp_close_ends_the_call() {
    // pptp(8) clears its call and closes TCP at once, without stopping the control connection.
    let mut pair = Pair::established();
    pair.call(1);
    pair.server.handle_input(pair.now, &encoded(wire::CallClearRequest { call_id: 1 }));
    pair.server.handle_closed(pair.now);
    assert_eq!(
        events(&mut pair.server),
        [
            ControlEvent::CallDown { call_id: 1001, reason: CallEnd::PeerCleared },
            ControlEvent::Closed(ControlEnd::PeerClosed)
        ]
    );
}

#[test]
fn clear_request_before_the_decision_is_answered() {
    let mut pair = Pair::established();
    pair.client.open_call(pair.now, CallRequest::new(1)).unwrap();
    let request = take_output(&mut pair.client);
    pair.server.handle_input(pair.now, &request);
    pair.server.handle_input(pair.now, &encoded(wire::CallClearRequest { call_id: 1 }));
    assert_eq!(names(&sent(&mut pair.server)), ["OutgoingCallReply"]);
    assert_eq!(pair.server.accept_call(pair.now, 1, CallAccept::new(9)), Err(CallError::Unknown(1)));
}
