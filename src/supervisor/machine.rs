//! The supervisor's decisions: a state machine that turns [`Input`]s into [`Action`]s. No I/O.
//!
//! ```text
//!            ┌────────────── next address, next server ─────────────┐
//!            ▼                                                      │
//!  Start ► Resolving ► Dialing ► Configuring ► Up ── lost ──► (failed)
//!            ▲                                                 │    │ never up, final, or out of attempts
//!            ├─────────── Waiting (backoff) ◄──────────────────┤    ▼
//!            └─────────── NoNetwork ◄──────────────────────────┘  Stopping ► Ended
//! ```
//!
//! `roaming` decides how to react to changes of the network.
//!
//! The machine owns neither sockets nor steps: the loop in `run` performs the [`Action`]s in order and feeds
//! the results back. The first `up` tries every address of every server once. After the tunnel has been up
//! once, a loss leads to new attempts by the retry policy, except after a failure that a new attempt cannot
//! fix. With `retry.from-start`, so does the failure of the first round.

mod events;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
mod logins;
mod reload;
mod roaming;
mod stale;

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

pub use self::events::{Action, Input, NetworkState, TunnelState};
use self::roaming::Network;
use super::{
    backoff::{Backoff, Policy},
    login_limit::LoginLimit,
};
use crate::{
    failure::{Failure, FailureKind, Phase, Remedy, UndecidedLogin},
    profile::{Host, Profile, Server},
};

/// A tunnel that was up for this long resets the backoff. A server that accepts and closes at once does not,
/// so that it is not redialled at the shortest wait for ever.
const STABLE: Duration = Duration::from_secs(30);

/// The longest wait after network steps have failed several times in a row, unless `retry.max` is longer. Each
/// attempt logs in and ends a call, to no effect until the cause on this host is gone.
const STEPS_WAIT_MAX: Duration = Duration::from_secs(600);

/// The state machine of one tunnel, from `up` to `down`.
#[derive(Debug)]
pub struct Machine {
    servers: Vec<Server>,
    backoff: Backoff,
    logins: LoginLimit,
    /// The last undecided log-in of a tunnel that was never up.
    undecided: Option<Failure>,
    /// Why the round was interrupted by the pause between log-ins.
    paused: Option<Failure>,
    state: TunnelState,
    phase: Phase,
    /// Failures of the network steps in a row.
    failed_steps: u32,
    /// Servers of this round that have not been tried.
    untried: VecDeque<Server>,
    /// Addresses of the current server that have not been tried.
    addresses: VecDeque<SocketAddrV4>,
    dialled: Option<SocketAddrV4>,
    last_good: Option<SocketAddrV4>,
    /// The server that insists on a weaker authentication than the strongest of the profile.
    weaker_auth: Option<SocketAddrV4>,
    ever_up: bool,
    up_since: Option<Instant>,
    /// Whether a resolver or an engine runs, which has to end before the machine does.
    child: bool,
    /// The result to end with once the child has ended.
    outcome: Option<Result<(), Failure>>,
    wake: Option<(Instant, &'static str)>,
    /// The child was asked to end, so that another dial follows at once.
    redialling: bool,
    network: Network,
    keeps_routes: bool,
    from_start: bool,
    actions: VecDeque<Action>,
}

impl Machine {
    /// Returns a machine that waits for [`Input::Start`].
    #[must_use]
    pub fn new(servers: Vec<Server>, retry: Policy) -> Self {
        Self {
            servers,
            backoff: Backoff::new(retry),
            logins: LoginLimit::default(),
            undecided: None,
            paused: None,
            state: TunnelState::Resolving,
            phase: Phase::Resolve,
            failed_steps: 0,
            untried: VecDeque::new(),
            addresses: VecDeque::new(),
            dialled: None,
            last_good: None,
            weaker_auth: None,
            ever_up: false,
            up_since: None,
            child: false,
            outcome: None,
            wake: None,
            redialling: false,
            network: Network::default(),
            keeps_routes: true,
            from_start: false,
            actions: VecDeque::new(),
        }
    }

    /// Returns the machine of a profile.
    #[must_use]
    pub fn of(profile: &Profile) -> Self {
        Self::new(profile.servers.clone(), reload::policy(profile))
            .keeping_routes(profile.retry.keep_routes)
            .trying_from_start(profile.retry.from_start)
    }

