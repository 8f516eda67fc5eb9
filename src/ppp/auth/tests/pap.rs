//! PAP (RFC 1334 §2): the request is retransmitted until it is answered.

use super::*;

#[test]
fn attempts_are_bounded() {
    let timing = Timing { attempts: 3, ..Timing::default() };
    let now = Instant::now();
    let mut client = Client::new(AuthProtocol::Pap, credentials("ann", "p"), [1; 16], now, timing);
    let mut at = Vec::new();
    while let Some((due, timer)) = client.next_timeout() {
        while client.poll_output().is_some() {
            at.push(due);
        }
        client.handle_timeout(due - Duration::from_millis(1));
        assert!(client.poll_output().is_none(), "not before it is due");
        client.handle_timeout(due);
        assert_eq!(timer == "authentication limit", client.next_timeout().is_none());
    }
    assert_eq!(at.len(), 3);
    assert_eq!([at[0] - now, at[1] - now, at[2] - now], [2 * SECOND, 6 * SECOND, 30 * SECOND]);
}

#[test]
fn reply_to_an_earlier_request_is_accepted() {
    let now = Instant::now();
    let mut client = Client::new(AuthProtocol::Pap, credentials("ann", "p"), [1; 16], now, Timing::default());
    let (_, first) = client.poll_output().unwrap();
    client.handle_timeout(now + 2 * SECOND);
    let (_, second) = client.poll_output().unwrap();
    assert_ne!(first[1], second[1]);
    let ack = |identifier| Packet { code: 2, identifier, data: b"\x02hi" }.encode().unwrap();
    assert_eq!(client.handle_input(now, PAP, &ack(second[1] + 1)), Err(AuthDrop::StaleIdentifier));
    assert_eq!(client.handle_input(now, PAP, &ack(first[1] - 1)), Err(AuthDrop::StaleIdentifier));
    assert_eq!(client.handle_input(now, PAP, &ack(first[1])), Ok(()));
    let Some(AuthEvent::Success { message, .. }) = client.poll_event() else { panic!() };
    assert_eq!(message.as_deref(), Some("hi"));
}
