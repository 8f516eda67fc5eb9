//! The network changes under a tunnel.

use super::*;
use crate::plan::NextHop;

fn by(gateway: u8) -> Option<NextHop> {
    let gateway = Some(Ipv4Addr::new(10, 0, gateway, 1).into());
    Some(NextHop::By { gateway, dev: "eth0".to_owned(), source: None })
}

fn seen(way: Option<NextHop>, address_stays: bool) -> Input {
    Input::Network(NetworkState { way, address_stays })
}

fn up() -> Story {
    let mut story = Story::of(&[literal(A)]);
    story.machine.sees(by(1));
    assert_eq!(story.say(Input::Start), [dial(A)]);
    story.machine.sees(by(1));
    story.bring_up();
    story
}

/// The actions without the reasons.
fn kinds(actions: &[Action]) -> Vec<&'static str> {
    let kind = |action: &Action| match action {
        Action::Resolve(_) => "resolve",
        Action::Dial(_) => "dial",
        Action::Configure(_) => "configure",
        Action::Ready => "ready",
        Action::LetGo => "let go",
        Action::Waiting(_) => "waiting",
        Action::NoNetwork => "no network",
        Action::Look => "look",
        Action::Repin => "repin",
        Action::Renew => "renew",
        Action::Probe => "probe",
        Action::Abandon(_) => "abandon",
        Action::StopChild => "stop",
        Action::End(_) => "end",
    };
    actions.iter().map(kind).collect()
}

#[test]
fn another_way_is_taken_and_the_old_connection_has_to_show_that_it_lives() {
    let mut story = up();
    assert_eq!(story.say(seen(by(2), true)), [Action::Repin, Action::Probe]);
    assert_eq!(story.machine.state(), TunnelState::Up);
    assert_eq!(story.say(seen(by(2), true)), [Action::Renew], "the same way again is no news");
    // It does not: no wait, and no failure is counted.
    assert_eq!(story.fail(FailureKind::PeerLost), [dial(A)]);
    assert_eq!(story.machine.failures(), 0);
    // The new dial fails as well: from here on the usual waits.
    assert_eq!(story.fail(FailureKind::ConnectTimeout), [Action::Waiting(Duration::from_secs(1))]);
}

#[test]
fn a_loss_long_after_a_change_is_not_put_down_to_it() {
    let mut story = up();
    story.say(seen(by(2), true));
    story.now += Duration::from_secs(60);
    assert_eq!(story.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(1))]);
}

#[test]
fn what_must_not_be_tried_again_is_not_after_a_change_either() {
    let mut story = up();
    story.say(seen(by(2), true));
    assert_eq!(kinds(&story.fail(FailureKind::AuthenticationFailed)), ["end"]);
}

#[test]
fn an_address_that_is_gone_means_a_new_dial_at_once() {
    let mut story = up();
    assert_eq!(kinds(&story.say(seen(by(1), false))), ["abandon", "dial"]);
    assert_eq!(story.machine.state(), TunnelState::Dialing);
    assert_eq!(story.say(Input::Stop), [Action::StopChild], "there is a child again");
}

#[test]
fn without_a_network_nothing_is_tried_until_there_is_one() {
    let mut story = up();
    assert_eq!(kinds(&story.say(seen(None, false))), ["abandon", "no network"]);
    assert_eq!(story.machine.state(), TunnelState::NoNetwork);
    assert_eq!(story.machine.state().word(), "no network");
    for _ in 0..100 {
        assert_eq!(story.say(seen(None, true)), []);
        assert_eq!(story.say(Input::Timeout), [], "not before its time");
    }
    story.now += Duration::from_secs(60);
    assert_eq!(story.say(Input::Timeout), [Action::Look]);
    assert_eq!(story.say(seen(None, true)), []);
    assert_eq!(story.say(seen(by(2), true)), [dial(A)]);
    assert_eq!(story.machine.failures(), 0, "no attempts were spent");
    story.bring_up();
}

#[test]
fn down_without_a_network_ends_at_once() {
    let mut story = up();
    story.say(seen(None, false));
    assert_eq!(story.say(Input::Stop), [Action::End(Ok(()))]);
}

#[test]
fn no_way_but_our_own_route_may_still_lead_there() {
    let mut story = up();
    assert_eq!(story.say(seen(None, true)), [Action::Probe], "what we have pinned stays");
    assert_eq!(kinds(&story.fail(FailureKind::PeerLost)), ["no network"]);
}

#[test]
fn a_dial_that_finds_no_way_waits_for_one_and_spends_no_attempts() {
    let mut story = up();
    assert_eq!(story.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(1))]);
    story.now += Duration::from_secs(1);
    assert_eq!(story.say(Input::Timeout), [dial(A)]);
    story.machine.sees(None);
    let failed = story.say(Input::DialFailed(failure(FailureKind::NoRoute)));
    assert_eq!(kinds(&failed), ["no network"]);
    assert_eq!(story.machine.failures(), 1, "the one before");
}

#[test]
fn a_server_with_a_way_is_tried_again_though_another_has_none() {
    let mut story = Story::of(&[literal(A), literal(B)]);
    story.say(Input::Start);
    story.machine.sees(by(1));
    story.bring_up();
    story.fail(FailureKind::PeerLost);
    story.now += Duration::from_secs(1);
    assert_eq!(story.say(Input::Timeout), [dial(A)]);
    story.machine.sees(by(1));
    assert_eq!(story.fail(FailureKind::ConnectionRefused), [dial(B)]);
    story.machine.sees(None);
    let failed = story.say(Input::DialFailed(failure(FailureKind::NoRoute)));
    assert_eq!(kinds(&failed), ["waiting"]);
}

