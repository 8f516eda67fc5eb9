//! Scenarios for the state machine under a virtual clock.

mod from_start;
mod properties;
mod roaming;

use super::*;
use crate::{engine::message::LinkUp, failure::UndecidedLogin};

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

const PAUSE: Duration = Duration::from_secs(30 * 60);

struct Scenario {
    machine: Machine,
    now: Instant,
}

impl Scenario {
    fn of(servers: &[Server]) -> Self {
        Self::with_attempts(servers, Some(2))
    }

    fn with_attempts(servers: &[Server], attempts: Option<u32>) -> Self {
        let policy = Policy {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            attempts,
            jitter_percent: 0,
        };
        Self { machine: Machine::new(servers.to_vec(), policy), now: Instant::now() }
    }

    fn handle(&mut self, input: Input) -> Vec<Action> {
        self.machine.handle(self.now, 0, input);
        std::iter::from_fn(|| self.machine.poll_action()).collect()
    }

    fn fail(&mut self, kind: FailureKind) -> Vec<Action> {
        self.handle(Input::EngineEnded(failure(kind)))
    }

    fn bring_up(&mut self) {
        assert!(matches!(self.handle(Input::LinkUp(LinkUp::example())).as_slice(), [Action::Configure(_)]));
        assert_eq!(self.handle(Input::Configured(Ok(()))), [Action::Ready]);
        assert_eq!(self.machine.state(), TunnelState::Up);
    }
}

fn failure(kind: FailureKind) -> Failure {
    Failure::new(Phase::Connect, kind, "")
}

fn literal(address: Ipv4Addr) -> Server {
    Server { host: Host::Address(address), port: Server::PORT }
}

fn named() -> Server {
    Server { host: Host::Name("vpn.example.net".into()), port: 1723 }
}

fn dial(address: Ipv4Addr) -> Action {
    Action::Dial(SocketAddrV4::new(address, 1723))
}

#[test]
fn literal_address_is_dialled_without_a_resolver() {
    let mut scenario = Scenario::of(&[literal(A)]);
    assert_eq!(scenario.handle(Input::Start), [dial(A)]);
    scenario.bring_up();
    assert_eq!(scenario.handle(Input::Stop), [Action::StopChild]);
    assert_eq!(scenario.fail(FailureKind::Interrupted), [Action::End(Ok(()))]);
    assert_eq!(scenario.handle(Input::Stop), [], "an input after the end has an effect");
}

#[test]
fn every_address_of_every_server_is_tried_before_up_fails() {
    let mut scenario = Scenario::of(&[named(), literal(B)]);
    assert_eq!(scenario.handle(Input::Start), [Action::Resolve(named())]);
    assert_eq!(scenario.handle(Input::Resolved(Ok(vec![A]))), [dial(A)]);
    assert_eq!(scenario.fail(FailureKind::ConnectionRefused), [dial(B)]);
    let end = scenario.fail(FailureKind::ConnectTimeout);
    assert_eq!(end, [Action::End(Err(failure(FailureKind::ConnectTimeout)))]);
}

#[test]
fn server_that_insists_on_a_weaker_authentication_is_dialled_again_once() {
    let weaker = || failure(FailureKind::LcpFailed).remedied_by(Remedy::WeakerAuthentication);
    let mut scenario = Scenario::of(&[literal(A), literal(B)]);
    scenario.handle(Input::Start);
    assert!(!scenario.machine.accepts_weaker_auth());
    assert_eq!(scenario.handle(Input::EngineEnded(weaker())), [dial(A)]);
    assert!(scenario.machine.accepts_weaker_auth());
    assert_eq!(scenario.handle(Input::EngineEnded(weaker())), [dial(B)], "not A for ever");
    assert!(!scenario.machine.accepts_weaker_auth(), "the other server has not insisted");
    // On a link that is up nothing of this holds.
    let mut late = weaker();
    late.phase = Phase::Up;
    assert_eq!(late.remedy(), Remedy::AnotherServer);
}

#[test]
fn unresolvable_name_leads_to_the_next_server() {
    let mut scenario = Scenario::of(&[named(), literal(B)]);
    scenario.handle(Input::Start);
    assert_eq!(scenario.handle(Input::Resolved(Err(failure(FailureKind::NameNotResolved)))), [dial(B)]);
    let mut only_name = Scenario::of(&[named()]);
    only_name.handle(Input::Start);
    let end = only_name.handle(Input::Resolved(Ok(Vec::new())));
    assert!(matches!(end.as_slice(), [Action::End(Err(f))] if f.kind == FailureKind::NameNotResolved));
}

