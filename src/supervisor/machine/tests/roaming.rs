//! Changes of the network under a tunnel.

use super::*;
use crate::plan::NextHop;

fn by(gateway: u8) -> Option<NextHop> {
    let gateway = Some(Ipv4Addr::new(10, 0, gateway, 1).into());
    Some(NextHop::By { gateway, dev: "eth0".to_owned(), source: None })
}

fn seen(way: Option<NextHop>, address_stays: bool) -> Input {
    Input::Network(NetworkState { next_hop: way, address_stays })
}

fn up() -> Scenario {
    let mut story = Scenario::of(&[literal(A)]);
    story.machine.record_next_hop(by(1));
    assert_eq!(story.say(Input::Start), [dial(A)]);
    story.machine.record_next_hop(by(1));
    story.bring_up();
    story
}

/// Returns the kinds of the actions, without the reasons.
fn kinds(actions: &[Action]) -> Vec<&'static str> {
    let kind = |action: &Action| match action {
        Action::Resolve(_) => "resolve",
        Action::Dial(_) => "dial",
        Action::Configure(_) => "configure",
        Action::Ready => "ready",
        Action::WithdrawRoutes => "let go",
        Action::Waiting(_) => "waiting",
        Action::NoNetwork => "no network",
        Action::PollNetwork => "look",
        Action::Repin => "repin",
        Action::RestoreRoutes => "renew",
        Action::Probe => "probe",
        Action::Abandon(_) => "abandon",
        Action::StopChild => "stop",
        Action::End(_) => "end",
    };
    actions.iter().map(kind).collect()
}

#[test]
fn new_next_hop_repins_and_probes_the_connection() {
    let mut story = up();
    assert_eq!(story.say(seen(by(2), true)), [Action::Repin, Action::Probe]);
    assert_eq!(story.machine.state(), TunnelState::Up);
    assert_eq!(story.say(seen(by(2), true)), [Action::RestoreRoutes], "the same way again is no news");
    // The probe fails: no wait, and no failure is counted.
    assert_eq!(story.fail(FailureKind::PeerLost), [dial(A)]);
    assert_eq!(story.machine.failures(), 0);
    // The new dial fails as well: from here on the usual backoff.
    assert_eq!(story.fail(FailureKind::ConnectTimeout), [Action::Waiting(Duration::from_secs(1))]);
}

#[test]
fn loss_long_after_a_change_uses_the_backoff() {
    let mut story = up();
    story.say(seen(by(2), true));
    story.now += Duration::from_secs(60);
    assert_eq!(story.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(1))]);
}

#[test]
fn final_failure_after_a_change_is_not_retried() {
    let mut story = up();
    story.say(seen(by(2), true));
    assert_eq!(kinds(&story.fail(FailureKind::AuthenticationFailed)), ["end"]);
}

#[test]
fn lost_local_address_causes_a_redial_at_once() {
    let mut story = up();
    assert_eq!(kinds(&story.say(seen(by(1), false))), ["abandon", "dial"]);
    assert_eq!(story.machine.state(), TunnelState::Dialing);
    assert_eq!(story.say(Input::Stop), [Action::StopChild], "there is a child again");
}

#[test]
fn no_attempts_are_made_without_a_network() {
    let mut story = up();
    assert_eq!(kinds(&story.say(seen(None, false))), ["abandon", "no network"]);
    assert_eq!(story.machine.state(), TunnelState::NoNetwork);
    assert_eq!(story.machine.state().word(), "no network");
    for _ in 0..100 {
        assert_eq!(story.say(seen(None, true)), []);
        assert_eq!(story.say(Input::Timeout), [], "not before its time");
    }
    story.now += Duration::from_secs(60);
    assert_eq!(story.say(Input::Timeout), [Action::PollNetwork]);
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
fn unreachable_server_is_probed_over_the_pinned_route() {
    let mut story = up();
    assert_eq!(story.say(seen(None, true)), [Action::Probe], "what we have pinned stays");
    assert_eq!(kinds(&story.fail(FailureKind::PeerLost)), ["no network"]);
}

#[test]
fn dial_without_a_route_waits_and_costs_no_attempt() {
    let mut story = up();
    assert_eq!(story.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(1))]);
    story.now += Duration::from_secs(1);
    assert_eq!(story.say(Input::Timeout), [dial(A)]);
    story.machine.record_next_hop(None);
    let failed = story.say(Input::DialFailed(failure(FailureKind::NoRoute)));
    assert_eq!(kinds(&failed), ["no network"]);
    assert_eq!(story.machine.failures(), 1, "the one before");
}