    /// Sets whether the steps that lead traffic into the tunnel stay in force while it is lost.
    #[must_use]
    pub fn keeping_routes(self, keeps_routes: bool) -> Self {
        Self { keeps_routes, ..self }
    }

    /// Sets whether a tunnel that has never been up is redialled like a lost one.
    #[must_use]
    pub fn trying_from_start(self, from_start: bool) -> Self {
        Self { from_start, ..self }
    }

    /// Returns whether the failure of a round leads to another one.
    fn redials(&self) -> bool {
        self.ever_up || self.from_start
    }

    /// Returns the next action to perform.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns when [`Input::Timeout`] is due, and why.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        self.wake
    }

    /// Returns the state of the tunnel.
    #[must_use]
    pub fn state(&self) -> TunnelState {
        self.state
    }

    /// Returns the phase of the current attempt.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the address of the current attempt.
    #[must_use]
    pub fn server(&self) -> Option<SocketAddrV4> {
        self.dialled
    }

    /// Returns whether the tunnel has ever carried packets.
    #[must_use]
    pub fn was_up(&self) -> bool {
        self.ever_up
    }

    /// Returns a warning for the status while the network steps fail again and again.
    #[must_use]
    pub fn steps_warning(&self) -> Option<String> {
        (self.failed_steps > 1).then(|| {
            format!(
                "the steps on this host have failed {} times in a row (last failure), so the server is dialled less often, \
                 in the end every {} min: mend the cause; `pptpctl down` and `pptpctl up` try at once",
                self.failed_steps,
                self.backoff.lengthened(u32::MAX, STEPS_WAIT_MAX).as_secs().div_ceil(60)
            )
        })
    }

    /// Returns whether the server of the current attempt has insisted on a weaker authentication than the strongest
    /// of the profile, which is accepted then.
    #[must_use]
    pub fn accepts_weaker_auth(&self) -> bool {
        self.weaker_auth.is_some() && self.weaker_auth == self.dialled
    }

    /// Handles an event. `random` determines the jitter of a wait.
    pub fn handle(&mut self, now: Instant, random: u16, input: Input) {
        if self.is_stale(&input) {
            return;
        }
        match (self.state, input) {
            (TunnelState::Ended, _) => {}
            (_, Input::Stop) => self.stop(),
            (TunnelState::Stopping, Input::EngineEnded(_) | Input::Resolved(_) | Input::DialFailed(_)) => {
                self.child = false;
                self.finish();
            }
            // Sent by the engine before it received the request to stop.
            (TunnelState::Stopping, _) => {}
            (_, Input::Start) => self.new_round(now, random),
            (_, Input::Redial) => self.redial(now, random),
            (_, Input::EngineEnded(failure) | Input::Resolved(Err(failure)) | Input::DialFailed(failure))
                if self.redialling =>
            {
                self.ended_for_redial(now, random, &failure);
            }
            (TunnelState::Waiting, Input::Timeout) if self.wake.is_some_and(|(wake, _)| wake <= now) => {
                self.new_round(now, random);
            }
            (TunnelState::NoNetwork, Input::Timeout) if self.wake.is_some_and(|(wake, _)| wake <= now) => {
                self.poll_again(now);
            }
            (_, Input::Timeout) => {}
            (_, Input::Network(outlook)) => self.network_changed(now, random, outlook),
            (_, Input::Woke) => self.woke(now, random),
            (TunnelState::Resolving, Input::Resolved(Ok(addresses))) => {
                self.resolved(now, random, &addresses)
            }
            (TunnelState::Resolving, Input::Resolved(Err(failure))) => {
                self.child = false;
                self.failed(now, random, failure);
            }
            (_, Input::Resolved(_)) => {}
            (_, Input::DialFailed(failure) | Input::EngineEnded(failure)) => {
                self.child = false;
                self.failed(now, random, failure);
            }
            (TunnelState::Dialing, Input::Phase(phase)) => {
                self.phase = phase;
                if phase > Phase::Authentication {
                    self.logins.reset();
                    self.undecided = None;
                } else if phase == Phase::Authentication {
                    self.logins.begin(now);
                }
            }
            (_, Input::Phase(_)) => {}
            (TunnelState::Dialing | TunnelState::Up, Input::LinkUp(link)) => {
                self.state = TunnelState::Configuring;
                self.phase = Phase::Routes;
                self.actions.push_back(Action::Configure(link));
            }
            (_, Input::LinkUp(_)) => {}
            (TunnelState::Configuring, Input::Configured(Ok(()))) => {
                self.state = TunnelState::Up;
                self.phase = Phase::Up;
                self.ever_up = true;
                self.last_good = self.dialled;
                self.failed_steps = 0;
                self.up_since.get_or_insert(now);
                self.actions.push_back(Action::Ready);
            }
            // The user sees at the first `up` that a step fails; a tunnel that was up must come back by itself.
            (TunnelState::Configuring, Input::Configured(Err(failure))) if self.ever_up => {
                self.steps_failed(now, random, failure);
            }
            (TunnelState::Configuring, Input::Configured(Err(failure))) => self.end(Err(failure)),
            (_, Input::Configured(_)) => {}
        }
    }