#[test]
fn authentication_failure_is_never_retried() {
    let mut scenario = Scenario::of(&[literal(A), literal(B)]);
    scenario.handle(Input::Start);
    let end = scenario.fail(FailureKind::AuthenticationFailed);
    assert_eq!(end, [Action::End(Err(failure(FailureKind::AuthenticationFailed)))]);

    let mut later = Scenario::of(&[literal(A)]);
    later.handle(Input::Start);
    later.bring_up();
    assert_eq!(later.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(1))]);
    later.now += Duration::from_secs(1);
    assert_eq!(later.handle(Input::Timeout), [dial(A)]);
    assert!(matches!(later.fail(FailureKind::AuthenticationFailed).as_slice(), [Action::End(Err(_))]));
}

#[test]
fn undecided_login_moves_on_but_only_twice_in_a_row() {
    let undecided =
        || Input::EngineEnded(failure(FailureKind::PeerEnded).undecided(UndecidedLogin::Unanswered));
    let c = Ipv4Addr::new(192, 0, 2, 3);
    let mut first = Scenario::of(&[literal(A), literal(B), literal(c)]);
    first.handle(Input::Start);
    assert_eq!(first.handle(undecided()), [dial(B)]);
    let end = first.handle(undecided());
    assert!(matches!(end.as_slice(), [Action::End(Err(f))] if f.undecided_login.is_some()), "{end:?}");

    let mut later = Scenario::with_attempts(&[literal(A), literal(B)], None);
    later.handle(Input::Start);
    later.bring_up();
    later.fail(FailureKind::PeerEnded);
    later.now += Duration::from_secs(1);
    assert_eq!(later.handle(Input::Timeout), [dial(A)]);
    assert_eq!(later.fail(FailureKind::ConnectTimeout), [dial(B)], "no log-in was tried");
    assert_eq!(later.handle(undecided()), [Action::Waiting(Duration::from_secs(2))]);
    later.now += Duration::from_secs(2);
    assert_eq!(later.handle(Input::Timeout), [dial(A)]);
    assert_eq!(later.handle(undecided()), [Action::Waiting(PAUSE)]);
    later.now += PAUSE;
    assert_eq!(later.handle(Input::Timeout), [dial(B)], "the round goes on");
    later.handle(Input::Phase(Phase::Encryption));
    let next = later.fail(FailureKind::PeerEnded);
    assert_eq!(next, [Action::Waiting(Duration::from_secs(4))], "the server has accepted the log-in");
}

#[test]
fn refusal_of_a_redial_is_final_when_repeated() {
    let refused =
        || Input::EngineEnded(failure(FailureKind::AuthenticationFailed).undecided(UndecidedLogin::Refused));
    let mut tunnel = Scenario::of(&[literal(A)]);
    tunnel.handle(Input::Start);
    tunnel.bring_up();
    tunnel.fail(FailureKind::PeerEnded);
    tunnel.now += Duration::from_secs(1);
    tunnel.handle(Input::Timeout);
    assert_eq!(tunnel.handle(refused()), [Action::Waiting(Duration::from_secs(2))]);
    tunnel.now += Duration::from_secs(2);
    tunnel.handle(Input::Timeout);
    let end = tunnel.handle(refused());
    assert!(
        matches!(end.as_slice(), [Action::End(Err(f))] if f.remedy() == Remedy::Nothing && f.hints[0].contains("twice")),
        "{end:?}"
    );
    assert_eq!(tunnel.machine.logins(), None, "a verdict holds up no later log-in");
}

#[test]
fn round_goes_on_with_the_next_server_after_the_pause() {
    let undecided =
        || Input::EngineEnded(failure(FailureKind::PeerEnded).undecided(UndecidedLogin::Unanswered));
    let mut tunnel = Scenario::with_attempts(&[literal(A), literal(B)], Some(1));
    tunnel.handle(Input::Start);
    tunnel.bring_up();
    tunnel.fail(FailureKind::PeerEnded);
    tunnel.now += Duration::from_secs(1);
    assert_eq!(tunnel.handle(Input::Timeout), [dial(A)]);
    assert_eq!(tunnel.handle(undecided()), [dial(B)]);
    tunnel.handle(Input::Phase(Phase::Authentication));
    // The pause between log-ins costs no attempt: the profile allows no more.
    let changed = tunnel.handle(Input::Woke);
    assert!(matches!(changed.as_slice(), [Action::Abandon(_), Action::Waiting(PAUSE)]), "{changed:?}");
    tunnel.now += PAUSE;
    assert_eq!(tunnel.handle(Input::Timeout), [dial(B)], "not the first server again");
}