#[test]
fn one_reachable_server_is_enough_to_retry() {
    let mut story = Scenario::of(&[literal(A), literal(B)]);
    story.say(Input::Start);
    story.machine.record_next_hop(by(1));
    story.bring_up();
    story.fail(FailureKind::PeerLost);
    story.now += Duration::from_secs(1);
    assert_eq!(story.say(Input::Timeout), [dial(A)]);
    story.machine.record_next_hop(by(1));
    assert_eq!(story.fail(FailureKind::ConnectionRefused), [dial(B)]);
    story.machine.record_next_hop(None);
    let failed = story.say(Input::DialFailed(failure(FailureKind::NoRoute)));
    assert_eq!(kinds(&failed), ["waiting"]);
}

#[test]
fn first_dial_without_a_network_fails() {
    let mut story = Scenario::of(&[literal(A)]);
    story.say(Input::Start);
    story.machine.record_next_hop(None);
    let failed = story.say(Input::DialFailed(failure(FailureKind::NoRoute)));
    assert_eq!(kinds(&failed), ["end"]);

    let mut mid = Scenario::of(&[literal(A)]);
    mid.say(Input::Start);
    mid.machine.record_next_hop(by(1));
    assert_eq!(mid.say(seen(None, true)), [], "its own limits see to it");
    assert_eq!(kinds(&mid.say(seen(by(1), false))), ["abandon", "dial"]);
}

#[test]
fn change_during_a_dial_restarts_it() {
    let mut story = Scenario::of(&[named()]);
    story.say(Input::Start);
    story.say(Input::Resolved(Ok(vec![A, B])));
    story.machine.record_next_hop(by(1));
    assert_eq!(story.say(seen(by(1), true)), [], "our own steps are no news");
    assert_eq!(kinds(&story.say(seen(by(2), true))), ["abandon", "dial"]);
    assert_eq!(story.machine.server().map(|server| *server.ip()), Some(A));
    assert_eq!(story.fail(FailureKind::ConnectTimeout), [dial(B)]);
}

#[test]
fn change_during_a_lookup_restarts_the_resolver() {
    let mut story = Scenario::of(&[named()]);
    story.say(Input::Start);
    story.say(Input::Resolved(Ok(vec![A])));
    story.machine.record_next_hop(by(1));
    story.bring_up();
    story.fail(FailureKind::PeerEnded);
    story.now += Duration::from_secs(1);
    assert_eq!(kinds(&story.say(Input::Timeout)), ["resolve"]);
    assert_eq!(story.machine.server_to_reach().map(|server| *server.ip()), Some(A));
    assert_eq!(story.say(seen(by(1), true)), []);
    assert_eq!(kinds(&story.say(seen(by(2), true))), ["abandon", "resolve"]);
    assert_eq!(kinds(&story.say(seen(None, true))), ["abandon", "no network"]);
    assert_eq!(kinds(&story.say(seen(by(2), true))), ["resolve"]);
    assert_eq!(story.say(Input::Resolved(Ok(vec![A]))), [dial(A)]);
}

#[test]
fn only_a_new_next_hop_cuts_a_wait_short() {
    let mut story = up();
    story.fail(FailureKind::PeerLost);
    assert_eq!(story.say(seen(by(1), true)), []);
    assert_eq!(story.machine.state(), TunnelState::Waiting);
    assert_eq!(story.say(seen(by(2), true)), [dial(A)]);
    story.fail(FailureKind::ConnectTimeout);
    assert_eq!(kinds(&story.say(seen(None, true))), ["no network"]);
}

#[test]
fn resume_probes_the_server_and_ends_waits() {
    let mut story = up();
    assert_eq!(story.say(Input::Woke), [Action::Probe, Action::PollNetwork]);
    assert_eq!(story.fail(FailureKind::PeerLost), [dial(A)]);
    assert_eq!(kinds(&story.say(Input::Woke)), ["abandon", "dial"]);
    assert_eq!(kinds(&story.fail(FailureKind::ConnectTimeout)), ["waiting"]);
    assert_eq!(story.say(Input::Woke), [dial(A)]);
    story.machine.record_next_hop(None);
    story.fail(FailureKind::NoRoute);
    assert_eq!(story.say(Input::Woke), [Action::PollNetwork]);
    story.say(Input::Stop);
    assert_eq!(story.say(Input::Woke), [], "over is over");
    assert_eq!(story.say(seen(by(1), true)), []);
}

#[test]
fn network_changes_are_ignored_while_stopping() {
    let mut story = up();
    story.say(Input::Stop);
    assert_eq!(story.say(seen(None, false)), []);
    assert_eq!(story.say(Input::Woke), []);
}

/// `retry.keep-routes = false`: once for each loss, whatever follows, and never if all steps are undone
/// anyway.
#[test]
fn routes_are_withdrawn_on_loss_if_configured() {
    let story = || {
        let Scenario { machine, now } = up();
        Scenario { machine: machine.keeping_routes(false), now }
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
