//! The body of the fuzz target `supervisor_machine`: any events at any time, in a simulation of the loop in `run`.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::{Action, Input, Machine, NetworkState, Policy, TunnelState};
use crate::{
    engine::message::LinkUp,
    failure::{Failure, FailureKind, Phase, Remedy, UndecidedLogin},
    plan::NextHop,
    profile::{Host, Server},
};

const PHASES: [Phase; 6] =
    [Phase::Connect, Phase::Call, Phase::Lcp, Phase::Authentication, Phase::Encryption, Phase::Up];
/// The longest wait: the pause between log-ins, or the longest of the retry policy with its jitter.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);
const REMEDIES: [Remedy; 4] =
    [Remedy::Nothing, Remedy::AnotherServer, Remedy::WeakerAuthentication, Remedy::Retry];

/// Drives a machine with events read from `data`.
///
/// # Errors
/// Returns the invariant that is violated.
pub fn machine(data: &[u8]) -> Result<(), String> {
    let Some((&[options, attempts], mut rest)) = data.split_first_chunk::<2>() else { return Ok(()) };
    let mut simulation = Simulation::new(options, attempts);
    simulation.handle(Input::Start)?;
    while let Some((&[event, value], after)) = rest.split_first_chunk::<2>() {
        rest = after;
        simulation.event(event, value)?;
    }
    // Whatever has happened, a stop ends the tunnel.
    simulation.perform(usize::MAX)?;
    simulation.handle(Input::Stop)?;
    for _ in 0..4 {
        simulation.perform(usize::MAX)?;
        simulation.child_ends(Failure::new(Phase::Up, FailureKind::Interrupted, ""))?;
    }
    if !simulation.ended {
        return Err("no end after a stop".to_owned());
    }
    simulation.stays_ended()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    None,
    Resolver,
    Engine,
}

struct Simulation {
    machine: Machine,
    now: Instant,
    random: u16,
    child: Child,
    /// The next steps fail, or the next dial does.
    steps_fail: bool,
    dial_fails: bool,
    /// The tunnel is redialled without a limit once it was up.
    endless: bool,
    ended: bool,
}

impl Simulation {
    fn new(options: u8, attempts: u8) -> Self {
        let literal = |last| Server { host: Host::Address(Ipv4Addr::new(192, 0, 2, last)), port: 1723 };
        let named = Server { host: Host::Name("vpn.example.net".into()), port: 1723 };
        let servers = match options & 3 {
            0 => vec![literal(1)],
            1 => vec![literal(1), literal(2)],
            2 => vec![named],
            _ => vec![named, literal(2)],
        };
        let attempts = (options & 4 != 0).then_some(u32::from(attempts % 5));
        let second = Duration::from_secs(1);
        let retry = Policy { first: second, max: 60 * second, attempts, jitter_percent: 20 };
        let machine = Machine::new(servers, retry)
            .keeping_routes(options & 8 != 0)
            .trying_from_start(options & 16 != 0);
        let endless = attempts.is_none();
        Self {
            machine,
            now: Instant::now(),
            random: 7,
            child: Child::None,
            steps_fail: false,
            dial_fails: false,
            endless,
            ended: false,
        }
    }

    fn handle(&mut self, input: Input) -> Result<(), String> {
        self.random = self.random.wrapping_mul(25_173).wrapping_add(13_849);
        self.machine.handle(self.now, self.random, input);
        let state = self.machine.state();
        let waits = matches!(state, TunnelState::Waiting | TunnelState::NoNetwork);
        if waits != self.machine.next_timeout().is_some() {
            return Err(format!("{state:?} and its timeout {:?}", self.machine.next_timeout()));
        }
        if self.machine.next_timeout().is_some_and(|(due, _)| due > self.now + LONGEST_WAIT) {
            return Err(format!("{state:?} for too long"));
        }
        if self.machine.actions.len() > 64 || self.machine.addresses.len() > 64 {
            return Err("the memory grows".to_owned());
        }
        Ok(())
    }

    fn event(&mut self, event: u8, value: u8) -> Result<(), String> {
        // The loop performs all actions before it waits; a few may be left when more has happened.
        if self.machine.actions.len() > 8 {
            self.perform(usize::MAX)?;
        }
        match event % 16 {
            0..=2 => self.perform(usize::from(value % 6)),
            3 => {
                self.now += Duration::from_millis(u64::from(value) * 700);
                self.handle(Input::Timeout)
            }
            4 => match self.machine.next_timeout() {
                Some((due, _)) => {
                    self.now = self.now.max(due);
                    self.handle(Input::Timeout)?;
                    match self.machine.next_timeout() {
                        Some((again, _)) if again <= self.now => Err("the loop would spin".to_owned()),
                        _ => Ok(()),
                    }
                }
                None => Ok(()),
            },
            5 | 6 => self.child_ends(failure(value)),
            7 if self.child == Child::Engine => self.handle(Input::Phase(phase(value))),
            8 if self.child == Child::Resolver => {
                self.child = Child::None;
                let found = (0..value % 4).map(|last| Ipv4Addr::new(192, 0, 2, last + 1)).collect();
                self.handle(Input::Resolved(Ok(found)))
            }
            9 if self.child == Child::Engine => self.handle(Input::LinkUp(link())),
            10 => {
                let next_hop = (value & 3 != 0).then(|| NextHop::By {
                    gateway: Some(Ipv4Addr::new(10, 0, value & 3, 1).into()),
                    dev: "eth0".to_owned(),
                    source: None,
                });
                self.handle(Input::Network(NetworkState { next_hop, address_stays: value & 4 != 0 }))
            }
            11 => {
                self.machine.add_suspended(Duration::from_secs(u64::from(value) * 20));
                self.handle(Input::Woke)
            }
            12 => {
                self.steps_fail = value & 1 == 0;
                self.dial_fails = value & 6 == 0;
                Ok(())
            }
            13 if self.child == Child::Engine && self.machine.state() == TunnelState::Up => self.lost(value),
            // A wake-up without a timer, or before it is due.
            14 => {
                let before = self.machine.next_timeout();
                let due = before.is_some_and(|(due, _)| due <= self.now);
                self.handle(Input::Timeout)?;
                let same = due || self.machine.next_timeout() == before;
                if same { Ok(()) } else { Err("a timeout is handled before it is due".to_owned()) }
            }
            _ => Ok(()),
        }
    }