#[test]
fn first_up_ends_with_its_undecided_login() {
    let mut tunnel = Scenario::of(&[literal(A), literal(B)]);
    tunnel.handle(Input::Start);
    tunnel.handle(Input::EngineEnded(failure(FailureKind::PeerEnded).undecided(UndecidedLogin::Unanswered)));
    let end = tunnel.fail(FailureKind::ConnectTimeout);
    assert!(
        matches!(end.as_slice(), [Action::End(Err(f))] if f.kind == FailureKind::LoginUndecided),
        "it counts for the account: {end:?}"
    );
}

#[test]
fn killed_engine_may_have_logged_in() {
    let mut tunnel = Scenario::with_attempts(&[literal(A)], None);
    tunnel.handle(Input::Start);
    tunnel.bring_up();
    tunnel.fail(FailureKind::PeerEnded);
    for _ in 0..2 {
        tunnel.now += Duration::from_secs(10);
        assert_eq!(tunnel.handle(Input::Timeout), [dial(A)]);
        tunnel.handle(Input::Phase(Phase::Authentication));
        tunnel.fail(FailureKind::Internal);
    }
    tunnel.now += Duration::from_secs(100);
    assert_eq!(tunnel.handle(Input::Timeout), []);
}

#[test]
fn network_change_does_not_shorten_the_pause_between_logins() {
    let mut tunnel = Scenario::with_attempts(&[literal(A)], None);
    tunnel.handle(Input::Start);
    tunnel.bring_up();
    tunnel.fail(FailureKind::PeerEnded);
    for _ in 0..2 {
        tunnel.now += Duration::from_secs(4);
        tunnel.handle(Input::Timeout);
        tunnel.handle(Input::EngineEnded(
            failure(FailureKind::PeerEnded).undecided(UndecidedLogin::Unanswered),
        ));
    }
    let woken = tunnel.handle(Input::Woke);
    assert!(matches!(woken.as_slice(), [Action::Waiting(wait)] if *wait > Duration::from_secs(1700)));
}

#[test]
fn every_failure_but_a_verdict_tries_the_next_server() {
    for kind in FailureKind::ALL {
        let mut tunnel = Scenario::of(&[literal(A), literal(B)]);
        tunnel.handle(Input::Start);
        let next = tunnel.fail(kind);
        assert_eq!(next == [dial(B)], kind.usual_remedy() == Remedy::AnotherServer, "{kind:?}");
    }
}

#[test]
fn lost_tunnel_is_redialled_until_the_policy_gives_up() {
    let mut scenario = Scenario::of(&[literal(A)]);
    scenario.handle(Input::Start);
    scenario.bring_up();
    assert_eq!(scenario.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(1))]);
    assert_eq!(scenario.handle(Input::Timeout), [], "a timeout before the deadline has an effect");
    scenario.now += Duration::from_secs(1);
    assert_eq!(scenario.handle(Input::Timeout), [dial(A)]);
    assert_eq!(scenario.fail(FailureKind::ConnectTimeout), [Action::Waiting(Duration::from_secs(2))]);
    scenario.now += Duration::from_secs(2);
    assert_eq!(scenario.handle(Input::Timeout), [dial(A)]);
    scenario.bring_up();
    scenario.now += STABLE;
    assert_eq!(
        scenario.fail(FailureKind::PeerEnded),
        [Action::Waiting(Duration::from_secs(1))],
        "the backoff is not reset"
    );
    scenario.now += Duration::from_secs(1);
    scenario.handle(Input::Timeout);
    scenario.fail(FailureKind::ConnectTimeout);
    scenario.now += Duration::from_secs(2);
    scenario.handle(Input::Timeout);
    assert!(matches!(scenario.fail(FailureKind::ConnectTimeout).as_slice(), [Action::End(Err(_))]));
}

#[test]
fn last_good_address_is_dialled_first() {
    let mut scenario = Scenario::of(&[named()]);
    scenario.handle(Input::Start);
    assert_eq!(scenario.handle(Input::Resolved(Ok(vec![A, B]))), [dial(A)]);
    assert_eq!(scenario.fail(FailureKind::ConnectTimeout), [dial(B)]);
    scenario.bring_up();
    scenario.fail(FailureKind::PeerLost);
    scenario.now += Duration::from_secs(1);
    scenario.handle(Input::Timeout);
    assert_eq!(scenario.handle(Input::Resolved(Ok(vec![A, B]))), [dial(B)]);
}

