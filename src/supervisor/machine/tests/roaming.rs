//! Changes of the network under a tunnel.

use super::*;
use crate::plan::NextHop;

fn by(gateway: u8) -> Option<NextHop> {
    let gateway = Some(Ipv4Addr::new(10, 0, gateway, 1).into());
    Some(NextHop::By { gateway, dev: "eth0".to_owned(), source: None })
}

fn observed(next_hop: Option<NextHop>, address_stays: bool) -> Input {
    Input::Network(NetworkState { next_hop, address_stays })
}

fn up() -> Scenario {
    let mut scenario = Scenario::of(&[literal(A)]);
    scenario.machine.record_next_hop(by(1));
    assert_eq!(scenario.handle(Input::Start), [dial(A)]);
    scenario.machine.record_next_hop(by(1));
    scenario.bring_up();
    scenario
}

/// Returns the kinds of the actions, without the reasons.
fn kinds(actions: &[Action]) -> Vec<&'static str> {
    let kind = |action: &Action| match action {
        Action::Resolve(_) => "resolve",
        Action::Dial(_) => "dial",
        Action::Configure(_) => "configure",
        Action::Ready => "ready",
        Action::WithdrawRoutes => "withdraw routes",
        Action::Waiting(_) => "waiting",
        Action::NoNetwork => "no network",
        Action::PollNetwork => "poll",
        Action::Repin => "repin",
        Action::RestoreRoutes => "restore",
        Action::Probe => "probe",
        Action::Abandon(_) => "abandon",
        Action::StopChild => "stop",
        Action::End(_) => "end",
    };
    actions.iter().map(kind).collect()
}

#[test]
fn new_next_hop_repins_and_probes_the_connection() {
    let mut scenario = up();
    assert_eq!(scenario.handle(observed(by(2), true)), [Action::Repin, Action::Probe]);
    assert_eq!(scenario.machine.state(), TunnelState::Up);
    assert_eq!(scenario.handle(observed(by(2), true)), [Action::RestoreRoutes], "the next hop is the same");
    // The probe fails: no wait, and no failure is counted.
    assert_eq!(scenario.fail(FailureKind::PeerLost), [dial(A)]);
    assert_eq!(scenario.machine.backoff.failures(), 0);
    // The new dial fails as well: from here on the usual backoff.
    assert_eq!(scenario.fail(FailureKind::ConnectTimeout), [Action::Waiting(Duration::from_secs(1))]);
}

#[test]
fn loss_long_after_a_change_uses_the_backoff() {
    let mut scenario = up();
    scenario.handle(observed(by(2), true));
    scenario.now += Duration::from_secs(60);
    assert_eq!(scenario.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(1))]);
}

#[test]
fn final_failure_after_a_change_is_not_retried() {
    let mut scenario = up();
    scenario.handle(observed(by(2), true));
    assert_eq!(kinds(&scenario.fail(FailureKind::AuthenticationFailed)), ["end"]);
}

#[test]
fn lost_local_address_causes_a_redial_at_once() {
    let mut scenario = up();
    assert_eq!(kinds(&scenario.handle(observed(by(1), false))), ["abandon", "dial"]);
    assert_eq!(scenario.machine.state(), TunnelState::Dialing);
    assert_eq!(scenario.handle(Input::Stop), [Action::StopChild], "the new dial has no child");
}

#[test]
fn no_attempts_are_made_without_a_network() {
    let mut scenario = up();
    assert_eq!(kinds(&scenario.handle(observed(None, false))), ["abandon", "no network"]);
    assert_eq!(scenario.machine.state(), TunnelState::NoNetwork);
    assert_eq!(scenario.machine.state().word(), "no network");
    for _ in 0..100 {
        assert_eq!(scenario.handle(observed(None, true)), []);
        assert_eq!(scenario.handle(Input::Timeout), [], "a timeout before the deadline has an effect");
    }
    scenario.now += Duration::from_secs(60);
    assert_eq!(scenario.handle(Input::Timeout), [Action::PollNetwork]);
    assert_eq!(scenario.handle(observed(None, true)), []);
    assert_eq!(scenario.handle(observed(by(2), true)), [dial(A)]);
    assert_eq!(scenario.machine.backoff.failures(), 0, "an attempt was counted");
    scenario.bring_up();
}

#[test]
fn down_without_a_network_ends_at_once() {
    let mut scenario = up();
    scenario.handle(observed(None, false));
    assert_eq!(scenario.handle(Input::Stop), [Action::End(Ok(()))]);
}

