//! A `Watch` between the two sides reports the same events as the client.

use std::time::Duration;

use super::pair::{CLIENT, DNS, Pair, SERVER, Side, client_config, policy, server_config};
use crate::ppp::{
    auth::AuthProtocol,
    hdlc::Accm,
    link::{DownReason, LinkConfig, LinkEvent, Mppe},
    mppe::{Demand, Strength},
    watch::{Sender, Watch},
    wire::{Packet, code, control_frame, protocol},
};

/// Feeds all sent frames to a `Watch`, and returns it with its events.
fn watched(pair: &Pair) -> (Watch, Vec<LinkEvent>) {
    let mut watch = Watch::new(1400);
    for (side, frame) in &pair.tap {
        watch.frame(if *side == Side::Client { Sender::Daemon } else { Sender::Peer }, frame);
    }
    let events = std::iter::from_fn(|| watch.poll_event()).collect();
    (watch, events)
}

fn limited(mut config: LinkConfig) -> LinkConfig {
    config.mtu_limit = 1400;
    config
}

/// The client's events without those that only its owner causes.
fn events_of_client(pair: &Pair) -> Vec<LinkEvent> {
    let own = |event: &&LinkEvent| !matches!(event, LinkEvent::PeerAnswered);
    pair.client_events.iter().filter(own).cloned().collect()
}

#[test]
fn watch_reports_the_same_events_as_the_client() {
    for demand in [Demand::Off, Demand::Require] {
        let mut client = limited(client_config());
        client.mppe = policy(demand);
        let mut server = server_config();
        server.mppe = policy(demand);
        let pair = Pair::new(client, server).up();
        let (watch, events) = watched(&pair);
        assert_eq!(events, events_of_client(&pair), "{demand:?}");
        let Some(LinkEvent::Up(up)) = events.last() else { panic!("{events:?}") };
        assert_eq!((up.local, up.peer, up.dns.as_slice()), (CLIENT, SERVER, &[DNS][..]));
        let encrypted = Mppe { strength: Strength::Bits128, stateful: false };
        assert_eq!(up.mppe, (demand == Demand::Require).then_some(encrypted));
        assert_eq!(up.auth, Some(AuthProtocol::MsChapV2));
        assert!(watch.received_from_peer());
        assert_eq!(watch.accm_for(&[0xff, 0x03, 0x00, 0xfd, 1]), Accm::NONE, "the client asks for that");
        assert_eq!(watch.accm_for(&[0x21, 0x45]), Accm::NONE);
        assert_eq!(watch.accm_for(&[0xff, 0x03, 0xc0, 0x21, 1, 1, 0, 4]), Accm::ALL);
    }
}

#[test]
fn watch_reports_auth_failure_with_its_code() {
    let mut client = limited(client_config());
    if let crate::ppp::link::Role::Client(role) = &mut client.role {
        role.credentials.password = crate::secret::Secret::from("wrong");
    }
    let mut pair = Pair::new(client, server_config()).open();
    pair.run(Duration::from_secs(10));
    let (_, events) = watched(&pair);
    let failure = events.iter().find_map(|event| match event {
        LinkEvent::Down(DownReason::AuthFailed(failure)) => Some(failure),
        _ => None,
    });
    let failure = failure.unwrap_or_else(|| panic!("{events:?}"));
    assert_eq!((failure.protocol, failure.code), (AuthProtocol::MsChapV2, Some(691)));
}

/// A direction that is negotiated again has no encryption until it is acknowledged.
#[test]
fn watch_forgets_the_encryption_of_a_direction_that_is_negotiated_again() {
    let mut client = limited(client_config());
    client.mppe = policy(Demand::Require);
    let pair = Pair::new(client, LinkConfig { mppe: policy(Demand::Require), ..server_config() }).up();
    let is_ccp = |frame: &[u8]| frame.windows(2).take(3).any(|two| two == [0x80, 0xfd]);
    let reported = |again: bool| {
        let mut watch = Watch::new(1400);
        let mut acknowledged = 0;
        for (side, frame) in &pair.tap {
            let from = if *side == Side::Client { Sender::Daemon } else { Sender::Peer };
            // The code follows address, control and protocol.
            let is_ack = is_ccp(frame) && frame.get(4) == Some(&code::CONFIGURE_ACK);
            acknowledged += u32::from(is_ack);
            if again && is_ack && acknowledged == 2 {
                let other = if from == Sender::Daemon { Sender::Peer } else { Sender::Daemon };
                // The direction that was acknowledged first.
                let request = Packet { code: code::CONFIGURE_REQUEST, id: 99, data: &[] }.to_vec();
                watch.frame(from, &control_frame(protocol::CCP, &request));
                watch.frame(other, &control_frame(protocol::CCP, &request));
            }
            watch.frame(from, frame);
        }
        std::iter::from_fn(|| watch.poll_event()).any(|event| matches!(event, LinkEvent::Encryption(Some(_))))
    };
    assert!(reported(false));
    assert!(!reported(true));
}

#[test]
fn watch_lists_offers_when_there_is_no_common_auth() {
    let mut pair = Pair::with_auth(&[AuthProtocol::MsChapV2], &[AuthProtocol::Pap]).open();
    pair.run(Duration::from_secs(40));
    let (_, events) = watched(&pair);
    assert!(
        matches!(events.as_slice(), [LinkEvent::Down(DownReason::NoCommonAuth { offered })] if offered == "PAP"),
        "{events:?}"
    );
}

#[test]
fn watch_reports_renegotiation_and_second_up() {
    let mut pair = Pair::new(limited(client_config()), server_config()).up();
    let now = pair.now;
    pair.server.restart_lcp(now);
    pair.run(Duration::from_secs(5));
    let (_, events) = watched(&pair);
    let count = |wanted: fn(&LinkEvent) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, LinkEvent::Renegotiating)), 1, "{events:?}");
    assert_eq!(count(|event| matches!(event, LinkEvent::Up(_))), 2, "{events:?}");
    let kinds: Vec<bool> = events
        .iter()
        .filter_map(|event| match event {
            LinkEvent::LcpUp { .. } => Some(true),
            LinkEvent::Renegotiating => Some(false),
            _ => None,
        })
        .collect();
    assert!(kinds.starts_with(&[true, false, true]), "{events:?}");
}

#[test]
fn watch_accepts_damaged_frames() {
    let pair = Pair::new(limited(client_config()), server_config()).up();
    let mut watch = Watch::new(1400);
    for (number, (_, frame)) in pair.tap.iter().cycle().take(2000).enumerate() {
        let mut frame = frame.clone();
        let length = frame.len();
        if let Some(byte) = frame.get_mut(number * 7 % length) {
            *byte ^= u8::try_from(number % 251).unwrap();
        }
        frame.truncate(length - number % 5 % length);
        let from = if number % 3 == 0 { Sender::Daemon } else { Sender::Peer };
        watch.frame(from, &frame);
    }
    assert!(std::iter::from_fn(|| watch.poll_event()).count() <= 64, "too many unfetched events");
}
