//! CHAP challenges and responses (RFC 1994 §4) in each dialect: renewed, repeated, tampered with.

use super::*;

#[test]
fn renewed_challenge_is_answered_without_an_event() {
    for protocol in [AuthProtocol::ChapMd5, AuthProtocol::MsChapV1, AuthProtocol::MsChapV2] {
        let mut pair = Pair::new(protocol, "ann", "p", "p");
        pair.run();
        pair.client_event().unwrap();
        pair.server_event().unwrap();
        for round in 0..300_u16 {
            pair.now += 60 * SECOND;
            let mut challenge = [0x77; 16];
            challenge[..2].copy_from_slice(&round.to_be_bytes());
            pair.server.rechallenge(pair.now, challenge);
            assert!(pair.server.next_timeout().is_some_and(|(at, _)| at > pair.now), "a new exchange");
            pair.run();
            assert_eq!(pair.server.next_timeout(), None, "{protocol}: answered and accepted");
            assert!(pair.client_event().is_none() && pair.server_event().is_none(), "{protocol}");
        }
    }
}

#[test]
fn failed_renewed_challenge_ends_the_link() {
    let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "p", "p");
    pair.run();
    pair.client_event().unwrap();
    pair.server_event().unwrap();
    pair.server.rechallenge(pair.now, [9; 16]);
    pair.deliver_to_client();
    pair.client.poll_output().unwrap();
    pair.now += 40 * SECOND;
    pair.server.handle_timeout(pair.now);
    let Some(AuthEvent::Failure(failure)) = pair.server_event() else { panic!() };
    assert_eq!(failure.kind, FailureKind::Timeout);

    // The client receives a forged Success after it has been up.
    let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "p", "p");
    pair.run();
    pair.client_event().unwrap();
    pair.server.rechallenge(pair.now, [9; 16]);
    pair.deliver_to_client();
    let (_, response) = pair.client.poll_output().unwrap();
    let lie = Packet { code: 3, identifier: response[1], data: b"S=00 M=fine" }.encode().unwrap();
    pair.client.handle_input(pair.now, CHAP, &lie).unwrap();
    let Some(AuthEvent::Failure(failure)) = pair.client_event() else { panic!() };
    assert_eq!(failure.kind, FailureKind::ServerNotProven);
}

#[test]
fn repeated_challenge_gets_the_same_response() {
    let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "p", "p");
    let (_, challenge) = pair.server.poll_output().unwrap();
    let mut answer = |bytes: &[u8]| {
        pair.client.handle_input(pair.now, CHAP, bytes).unwrap();
        pair.client.poll_output().unwrap().1
    };
    let first = answer(&challenge);
    assert_eq!(answer(&challenge), first);
    let mut other = challenge.clone();
    other[1] ^= 1;
    // The peer challenge (the first 16 bytes of the value) changes too.
    assert_ne!(answer(&other)[5..21], first[5..21]);
    other[6] ^= 1;
    assert_ne!(answer(&other)[5..21], first[5..21]);
}

/// A response to it would be a digest of the password alone (RFC 1994 §4.1: a value of at least one octet).
#[test]
fn empty_challenge_is_not_answered() {
    for protocol in [AuthProtocol::ChapMd5, AuthProtocol::MsChapV1, AuthProtocol::MsChapV2] {
        let mut pair = Pair::new(protocol, "ann", "p", "p");
        let empty = pair.client.handle_input(pair.now, CHAP, &[1, 9, 0, 8, 0, b'p', b'p', b'p']);
        assert_eq!(empty, Err(AuthDrop::BadValue), "{protocol}");
        assert_eq!(pair.client.poll_output(), None, "{protocol}");
    }
}

#[test]
fn unexpected_packets_are_dropped_with_a_reason() {
    let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "p", "p");
    let mut client = |protocol, bytes: &[u8]| pair.client.handle_input(pair.now, protocol, bytes);
    assert_eq!(client(PAP, &[2, 1, 0, 4]), Err(AuthDrop::WrongProtocol));
    assert_eq!(client(CHAP, &[3, 1, 0]), Err(AuthDrop::Truncated));
    assert_eq!(client(CHAP, &[2, 1, 0, 4]), Err(AuthDrop::UnexpectedCode));
    assert_eq!(client(CHAP, &[3, 1, 0, 4]), Err(AuthDrop::UnexpectedCode), "success before any challenge");
    assert_eq!(client(CHAP, &[4, 1, 0, 4]), Err(AuthDrop::UnexpectedCode));
    assert_eq!(client(CHAP, &[1, 1, 0, 13, 8, 1, 2, 3, 4, 5, 6, 7, 8]), Err(AuthDrop::BadValue));
    pair.deliver_to_client();
    let identifier = pair.client.poll_output().unwrap().1[1];
    let stale = Packet { code: 4, identifier: identifier.wrapping_add(1), data: b"E=691" }.encode().unwrap();
    assert_eq!(pair.client.handle_input(pair.now, CHAP, &stale), Err(AuthDrop::StaleIdentifier));

    let mut pair = Pair::new(AuthProtocol::MsChapV1, "ann", "p", "p");
    pair.deliver_to_client();
    let (_, mut response) = pair.client.poll_output().unwrap();
    let mut server = |bytes: &[u8]| pair.server.handle_input(pair.now, CHAP, bytes);
    assert_eq!(server(&[1, 0, 0, 4]), Err(AuthDrop::UnexpectedCode));
    assert_eq!(server(&[2, 0, 0, 6, 1, 9]), Err(AuthDrop::BadValue));
    assert_eq!(server(&[2, 9, 0, 6, 1, 9]), Err(AuthDrop::StaleIdentifier));
    // Without the flag that selects the NT response only the LM response counts, which we do not accept.
    response[5 + 48] = 0;
    assert_eq!(server(&response), Ok(()));
    assert!(matches!(pair.server_event(), Some(AuthEvent::Failure(_))));
}

#[test]
fn tampered_response_is_refused() {
    // Every byte of the response is checked, except the LM response of MS-CHAPv1 and the reserved bytes and
    // flags of MS-CHAPv2.
    for protocol in [AuthProtocol::ChapMd5, AuthProtocol::MsChapV1, AuthProtocol::MsChapV2] {
        let counts: Vec<usize> = match protocol {
            AuthProtocol::ChapMd5 => (0..16).collect(),
            AuthProtocol::MsChapV1 => (24..48).collect(),
            _ => (0..16).chain(24..48).collect(),
        };
        for at in counts {
            let mut pair = Pair::new(protocol, "ann", "p", "p");
            pair.deliver_to_client();
            let (_, mut response) = pair.client.poll_output().unwrap();
            response[5 + at] ^= 0x10;
            pair.server.handle_input(pair.now, CHAP, &response).unwrap();
            assert!(matches!(pair.server_event(), Some(AuthEvent::Failure(_))), "{protocol} byte {at}");
        }
    }
}
