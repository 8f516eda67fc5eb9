//! What a change of the network under a tunnel means for it.
//!
//! | the way to the server | and then |
//! |---|---|
//! | is as it was | what is ours is looked after: a link that went down and came up has taken routes along |
//! | is another one, our address is still ours | host route and exceptions by the new way; the server is probed, and a dead path left at once |
//! | whatever it is, our address is gone | a new dial at once |
//! | there is none | nothing is tried until there is one |
//!
//! None of this counts as a failure: neither waits nor attempts are spent on it.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use super::{Action, Machine, TunnelState};
use crate::{
    engine::failure::{Failure, FailureKind},
    plan::NextHop,
};

/// How long after a change of the network a loss is put down to it, and dialled again without a wait.
const HURRY: Duration = Duration::from_secs(10);

/// Without a network nothing is done until the kernel tells of a change; should that ever fail, so often is looked
/// all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What the network looks like from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkState {
    /// The way to the server that is dialled, or was up last, past our own tunnel; `None` when there is none.
    pub way: Option<NextHop>,
    /// Whether the address that the connection has, if there is one, is still this host's.
    pub address_stays: bool,
}

/// What a machine remembers of the network.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// The way when it was last looked at; `None`: never.
    way: Option<Option<NextHop>>,
    /// Whether there was a way to any of the servers in this round.
    some_way: bool,
    /// Until then a loss is put down to a change of the network.
    hurry: Option<Instant>,
}

impl Network {
    fn is_gone(&self) -> bool {
        self.way == Some(None) && !self.some_way
    }
}

impl Machine {
    pub(super) fn forget_ways(&mut self) {
        self.network.some_way = false;
    }

    /// What was seen of the network in passing, as in a dial: nothing has changed by it.
    pub fn sees(&mut self, way: Option<NextHop>) {
        self.network.some_way |= way.is_some();
        self.network.way = Some(way);
    }

    /// The address that a way is looked for: that of the present attempt, or the one that worked last.
    #[must_use]
    pub fn looks_for(&self) -> Option<SocketAddrV4> {
        self.dialled.or(self.last_good)
    }

    pub(super) fn network_changed(&mut self, now: Instant, random: u16, outlook: NetworkState) {
        let NetworkState { way, address_stays } = outlook;
        let before = self.network.way.replace(way.clone());
        self.network.some_way = way.is_some();
        let moved = before.is_some_and(|before| !is_same(before.as_ref(), way.as_ref()));
        match self.state {
            TunnelState::Up | TunnelState::Configuring if !address_stays => {
                self.abandon(now, "the network has changed: the address that the tunnel had is gone");
                self.dial_or_wait(now, random);
            }
            TunnelState::Up | TunnelState::Configuring => {
                if way.is_some() {
                    self.actions.push_back(if moved { Action::Repin } else { Action::Renew });
                }
                if moved {
                    self.probe(now);
                }
            }
            TunnelState::Dialing if way.is_none() && self.ever_up => {
                self.abandon(now, "the network has gone");
                self.no_network(now);
            }
            TunnelState::Dialing if way.is_some() && (moved || !address_stays) => {
                self.abandon(now, "the network has changed meanwhile");
                self.dial_again(now, random);
            }
            TunnelState::Resolving if way.is_none() && self.ever_up => {
                self.abandon(now, "the network has gone");
                self.no_network(now);
            }
            TunnelState::Resolving if way.is_some() && moved => {
                self.abandon(now, "the network has changed meanwhile");
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

    /// This host has slept: timers have stood still, and nobody knows what happened meanwhile.
    pub(super) fn woke(&mut self, now: Instant, random: u16) {
        match self.state {
            TunnelState::Up | TunnelState::Configuring => {
                self.probe(now);
                self.actions.push_back(Action::Look);
            }
            TunnelState::Dialing => {
                self.abandon(now, "this host has slept meanwhile");
                self.dial_again(now, random);
            }
            TunnelState::Resolving => {
                self.abandon(now, "this host has slept meanwhile");
                self.ask_again();
            }
            TunnelState::Waiting => self.new_round(now, random),
            TunnelState::NoNetwork => self.actions.push_back(Action::Look),
            TunnelState::Stopping | TunnelState::Ended => {}
        }
    }

    /// A tunnel that was up is lost: whether that is put down to the network, and what follows has been seen to.
    pub(super) fn lost_to_the_network(&mut self, now: Instant, random: u16) -> bool {
        let hurry = self.network.hurry.take().is_some_and(|until| now <= until);
        if hurry {
            self.dial_or_wait(now, random);
        }
        hurry
    }

    /// After a failed round: whether there is a network at all. If not, trying is of no use.
    pub(super) fn waits_for_network(&mut self, now: Instant) -> bool {
        let gone = self.network.is_gone();
        if gone {
            self.no_network(now);
        }
        gone
    }

    /// The moment to look again, without a network.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.wake = Some(now + LOOK_AGAIN);
        self.actions.push_back(Action::Look);
    }

    fn probe(&mut self, now: Instant) {
        self.network.hurry = Some(now + HURRY);
        self.actions.push_back(Action::Probe);
    }

    fn abandon(&mut self, now: Instant, why: &str) {
        self.was_up_until(now);
        self.network.hurry = None;
        self.child = false;
        self.actions.push_back(Action::Abandon(Failure::new(self.phase, FailureKind::PeerLost, why)));
    }

    fn dial_or_wait(&mut self, now: Instant, random: u16) {
        if self.network.is_gone() {
            self.no_network(now);
        } else {
            self.new_round(now, random);
        }
    }

    fn no_network(&mut self, now: Instant) {
        self.state = TunnelState::NoNetwork;
        self.wake = Some(now + LOOK_AGAIN);
        self.actions.push_back(Action::NoNetwork);
    }

    /// The same address once more; those that are left come after it.
    fn dial_again(&mut self, now: Instant, random: u16) {
        if let Some(dialled) = self.dialled {
            self.addresses.push_front(dialled);
        }
        let last = Failure::new(self.phase, FailureKind::NoRoute, "");
        self.next_address(now, random, last);
    }

    /// The same name once more: it is still in front.
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
