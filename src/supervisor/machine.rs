//! The supervisor's decisions, pure: what happened goes in, what to do comes out.
//!
//! ```text
//!            ┌────────────── next address, next server ─────────────┐
//!            ▼                                                      │
//!  Start ► Resolving ► Dialing ► Configuring ► Up ── lost ──► (failed)
//!            ▲                                                 │    │ never up, or final, or tried enough
//!            ├─────────── Waiting (backoff) ◄──────────────────┤    ▼
//!            └─────────── NoNetwork ◄──────────────────────────┘  Stopping ► Ended
//! ```
//!
//! What a change of the network means is decided in `roaming`.
//!
//! It owns neither sockets nor steps: the loop in `run` performs the [`Action`]s in order and feeds back what
//! came of them. The first `up` tries every address of every server once; after the tunnel has been up once,
//! a loss leads to new attempts by the retry policy, except after a failure that trying again cannot mend.

mod roaming;

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use self::roaming::Network;
pub use self::roaming::NetworkState;
use super::backoff::{Backoff, Policy};
use crate::{
    engine::failure::{Failure, FailureKind, Phase},
    engine::message::LinkUp,
    profile::{Host, Server},
};

/// A tunnel that was up for so long was a good one: the next loss is the first again. A server that accepts
/// and hangs up at once is not dialled at the shortest wait for ever.
const STABLE: Duration = Duration::from_secs(30);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Go.
    Start,
    /// The resolver's answer for the server that was asked for.
    Resolved(Result<Vec<Ipv4Addr>, Failure>),
    /// Sockets, host route or engine could not be had for the address that was dialled.
    DialFailed(Failure),
    /// The engine has reached a phase.
    Phase(Phase),
    /// The engine's link carries packets.
    LinkUp(LinkUp),
    /// The steps on this host are done, or why not.
    Configured(Result<(), Failure>),
    /// The engine has ended, with its last word.
    EngineEnded(Failure),
    /// The network may have changed; what it looks like now.
    Network(NetworkState),
    /// This host has slept, or was stopped for a while.
    Woke,
    /// `down`, or a signal.
    Stop,
    /// The moment that [`Machine::next_timeout`] named has come.
    Timeout,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look the name up, within the profile's limit.
    Resolve(Server),
    /// Host route, sockets, engine; towards this address.
    Dial(SocketAddrV4),
    /// Perform the steps for this link, then say [`Input::Configured`].
    Configure(LinkUp),
    /// The tunnel carries packets: tell whoever waits.
    Ready,
    /// The tunnel is lost: what leads into it is taken away, until [`Action::Configure`].
    LetGo,
    /// The tunnel is gone and comes back later: tell whoever watches.
    Waiting(Duration),
    /// There is no way to the server: say so, and then say [`Input::Network`] when that changes.
    NoNetwork,
    /// Say [`Input::Network`] now.
    Look,
    /// Host route and all that hangs on the way to the server, by the way that there is now.
    Repin,
    /// The same way as before: put back what of our routes has gone.
    Renew,
    /// Have the engine see whether the server is still there.
    Probe,
    /// End the engine or the resolver at once, for this reason; nothing follows.
    Abandon(Failure),
    /// Ask the engine (or the resolver) to end politely; [`Input::EngineEnded`] follows.
    StopChild,
    /// Undo everything and end with this.
    End(Result<(), Failure>),
}

/// What `status` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelState {
    /// Looking up a server's name.
    Resolving,
    /// On the way to a link.
    Dialing,
    /// The link is there, the steps are being done.
    Configuring,
    /// Packets may flow.
    Up,
    /// Until the next attempt.
    Waiting,
    /// Until there is a way to the server.
    NoNetwork,
    /// On the way down.
    Stopping,
    /// Over.
    Ended,
}

impl TunnelState {
    /// The word for a person.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Resolving => "resolving",
            Self::Dialing => "connecting",
            Self::Configuring => "configuring",
            Self::Up => "up",
            Self::Waiting => "waiting",
            Self::NoNetwork => "no network",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }
}

/// One tunnel, from `up` to `down`.
#[derive(Debug)]
pub struct Machine {
    servers: Vec<Server>,
    backoff: Backoff,
    state: TunnelState,
    phase: Phase,
    /// Servers of this round that have not been tried.
    untried: VecDeque<Server>,
    /// Addresses of the present server that have not been tried.
    addresses: VecDeque<SocketAddrV4>,
    dialled: Option<SocketAddrV4>,
    last_good: Option<SocketAddrV4>,
    ever_up: bool,
    up_since: Option<Instant>,
    /// Whether a resolver or an engine runs, which has to end before we do.
    child: bool,
    /// Why we stop, once the child has ended.
    outcome: Option<Result<(), Failure>>,
    wake: Option<Instant>,
    network: Network,
    keeps_routes: bool,
    actions: VecDeque<Action>,
}