#[test]
fn unreachable_server_is_probed_over_the_pinned_route() {
    let mut scenario = up();
    assert_eq!(scenario.handle(observed(None, true)), [Action::Probe], "the pinned route stays in force");
    assert_eq!(kinds(&scenario.fail(FailureKind::PeerLost)), ["no network"]);
}

#[test]
fn dial_without_a_route_waits_and_costs_no_attempt() {
    let mut scenario = up();
    assert_eq!(scenario.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(1))]);
    scenario.now += Duration::from_secs(1);
    assert_eq!(scenario.handle(Input::Timeout), [dial(A)]);
    scenario.machine.record_next_hop(None);
    let failed = scenario.handle(Input::DialFailed(failure(FailureKind::NoRoute)));
    assert_eq!(kinds(&failed), ["no network"]);
    assert_eq!(scenario.machine.backoff.failures(), 1, "only the earlier failure is counted");
}

#[test]
fn one_reachable_server_is_enough_to_retry() {
    let mut scenario = Scenario::of(&[literal(A), literal(B)]);
    scenario.handle(Input::Start);
    scenario.machine.record_next_hop(by(1));
    scenario.bring_up();
    scenario.fail(FailureKind::PeerLost);
    scenario.now += Duration::from_secs(1);
    assert_eq!(scenario.handle(Input::Timeout), [dial(A)]);
    scenario.machine.record_next_hop(by(1));
    assert_eq!(scenario.fail(FailureKind::ConnectionRefused), [dial(B)]);
    scenario.machine.record_next_hop(None);
    let failed = scenario.handle(Input::DialFailed(failure(FailureKind::NoRoute)));
    assert_eq!(kinds(&failed), ["waiting"]);
}

#[test]
fn first_dial_without_a_network_fails() {
    let mut scenario = Scenario::of(&[literal(A)]);
    scenario.handle(Input::Start);
    scenario.machine.record_next_hop(None);
    let failed = scenario.handle(Input::DialFailed(failure(FailureKind::NoRoute)));
    assert_eq!(kinds(&failed), ["end"]);

    let mut dialing = Scenario::of(&[literal(A)]);
    dialing.handle(Input::Start);
    dialing.machine.record_next_hop(by(1));
    assert_eq!(dialing.handle(observed(None, true)), [], "the dial in progress has its own timeouts");
    assert_eq!(kinds(&dialing.handle(observed(by(1), false))), ["abandon", "dial"]);
}

#[test]
fn change_during_a_dial_restarts_it() {
    let mut scenario = Scenario::of(&[named()]);
    scenario.handle(Input::Start);
    scenario.handle(Input::Resolved(Ok(vec![A, B])));
    scenario.machine.record_next_hop(by(1));
    assert_eq!(scenario.handle(observed(by(1), true)), [], "the next hop is the same");
    assert_eq!(kinds(&scenario.handle(observed(by(2), true))), ["abandon", "dial"]);
    assert_eq!(scenario.machine.server().map(|server| *server.ip()), Some(A));
    assert_eq!(scenario.fail(FailureKind::ConnectTimeout), [dial(B)]);
}

#[test]
fn change_during_a_lookup_restarts_the_resolver() {
    let mut scenario = Scenario::of(&[named()]);
    scenario.handle(Input::Start);
    scenario.handle(Input::Resolved(Ok(vec![A])));
    scenario.machine.record_next_hop(by(1));
    scenario.bring_up();
    scenario.fail(FailureKind::PeerEnded);
    scenario.now += Duration::from_secs(1);
    assert_eq!(kinds(&scenario.handle(Input::Timeout)), ["resolve"]);
    assert_eq!(reached(&scenario), [A]);
    assert_eq!(scenario.handle(observed(by(1), true)), []);
    assert_eq!(kinds(&scenario.handle(observed(by(2), true))), ["abandon", "resolve"]);
    assert_eq!(kinds(&scenario.handle(observed(None, true))), ["abandon", "no network"]);
    assert_eq!(kinds(&scenario.handle(observed(by(2), true))), ["resolve"]);
    assert_eq!(scenario.handle(Input::Resolved(Ok(vec![A]))), [dial(A)]);
}

