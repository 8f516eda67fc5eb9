//! Follows the network: receives kernel notifications, decides when to poll its state and when to restore
//! routes, and turns the state into inputs of the machine.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use crate::{
    apply::{ApplyError, Cause},
    net::kernel::Watch,
    os::sleep::{self, Sleep},
    plan::{Facts, NextHop},
    supervisor::{
        debounce::Debounce,
        machine::{Input, NetworkState, TunnelState},
        restore_limit::{self, RestoreLimit},
        run::resolver_files::ResolverFiles,
    },
};

/// A wait that ends this much later than its deadline means that this process, or the whole machine under a
/// hypervisor, was stopped: the peer may have given up on the connection.
const OVERSLEPT: Duration = Duration::from_secs(5);

/// Counts as the duration of a look for missing routes at most: it may have waited for another tunnel, which has put them back.
const LONGEST_LOOK: Duration = Duration::from_millis(50);

/// Returns a warning for log and status.
fn conflict_message() -> String {
    format!(
        "the tunnel's routes and rules keep disappearing (systemd-networkd, a DHCP client, an interface that keeps going \
         down?): they are restored at most {} times in {} s",
        restore_limit::MAX_RESTORES,
        restore_limit::PERIOD.as_secs()
    )
}

/// The sources of network notifications.
pub(super) struct NetworkWatch {
    /// Without it changes go unnoticed, and the backoff alone decides when to try again.
    watch: Option<Watch>,
    sleep: Option<Sleep>,
    resolver_files: ResolverFiles,
    burst: Debounce,
    /// How long the last poll took, with the look for what is missing.
    took: Duration,
    /// What the last poll found.
    last: Option<NetworkState>,
    restore_limit: RestoreLimit,
    /// For how long [`Instant`] stood still since [`NetworkWatch::take_woke`], if the host was suspended or this
    /// process stopped; zero if it counted that time.
    woke: Option<Duration>,
    /// Local address of the current connection.
    pub local: Option<Ipv4Addr>,
}

impl NetworkWatch {
    pub fn new() -> Self {
        let watch = Watch::open()
            .inspect_err(|error| tracing::warn!("cannot watch the network for changes: {error}"));
        let sleep = Sleep::watch().inspect_err(|error| tracing::debug!(%error, "sleep goes unnoticed"));
        Self {
            watch: watch.ok(),
            sleep: sleep.ok(),
            resolver_files: ResolverFiles::watch(Instant::now()),
            burst: Debounce::default(),
            took: Duration::ZERO,
            last: None,
            restore_limit: RestoreLimit::default(),
            woke: None,
            local: None,
        }
    }

