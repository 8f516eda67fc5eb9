//! MS-CHAPv2 only: the server's proof (RFC 2759 §5) and its failure messages (§6).

use super::*;

#[test]
fn refused_account_reports_the_reason() {
    let users = Users::from_fn(|_| Lookup::Refused(649));
    let mut pair = Pair::with(AuthProtocol::MsChapV2, credentials("ann", "x"), users);
    pair.run();
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
        assert!(!failure.kind.is_transient());
        assert_eq!(pair.client.handle_input(pair.now, protocol, &reply), Err(AuthDrop::Finished));
    }
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