#[test]
fn down_during_up_ends_the_child_and_reports_interrupted() {
    for resolving in [true, false] {
        let mut scenario = Scenario::of(&[named()]);
        scenario.handle(Input::Start);
        if !resolving {
            scenario.handle(Input::Resolved(Ok(vec![A])));
            scenario.handle(Input::Phase(Phase::Lcp));
        }
        assert_eq!(scenario.handle(Input::Stop), [Action::StopChild]);
        assert_eq!(scenario.handle(Input::LinkUp(LinkUp::example())), [], "LinkUp after Stop has an effect");
        let end = scenario.fail(FailureKind::Interrupted);
        assert!(matches!(end.as_slice(), [Action::End(Err(f))] if f.kind == FailureKind::Interrupted
            && f.phase == if resolving { Phase::Resolve } else { Phase::Lcp }));
    }
}

#[test]
fn down_while_waiting_ends_at_once() {
    let mut scenario = Scenario::of(&[literal(A)]);
    scenario.handle(Input::Start);
    scenario.bring_up();
    scenario.fail(FailureKind::PeerLost);
    assert_eq!(scenario.machine.state(), TunnelState::Waiting);
    assert_eq!(scenario.handle(Input::Stop), [Action::End(Ok(()))]);
}

#[test]
fn failed_step_takes_the_link_down() {
    let mut scenario = Scenario::of(&[literal(A)]);
    scenario.handle(Input::Start);
    scenario.handle(Input::LinkUp(LinkUp::example()));
    let wrong = Failure::new(Phase::Routes, FailureKind::LinkStep, "no such device");
    assert_eq!(scenario.handle(Input::Configured(Err(wrong.clone()))), [Action::StopChild]);
    assert_eq!(scenario.fail(FailureKind::Interrupted), [Action::End(Err(wrong))]);
}

#[test]
fn failed_step_of_a_redial_is_tried_again() {
    for keeps_routes in [true, false] {
        let Scenario { machine, now } = Scenario::of(&[literal(A)]);
        let mut scenario = Scenario { machine: machine.keeping_routes(keeps_routes), now };
        scenario.handle(Input::Start);
        scenario.bring_up();
        scenario.fail(FailureKind::PeerLost);
        let wrong = Failure::new(Phase::Routes, FailureKind::LinkStep, "no such device");
        scenario.now += Duration::from_secs(1);
        assert_eq!(scenario.handle(Input::Timeout), [dial(A)]);
        scenario.handle(Input::LinkUp(LinkUp::example()));
        let withdraw = (!keeps_routes).then_some(Action::WithdrawRoutes);
        let wait = Action::Waiting(Duration::from_secs(2));
        let expected: Vec<_> =
            [Action::Abandon(wrong.clone())].into_iter().chain(withdraw).chain([wait]).collect();
        assert_eq!(scenario.handle(Input::Configured(Err(wrong.clone()))), expected);
        scenario.now += Duration::from_secs(2);
        assert_eq!(scenario.handle(Input::Timeout), [dial(A)]);
        scenario.handle(Input::LinkUp(LinkUp::example()));
        let end = scenario.handle(Input::Configured(Err(wrong.clone())));
        assert_eq!(end.last(), Some(&Action::End(Err(wrong))), "retry.attempts = 2: {end:?}");
    }
}

#[test]
fn steps_that_fail_again_and_again_lead_to_fewer_log_ins() {
    let mut scenario = Scenario::with_attempts(&[literal(A)], None);
    scenario.handle(Input::Start);
    scenario.bring_up();
    scenario.fail(FailureKind::PeerLost);
    let mut waits = Vec::new();
    for _ in 0..7 {
        scenario.now = scenario.machine.next_timeout().unwrap().0;
        assert_eq!(scenario.handle(Input::Timeout), [dial(A)]);
        scenario.handle(Input::LinkUp(LinkUp::example()));
        let wrong = Failure::new(Phase::Routes, FailureKind::LinkStep, "no space left on device");
        let actions = scenario.handle(Input::Configured(Err(wrong)));
        let [Action::Abandon(_), Action::Waiting(wait)] = actions[..] else { panic!("{actions:?}") };
        assert_eq!(scenario.machine.next_timeout().unwrap().0, scenario.now + wait);
        waits.push(wait.as_secs());
    }
    assert_eq!(waits, [2, 60, 120, 240, 480, 600, 600]);
    assert!(scenario.machine.steps_warning().unwrap().contains("7 times in a row"));
    // Another network, or a resume, may have changed the cause: no wait.
    let way = NetworkState { next_hop: Some(crate::plan::NextHop::ThisHost), address_stays: true };
    scenario.handle(Input::Network(NetworkState { next_hop: None, ..way.clone() }));
    assert_eq!(scenario.handle(Input::Network(way)), [dial(A)]);
    scenario.bring_up();
    assert_eq!(scenario.machine.steps_warning(), None);
    assert_eq!(scenario.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(60))]);
}