    /// Returns the descriptors of the routing messages, of the clock, and of the files that name resolvers.
    pub fn fds(&self) -> [Option<BorrowedFd<'_>>; 3] {
        let clock = self.sleep.as_ref().and_then(Sleep::fd);
        // The further messages of a burst wait until the poll is due: with many tunnels each message of one wakes all
        // others.
        let watch = self.watch.as_ref().filter(|_| self.burst.next_timeout().is_none());
        [watch.map(AsFd::as_fd), clock, self.resolver_files.fd()]
    }

    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let clocks = self.sleep.as_ref().and_then(Sleep::next_timeout);
        [self.burst.next_timeout(), self.restore_limit.next_timeout(), clocks].into_iter().flatten().min()
    }

    /// Reads what has arrived; `deadline` is when the wait should have ended.
    pub fn receive(&mut self, [network, clock, files]: [bool; 3], deadline: Option<Instant>) {
        let now = Instant::now();
        let moved = network && self.watch.as_mut().is_some_and(Watch::drain);
        if self.resolver_files.changed(files, now) || moved {
            self.burst.record(now);
        }
        if clock && self.sleep.as_mut().is_some_and(|sleep| sleep.rearm().is_err()) {
            // It would stay readable for ever.
            self.sleep = None;
        }
        let slept = self.sleep.as_mut().and_then(Sleep::slept);
        let overslept = deadline.is_some_and(|deadline| now > deadline + OVERSLEPT);
        if slept.is_some() || overslept {
            self.woke = Some(self.woke.unwrap_or_default() + slept.unwrap_or_default());
        }
    }

    /// Handles a dial; returns the next hop that it uses, for the machine, if changes of it are noticed.
    pub fn dials(&mut self, facts: &Result<Facts, ApplyError>) -> Option<Option<NextHop>> {
        self.local = None;
        self.watch.as_ref()?;
        match facts {
            Ok(facts) => Some(facts.next_hop.clone()),
            Err(error) if is_unreachable(error) => Some(None),
            Err(_) => None,
        }
    }

    /// Returns, if the host was suspended since the last call, for how long [`Instant`] stood still meanwhile.
    pub fn take_woke(&mut self) -> Option<Duration> {
        self.woke.take().inspect(|_| tracing::info!("{}", sleep::OBSERVATION))
    }

    /// Returns whether a poll is due.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let again = self.restore_limit.next_timeout().is_some_and(|(due, _)| due <= now);
        if again {
            // No longer due, whether or not the poll finds something to restore.
            self.restore_limit.may(now);
        }
        if self.burst.is_due(now) && self.watch.as_mut().is_some_and(Watch::drain) {
            self.burst.record(now);
        }
        self.burst.take(now) || again
    }

    /// Polls the network with `look`, which returns the kernel's next hop to the server, and whether it has changed
    /// anything. Returns `None`, for no change, if there is no server yet or the kernel cannot be queried.
    pub fn poll(
        &mut self,
        state: TunnelState,
        look: impl FnOnce() -> (Option<Result<NextHop, ApplyError>>, bool),
    ) -> Option<Input> {
        let began = Instant::now();
        let (next_hop, has_changed) = look();
        let outlook = next_hop.and_then(|next_hop| self.outlook(state, next_hop));
        if let Some(outlook) = &outlook {
            tracing::debug!("the network: {outlook:?}");
        }
        let found = has_changed || self.last != outlook;
        self.last.clone_from(&outlook);
        let now = Instant::now();
        self.took = now.saturating_duration_since(began);
        self.burst.polled(now, self.took, found);
        outlook.map(Input::Network)
    }

    fn outlook(&self, state: TunnelState, next_hop: Result<NextHop, ApplyError>) -> Option<NetworkState> {
        let next_hop = match next_hop {
            Ok(next_hop) => Some(next_hop),
            Err(error) if is_unreachable(&error) => None,
            Err(error) => {
                tracing::warn!("{error}");
                return None;
            }
        };
        let connected = matches!(state, TunnelState::Dialing | TunnelState::Configuring | TunnelState::Up);
        let address_stays = !connected || self.local.is_none_or(is_local_address);
        Some(NetworkState { next_hop, address_stays })
    }

    /// Restores routes and rules of ours that were deleted with `renew`, which returns how many were, unless
    /// the limit is reached.
    pub fn restore(&mut self, renew: impl FnOnce() -> (usize, Result<(), ApplyError>)) {
        let now = Instant::now();
        if !self.restore_limit.may(now) {
            if self.restore_limit.take_warning() {
                tracing::warn!("{}", conflict_message());
            }
            return;
        }
        let (missing, done) = renew();
        let ended = Instant::now();
        if missing > 0 {
            self.restore_limit.put_back(now);
            tracing::info!("{missing} of the tunnel's routes and rules were gone: restored");
            self.burst.polled(ended, self.took, true);
        } else {
            self.took += ended.saturating_duration_since(now).min(LONGEST_LOOK);
            self.burst.took(ended, self.took);
        }
        warn_of(done);
    }

    /// Returns a warning while our routes and rules keep disappearing.
    pub fn restore_conflict(&self) -> Option<String> {
        self.restore_limit.is_in_conflict(Instant::now()).then(conflict_message)
    }
}

/// Only logged: a changing network is often in an intermediate state, and another notification follows.
pub(super) fn warn_of(done: Result<(), ApplyError>) {
    if let Err(error) = done {
        tracing::warn!("after a change of the network: {error}");
    }
}

/// Returns whether an address is this host's: if so, a socket can be bound to it.
fn is_local_address(address: Ipv4Addr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::AddrNotAvailable,
    }
}

fn is_unreachable(error: &ApplyError) -> bool {
    matches!(&error.cause, Cause::Kernel(error) if error.is_unreachable())
}
