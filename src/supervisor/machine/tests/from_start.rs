//! `retry.from-start`: a tunnel that has never been up is redialled like a lost one.

use super::*;
use crate::plan::NextHop;

fn from_start(servers: &[Server], attempts: Option<u32>) -> Scenario {
    let Scenario { machine, now } = Scenario::with_attempts(servers, attempts);
    Scenario { machine: machine.trying_from_start(true), now }
}

fn undecided() -> Input {
    Input::EngineEnded(failure(FailureKind::PeerEnded).undecided(UndecidedLogin::Unanswered))
}

fn hop(gateway: Option<Ipv4Addr>) -> NextHop {
    NextHop::By { gateway: gateway.map(Into::into), dev: "eth0".into(), source: None }
}

fn network(next_hop: Option<NextHop>) -> Input {
    Input::Network(NetworkState { next_hop, address_stays: true })
}

#[test]
fn first_round_is_repeated_until_the_policy_gives_up() {
    let mut scenario = from_start(&[literal(A), literal(B)], Some(2));
    assert_eq!(scenario.handle(Input::Start), [dial(A)]);
    for wait in [1, 2] {
        scenario.machine.record_next_hop(Some(hop(None)));
        assert_eq!(scenario.fail(FailureKind::ConnectTimeout), [dial(B)]);
        assert_eq!(scenario.fail(FailureKind::ConnectTimeout), [Action::Waiting(Duration::from_secs(wait))]);
        assert!(!scenario.machine.was_up());
        scenario.now += Duration::from_secs(wait);
        assert_eq!(scenario.handle(Input::Timeout), [dial(A)]);
    }
    scenario.fail(FailureKind::ConnectTimeout);
    let end = scenario.fail(FailureKind::ConnectionRefused);
    assert_eq!(end, [Action::End(Err(failure(FailureKind::ConnectionRefused)))]);
}

#[test]
fn every_failure_but_a_verdict_leads_to_another_round() {
    for kind in FailureKind::ALL {
        let mut scenario = from_start(&[literal(A)], None);
        scenario.handle(Input::Start);
        scenario.machine.record_next_hop(Some(hop(None)));
        let next = scenario.fail(kind);
        let is_final = kind.usual_remedy() == Remedy::Nothing;
        assert_eq!(matches!(next.as_slice(), [Action::End(Err(_))]), is_final, "{kind:?}: {next:?}");
        assert_eq!(matches!(next.as_slice(), [Action::Waiting(_)]), !is_final, "{kind:?}: {next:?}");
    }
}

#[test]
fn undecided_logins_are_limited_and_the_last_one_is_the_result() {
    let mut scenario = from_start(&[literal(A), literal(B)], Some(1));
    scenario.handle(Input::Start);
    scenario.machine.record_next_hop(Some(hop(None)));
    assert_eq!(scenario.handle(undecided()), [dial(B)]);
    assert_eq!(scenario.handle(undecided()), [Action::Waiting(PAUSE)]);
    let changed = scenario.handle(network(Some(hop(Some(B)))));
    assert!(
        matches!(changed.as_slice(), [Action::Waiting(_)]),
        "a change of the network logs in: {changed:?}"
    );
    scenario.now += PAUSE;
    assert_eq!(scenario.handle(Input::Timeout), [dial(A)], "all servers have been tried");
    assert_eq!(scenario.fail(FailureKind::ConnectTimeout), [dial(B)]);
    let wait = Duration::from_secs(1);
    assert_eq!(
        scenario.fail(FailureKind::ConnectTimeout),
        [Action::Waiting(wait)],
        "the pause costs no attempt"
    );
    scenario.now += wait;
    scenario.handle(Input::Timeout);
    scenario.fail(FailureKind::ConnectTimeout);
    let end = scenario.fail(FailureKind::ConnectTimeout);
    assert!(
        matches!(end.as_slice(), [Action::End(Err(f))] if f.undecided_login.is_some()),
        "a service manager would repeat the log-in: {end:?}"
    );
}

#[test]
fn refusal_of_the_first_login_is_final() {
    let mut scenario = from_start(&[literal(A), literal(B)], None);
    scenario.handle(Input::Start);
    assert!(matches!(scenario.fail(FailureKind::AuthenticationFailed).as_slice(), [Action::End(Err(_))]));
}

#[test]
fn without_a_network_the_first_attempt_waits_for_one() {
    let mut scenario = from_start(&[literal(A)], Some(0));
    assert_eq!(scenario.handle(Input::Start), [dial(A)]);
    scenario.machine.record_next_hop(None);
    let no_route = Input::DialFailed(failure(FailureKind::NoRoute));
    assert_eq!(scenario.handle(no_route), [Action::NoNetwork], "it costs no attempt");
    assert_eq!(scenario.machine.state(), TunnelState::NoNetwork);
    assert_eq!(scenario.handle(network(None)), []);
    assert_eq!(scenario.handle(network(Some(hop(None)))), [dial(A)]);
    scenario.bring_up();
}

#[test]
fn without_a_network_the_name_is_looked_up_when_there_is_one() {
    let mut scenario = from_start(&[named()], None);
    assert_eq!(scenario.handle(Input::Start), [Action::Resolve(named())]);
    let unknown = || Input::Resolved(Err(failure(FailureKind::NameNotResolved)));
    scenario.machine.handle(scenario.now, 0, unknown());
    // The loop polls before it performs the next action.
    assert_eq!(scenario.machine.poll_action(), Some(Action::PollNetwork));
    assert_eq!(scenario.handle(network(None)), [Action::NoNetwork], "not also a wait");
    assert_eq!(scenario.handle(network(Some(hop(None)))), [Action::Resolve(named())]);
    // There is a network now, but no resolver answers yet; the next change is a reason to ask again.
    assert!(matches!(scenario.handle(unknown()).as_slice(), [Action::Waiting(_)]));
    assert_eq!(scenario.handle(network(Some(hop(None)))), []);
    assert_eq!(scenario.handle(network(Some(hop(Some(B))))), [Action::Resolve(named())]);
    assert_eq!(scenario.handle(network(None)).len(), 2, "the lookup is abandoned");
    assert_eq!(scenario.machine.state(), TunnelState::NoNetwork);
}

#[test]
fn down_while_trying_reports_that_it_was_never_up() {
    let mut scenario = from_start(&[literal(A)], None);
    scenario.handle(Input::Start);
    scenario.machine.record_next_hop(Some(hop(None)));
    scenario.fail(FailureKind::ConnectTimeout);
    let end = scenario.handle(Input::Stop);
    assert!(matches!(end.as_slice(), [Action::End(Err(f))] if f.kind == FailureKind::Interrupted), "{end:?}");
}

/// Of earlier supervisors: the machine waits, instead of an end that a service manager would have to repeat.
#[test]
fn pause_of_earlier_logins_is_waited_for() {
    let mut scenario = from_start(&[literal(A)], None);
    let age = Duration::from_secs(60);
    scenario.now += age;
    scenario.machine.restore_logins(scenario.now, 2, UndecidedLogin::Unanswered, age);
    let wait = PAUSE - age;
    assert_eq!(scenario.handle(Input::Start), [Action::Waiting(wait)]);
    scenario.now += wait;
    assert_eq!(scenario.handle(Input::Timeout), [dial(A)]);
}