/// The engine's messages are handled before the loop performs the actions that follow from them.
#[test]
fn link_lost_while_configuring_moves_on_to_the_next_server() {
    for kind in [FailureKind::PeerEnded, FailureKind::PeerLost, FailureKind::LcpFailed] {
        let mut scenario = Scenario::of(&[literal(A), literal(B)]);
        scenario.handle(Input::Start);
        scenario.machine.handle(scenario.now, 0, Input::LinkUp(LinkUp::example()));
        assert_eq!(scenario.machine.state(), TunnelState::Configuring);
        assert_eq!(scenario.fail(kind), [dial(B)], "{kind:?}: the steps of a lost link are not performed");
        // A result of steps that were performed for the lost link changes nothing.
        assert_eq!(scenario.handle(Input::Configured(Ok(()))), []);
        scenario.bring_up();
    }
    let mut last = Scenario::of(&[literal(A)]);
    last.handle(Input::Start);
    last.handle(Input::LinkUp(LinkUp::example()));
    let end = last.fail(FailureKind::PeerEnded);
    assert_eq!(end, [Action::End(Err(failure(FailureKind::PeerEnded)))], "no other server is left");
    let mut with_final = Scenario::of(&[literal(A), literal(B)]);
    with_final.handle(Input::Start);
    with_final.handle(Input::LinkUp(LinkUp::example()));
    let end = with_final.fail(FailureKind::NoTun);
    assert_eq!(end, [Action::End(Err(failure(FailureKind::NoTun)))]);
}

#[test]
fn redial_lost_while_configuring_goes_on_with_its_round() {
    let mut tunnel = Scenario::with_attempts(&[literal(A), literal(B)], None);
    tunnel.handle(Input::Start);
    tunnel.bring_up();
    tunnel.fail(FailureKind::PeerLost);
    tunnel.now += Duration::from_secs(1);
    assert_eq!(tunnel.handle(Input::Timeout), [dial(A)]);
    tunnel.handle(Input::LinkUp(LinkUp::example()));
    assert_eq!(tunnel.fail(FailureKind::PeerEnded), [dial(B)]);
    tunnel.bring_up();
    // A renegotiated link was up before: its loss starts a new round.
    tunnel.handle(Input::LinkUp(LinkUp::example()));
    assert_eq!(tunnel.fail(FailureKind::PeerEnded), [Action::Waiting(Duration::from_secs(2))]);
}

/// The source address can disappear before the loop has handled the link that came up.
#[test]
fn network_change_before_the_steps_drops_them() {
    let mut tunnel = Scenario::of(&[literal(A)]);
    tunnel.handle(Input::Start);
    tunnel.machine.handle(tunnel.now, 0, Input::LinkUp(LinkUp::example()));
    let moved = NetworkState { next_hop: None, address_stays: false };
    let actions = tunnel.handle(Input::Network(moved));
    assert!(!actions.iter().any(|action| matches!(action, Action::Configure(_))), "{actions:?}");
    assert!(matches!(actions[..], [Action::Abandon(_), ..]), "{actions:?}");
}

#[test]
fn early_hangups_lengthen_the_wait() {
    let mut scenario = Scenario::of(&[literal(A)]);
    scenario.handle(Input::Start);
    scenario.bring_up();
    for wait in [1, 2] {
        assert_eq!(scenario.fail(FailureKind::PeerEnded), [Action::Waiting(Duration::from_secs(wait))]);
        scenario.now += Duration::from_secs(wait);
        scenario.handle(Input::Timeout);
        scenario.bring_up();
    }
    assert!(matches!(scenario.fail(FailureKind::PeerEnded).as_slice(), [Action::End(Err(_))]));
}
