//! Authentication in both roles, and the reasons reported when the two sides cannot agree.

use std::time::Duration;

use super::pair::{Pair, Side, client_config, policy, server_config};
use crate::{
    ppp::{
        auth::{AuthProtocol, Credentials, FailureKind},
        link::{DownReason, Link, LinkConfig, LinkEvent, Role},
        mppe::Demand,
        wire::{code, control_frame, protocol},
    },
    secret::Secret,
};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn encryption_policies_hold_for_every_auth_protocol() {
    for auth in AuthProtocol::ALL {
        for client in [Demand::Off, Demand::Allow, Demand::Require] {
            for server in [Demand::Off, Demand::Allow, Demand::Require] {
                let mut pair = Pair::new(
                    LinkConfig { accept: vec![auth], mppe: policy(client), ..client_config() },
                    LinkConfig { accept: vec![auth], mppe: policy(server), ..server_config() },
                )
                .open();
                pair.run(LONG);
                let required = client == Demand::Require || server == Demand::Require;
                let possible = auth.gives_keys() && client != Demand::Off && server != Demand::Off;
                let case = format!("{auth}, client {client:?}, server {server:?}: {:?}", pair.client_events);
                match (required, possible) {
                    (true, false) => {
                        assert!(pair.client_up().is_none(), "{case}");
                        let reasons = [pair.client_down().unwrap(), pair.server_down().unwrap()];
                        let named = |one: &&DownReason| matches!(one, DownReason::EncryptionRefused(_));
                        assert!(reasons.iter().any(named), "{case} {reasons:?}");
                        if client == Demand::Require || auth.gives_keys() {
                            assert!(named(&reasons[0]), "{case}");
                        }
                    }
                    _ => {
                        let up = pair.client_up().unwrap_or_else(|| panic!("{case}"));
                        assert_eq!(up.auth, Some(auth), "{case}");
                        assert_eq!(up.mppe.is_some(), possible, "{case}");
                        assert!(pair.client_down().is_none(), "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn no_password_is_sent_if_required_encryption_is_impossible() {
    let mut pair = Pair::new(
        LinkConfig {
            accept: vec![AuthProtocol::Pap, AuthProtocol::MsChapV2],
            mppe: policy(Demand::Require),
            ..client_config()
        },
        LinkConfig { accept: vec![AuthProtocol::Pap], ..server_config() },
    )
    .open();
    pair.run(LONG);
    let Some(DownReason::EncryptionRefused(words)) = pair.client_down() else {
        panic!("{:?}", pair.client_events)
    };
    assert!(words.contains("MS-CHAP") && words.contains("PAP"), "{words}");
    assert!(pair.of_protocol(&[protocol::PAP, protocol::CHAP]).is_empty());
}

#[test]
fn wrong_password_is_reported_on_both_sides() {
    for auth in AuthProtocol::ALL {
        let mut config = LinkConfig { accept: vec![auth], ..client_config() };
        if let Role::Client(client) = &mut config.role {
            client.credentials =
                Credentials { user: "alice".to_owned(), domain: None, password: Secret::from("sesame open") };
        }
        let mut pair = Pair::new(config, LinkConfig { accept: vec![auth], ..server_config() }).open();
        pair.run(LONG);
        for reason in [pair.client_down(), pair.server_down()] {
            let Some(DownReason::AuthFailed(failure)) = reason else { panic!("{auth}: {reason:?}") };
            assert_eq!(failure.kind, FailureKind::Rejected, "{auth}");
        }
        let Some(DownReason::AuthFailed(failure)) = pair.client_down() else { unreachable!() };
        assert_eq!(failure.code, auth.gives_keys().then_some(691), "{auth}");
        assert!(pair.of_protocol(&[protocol::IPCP, protocol::CCP]).is_empty(), "{auth}");
    }
}

/// A client that waits for the end of the link before it believes a refusal.
#[test]
fn end_of_the_link_confirms_a_refusal() {
    for restarts in [false, true] {
        let mut config = client_config();
        config.timing.confirm_refusal = Some(LONG);
        if let Role::Client(client) = &mut config.role {
            client.credentials.password = Secret::from("sesame open");
        }
        let mut pair = Pair::new(config, server_config()).open();
        let mut termination = Vec::new();
        for _ in 0..1000 {
            if pair.client.is_login_pending() {
                termination.extend(pair.lose(Side::Server, protocol::LCP));
            }
            if pair.client.refusal().is_some() && !termination.is_empty() {
                break;
            }
            pair.run(Duration::from_millis(1));
        }
        assert!(pair.client.refusal().is_some() && pair.client_down().is_none(), "no refusal that waits");
        let request = control_frame(protocol::LCP, &[code::CONFIGURE_REQUEST, 99, 0, 4]);
        for frame in if restarts { vec![request] } else { termination } {
            pair.deliver(Side::Client, frame);
        }
        pair.run(LONG / 2);
        let Some(DownReason::AuthFailed(failure)) = pair.client_down() else {
            panic!("{:?}", pair.client_down())
        };
        assert_eq!((failure.kind, failure.is_confirmed), (FailureKind::Rejected, !restarts));
    }
}

#[test]
fn sides_agree_on_a_common_auth_protocol() {
    use AuthProtocol::{ChapMd5, MsChapV1, MsChapV2, Pap};
    for (client, server, found) in [
        (&[MsChapV2][..], &[Pap, MsChapV2][..], MsChapV2),
        (&[Pap, MsChapV2], &[ChapMd5, MsChapV1, MsChapV2], MsChapV2),
        (&[Pap, ChapMd5], &[MsChapV2, Pap], Pap),
        (&[Pap, ChapMd5, MsChapV1, MsChapV2], &[ChapMd5], ChapMd5),
        (&[MsChapV1], &[MsChapV2, MsChapV1], MsChapV1),
    ] {
        let pair = Pair::with_auth(client, server).up();
        assert_eq!(pair.client_up().unwrap().auth, Some(found), "{client:?} {server:?}");
    }
}

#[test]
fn no_common_auth_lists_the_offers() {
    let mut pair = Pair::with_auth(&[AuthProtocol::MsChapV2], &[AuthProtocol::Pap]).open();
    pair.run(LONG);
    assert_eq!(pair.client_down(), Some(&DownReason::NoCommonAuth { offered: "PAP".to_owned() }));
    assert_eq!(pair.server_down(), Some(&DownReason::NoCommonAuth { offered: "MS-CHAPv2".to_owned() }));
}

/// `auth` means one of these: a server that asks for none could be any host.
#[test]
fn server_without_authentication_is_refused() {
    for demand in [Demand::Off, Demand::Allow] {
        for accept in [vec![AuthProtocol::MsChapV2], vec![AuthProtocol::Pap, AuthProtocol::ChapMd5], vec![]] {
            let mut pair = Pair::new(
                LinkConfig { accept, mppe: policy(demand), ..client_config() },
                LinkConfig { accept: vec![], mppe: policy(Demand::Off), ..server_config() },
            )
            .open();
            pair.run(LONG);
            assert_eq!(pair.client_down(), Some(&DownReason::NotAuthenticated), "{demand:?}");
            assert!(pair.client_up().is_none());
        }
    }
}

/// A request without authentication on a link that is up, which any host can forge.
#[test]
fn renegotiation_does_not_weaken_the_authentication() {
    use AuthProtocol::{ChapMd5, MsChapV2, Pap};
    for next in [vec![], vec![Pap], vec![ChapMd5, Pap]] {
        let mut pair = Pair::new(
            LinkConfig { accept: vec![Pap, ChapMd5, MsChapV2], mppe: policy(Demand::Off), ..client_config() },
            LinkConfig { mppe: policy(Demand::Off), ..server_config() },
        )
        .up();
        assert_eq!(pair.client_up().unwrap().auth, Some(MsChapV2));
        pair.tap.clear();
        // The forger takes the place of the server.
        pair.server = Link::new(LinkConfig { accept: next.clone(), ..server_config() }, pair.now);
        pair.server.open(pair.now);
        pair.collect();
        pair.run(LONG);
        assert!(pair.client_down().is_some(), "{next:?}: {:?}", pair.client_events);
        assert!(pair.of_protocol(&[protocol::PAP, protocol::CHAP]).is_empty(), "{next:?}");
    }
}

#[test]
fn stronger_protocol_is_asked_for_first() {
    use AuthProtocol::{ChapMd5, MsChapV2, Pap};
    // The first frame that shows a choice: whether the client's password was sent with PAP.
    let sends_pap = |pair: &Pair| !pair.of_protocol(&[protocol::PAP]).is_empty();
    let both = Pair::with_auth(&[MsChapV2, Pap], &[Pap, MsChapV2]).up();
    assert_eq!(both.client_up().unwrap().auth, Some(MsChapV2));
    assert!(!sends_pap(&both));
    // A server that insists.
    let only = Pair::with_auth(&[MsChapV2, ChapMd5, Pap], &[Pap]).up();
    assert_eq!(only.client_up().unwrap().auth, Some(Pap));
    let naks = only.of_protocol(&[protocol::LCP]).into_iter().filter(|(from, frame)| {
        *from == Side::Client && frame[4] == 3 && frame.ends_with(MsChapV2.lcp_option())
    });
    assert_eq!(naks.count(), 1);
    // pppd drops its demand instead: the owner dials again, without the question.
    let mut server = LinkConfig { accept: vec![Pap], ..server_config() };
    if let Role::Server(role) = &mut server.role {
        role.insists = false;
    }
    let client = LinkConfig { accept: vec![MsChapV2, Pap], ..client_config() };
    let mut gives_up = Pair::new(client, server).open();
    gives_up.run(LONG);
    let reason = DownReason::WeakerAuthOnly { demanded: Pap, asked: MsChapV2 };
    assert_eq!(gives_up.client_down(), Some(&reason));
    assert!(!sends_pap(&gives_up));
    let client = LinkConfig { accept: vec![MsChapV2, Pap], prefer_stronger: false, ..client_config() };
    let again = Pair::new(client, LinkConfig { accept: vec![Pap], ..server_config() }).up();
    assert_eq!(again.client_up().unwrap().auth, Some(Pap));
}

#[test]
fn server_may_skip_auth_only_if_that_is_accepted() {
    let mut pair = Pair::new(
        LinkConfig { unauthenticated: true, ..client_config() },
        LinkConfig { accept: vec![], ..server_config() },
    )
    .up();
    assert_eq!(pair.client_up().unwrap().auth, None);
    assert!(!pair.client_events.iter().any(|event| matches!(event, LinkEvent::Authenticated { .. })));
    pair.send_ip(Side::Client, &super::pair::ip(40, 1)).unwrap();

    let mut pair = Pair::new(
        LinkConfig { mppe: policy(Demand::Require), ..client_config() },
        LinkConfig { accept: vec![], mppe: policy(Demand::Off), ..server_config() },
    )
    .open();
    pair.run(LONG);
    let Some(DownReason::EncryptionRefused(words)) = pair.client_down() else {
        panic!("{:?}", pair.client_events)
    };
    assert!(words.contains("no authentication"), "{words}");
}

#[test]
fn contradictory_configuration_is_explained() {
    let mut pair = Pair::new(
        LinkConfig { accept: vec![AuthProtocol::Pap], mppe: policy(Demand::Require), ..client_config() },
        server_config(),
    )
    .open();
    pair.run(LONG);
    let Some(DownReason::EncryptionRefused(words)) = pair.client_down() else {
        panic!("{:?}", pair.client_events)
    };
    assert!(words.contains("only PAP is acceptable"), "{words}");
}

#[test]
fn silent_server_during_auth_times_out() {
    let mut pair = Pair::with_auth(&[AuthProtocol::MsChapV2], &[AuthProtocol::MsChapV2]).open();
    while !pair.client_events.iter().any(|event| matches!(event, LinkEvent::LcpUp { .. })) {
        pair.run(Duration::from_millis(5));
    }
    pair.cut = [true, true];
    pair.run(LONG);
    let Some(DownReason::AuthFailed(failure)) = pair.client_down() else {
        panic!("{:?}", pair.client_events)
    };
    assert_eq!(failure.kind, FailureKind::Timeout);
}