    fn stop(&mut self) {
        let outcome =
            if self.ever_up { Ok(()) } else { Err(Failure::new(self.phase, FailureKind::Interrupted, "")) };
        self.end(outcome);
    }

    /// Ends with `outcome` after the child has ended; the first outcome is kept.
    fn end(&mut self, outcome: Result<(), Failure>) {
        if self.state == TunnelState::Stopping {
            return;
        }
        self.state = TunnelState::Stopping;
        self.wake = None;
        self.drop_useless_actions();
        // All steps are undone anyway.
        self.actions.retain(|action| *action != Action::WithdrawRoutes);
        self.outcome = Some(outcome);
        if self.child {
            self.actions.push_back(Action::StopChild);
        } else {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.state = TunnelState::Ended;
        self.actions.push_back(Action::End(self.outcome.take().unwrap_or(Ok(()))));
    }

    fn new_round(&mut self, now: Instant, random: u16) {
        self.wake = None;
        self.forget_next_hops();
        if let Some(wait) = self.logins.wait(now) {
            return self.wait(now, wait);
        }
        // After the pause, the round goes on with the servers that have not been tried.
        if let Some(last) = self.paused.take()
            && !(self.addresses.is_empty() && self.untried.is_empty())
        {
            return self.next_address(now, random, last);
        }
        self.untried = self.servers.iter().cloned().collect();
        self.addresses.clear();
        let nothing = Failure::new(Phase::Resolve, FailureKind::NameNotResolved, "no server in the profile");
        self.next_server(now, random, nothing);
    }

    fn next_server(&mut self, now: Instant, random: u16, last: Failure) {
        match self.untried.pop_front() {
            Some(Server { host: Host::Address(address), port }) => {
                self.addresses.push_back(SocketAddrV4::new(address, port));
                self.next_address(now, random, last);
            }
            Some(server) => {
                self.state = TunnelState::Resolving;
                self.phase = Phase::Resolve;
                self.dialled = None;
                self.child = true;
                // Kept in front, because the answer does not carry the port.
                self.untried.push_front(server.clone());
                self.actions.push_back(Action::Resolve(server));
            }
            None => self.round_failed(now, random, last),
        }
    }

    fn resolved(&mut self, now: Instant, random: u16, found: &[Ipv4Addr]) {
        self.child = false;
        let Some(server) = self.untried.pop_front() else { return };
        self.addresses = found.iter().map(|address| SocketAddrV4::new(*address, server.port)).collect();
        if let Some(at) = self.addresses.iter().position(|address| Some(*address) == self.last_good) {
            self.addresses.swap(0, at);
        }
        let nothing = no_ipv4_address();
        self.next_address(now, random, nothing);
    }

    fn next_address(&mut self, now: Instant, random: u16, last: Failure) {
        if let Some(wait) = self.logins.wait(now) {
            if !self.redials() {
                return self.round_failed(now, random, last);
            }
            self.paused = Some(last);
            return self.wait(now, wait);
        }
        let Some(address) = self.addresses.pop_front() else { return self.next_server(now, random, last) };
        self.state = TunnelState::Dialing;
        self.phase = Phase::Connect;
        self.dialled = Some(address);
        self.child = true;
        self.actions.push_back(Action::Dial(address));
    }

    fn failed(&mut self, now: Instant, random: u16, failure: Failure) {
        let was_up = self.up_since.is_some();
        self.was_up_until(now);
        // An engine that was killed cannot report whether it had sent the credentials.
        let killed = matches!(failure.kind, FailureKind::Internal | FailureKind::PppFailed)
            && self.state == TunnelState::Dialing
            && self.phase == Phase::Authentication;
        let how = failure.undecided_login.or(killed.then_some(UndecidedLogin::Unanswered));
        let failure = match how {
            Some(how) if self.logins.count(now, how) => {
                // The server has decided: no later supervisor has to wait.
                self.logins.reset();
                failure.confirmed()
            }
            Some(_) if !self.ever_up => {
                self.undecided = Some(failure.clone());
                failure
            }
            _ => failure,
        };
        self.logins.settle();
        match (self.state, failure.remedy()) {
            (TunnelState::Up, Remedy::AnotherServer | Remedy::WeakerAuthentication | Remedy::Retry)
                if self.lost_to_the_network(now, random) => {}
            (TunnelState::Resolving, Remedy::AnotherServer) => {
                self.untried.pop_front();
                self.next_server(now, random, failure);
            }
            (TunnelState::Dialing, Remedy::WeakerAuthentication) if !self.accepts_weaker_auth() => {
                self.weaker_auth = self.dialled;
                if let Some(same) = self.dialled {
                    self.addresses.push_front(same);
                }
                self.next_address(now, random, failure);
            }
            // Only a failed attempt moves on to the next address; a tunnel that was up starts a new round.
            (TunnelState::Dialing, Remedy::AnotherServer | Remedy::WeakerAuthentication) => {
                self.next_address(now, random, failure)
            }
            (TunnelState::Configuring, Remedy::AnotherServer) if !was_up => {
                self.next_address(now, random, failure);
            }
            _ => self.round_failed(now, random, failure),
        }
    }

    fn was_up_until(&mut self, now: Instant) {
        self.drop_useless_actions();
        let Some(since) = self.up_since.take() else { return };
        if now.saturating_duration_since(since) >= STABLE {
            self.backoff.reset();
        }
        if !self.keeps_routes {
            self.actions.push_back(Action::WithdrawRoutes);
        }
    }

    fn round_failed(&mut self, now: Instant, random: u16, failure: Failure) {
        self.round_failed_waiting(now, random, failure, Duration::ZERO);
    }

    /// Ends a round; the next one begins after this time at the earliest.
    fn round_failed_waiting(&mut self, now: Instant, random: u16, failure: Failure, least: Duration) {
        if failure.remedy() == Remedy::Nothing {
            return self.end(Err(failure));
        }
        if self.redials() {
            if self.waits_for_network(now) {
                return;
            }
            if let Some(wait) = self.backoff.next(random) {
                self.find_out_about_network();
                return self.wait(now, wait.max(self.logins.wait(now).unwrap_or_default()).max(least));
            }
        }
        // What counts for the account is worth more than how the last server failed.
        let undecided = self.undecided.take().filter(|_| !self.ever_up);
        self.end(Err(undecided.unwrap_or(failure)));
    }

    /// Handles network steps that failed for a tunnel that was up earlier: ends this link, and tries again.
    fn steps_failed(&mut self, now: Instant, random: u16, failure: Failure) {
        let was_up = self.up_since.is_some();
        self.abandon(now, failure.clone());
        // Some of the steps are in force.
        if !self.keeps_routes && !was_up {
            self.actions.push_back(Action::WithdrawRoutes);
        }
        self.failed_steps = self.failed_steps.saturating_add(1);
        // Another log-in would not change what is wrong on this host.
        let least = self.backoff.lengthened(self.failed_steps, STEPS_WAIT_MAX);
        self.round_failed_waiting(now, random, failure, least);
    }

    fn wait(&mut self, now: Instant, wait: Duration) {
        self.state = TunnelState::Waiting;
        self.wake = Some((now + wait, "redial"));
        self.actions.push_back(Action::Waiting(wait));
    }
}

/// Returns the failure for a name without an IPv4 address.
pub(super) fn no_ipv4_address() -> Failure {
    Failure::new(Phase::Resolve, FailureKind::NameNotResolved, "the answer has no IPv4 address")
}

#[cfg(test)]
mod tests;
