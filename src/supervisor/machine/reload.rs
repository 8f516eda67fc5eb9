//! A profile that has changed while its tunnel runs: servers and retry policy, and the dial that the user asks for.

use std::time::Instant;

use super::{Action, Machine, TunnelState};
use crate::{
    failure::{Failure, Phase, UndecidedLogin},
    profile::Profile,
    supervisor::backoff::Policy,
};

/// Returns the retry policy of a profile.
pub(super) fn policy(profile: &Profile) -> Policy {
    Policy {
        first: profile.retry.first,
        max: profile.retry.max,
        attempts: profile.retry.attempts,
        jitter_percent: profile.retry.jitter_percent,
    }
}

impl Machine {
    /// Takes servers and retry policy from the profile as it is now. They count from the next round; one that is under
    /// way goes on with its servers.
    pub fn take_profile(&mut self, profile: &Profile) {
        self.servers.clone_from(&profile.servers);
        self.backoff.set_policy(policy(profile));
        self.keeps_routes = profile.retry.keep_routes;
    }

    /// Ends the attempt or the link gracefully, and begins a new round, which costs neither a wait nor an attempt.
    pub(super) fn redial(&mut self, now: Instant, random: u16) {
        match self.state {
            TunnelState::Stopping | TunnelState::Ended | TunnelState::NoNetwork => {}
            _ if self.redialling => {}
            _ => {
                self.drop_useless_actions();
                if self.child {
                    self.redialling = true;
                    self.actions.push_back(Action::StopChild);
                } else {
                    self.dial_or_wait(now, random);
                }
            }
        }
    }

    /// Handles the end of a child that was asked to end by [`Machine::redial`].
    pub(super) fn ended_for_redial(&mut self, now: Instant, random: u16, failure: &Failure) {
        self.redialling = false;
        self.child = false;
        self.was_up_until(now);
        let is_killed = self.state == TunnelState::Dialing && self.phase == Phase::Authentication;
        if let Some(how) = failure.undecided_login.or(is_killed.then_some(UndecidedLogin::Unanswered)) {
            self.logins.count(now, how);
        }
        self.logins.settle();
        self.dial_or_wait(now, random);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        failure::FailureKind,
        profile::{Host, Server},
        supervisor::machine::Input,
    };

    fn server(last: u8) -> Server {
        Server { host: Host::Address([192, 0, 2, last].into()), port: 1723 }
    }

    fn actions(machine: &mut Machine) -> Vec<Action> {
        std::iter::from_fn(|| machine.poll_action()).collect()
    }

    fn dialling(now: Instant) -> Machine {
        let policy = Policy {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            attempts: Some(0),
            jitter_percent: 0,
        };
        let mut machine = Machine::new(vec![server(1)], policy);
        machine.handle(now, 0, Input::Start);
        assert_eq!(actions(&mut machine), [Action::Dial(server(1).literal().unwrap())]);
        machine
    }

    /// Also with `retry.attempts = 0`: the user asks for it.
    #[test]
    fn redial_ends_the_engine_and_dials_the_new_server() {
        let now = Instant::now();
        let mut machine = dialling(now);
        machine.servers = vec![server(2)];
        machine.handle(now, 0, Input::Redial);
        machine.handle(now, 0, Input::Redial);
        assert_eq!(actions(&mut machine), [Action::StopChild]);
        let ended = Failure::new(Phase::Lcp, FailureKind::Interrupted, "");
        machine.handle(now, 0, Input::EngineEnded(ended.clone()));
        assert_eq!(actions(&mut machine), [Action::Dial(server(2).literal().unwrap())]);
        // The next end is a failure again.
        machine.handle(now, 0, Input::EngineEnded(ended));
        assert!(matches!(actions(&mut machine)[..], [Action::End(Err(_))]));
    }

    #[test]
    fn down_during_a_redial_ends_the_tunnel() {
        let now = Instant::now();
        let mut machine = dialling(now);
        machine.handle(now, 0, Input::Redial);
        machine.handle(now, 0, Input::Stop);
        assert!(actions(&mut machine).contains(&Action::StopChild));
        machine.handle(now, 0, Input::EngineEnded(Failure::new(Phase::Lcp, FailureKind::Interrupted, "")));
        assert!(matches!(actions(&mut machine)[..], [Action::End(_)]));
        machine.handle(now, 0, Input::Redial);
        assert!(actions(&mut machine).is_empty());
    }
}
