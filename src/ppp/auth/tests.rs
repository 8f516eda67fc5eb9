//! Client against server for every protocol, in memory, under a virtual clock.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{packet::Packet, *};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_right_password_is_accepted() {
    for protocol in AuthProtocol::ALL {
        for password in passwords(protocol) {
            let mut pair = Pair::new(protocol, "ann", &password, &password);
            pair.run();
            let Some(Event::Success { peer_name, keys, .. }) = pair.client_event() else {
                panic!("{protocol} {password:?}")
            };
            assert_eq!(peer_name, if protocol == AuthProtocol::Pap { "" } else { "vpn.example" });
            let Some(Event::Success { peer_name, keys: server_keys, .. }) = pair.server_event() else {
                panic!("{protocol} {password:?}")
            };
            assert_eq!(peer_name, "ann");
            assert_eq!(keys.is_some(), protocol.gives_keys());
            if let (Some(client), Some(server)) = (keys, server_keys) {
                check_keys(&client, &server, protocol, &password);
            }
            assert_eq!(pair.client.next_timeout(), None);
            assert_eq!(pair.server.next_timeout(), None);
        }
    }
}

#[test]
fn the_wrong_password_and_the_unknown_user_are_refused_alike() {
    for protocol in AuthProtocol::ALL {
        for (user, password) in [("ann", "wrong"), ("ann", ""), ("bob", "right")] {
            let mut pair = Pair::new(protocol, user, password, "right");
            pair.run();
            let Some(Event::Failure(failure)) = pair.client_event() else { panic!("{protocol}") };
            assert_eq!(failure.kind, FailureKind::Rejected, "{protocol} {failure:?}");
            let has_code = matches!(protocol, AuthProtocol::MsChapV1 | AuthProtocol::MsChapV2);
            assert_eq!(failure.code, has_code.then_some(691));
            assert!(!failure.retry_allowed);
            let Some(Event::Failure(failure)) = pair.server_event() else { panic!("{protocol}") };
            assert_eq!(failure.peer_name, user);
            assert!(pair.client_event().is_none() && pair.server_event().is_none());
            assert_eq!(pair.client.next_timeout(), None);
        }
    }
}

#[test]
fn a_refused_account_says_why() {
    let users = Users::from_fn(|_| Lookup::Refused(649));
    let mut pair = Pair::with(AuthProtocol::MsChapV2, credentials("ann", "x"), users);
    pair.run();
    let Some(Event::Failure(failure)) = pair.client_event() else { panic!() };
    assert_eq!(failure.kind, FailureKind::NoDialIn);
    assert_eq!(failure.message, "Access denied");
    assert_eq!(
        failure.to_string(),
        "the account has no permission to dial in: ask the server's administrator (MS-CHAPv2, error 649)"
    );
}

#[test]
fn a_domain_travels_but_is_not_hashed() {
    for (user, domain) in [("ann", Some("WORK")), ("WORK\\ann", None)] {
        for protocol in AuthProtocol::ALL {
            let who = Credentials { user: user.into(), domain: domain.map(Into::into), password: "p".into() };
            let mut pair = Pair::with(protocol, who, Users::table(vec![("ann".into(), "p".into())]));
            pair.run();
            let Some(Event::Success { peer_name, .. }) = pair.server_event() else { panic!("{protocol}") };
            assert_eq!(peer_name, "WORK\\ann");
            assert!(matches!(pair.client_event(), Some(Event::Success { .. })));
        }
    }
}

#[test]
fn what_does_not_fit_is_said_at_once() {
    let long = "x".repeat(256);
    for (protocol, user, password) in [
        (AuthProtocol::Pap, "ann", long.as_str()),
        (AuthProtocol::Pap, long.as_str(), "p"),
        (AuthProtocol::MsChapV2, &"x".repeat(5000), "p"),
    ] {
        let mut pair = Pair::new(protocol, user, password, password);
        let Some(Event::Failure(failure)) = pair.client_event() else { panic!("{protocol}") };
        assert_eq!(failure.kind, FailureKind::DoesNotFit);
        assert!(pair.client.poll_output().is_none());
    }
}

#[test]
fn a_server_that_proves_nothing_ends_the_link() {
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
        let Some(Event::Failure(failure)) = pair.client_event() else { panic!("case {number}") };
        assert_eq!(failure.kind, FailureKind::ServerNotProven, "case {number}");
        assert!(!failure.kind.may_pass());
        assert_eq!(pair.client.handle_input(pair.now, protocol, &reply), Err(AuthDrop::Finished));
    }
}

