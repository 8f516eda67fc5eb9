//! Any inputs in any order, with late messages of children that are gone.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::plan::NextHop;

/// The child that the loop in `run` has started for the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    None,
    Resolver,
    Engine,
}

/// An event of the world around the machine.
#[derive(Clone, Debug)]
enum Event {
    /// An input that may or may not fit the state of the machine.
    Any(Input),
    /// An input of the child that runs: its answer, or its end.
    Child(Failure),
    /// The time of the next timeout has come.
    Time,
    /// The host was suspended for this many seconds.
    Suspend(u64),
    /// The loop performs this many actions; the others wait until after the next event.
    Perform(usize),
}

fn any_failure() -> impl Strategy<Value = Failure> {
    // A failure of this class is reported by `run`, not by the machine.
    let kinds: Vec<_> = FailureKind::ALL.into_iter().filter(|kind| *kind != FailureKind::Internal).collect();
    let phases = vec![Phase::Connect, Phase::Lcp, Phase::Authentication, Phase::Encryption, Phase::Up];
    let undecided = proptest::option::of(select(vec![UndecidedLogin::Unanswered, UndecidedLogin::Refused]));
    (select(kinds), select(phases), undecided).prop_map(|(kind, phase, undecided)| {
        let failure = Failure::new(phase, kind, "");
        undecided.map_or(failure.clone(), |how| failure.undecided(how))
    })
}

fn any_network() -> impl Strategy<Value = Input> {
    (proptest::option::of(0_u8..3), any::<bool>()).prop_map(|(gateway, address_stays)| {
        let next_hop = gateway.map(|gateway| NextHop::By {
            gateway: Some(Ipv4Addr::new(10, 0, gateway, 1).into()),
            dev: "eth0".to_owned(),
            source: None,
        });
        Input::Network(NetworkState { next_hop, address_stays })
    })
}

fn any_input() -> impl Strategy<Value = Input> {
    let phases = vec![Phase::Connect, Phase::Call, Phase::Lcp, Phase::Authentication, Phase::Addresses];
    prop_oneof![
        vec(select(vec![A, B]), 0..3).prop_map(|found| Input::Resolved(Ok(found))),
        any_failure().prop_map(|failure| Input::Resolved(Err(failure))),
        any_failure().prop_map(Input::DialFailed),
        select(phases).prop_map(Input::Phase),
        Just(Input::LinkUp(LinkUp::example())),
        // Of a step, as `run` reports it.
        select(vec![FailureKind::LinkStep, FailureKind::Collision, FailureKind::HostFiles])
            .prop_map(|kind| Input::Configured(Err(Failure::new(Phase::Routes, kind, "")))),
        Just(Input::Configured(Ok(()))),
        any_failure().prop_map(Input::EngineEnded),
        any_network(),
        Just(Input::Woke),
        Just(Input::Timeout),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any_input().prop_map(Event::Any),
        2 => Just(Event::Any(Input::LinkUp(LinkUp::example()))),
        3 => any_failure().prop_map(Event::Child),
        2 => Just(Event::Time),
        1 => (0_u64..4000).prop_map(Event::Suspend),
        4 => (1_usize..5).prop_map(Event::Perform),
    ]
}

/// A machine with the part of `run` that performs its actions.
struct Simulation {
    scenario: Scenario,
    child: Child,
    end: Option<Result<(), Failure>>,
    /// The present next hop to the server.
    next_hop: Option<NextHop>,
}

impl Simulation {
    fn new(servers: &[Server], attempts: Option<u32>) -> Self {
        let scenario = Scenario::with_attempts(servers, attempts);
        Self { scenario, child: Child::None, end: None, next_hop: None }
    }

    fn handle(&mut self, input: Input) {
        if let Input::Network(NetworkState { next_hop, .. }) = &input {
            self.next_hop.clone_from(next_hop);
        }
        self.scenario.machine.handle(self.scenario.now, 0, input);
        let machine = &self.scenario.machine;
        let waits = matches!(machine.state(), TunnelState::Waiting | TunnelState::NoNetwork);
        assert_eq!(waits, machine.next_timeout().is_some(), "{:?} and its timeout", machine.state());
        let ends = matches!(machine.state(), TunnelState::Stopping | TunnelState::Ended);
        assert!(
            waits || ends || self.child != Child::None || !machine.actions.is_empty(),
            "{:?} without a child",
            machine.state()
        );
    }

    fn perform(&mut self, count: usize) {
        for _ in 0..count {
            let Some(action) = self.scenario.machine.poll_action() else { return };
            assert!(self.end.is_none(), "{action:?} after the end");
            match action {
                Action::Resolve(_) | Action::Dial(_) => {
                    assert_eq!(self.child, Child::None, "{action:?} beside another child");
                    let resolves = matches!(action, Action::Resolve(_));
                    self.child = if resolves { Child::Resolver } else { Child::Engine };
                    if !resolves {
                        let wait = self.scenario.machine.login_wait(self.scenario.now);
                        assert_eq!(wait, None, "a log-in in the pause");
                        self.scenario.machine.record_next_hop(self.next_hop.clone());
                        if self.next_hop.is_none() {
                            self.child = Child::None;
                            self.handle(Input::DialFailed(failure(FailureKind::NoRoute)));
                        }
                    }
                }
                Action::Configure(_) => {
                    assert_eq!(self.child, Child::Engine, "steps for a link that is gone");
                    self.handle(Input::Configured(Ok(())));
                }
                Action::Abandon(_) => self.child = Child::None,
                // As `Children::stop`: only an engine needs time for it.
                Action::StopChild if self.child == Child::Engine => {}
                Action::StopChild => self.child_ends(failure(FailureKind::Interrupted)),
                Action::End(outcome) => self.end = Some(outcome),
                _ => {}
            }
        }
    }

