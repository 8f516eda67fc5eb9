//! Reactions to changes of the network under a tunnel.
//!
//! | route to the server | reaction |
//! |---|---|
//! | same next hop | our missing routes are restored: a device that goes down loses its routes |
//! | new next hop, address still valid | host route and exceptions move; probe the server, leave a dead path |
//! | any, but the local address is gone | a new dial at once |
//! | none | nothing is tried until there is one |
//!
//! None of this counts as a failure: it costs neither waits nor attempts.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use super::{Action, Machine, NetworkState, TunnelState};
use crate::{
    failure::{Failure, FailureKind, Phase, UndecidedLogin},
    plan::NextHop,
    profile::Host,
};

/// A loss within this long after a change of the network is attributed to it, and redialled without a wait.
const REDIAL_WINDOW: Duration = Duration::from_secs(10);

/// Without a network, the supervisor waits for a kernel notification. It also polls at this interval, in case
/// one was missed.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The state that a machine keeps about the network.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Next hop at the last poll; the outer `None` before the first one.
    way: Option<Option<NextHop>>,
    /// Whether there was a next hop to any of the servers in this round.
    any_next_hop: bool,
    /// Until this time, a loss is attributed to a change of the network.
    hurry: Option<Instant>,
}

impl Network {
    fn is_gone(&self) -> bool {
        self.way == Some(None) && !self.any_next_hop
    }
}

impl Machine {
    pub(super) fn forget_next_hops(&mut self) {
        self.network.any_next_hop = false;
    }

    /// Records a next hop that was seen in passing, as in a dial, without reacting to it.
    pub fn record_next_hop(&mut self, way: Option<NextHop>) {
        // A server without a route does not hide that another one has a route.
        if way.is_some() || !self.network.any_next_hop {
            self.network.any_next_hop |= way.is_some();
            self.network.way = Some(way);
        }
    }

    /// Returns the servers to find a next hop to, the first that has one deciding: that of the current attempt, or
    /// the last one that worked. Between two attempts the others follow, the last of the profile first, as its next
    /// hop was recorded last.
    #[must_use]
    pub fn servers_to_reach(&self) -> Vec<SocketAddrV4> {
        let mut servers = Vec::from_iter(self.dialled.or(self.last_good));
        if matches!(self.state, TunnelState::Waiting | TunnelState::NoNetwork) {
            let literal = self.servers.iter().rev().filter_map(|server| match server.host {
                Host::Address(address) => Some(SocketAddrV4::new(address, server.port)),
                Host::Name(_) => None,
            });
            for server in literal.chain(self.last_good) {
                if !servers.contains(&server) {
                    servers.push(server);
                }
            }
        }
        servers
    }

    pub(super) fn network_changed(&mut self, now: Instant, random: u16, outlook: NetworkState) {
        let NetworkState { next_hop: way, address_stays } = outlook;
        let before = self.network.way.replace(way.clone());
        self.network.any_next_hop = way.is_some();
        let moved = before.is_some_and(|before| !is_same(before.as_ref(), way.as_ref()));
        match self.state {
            TunnelState::Up | TunnelState::Configuring if !address_stays => {
                self.interrupt(now, "the network has changed: the source address of the connection is gone");
                self.dial_or_wait(now, random);
            }
            TunnelState::Up | TunnelState::Configuring => {
                if way.is_some() {
                    self.actions.push_back(if moved { Action::Repin } else { Action::RestoreRoutes });
                }
                if moved {
                    self.probe(now);
                }
            }
            TunnelState::Dialing if way.is_none() && self.redials() => {
                self.interrupt(now, "the network has gone");
                self.no_network(now);
            }
            TunnelState::Dialing if way.is_some() && (moved || !address_stays) => {
                self.interrupt(now, "the network has changed meanwhile");
                self.dial_again(now, random);
            }
            TunnelState::Resolving if way.is_none() && self.redials() => {
                self.interrupt(now, "the network has gone");
                self.no_network(now);
            }
            TunnelState::Resolving if way.is_some() && moved => {
                self.interrupt(now, "the network has changed meanwhile");
                self.ask_again();
            }
            TunnelState::Waiting if way.is_none() => self.no_network(now),
            TunnelState::Waiting if moved => self.new_round(now, random),
            TunnelState::NoNetwork if way.is_some() => self.new_round(now, random),
            TunnelState::Dialing
            | TunnelState::Resolving
            | TunnelState::Waiting
            | TunnelState::NoNetwork
            | TunnelState::Stopping
            | TunnelState::Ended => {}
        }
    }