#[test]
fn a_proof_without_words_is_enough() {
    for end in ["", " ", " M=", " M=Hello", "\0"] {
        let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "p", "p");
        pair.deliver_to_client();
        pair.deliver_to_server();
        let (protocol, reply) = pair.server.poll_output().unwrap();
        let packet = Packet::parse(&reply).unwrap();
        let message = [&packet.data[..42], end.as_bytes()].concat();
        let reply = Packet { data: &message, ..packet }.encode().unwrap();
        pair.client.handle_input(pair.now, protocol, &reply).unwrap();
        let Some(Event::Success { message, .. }) = pair.client_event() else { panic!("{end:?}") };
        assert_eq!(message.as_deref(), (end == " M=Hello").then_some("Hello"));
    }
}

#[test]
fn a_renewed_challenge_is_answered_and_changes_no_key() {
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
            assert!(pair.server.next_timeout().is_some());
            pair.run();
            assert_eq!(pair.server.next_timeout(), None, "{protocol}: answered and accepted");
            assert!(pair.client_event().is_none() && pair.server_event().is_none(), "{protocol}");
        }
    }
}

#[test]
fn a_renewed_challenge_that_fails_ends_the_link() {
    let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "p", "p");
    pair.run();
    pair.client_event().unwrap();
    pair.server_event().unwrap();
    pair.server.rechallenge(pair.now, [9; 16]);
    pair.deliver_to_client();
    pair.client.poll_output().unwrap();
    pair.now += 40 * SECOND;
    pair.server.handle_timeout(pair.now);
    let Some(Event::Failure(failure)) = pair.server_event() else { panic!() };
    assert_eq!(failure.kind, FailureKind::Timeout);

    // The client is told a lie after it has been up.
    let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "p", "p");
    pair.run();
    pair.client_event().unwrap();
    pair.server.rechallenge(pair.now, [9; 16]);
    pair.deliver_to_client();
    let (_, response) = pair.client.poll_output().unwrap();
    let lie = Packet { code: 3, identifier: response[1], data: b"S=00 M=fine" }.encode().unwrap();
    pair.client.handle_input(pair.now, CHAP, &lie).unwrap();
    let Some(Event::Failure(failure)) = pair.client_event() else { panic!() };
    assert_eq!(failure.kind, FailureKind::ServerNotProven);
}

#[test]
fn the_same_challenge_gets_the_same_answer_and_another_gets_another() {
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
    // Our own challenge (the first 16 bytes of the value) is a new one too.
    assert_ne!(answer(&other)[5..21], first[5..21]);
    other[6] ^= 1;
    assert_ne!(answer(&other)[5..21], first[5..21]);
}

#[test]
fn each_lost_packet_is_made_good() {
    for protocol in AuthProtocol::ALL {
        for lost in 0..4 {
            let mut pair = Pair::new(protocol, "ann", "p", "p");
            pair.lose(lost, 1);
            pair.run_for(20 * SECOND);
            assert!(matches!(pair.client_event(), Some(Event::Success { .. })), "{protocol} {lost}");
            assert!(matches!(pair.server_event(), Some(Event::Success { .. })), "{protocol} {lost}");
        }
    }
}

#[test]
fn silence_ends_in_time_and_with_few_packets() {
    for protocol in AuthProtocol::ALL {
        let mut pair = Pair::new(protocol, "ann", "p", "p");
        pair.lose(0, usize::MAX);
        let begin = pair.now;
        pair.run_for(60 * SECOND);
        for (event, at) in [(pair.client_event(), pair.client_at), (pair.server_event(), pair.server_at)] {
            let Some(Event::Failure(failure)) = event else { panic!("{protocol}") };
            assert_eq!(failure.kind, FailureKind::Timeout);
            assert_eq!(at - begin, Timing::default().limit);
        }
        assert!((1..=20).contains(&pair.sent), "{protocol}: {} packets", pair.sent);
    }
}

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
        assert_eq!(timer == Timer::GiveUp, client.next_timeout().is_none());
    }
    assert_eq!(at.len(), 3);
    assert_eq!([at[0] - now, at[1] - now, at[2] - now], [2 * SECOND, 6 * SECOND, 30 * SECOND]);
}

#[test]
fn a_lost_verdict_is_repeated() {
    for protocol in AuthProtocol::ALL {
        for password in ["p", "wrong"] {
            let mut pair = Pair::new(protocol, "ann", password, "p");
            if protocol != AuthProtocol::Pap {
                pair.deliver_to_client();
            }
            let (number, proof) = pair.client.poll_output().unwrap();
            pair.server.handle_input(pair.now, number, &proof).unwrap();
            let verdict = pair.server.poll_output().unwrap();
            pair.server.handle_input(pair.now, number, &proof).unwrap();
            assert_eq!(pair.server.poll_output().unwrap(), verdict, "{protocol}");
            assert!(pair.server_event().is_some() && pair.server_event().is_none());
        }
    }
}