#[test]
fn only_a_new_next_hop_cuts_a_wait_short() {
    let mut scenario = up();
    scenario.fail(FailureKind::PeerLost);
    assert_eq!(scenario.handle(observed(by(1), true)), []);
    assert_eq!(scenario.machine.state(), TunnelState::Waiting);
    assert_eq!(scenario.handle(observed(by(2), true)), [dial(A)]);
    scenario.fail(FailureKind::ConnectTimeout);
    assert_eq!(kinds(&scenario.handle(observed(None, true))), ["no network"]);
}

#[test]
fn resume_probes_the_server_and_ends_waits() {
    let mut scenario = up();
    assert_eq!(scenario.handle(Input::Woke), [Action::Probe, Action::PollNetwork]);
    assert_eq!(scenario.fail(FailureKind::PeerLost), [dial(A)]);
    assert_eq!(kinds(&scenario.handle(Input::Woke)), ["abandon", "dial"]);
    assert_eq!(kinds(&scenario.fail(FailureKind::ConnectTimeout)), ["waiting"]);
    assert_eq!(scenario.handle(Input::Woke), [dial(A)]);
    scenario.machine.record_next_hop(None);
    scenario.fail(FailureKind::NoRoute);
    assert_eq!(scenario.handle(Input::Woke), [Action::PollNetwork]);
    scenario.handle(Input::Stop);
    assert_eq!(scenario.handle(Input::Woke), [], "an input after Stop has an effect");
    assert_eq!(scenario.handle(observed(by(1), true)), []);
}

#[test]
fn network_changes_are_ignored_while_stopping() {
    let mut scenario = up();
    scenario.handle(Input::Stop);
    assert_eq!(scenario.handle(observed(None, false)), []);
    assert_eq!(scenario.handle(Input::Woke), []);
}

/// `retry.keep-routes = false`: once for each loss, whatever follows, and never if all steps are undone
/// anyway.
#[test]
fn routes_are_withdrawn_on_loss_if_configured() {
    let scenario = || {
        let Scenario { machine, now } = up();
        Scenario { machine: machine.keeping_routes(false), now }
    };
    let mut lost = scenario();
    assert_eq!(kinds(&lost.fail(FailureKind::PeerLost)), ["withdraw routes", "waiting"]);
    lost.now += Duration::from_secs(1);
    assert_eq!(kinds(&lost.handle(Input::Timeout)), ["dial"]);
    assert_eq!(kinds(&lost.fail(FailureKind::ConnectTimeout)), ["waiting"]);
    lost.now += Duration::from_secs(2);
    assert_eq!(kinds(&lost.handle(Input::Timeout)), ["dial"]);
    lost.bring_up();
    assert_eq!(kinds(&lost.handle(observed(None, false))), ["withdraw routes", "abandon", "no network"]);
    let mut moved = scenario();
    assert_eq!(kinds(&moved.handle(observed(by(2), false))), ["withdraw routes", "abandon", "dial"]);
    let mut refused = scenario();
    assert_eq!(kinds(&refused.fail(FailureKind::AuthenticationFailed)), ["end"]);
    let mut stopped = scenario();
    assert_eq!(kinds(&stopped.handle(Input::Stop)), ["stop"]);
}

fn reached(scenario: &Scenario) -> Vec<Ipv4Addr> {
    scenario.machine.servers_to_reach().iter().map(|server| *server.ip()).collect()
}

#[test]
fn server_without_a_route_does_not_hide_that_another_has_one() {
    let mut scenario = Scenario::of(&[literal(A), literal(B)]);
    scenario.handle(Input::Start);
    scenario.machine.record_next_hop(by(1));
    scenario.bring_up();
    assert_eq!(reached(&scenario), [A]);
    scenario.fail(FailureKind::PeerLost);
    scenario.now += Duration::from_secs(1);
    scenario.handle(Input::Timeout);
    scenario.machine.record_next_hop(by(1));
    assert_eq!(scenario.fail(FailureKind::ConnectTimeout), [dial(B)]);
    scenario.machine.record_next_hop(None);
    let no_route = Input::DialFailed(failure(FailureKind::NoRoute));
    assert_eq!(scenario.handle(no_route), [Action::Waiting(Duration::from_secs(2))]);
    assert_eq!(reached(&scenario), [B, A]);
    assert_eq!(scenario.handle(observed(by(1), true)), [], "the wait goes on: nothing has changed");
    assert_eq!(scenario.handle(observed(None, true)), [Action::NoNetwork]);
    assert_eq!(reached(&scenario), [B, A], "the first server is polled, too");
    assert_eq!(scenario.handle(observed(by(1), true)), [dial(A)]);
}
