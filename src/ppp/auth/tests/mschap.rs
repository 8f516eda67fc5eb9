//! MS-CHAPv2 only: the server's proof (RFC 2759 §5) and its failure messages (§6).

use super::*;

#[test]
fn refused_account_reports_the_reason() {
    let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "x", "y");
    pair.deliver_to_client();
    pair.deliver_to_server();
    let (protocol, reply) = pair.server.poll_output().unwrap();
    let packet = Packet::parse(&reply).unwrap();
    let text = String::from_utf8(packet.data.to_vec()).unwrap().replace("E=691", "E=649");
    let reply = Packet { data: text.as_bytes(), ..packet }.encode().unwrap();
    pair.client.handle_input(pair.now, protocol, &reply).unwrap();
    let Some(AuthEvent::Failure(failure)) = pair.client_event() else { panic!() };
    assert_eq!(failure.kind, FailureKind::NoDialIn);
    assert_eq!(failure.message, "Access denied");
    assert_eq!(
        failure.to_string(),
        "the account has no permission to dial in: ask the server's administrator (MS-CHAPv2, error 649)"
    );
}

#[test]
fn invalid_server_proof_ends_the_link() {
    let cases: [fn(&mut Vec<u8>); 7] = [
        |message| message[41] ^= 1,
        |message| message[2] ^= 1,
        |message| message.truncate(41),
        Vec::clear,
        |message| *message = b"M=Welcome".to_vec(),
        |message| message[..2].copy_from_slice(b"T="),
        |message| message.insert(0, b' '),
    ];
    for (number, tamper) in cases.into_iter().enumerate() {
        let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "p", "p");
        pair.deliver_to_client();
        pair.deliver_to_server();
        let (protocol, reply) = pair.server.poll_output().unwrap();
        let packet = Packet::parse(&reply).unwrap();
        let mut message = packet.data.to_vec();
        tamper(&mut message);
        let reply = Packet { data: &message, ..packet }.encode().unwrap();
        pair.client.handle_input(pair.now, protocol, &reply).unwrap();
        let Some(AuthEvent::Failure(failure)) = pair.client_event() else { panic!("case {number}") };
        assert_eq!(failure.kind, FailureKind::ServerNotProven, "case {number}");
        assert_eq!(pair.client.handle_input(pair.now, protocol, &reply), Err(AuthDrop::Finished));
    }
}

/// Returns a client that has sent its response and waits `confirm` for the end of the link after a refusal, and
/// the server's genuine answer.
fn client_with_answer(password: &str, confirm: Duration) -> (Pair, u16, Vec<u8>) {
    let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", password, "right");
    let timing = Timing { confirm: Some(confirm), ..Timing::default() };
    let who = credentials("ann", password);
    pair.client = Client::new(AuthProtocol::MsChapV2, who, [7; 16], pair.now, timing);
    pair.deliver_to_client();
    pair.deliver_to_server();
    let (protocol, answer) = pair.server.poll_output().unwrap();
    (pair, protocol, answer)
}

/// Returns a packet with the identifier of `answer` that anybody on the path could have sent.
fn forged(code: u8, answer: &[u8], data: &[u8]) -> Vec<u8> {
    Packet { code, identifier: answer[1], data }.encode().unwrap()
}

#[test]
fn unconfirmed_refusal_gives_way_to_a_genuine_success() {
    let (mut pair, protocol, success) = client_with_answer("right", 3 * SECOND);
    for (code, data) in [(4, "E=691 R=0 V=3 M=no"), (3, "S=00 M=wrong proof")] {
        let packet = forged(code, &success, data.as_bytes());
        pair.client.handle_input(pair.now, protocol, &packet).unwrap();
    }
    assert_eq!(pair.client.refusal().map(|refusal| refusal.kind), Some(FailureKind::Rejected));
    assert!(pair.client_event().is_none());
    pair.client.handle_input(pair.now, protocol, &success).unwrap();
    assert!(matches!(pair.client_event(), Some(AuthEvent::Success { .. })));
    assert!(pair.client.refusal().is_none());
    assert_eq!(pair.client.next_timeout(), None);
}

#[test]
fn refusal_fails_unconfirmed_when_the_wait_is_over() {
    let (mut pair, protocol, failure) = client_with_answer("wrong", 3 * SECOND);
    pair.client.handle_input(pair.now, protocol, &failure).unwrap();
    let challenge = forged(1, &[0, failure[1].wrapping_add(1)], &[&[16][..], &[9; 16]].concat());
    assert_eq!(
        pair.client.handle_input(pair.now, protocol, &challenge),
        Err(AuthDrop::UnexpectedCode),
        "the refused password is not sent again"
    );
    assert_eq!(pair.client.next_timeout(), Some((pair.now + 3 * SECOND, "confirmation of the refusal")));
    pair.client.handle_timeout(pair.now + 3 * SECOND);
    assert!(pair.client.poll_output().is_none());
    let Some(AuthEvent::Failure(failure)) = pair.client_event() else { panic!() };
    assert_eq!((failure.kind, failure.is_confirmed), (FailureKind::Rejected, false));
}

#[test]
fn server_proof_needs_no_message() {
    for end in ["", " ", " M=", " M=Hello", "\0"] {
        let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "p", "p");
        pair.deliver_to_client();
        pair.deliver_to_server();
        let (protocol, reply) = pair.server.poll_output().unwrap();
        let packet = Packet::parse(&reply).unwrap();
        let message = [&packet.data[..42], end.as_bytes()].concat();
        let reply = Packet { data: &message, ..packet }.encode().unwrap();
        pair.client.handle_input(pair.now, protocol, &reply).unwrap();
        let Some(AuthEvent::Success { message, .. }) = pair.client_event() else { panic!("{end:?}") };
        assert_eq!(message.as_deref(), (end == " M=Hello").then_some("Hello"));
    }
}