#[test]
fn a_first_dial_without_a_network_fails() {
    let mut story = Story::of(&[literal(A)]);
    story.say(Input::Start);
    story.machine.sees(None);
    let failed = story.say(Input::DialFailed(failure(FailureKind::NoRoute)));
    assert_eq!(kinds(&failed), ["end"]);

    let mut mid = Story::of(&[literal(A)]);
    mid.say(Input::Start);
    mid.machine.sees(by(1));
    assert_eq!(mid.say(seen(None, true)), [], "its own limits see to it");
    assert_eq!(kinds(&mid.say(seen(by(1), false))), ["abandon", "dial"]);
}

#[test]
fn a_change_in_the_middle_of_a_dial_begins_it_anew_with_all_that_is_left() {
    let mut story = Story::of(&[named()]);
    story.say(Input::Start);
    story.say(Input::Resolved(Ok(vec![A, B])));
    story.machine.sees(by(1));
    assert_eq!(story.say(seen(by(1), true)), [], "our own steps are no news");
    assert_eq!(kinds(&story.say(seen(by(2), true))), ["abandon", "dial"]);
    assert_eq!(story.machine.server().map(|server| *server.ip()), Some(A));
    assert_eq!(story.fail(FailureKind::ConnectTimeout), [dial(B)]);
}

#[test]
fn a_resolver_that_asks_on_the_old_network_is_started_over() {
    let mut story = Story::of(&[named()]);
    story.say(Input::Start);
    story.say(Input::Resolved(Ok(vec![A])));
    story.machine.sees(by(1));
    story.bring_up();
    story.fail(FailureKind::PeerEnded);
    story.now += Duration::from_secs(1);
    assert_eq!(kinds(&story.say(Input::Timeout)), ["resolve"]);
    assert_eq!(story.machine.looks_for().map(|server| *server.ip()), Some(A));
    assert_eq!(story.say(seen(by(1), true)), []);
    assert_eq!(kinds(&story.say(seen(by(2), true))), ["abandon", "resolve"]);
    assert_eq!(kinds(&story.say(seen(None, true))), ["abandon", "no network"]);
    assert_eq!(kinds(&story.say(seen(by(2), true))), ["resolve"]);
    assert_eq!(story.say(Input::Resolved(Ok(vec![A]))), [dial(A)]);
}

#[test]
fn a_wait_is_cut_short_by_another_way_and_by_nothing_else() {
    let mut story = up();
    story.fail(FailureKind::PeerLost);
    assert_eq!(story.say(seen(by(1), true)), []);
    assert_eq!(story.machine.state(), TunnelState::Waiting);
    assert_eq!(story.say(seen(by(2), true)), [dial(A)]);
    story.fail(FailureKind::ConnectTimeout);
    assert_eq!(kinds(&story.say(seen(None, true))), ["no network"]);
}

#[test]
fn after_a_sleep_the_server_is_probed_and_waits_are_over() {
    let mut story = up();
    assert_eq!(story.say(Input::Woke), [Action::Probe, Action::Look]);
    assert_eq!(story.fail(FailureKind::PeerLost), [dial(A)]);
    assert_eq!(kinds(&story.say(Input::Woke)), ["abandon", "dial"]);
    assert_eq!(kinds(&story.fail(FailureKind::ConnectTimeout)), ["waiting"]);
    assert_eq!(story.say(Input::Woke), [dial(A)]);
    story.machine.sees(None);
    story.fail(FailureKind::NoRoute);
    assert_eq!(story.say(Input::Woke), [Action::Look]);
    story.say(Input::Stop);
    assert_eq!(story.say(Input::Woke), [], "over is over");
    assert_eq!(story.say(seen(by(1), true)), []);
}

#[test]
fn on_the_way_down_the_network_is_nobodys_business() {
    let mut story = up();
    story.say(Input::Stop);
    assert_eq!(story.say(seen(None, false)), []);
    assert_eq!(story.say(Input::Woke), []);
}

/// `retry.keep-routes = false`: once for each loss, whatever follows it; and never when everything goes anyway.
#[test]
fn what_leads_into_a_lost_tunnel_is_let_go_if_the_profile_wants_that() {
    let story = || {
        let Story { machine, now } = up();
        Story { machine: machine.keeping_routes(false), now }
    };
    let mut lost = story();
    assert_eq!(kinds(&lost.fail(FailureKind::PeerLost)), ["let go", "waiting"]);
    lost.now += Duration::from_secs(1);
    assert_eq!(kinds(&lost.say(Input::Timeout)), ["dial"]);
    assert_eq!(kinds(&lost.fail(FailureKind::ConnectTimeout)), ["waiting"]);
    lost.now += Duration::from_secs(2);
    assert_eq!(kinds(&lost.say(Input::Timeout)), ["dial"]);
    lost.bring_up();
    assert_eq!(kinds(&lost.say(seen(None, false))), ["let go", "abandon", "no network"]);
    let mut moved = story();
    assert_eq!(kinds(&moved.say(seen(by(2), false))), ["let go", "abandon", "dial"]);
    let mut refused = story();
    assert_eq!(kinds(&refused.fail(FailureKind::AuthenticationFailed)), ["end"]);
    let mut stopped = story();
    assert_eq!(kinds(&stopped.say(Input::Stop)), ["stop"]);
}