    /// Handles a resume of the host: timers stood still, and the state of network and server is unknown.
    pub(super) fn woke(&mut self, now: Instant, random: u16) {
        match self.state {
            TunnelState::Up | TunnelState::Configuring => {
                self.probe(now);
                self.actions.push_back(Action::PollNetwork);
            }
            TunnelState::Dialing => {
                self.interrupt(now, "this host was suspended meanwhile");
                self.dial_again(now, random);
            }
            TunnelState::Resolving => {
                self.interrupt(now, "this host was suspended meanwhile");
                self.ask_again();
            }
            TunnelState::Waiting => self.new_round(now, random),
            TunnelState::NoNetwork => self.actions.push_back(Action::PollNetwork),
            TunnelState::Stopping | TunnelState::Ended => {}
        }
    }

    /// Returns whether the loss of a tunnel that was up is attributed to the network; if so, redials or waits
    /// for one.
    pub(super) fn lost_to_the_network(&mut self, now: Instant, random: u16) -> bool {
        let hurry = self.network.hurry.take().is_some_and(|until| now <= until);
        if hurry {
            self.dial_or_wait(now, random);
        }
        hurry
    }

    /// Returns whether there is no network after a failed round; if so, waits for one, as dialling is
    /// useless.
    pub(super) fn waits_for_network(&mut self, now: Instant) -> bool {
        let gone = self.network.is_gone();
        if gone {
            self.no_network(now);
        }
        gone
    }

    /// Polls the network now, and again later.
    pub(super) fn poll_again(&mut self, now: Instant) {
        self.wake = Some((now + POLL_INTERVAL, "network is polled"));
        self.actions.push_back(Action::PollNetwork);
    }

    fn probe(&mut self, now: Instant) {
        self.network.hurry = Some(now + REDIAL_WINDOW);
        self.actions.push_back(Action::Probe);
    }

    fn interrupt(&mut self, now: Instant, why: &str) {
        self.abandon(now, Failure::new(self.phase, FailureKind::PeerLost, why));
    }

    /// Ends the attempt or the link at once, for this reason.
    pub(super) fn abandon(&mut self, now: Instant, why: Failure) {
        self.was_up_until(now);
        if self.state == TunnelState::Dialing && self.phase == Phase::Authentication {
            self.logins.count(now, UndecidedLogin::Unanswered);
        }
        self.logins.settle();
        self.network.hurry = None;
        self.redialling = false;
        self.child = false;
        self.actions.push_back(Action::Abandon(why));
    }

    pub(super) fn dial_or_wait(&mut self, now: Instant, random: u16) {
        if self.network.is_gone() {
            self.no_network(now);
        } else {
            self.new_round(now, random);
        }
    }

    /// Polls the network if nothing is known about it yet, because no name could be looked up: perhaps there is
    /// none.
    pub(super) fn find_out_about_network(&mut self) {
        if !self.ever_up && self.network.way.is_none() {
            self.actions.push_back(Action::PollNetwork);
        }
    }

    fn no_network(&mut self, now: Instant) {
        self.state = TunnelState::NoNetwork;
        self.actions.retain(|action| !matches!(action, Action::Waiting(_)));
        self.wake = Some((now + POLL_INTERVAL, "network is polled"));
        self.actions.push_back(Action::NoNetwork);
    }

    /// Dials the same address again; the remaining ones follow.
    fn dial_again(&mut self, now: Instant, random: u16) {
        if let Some(dialled) = self.dialled {
            self.addresses.push_front(dialled);
        }
        // Reported only if another log-in is not allowed now.
        let last = "the network has changed before the server answered";
        let last = Failure::new(self.phase, FailureKind::AuthenticationFailed, last)
            .undecided(UndecidedLogin::Unanswered);
        self.next_address(now, random, last);
    }

    /// Looks the same name up again; it is still in front.
    fn ask_again(&mut self) {
        if let Some(server) = self.untried.front().cloned() {
            self.child = true;
            self.actions.push_back(Action::Resolve(server));
        }
    }
}

fn is_same(one: Option<&NextHop>, other: Option<&NextHop>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => one.is_same_path(other),
        _ => false,
    }
}
