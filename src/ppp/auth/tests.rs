//! Client against server, in memory, with a virtual clock: tests that apply to every protocol.

mod chap;
mod mschap;
mod pap;

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{packet::Packet, *};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn correct_password_is_accepted() {
    for protocol in AuthProtocol::ALL {
        for password in passwords(protocol) {
            let mut pair = Pair::new(protocol, "ann", &password, &password);
            pair.run();
            let Some(AuthEvent::Success { peer_name, keys, .. }) = pair.client_event() else {
                panic!("{protocol} {password:?}")
            };
            assert_eq!(peer_name, if protocol == AuthProtocol::Pap { "" } else { "vpn.example" });
            let Some(AuthEvent::Success { peer_name, keys: server_keys, .. }) = pair.server_event() else {
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
fn wrong_password_and_unknown_user_fail_alike() {
    for protocol in AuthProtocol::ALL {
        for (user, password) in [("ann", "wrong"), ("ann", ""), ("bob", "right")] {
            let mut pair = Pair::new(protocol, user, password, "right");
            pair.run();
            let Some(AuthEvent::Failure(failure)) = pair.client_event() else { panic!("{protocol}") };
            assert_eq!(failure.kind, FailureKind::Rejected, "{protocol} {failure:?}");
            let has_code = matches!(protocol, AuthProtocol::MsChapV1 | AuthProtocol::MsChapV2);
            assert_eq!(failure.code, has_code.then_some(691));
            assert!(!failure.retry_allowed);
            let Some(AuthEvent::Failure(failure)) = pair.server_event() else { panic!("{protocol}") };
            assert_eq!(failure.peer_name, user);
            assert!(pair.client_event().is_none() && pair.server_event().is_none());
            assert_eq!(pair.client.next_timeout(), None);
        }
    }
}

#[test]
fn domain_is_sent_but_not_hashed() {
    for (user, domain) in [("ann", Some("WORK")), ("WORK\\ann", None)] {
        for protocol in AuthProtocol::ALL {
            let who = Credentials { user: user.into(), domain: domain.map(Into::into), password: "p".into() };
            let mut pair = Pair::with(protocol, who, Users::table(vec![("ann".into(), "p".into())]));
            pair.run();
            let Some(AuthEvent::Success { peer_name, .. }) = pair.server_event() else {
                panic!("{protocol}")
            };
            assert_eq!(peer_name, "WORK\\ann");
            assert!(matches!(pair.client_event(), Some(AuthEvent::Success { .. })));
        }
    }
}

#[test]
fn oversized_credentials_fail_at_once() {
    let long = "x".repeat(256);
    for (protocol, user, password) in [
        (AuthProtocol::Pap, "ann", long.as_str()),
        (AuthProtocol::Pap, long.as_str(), "p"),
        (AuthProtocol::MsChapV2, &"x".repeat(5000), "p"),
    ] {
        let mut pair = Pair::new(protocol, user, password, password);
        let Some(AuthEvent::Failure(failure)) = pair.client_event() else { panic!("{protocol}") };
        assert_eq!(failure.kind, FailureKind::DoesNotFit);
        assert!(pair.client.poll_output().is_none());
    }
}

#[test]
fn single_packet_loss_is_recovered() {
    for protocol in AuthProtocol::ALL {
        for lost in 0..4 {
            let mut pair = Pair::new(protocol, "ann", "p", "p");
            pair.lose(lost, 1);
            pair.run_for(20 * SECOND);
            assert!(matches!(pair.client_event(), Some(AuthEvent::Success { .. })), "{protocol} {lost}");
            assert!(matches!(pair.server_event(), Some(AuthEvent::Success { .. })), "{protocol} {lost}");
        }
    }
}

#[test]
fn silent_peer_times_out_after_few_packets() {
    for protocol in AuthProtocol::ALL {
        let mut pair = Pair::new(protocol, "ann", "p", "p");
        pair.lose(0, usize::MAX);
        let begin = pair.now;
        pair.run_for(60 * SECOND);
        for (event, at) in [(pair.client_event(), pair.client_at), (pair.server_event(), pair.server_at)] {
            let Some(AuthEvent::Failure(failure)) = event else { panic!("{protocol}") };
            assert_eq!(failure.kind, FailureKind::Timeout);
            assert_eq!(at - begin, Timing::default().limit);
        }
        assert!((1..=20).contains(&pair.sent), "{protocol}: {} packets", pair.sent);
    }
}

#[test]
fn lost_reply_is_sent_again() {
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
fn debug_output_contains_no_secrets() {
    let mut pair = Pair::new(AuthProtocol::MsChapV2, "ann", "tresor", "tresor");
    pair.run();
    let event = pair.client_event().unwrap();
    let text = format!("{:?} {:?} {event:?} {:?}", pair.client, pair.server, credentials("ann", "tresor"));
    assert!(!text.contains("tresor"), "{text}");
    assert!(text.contains("has_keys: true") && !text.contains("StartKey"), "{text}");
}

#[test]
fn lcp_options_have_the_registered_values() {
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
    fn arbitrary_packets_never_authenticate(
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
        // Arbitrary bytes must not authenticate a server (MS-CHAPv2 only) or a client.
        if protocol >= AuthProtocol::MsChapV2 {
            let accepted = matches!(pair.client_event(), Some(AuthEvent::Success { .. }));
            prop_assert!(!accepted);
        }
        let accepted = matches!(pair.server_event(), Some(AuthEvent::Success { .. }));
        prop_assert!(!accepted);
    }

    #[test]
    fn packet_loss_never_causes_a_refusal(which in 0..4_usize, password in "\\PC{0,60}", lost in proptest::collection::vec(any::<bool>(), 8)) {
        let protocol = AuthProtocol::ALL[which];
        let mut pair = Pair::new(protocol, "ann", &password, &password);
        pair.lost = lost;
        pair.run_for(29 * SECOND);
        if protocol == AuthProtocol::Pap && password.len() > 255 {
            return Ok(());
        }
        // Eight losses may use up the time limit, but neither side may take them for a refusal.
        for event in [pair.client_event(), pair.server_event()].into_iter().flatten() {
            let accepted = matches!(event, AuthEvent::Success { .. });
            prop_assert!(accepted, "{:?}", event);
        }
    }
}

/// A client, a server and the path between them.
struct Pair {
    client: Client,
    server: Server,
    now: Instant,
    /// Which packets are lost, numbered across both directions.
    lost: Vec<bool>,
    lost_after: Option<usize>,
    sent: usize,
    client_at: Instant,
    server_at: Instant,
    events: (Vec<AuthEvent>, Vec<AuthEvent>),
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

    /// Loses `count` packets, starting with number `first`.
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

    /// Delivers packets until none is in flight, without advancing the clock.
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

    /// Like [`Self::run`], but advances the clock from timer to timer.
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

    fn client_event(&mut self) -> Option<AuthEvent> {
        self.run_events();
        (!self.events.0.is_empty()).then(|| self.events.0.remove(0))
    }

    fn server_event(&mut self) -> Option<AuthEvent> {
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

/// Checks that each side opens what the other seals, at each common strength.
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