impl Machine {
    /// A machine that waits for [`Input::Start`].
    #[must_use]
    pub fn new(servers: Vec<Server>, retry: Policy) -> Self {
        Self {
            servers,
            backoff: Backoff::new(retry),
            state: TunnelState::Resolving,
            phase: Phase::Resolve,
            untried: VecDeque::new(),
            addresses: VecDeque::new(),
            dialled: None,
            last_good: None,
            ever_up: false,
            up_since: None,
            child: false,
            outcome: None,
            wake: None,
            network: Network::default(),
            keeps_routes: true,
            actions: VecDeque::new(),
        }
    }

    /// The same, and whether what leads into the tunnel stays while it is lost.
    #[must_use]
    pub fn keeping_routes(self, keeps_routes: bool) -> Self {
        Self { keeps_routes, ..self }
    }

    /// What to do next, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to say [`Input::Timeout`].
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// Where the tunnel is.
    #[must_use]
    pub fn state(&self) -> TunnelState {
        self.state
    }

    /// The phase of the present attempt.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The address of the present attempt.
    #[must_use]
    pub fn server(&self) -> Option<SocketAddrV4> {
        self.dialled
    }

    /// Whether the tunnel has ever carried packets.
    #[must_use]
    pub fn was_up(&self) -> bool {
        self.ever_up
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Takes in what happened. `random` is for the jitter of a wait.
    pub fn handle(&mut self, now: Instant, random: u16, input: Input) {
        match (self.state, input) {
            (TunnelState::Ended, _) => {}
            (_, Input::Stop) => self.stop(),
            (TunnelState::Stopping, Input::EngineEnded(_) | Input::Resolved(_) | Input::DialFailed(_)) => {
                self.child = false;
                self.finish();
            }
            // What the engine said before it heard us.
            (TunnelState::Stopping, _) => {}
            (_, Input::Start) => self.new_round(now, random),
            (TunnelState::Waiting, Input::Timeout) if self.wake.is_some_and(|wake| wake <= now) => {
                self.new_round(now, random);
            }
            (TunnelState::NoNetwork, Input::Timeout) if self.wake.is_some_and(|wake| wake <= now) => {
                self.look_again(now);
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
            (TunnelState::Dialing, Input::Phase(phase)) => self.phase = phase,
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
                self.up_since.get_or_insert(now);
                self.actions.push_back(Action::Ready);
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

    /// Ends with `outcome`, after the child has; the first reason stays.
    fn end(&mut self, outcome: Result<(), Failure>) {
        if self.state == TunnelState::Stopping {
            return;
        }
        self.state = TunnelState::Stopping;
        self.wake = None;
        // Everything goes.
        self.actions.retain(|action| *action != Action::LetGo);
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
        self.forget_ways();
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
                // Kept in front so that the answer knows its port.
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
        let nothing =
            Failure::new(Phase::Resolve, FailureKind::NameNotResolved, "the answer has no IPv4 address");
        self.next_address(now, random, nothing);
    }

    fn next_address(&mut self, now: Instant, random: u16, last: Failure) {
        let Some(address) = self.addresses.pop_front() else { return self.next_server(now, random, last) };
        self.state = TunnelState::Dialing;
        self.phase = Phase::Connect;
        self.dialled = Some(address);
        self.child = true;
        self.actions.push_back(Action::Dial(address));
    }

    fn failed(&mut self, now: Instant, random: u16, failure: Failure) {
        self.was_up_until(now);
        match failure.kind {
            kind if self.state == TunnelState::Up
                && !kind.is_final()
                && self.lost_to_the_network(now, random) => {}
            FailureKind::NameNotResolved => {
                self.untried.pop_front();
                self.next_server(now, random, failure);
            }
            // Only an attempt moves on to the next address; a tunnel that was up starts a new round.
            kind if kind.is_about_this_address() && self.state == TunnelState::Dialing => {
                self.next_address(now, random, failure);
            }
            _ => self.round_failed(now, random, failure),
        }
    }

    fn was_up_until(&mut self, now: Instant) {
        let Some(since) = self.up_since.take() else { return };
        if now.saturating_duration_since(since) >= STABLE {
            self.backoff.reset();
        }
        if !self.keeps_routes {
            self.actions.push_back(Action::LetGo);
        }
    }

    fn round_failed(&mut self, now: Instant, random: u16, failure: Failure) {
        if !self.ever_up || failure.kind.is_final() {
            return self.end(Err(failure));
        }
        if self.waits_for_network(now) {
            return;
        }
        match self.backoff.next(random) {
            Some(wait) => {
                self.state = TunnelState::Waiting;
                self.wake = Some(now + wait);
                self.actions.push_back(Action::Waiting(wait));
            }
            None => self.end(Err(failure)),
        }
    }
}

#[cfg(test)]
mod tests;