    fn child_ends(&mut self, failure: Failure) {
        match std::mem::replace(&mut self.child, Child::None) {
            Child::Resolver => self.handle(Input::Resolved(Err(failure))),
            Child::Engine => self.handle(Input::EngineEnded(failure)),
            Child::None if self.scenario.machine.state() == TunnelState::Stopping => {
                self.handle(Input::EngineEnded(failure));
            }
            Child::None => {}
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Perform(count) => self.perform(count),
            Event::Child(failure) => self.child_ends(failure),
            Event::Time => {
                if let Some((due, _)) = self.scenario.machine.next_timeout() {
                    self.scenario.now = self.scenario.now.max(due);
                    self.handle(Input::Timeout);
                    let again = self.scenario.machine.next_timeout();
                    assert!(again.is_none_or(|(due, _)| due > self.scenario.now), "the loop would spin");
                }
            }
            Event::Suspend(slept) => {
                self.scenario.machine.add_suspended(Duration::from_secs(slept));
                self.handle(Input::Woke);
            }
            // Those that report the end of a child are of a former one: they arrive only while none runs.
            Event::Any(input @ (Input::Resolved(_) | Input::DialFailed(_) | Input::EngineEnded(_))) => {
                if self.child == Child::None && self.scenario.machine.state() != TunnelState::Stopping {
                    let before = self.scenario.machine.state();
                    self.handle(input);
                    assert_eq!(self.scenario.machine.state(), before, "an input of a child that is gone");
                }
            }
            // A message of a child that is gone, or one that comes at a wrong time.
            Event::Any(input @ Input::LinkUp(_)) if self.child != Child::Engine => {
                let before = self.scenario.machine.state();
                self.handle(input);
                assert_eq!(self.scenario.machine.state(), before, "a link without an engine");
            }
            Event::Any(input) => self.handle(input),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// No sequence of events leads to an internal error, a panic, two children at a time or a wait without
    /// a timeout, a log-in in the pause between log-ins, or the end of a tunnel that was up without a final reason,
    /// and a stop always leads to the end.
    #[test]
    fn stop_ends_the_tunnel_after_any_events(
        servers in select(vec![vec![literal(A)], vec![literal(A), literal(B)], vec![named(), literal(B)]]),
        attempts in select(vec![None, Some(0), Some(3)]),
        keeps_routes in any::<bool>(),
        from_start in any::<bool>(),
        earlier in proptest::option::of((0_u32..4, 0_u64..4000)),
        events in vec(any_event(), 0..60),
        late in vec(any_input(), 0..4),
    ) {
        let mut simulation = Simulation::new(&servers, attempts);
        simulation.scenario.machine = std::mem::replace(
            &mut simulation.scenario.machine,
            Machine::new(Vec::new(), Policy { first: PAUSE, max: PAUSE, attempts: None, jitter_percent: 0 }),
        )
        .keeping_routes(keeps_routes)
        .trying_from_start(from_start);
        if let Some((undecided, age)) = earlier {
            let (now, age) = (simulation.scenario.now, Duration::from_secs(age));
            simulation.scenario.machine.restore_logins(now, undecided, UndecidedLogin::Refused, age);
        }
        simulation.handle(Input::Start);
        for event in events {
            simulation.event(event);
        }
        let machine = &simulation.scenario.machine;
        let goes_on = attempts.is_none() && (from_start || machine.was_up());
        let outcome = machine.outcome.as_ref().or(simulation.end.as_ref());
        if let Some(Err(failure)) = outcome.filter(|_| goes_on) {
            let may_end = failure.remedy() == Remedy::Nothing || (!machine.was_up() && failure.phase >= Phase::Routes);
            prop_assert!(may_end, "ended: {failure:?}");
        }
        simulation.handle(Input::Stop);
        for input in late {
            if !matches!(input, Input::Resolved(_) | Input::DialFailed(_) | Input::EngineEnded(_)) {
                simulation.handle(input);
            }
        }
        simulation.perform(usize::MAX);
        simulation.child_ends(failure(FailureKind::Interrupted));
        simulation.perform(usize::MAX);
        let end = simulation.end.take();
        prop_assert!(end.is_some(), "no end");
        if let Some(Err(failure)) = end {
            prop_assert_ne!(failure.kind, FailureKind::Internal);
        }
        simulation.handle(Input::Start);
        prop_assert!(simulation.scenario.machine.poll_action().is_none(), "an action after the end");
    }
}