    /// Ends a link that is up, for any reason that a server or a forger can cause. Without a limit of attempts the
    /// tunnel is redialled.
    fn lost(&mut self, value: u8) -> Result<(), String> {
        let kind = FailureKind::ALL.get(usize::from(value) % FailureKind::ALL.len()).copied();
        let failure = Failure::new(Phase::Up, kind.unwrap_or(FailureKind::PeerLost), "");
        self.child_ends(failure.clone())?;
        let ends = matches!(self.machine.state(), TunnelState::Stopping | TunnelState::Ended);
        if ends && self.endless { Err(format!("{failure:?} has ended a link that was up")) } else { Ok(()) }
    }

    /// After the end nothing has an effect.
    fn stays_ended(&mut self) -> Result<(), String> {
        let failed = || failure(0);
        for input in [
            Input::Start,
            Input::Stop,
            Input::Timeout,
            Input::Woke,
            Input::Phase(Phase::Up),
            Input::LinkUp(link()),
            Input::Configured(Ok(())),
            Input::Configured(Err(failed())),
            Input::EngineEnded(failed()),
            Input::DialFailed(failed()),
            Input::Resolved(Ok(vec![Ipv4Addr::LOCALHOST])),
        ] {
            self.handle(input)?;
            if self.machine.poll_action().is_some() || self.machine.state() != TunnelState::Ended {
                return Err("an action after the end".to_owned());
            }
        }
        Ok(())
    }

    fn perform(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let Some(action) = self.machine.poll_action() else { return Ok(()) };
            if self.ended {
                return Err(format!("{action:?} after the end"));
            }
            match action {
                Action::Resolve(_) | Action::Dial(_) if self.child != Child::None => {
                    return Err(format!("{action:?} beside another child"));
                }
                Action::Resolve(_) => self.child = Child::Resolver,
                Action::Dial(_) if self.machine.login_wait(self.now).is_some() => {
                    return Err("a log-in in the pause".to_owned());
                }
                Action::Dial(_) if self.dial_fails => self.handle(Input::DialFailed(failure(4)))?,
                Action::Dial(_) => self.child = Child::Engine,
                Action::Configure(_) if self.child != Child::Engine => {
                    return Err("steps for a link that is gone".to_owned());
                }
                Action::Configure(_) if self.steps_fail => {
                    let failed = Failure::new(Phase::Routes, FailureKind::LinkStep, "");
                    self.handle(Input::Configured(Err(failed)))?;
                }
                Action::Configure(_) => self.handle(Input::Configured(Ok(())))?,
                Action::Abandon(_) => self.child = Child::None,
                Action::StopChild if self.child != Child::Engine => {
                    self.child_ends(Failure::new(Phase::Up, FailureKind::Interrupted, ""))?;
                }
                Action::End(outcome) => {
                    self.ended = true;
                    if let Err(failure) = outcome
                        && self.machine.was_up()
                        && self.endless
                        && failure.remedy() != Remedy::Nothing
                    {
                        return Err(format!("{failure:?} has ended a tunnel that was up"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn child_ends(&mut self, failure: Failure) -> Result<(), String> {
        let stopping = self.machine.state() == TunnelState::Stopping;
        match std::mem::replace(&mut self.child, Child::None) {
            Child::Resolver => self.handle(Input::Resolved(Err(failure))),
            Child::Engine => self.handle(Input::EngineEnded(failure)),
            Child::None if stopping => self.handle(Input::EngineEnded(failure)),
            Child::None => Ok(()),
        }
    }
}

fn phase(value: u8) -> Phase {
    PHASES.get(usize::from(value) % PHASES.len()).copied().unwrap_or(Phase::Up)
}

fn failure(value: u8) -> Failure {
    let kind = FailureKind::ALL.get(usize::from(value) % FailureKind::ALL.len()).copied();
    let failure = Failure::new(phase(value / 23), kind.unwrap_or(FailureKind::PeerLost), "");
    let remedy = REMEDIES.get(usize::from(value >> 6)).copied().unwrap_or(Remedy::Retry);
    match value % 5 {
        0 => failure.undecided(UndecidedLogin::Unanswered),
        1 => failure.undecided(UndecidedLogin::Refused),
        2 => failure.remedied_by(remedy),
        _ => failure,
    }
}

fn link() -> LinkUp {
    LinkUp {
        local: Ipv4Addr::new(192, 0, 2, 10),
        peer: Ipv4Addr::new(192, 0, 2, 1),
        dns: Vec::new(),
        wins: Vec::new(),
        ipv6: None,
        mtu: 1396,
        mru: None,
        encryption: "none".to_owned(),
        authentication: "none".to_owned(),
        routes: None,
    }
}
