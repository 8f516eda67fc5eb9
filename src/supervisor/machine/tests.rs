//! Scenarios for the state machine under a virtual clock.

mod roaming;

use super::*;

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

struct Scenario {
    machine: Machine,
    now: Instant,
}

impl Scenario {
    fn of(servers: &[Server]) -> Self {
        let policy = Policy {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            attempts: Some(2),
            jitter_percent: 0,
        };
        Self { machine: Machine::new(servers.to_vec(), policy), now: Instant::now() }
    }

    fn say(&mut self, input: Input) -> Vec<Action> {
        self.machine.handle(self.now, 0, input);
        std::iter::from_fn(|| self.machine.poll_action()).collect()
    }

    fn fail(&mut self, kind: FailureKind) -> Vec<Action> {
        self.say(Input::EngineEnded(failure(kind)))
    }

    fn bring_up(&mut self) {
        assert!(matches!(self.say(Input::LinkUp(LinkUp::example())).as_slice(), [Action::Configure(_)]));
        assert_eq!(self.say(Input::Configured(Ok(()))), [Action::Ready]);
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
    let mut story = Scenario::of(&[literal(A)]);
    assert_eq!(story.say(Input::Start), [dial(A)]);
    story.bring_up();
    assert_eq!(story.say(Input::Stop), [Action::StopChild]);
    assert_eq!(story.fail(FailureKind::Interrupted), [Action::End(Ok(()))]);
    assert_eq!(story.say(Input::Stop), [], "over is over");
}

#[test]
fn every_address_of_every_server_is_tried_before_up_fails() {
    let mut story = Scenario::of(&[named(), literal(B)]);
    assert_eq!(story.say(Input::Start), [Action::Resolve(named())]);
    assert_eq!(story.say(Input::Resolved(Ok(vec![A]))), [dial(A)]);
    assert_eq!(story.fail(FailureKind::ConnectionRefused), [dial(B)]);
    let end = story.fail(FailureKind::ConnectTimeout);
    assert_eq!(end, [Action::End(Err(failure(FailureKind::ConnectTimeout)))]);
}

#[test]
fn unresolvable_name_leads_to_the_next_server() {
    let mut story = Scenario::of(&[named(), literal(B)]);
    story.say(Input::Start);
    assert_eq!(story.say(Input::Resolved(Err(failure(FailureKind::NameNotResolved)))), [dial(B)]);
    let mut alone = Scenario::of(&[named()]);
    alone.say(Input::Start);
    let end = alone.say(Input::Resolved(Ok(Vec::new())));
    assert!(matches!(end.as_slice(), [Action::End(Err(f))] if f.kind == FailureKind::NameNotResolved));
}

#[test]
fn authentication_failure_is_never_retried() {
    let mut story = Scenario::of(&[literal(A), literal(B)]);
    story.say(Input::Start);
    let end = story.fail(FailureKind::AuthenticationFailed);
    assert_eq!(end, [Action::End(Err(failure(FailureKind::AuthenticationFailed)))]);

    let mut later = Scenario::of(&[literal(A)]);
    later.say(Input::Start);
    later.bring_up();
    assert_eq!(later.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(1))]);
    later.now += Duration::from_secs(1);
    assert_eq!(later.say(Input::Timeout), [dial(A)]);
    assert!(matches!(later.fail(FailureKind::AuthenticationFailed).as_slice(), [Action::End(Err(_))]));
}

#[test]
fn lost_tunnel_is_redialled_until_the_policy_gives_up() {
    let mut story = Scenario::of(&[literal(A)]);
    story.say(Input::Start);
    story.bring_up();
    assert_eq!(story.fail(FailureKind::PeerLost), [Action::Waiting(Duration::from_secs(1))]);
    assert_eq!(story.say(Input::Timeout), [], "not before its time");
    story.now += Duration::from_secs(1);
    assert_eq!(story.say(Input::Timeout), [dial(A)]);
    assert_eq!(story.fail(FailureKind::ConnectTimeout), [Action::Waiting(Duration::from_secs(2))]);
    story.now += Duration::from_secs(2);
    assert_eq!(story.say(Input::Timeout), [dial(A)]);
    story.bring_up();
    story.now += STABLE;
    assert_eq!(story.fail(FailureKind::PeerEnded), [Action::Waiting(Duration::from_secs(1))], "starts over");
    story.now += Duration::from_secs(1);
    story.say(Input::Timeout);
    story.fail(FailureKind::ConnectTimeout);
    story.now += Duration::from_secs(2);
    story.say(Input::Timeout);
    assert!(matches!(story.fail(FailureKind::ConnectTimeout).as_slice(), [Action::End(Err(_))]));
}

#[test]
fn last_good_address_is_dialled_first() {
    let mut story = Scenario::of(&[named()]);
    story.say(Input::Start);
    assert_eq!(story.say(Input::Resolved(Ok(vec![A, B]))), [dial(A)]);
    assert_eq!(story.fail(FailureKind::ConnectTimeout), [dial(B)]);
    story.bring_up();
    story.fail(FailureKind::PeerLost);
    story.now += Duration::from_secs(1);
    story.say(Input::Timeout);
    assert_eq!(story.say(Input::Resolved(Ok(vec![A, B]))), [dial(B)]);
}

#[test]
fn down_during_up_ends_the_child_and_reports_interrupted() {
    for resolving in [true, false] {
        let mut story = Scenario::of(&[named()]);
        story.say(Input::Start);
        if !resolving {
            story.say(Input::Resolved(Ok(vec![A])));
            story.say(Input::Phase(Phase::Lcp));
        }
        assert_eq!(story.say(Input::Stop), [Action::StopChild]);
        assert_eq!(story.say(Input::LinkUp(LinkUp::example())), [], "too late");
        let end = story.fail(FailureKind::Interrupted);
        assert!(matches!(end.as_slice(), [Action::End(Err(f))] if f.kind == FailureKind::Interrupted
            && f.phase == if resolving { Phase::Resolve } else { Phase::Lcp }));
    }
}

#[test]
fn down_while_waiting_ends_at_once() {
    let mut story = Scenario::of(&[literal(A)]);
    story.say(Input::Start);
    story.bring_up();
    story.fail(FailureKind::PeerLost);
    assert_eq!(story.machine.state(), TunnelState::Waiting);
    assert_eq!(story.say(Input::Stop), [Action::End(Ok(()))]);
}

#[test]
fn failed_step_takes_the_link_down() {
    let mut story = Scenario::of(&[literal(A)]);
    story.say(Input::Start);
    story.say(Input::LinkUp(LinkUp::example()));
    let wrong = Failure::new(Phase::Routes, FailureKind::LinkStep, "no such device");
    assert_eq!(story.say(Input::Configured(Err(wrong.clone()))), [Action::StopChild]);
    assert_eq!(story.fail(FailureKind::Interrupted), [Action::End(Err(wrong))]);
}

#[test]
fn early_hangups_lengthen_the_wait() {
    let mut story = Scenario::of(&[literal(A)]);
    story.say(Input::Start);
    story.bring_up();
    for wait in [1, 2] {
        assert_eq!(story.fail(FailureKind::PeerEnded), [Action::Waiting(Duration::from_secs(wait))]);
        story.now += Duration::from_secs(wait);
        story.say(Input::Timeout);
        story.bring_up();
    }
    assert!(matches!(story.fail(FailureKind::PeerEnded).as_slice(), [Action::End(Err(_))]));
}