#[test]
fn a_pap_answer_to_an_earlier_request_counts() {
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
    let Some(Event::Success { message, .. }) = client.poll_event() else { panic!() };
    assert_eq!(message.as_deref(), Some("hi"));
}

#[test]
fn packets_out_of_place_are_named() {
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
    // Without the flag that says to use the NT response there is only the LM one, which we do not take.
    response[5 + 48] = 0;
    assert_eq!(server(&response), Ok(()));
    assert!(matches!(pair.server_event(), Some(Event::Failure(_))));
}

#[test]
fn a_response_of_another_is_refused() {
    // Every bit of the response counts; the eight reserved bytes of MS-CHAPv2 and its flags do not.
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
            assert!(matches!(pair.server_event(), Some(Event::Failure(_))), "{protocol} byte {at}");
        }
    }
}

#[test]
fn nothing_secret_is_printed() {
    let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "tresor", "tresor");
    pair.run();
    let event = pair.client_event().unwrap();
    let text = format!("{:?} {:?} {event:?} {:?}", pair.client, pair.server, credentials("ann", "tresor"));
    assert!(!text.contains("tresor"), "{text}");
    assert!(text.contains("has_keys: true") && !text.contains("StartKey"), "{text}");
}

#[test]
fn lcp_options_are_the_registered_ones() {
    let bytes: Vec<_> = AuthProtocol::ALL.iter().map(|one| one.lcp_option()).collect();
    assert_eq!(bytes, [&[0xc0, 0x23][..], &[0xc2, 0x23, 5], &[0xc2, 0x23, 0x80], &[0xc2, 0x23, 0x81]]);
    for protocol in AuthProtocol::ALL {
        assert_eq!(AuthProtocol::from_lcp_option(protocol.lcp_option()), Some(protocol));
    }
    assert_eq!(AuthProtocol::from_lcp_option(&[0xc2, 0x27]), None, "EAP");
    assert_eq!(AuthProtocol::from_lcp_option(&[0xc0, 0x23, 0]), None);
    assert_eq!(AuthProtocol::from_lcp_option(&[]), None);
    assert!(AuthProtocol::Pap < AuthProtocol::ChapMd5 && AuthProtocol::MsChapV1 < AuthProtocol::MsChapV2);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        which in 0..4_usize,
        packets in proptest::collection::vec((1..5_u8, 0..3_u8, proptest::collection::vec(any::<u8>(), 0..80)), 0..12),
    ) {
        let protocol = AuthProtocol::ALL[which];
        let mut pair = Pair::new(protocol, "ann", "p", "p");
        for (code, identifier, data) in packets {
            let bytes = Packet { code, identifier, data: &data }.encode().unwrap();
            let _ = pair.client.handle_input(pair.now, protocol.ppp_protocol(), &bytes);
            let _ = pair.client.handle_input(pair.now, protocol.ppp_protocol(), &data);
            let _ = pair.server.handle_input(pair.now, protocol.ppp_protocol(), &bytes);
            let _ = pair.server.handle_input(pair.now, protocol.ppp_protocol(), &data);
        }
        // No bytes out of thin air prove anyone.
        if protocol >= AuthProtocol::MsChapV2 {
            let accepted = matches!(pair.client_event(), Some(Event::Success { .. }));
            prop_assert!(!accepted);
        }
        let accepted = matches!(pair.server_event(), Some(Event::Success { .. }));
        prop_assert!(!accepted);
    }

    #[test]
    fn any_password_any_loss(which in 0..4_usize, password in "\\PC{0,60}", lost in proptest::collection::vec(any::<bool>(), 8)) {
        let protocol = AuthProtocol::ALL[which];
        let mut pair = Pair::new(protocol, "ann", &password, &password);
        pair.lost = lost;
        pair.run_for(29 * SECOND);
        if protocol == AuthProtocol::Pap && password.len() > 255 {
            return Ok(());
        }
        // Eight losses can eat up the whole of it; but never does one side take it for a refusal.
        for event in [pair.client_event(), pair.server_event()].into_iter().flatten() {
            let accepted = matches!(event, Event::Success { .. });
            prop_assert!(accepted, "{:?}", event);
        }
    }
}

/// A client and a server and the road between them.
struct Pair {
    client: Client,
    server: Server,
    now: Instant,
    /// Which packets, counted on both ways together, are lost.
    lost: Vec<bool>,
    lost_after: Option<usize>,
    sent: usize,
    client_at: Instant,
    server_at: Instant,
    events: (Vec<Event>, Vec<Event>),
}

impl Pair {
    fn new(protocol: AuthProtocol, user: &str, password: &str, right: &str) -> Self {
        let users = Users::table(vec![("ann".into(), right.into()), ("x".repeat(256), right.into())]);
        Self::with(protocol, credentials(user, password), users)
    }

    fn with(protocol: AuthProtocol, credentials: Credentials, users: Users) -> Self {
        let now = Instant::now();
        let timing = Timing::default();
        Self {
            client: Client::new(protocol, credentials, [0x11; 16], now, timing),
            server: Server::new(protocol, "vpn.example", users, [0x22; 16], now, timing),
            now,
            lost: Vec::new(),
            lost_after: None,
            sent: 0,
            client_at: now,
            server_at: now,
            events: (Vec::new(), Vec::new()),
        }
    }

    /// Loses `count` packets from the one numbered `first` on.
    fn lose(&mut self, first: usize, count: usize) {
        if count == usize::MAX {
            self.lost_after = Some(first);
        } else {
            self.lost = (0..first + count).map(|n| n >= first).collect();
        }
    }

    fn arrives(&mut self) -> bool {
        let number = self.sent;
        self.sent += 1;
        let after = self.lost_after.is_some_and(|first| number >= first);
        !after && !self.lost.get(number).copied().unwrap_or(false)
    }

    fn deliver_to_client(&mut self) {
        if let Some((protocol, packet)) = self.server.poll_output()
            && self.arrives()
        {
            let _ = self.client.handle_input(self.now, protocol, &packet);
        }
    }

    fn deliver_to_server(&mut self) {
        if let Some((protocol, packet)) = self.client.poll_output()
            && self.arrives()
        {
            let _ = self.server.handle_input(self.now, protocol, &packet);
        }
    }

    /// Until no packet is under way; time stands still.
    fn run(&mut self) {
        loop {
            let before = self.sent;
            self.deliver_to_client();
            self.deliver_to_server();
            while let Some(event) = self.client.poll_event() {
                self.client_at = self.now;
                self.events.0.push(event);
            }
            while let Some(event) = self.server.poll_event() {
                self.server_at = self.now;
                self.events.1.push(event);
            }
            if self.sent == before {
                return;
            }
        }
    }

    /// The same, with the clock going from timer to timer.
    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.run();
            let timers = [self.client.next_timeout(), self.server.next_timeout()];
            let Some((due, _)) = timers.into_iter().flatten().min_by_key(|(due, _)| *due) else { return };
            if due > end {
                return;
            }
            self.now = due;
            self.client.handle_timeout(due);
            self.server.handle_timeout(due);
        }
    }

    fn client_event(&mut self) -> Option<Event> {
        self.run_events();
        (!self.events.0.is_empty()).then(|| self.events.0.remove(0))
    }

    fn server_event(&mut self) -> Option<Event> {
        self.run_events();
        (!self.events.1.is_empty()).then(|| self.events.1.remove(0))
    }

    fn run_events(&mut self) {
        self.events.0.extend(self.client.poll_event());
        self.events.1.extend(self.server.poll_event());
    }
}

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials { user: user.into(), domain: None, password: password.into() }
}

fn passwords(protocol: AuthProtocol) -> Vec<String> {
    let mut passwords: Vec<String> =
        ["right", "", "pässwörd", "пароль", "\u{1f511}\u{1f5dd}", " spaced \t", "quote\"back\\slash"]
            .map(Into::into)
            .to_vec();
    passwords.push("x".repeat(255));
    if protocol != AuthProtocol::Pap {
        passwords.push("x".repeat(256));
        passwords.push("ß".repeat(256));
    }
    passwords
}

/// What one seals the other opens, in both directions, at each strength that both have.
fn check_keys(client: &mppe::Keys, server: &mppe::Keys, protocol: AuthProtocol, password: &str) {
    let has_lm = password.is_ascii() && password.len() <= 14;
    for strength in mppe::Strength::ALL {
        let exists = protocol == AuthProtocol::MsChapV2 || strength == mppe::Strength::Bits128 || has_lm;
        assert_eq!(client.supports(strength), exists, "{protocol} {password:?} {strength}");
        assert_eq!(server.supports(strength), exists);
        for (from, to) in [(client, server), (server, client)] {
            let Some(mut sealer) = mppe::Sealer::new(from, strength, false) else { continue };
            let mut opener = mppe::Opener::new(to, strength, false).unwrap();
            let mut sealed = [0; 12];
            let length = sealer.seal_parts(0x21, b"payload", &mut sealed).unwrap();
            assert_eq!(opener.open(&mut sealed[..length]).unwrap(), b"\0\x21payload");
        }
    }
}
