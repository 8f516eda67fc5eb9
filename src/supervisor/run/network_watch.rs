//! Follows the network: receives kernel notifications, polls its state, performs the actions of the machine.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use super::{Child, Supervisor, dial};
use crate::{
    apply::{self, ApplyError, Cause},
    engine::message::ToEngine,
    failure::Failure,
    net::kernel::Watch,
    os::sleep::Sleep,
    plan::{self, Facts},
    platform::Platform,
    supervisor::{
        debounce::Debounce,
        hints,
        ipc::progress::Progress,
        machine::{Input, Machine, NetworkState, TunnelState},
        restore_limit::{self, RestoreLimit},
    },
};

/// A wait that ends this much later than its deadline means that this process, or the whole machine under a
/// hypervisor, was stopped: the peer may have given up on the connection.
const OVERSLEPT: Duration = Duration::from_secs(5);

/// Warning for log and status.
pub(super) const WITHOUT_ROUTES: &str = "retry.keep-routes = false: until the tunnel is up again, what is meant for it goes another way, in clear";

/// Returns a warning for log and status.
fn contested() -> String {
    format!(
        "something changes our routes and rules again and again (systemd-networkd, a DHCP client?): they are put back \
         at most {} times in {} s",
        restore_limit::MAX_RESTORES,
        restore_limit::PERIOD.as_secs()
    )
}

/// The sources of network notifications.
pub(super) struct NetworkWatch {
    /// Without it changes go unnoticed, and the backoff alone decides when to try again.
    watch: Option<Watch>,
    sleep: Option<Sleep>,
    burst: Debounce,
    restore_limit: RestoreLimit,
    woke: bool,
    /// Local address of the current connection.
    local: Option<Ipv4Addr>,
}

impl NetworkWatch {
    pub(super) fn new() -> Self {
        let watch =
            Watch::open().inspect_err(|error| tracing::warn!("changes of the network go unnoticed: {error}"));
        let sleep = Sleep::watch().inspect_err(|error| tracing::debug!(%error, "sleep goes unnoticed"));
        Self {
            watch: watch.ok(),
            sleep: sleep.ok(),
            burst: Debounce::default(),
            restore_limit: RestoreLimit::default(),
            woke: false,
            local: None,
        }
    }

    /// Returns the descriptors of the routing messages and of the clock.
    pub(super) fn fds(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [self.watch.as_ref().map(AsFd::as_fd), self.sleep.as_ref().and_then(Sleep::fd)]
    }

    pub(super) fn due(&self) -> Option<Instant> {
        [self.burst.due(), self.restore_limit.due()].into_iter().flatten().min()
    }

    /// Reads what has arrived; `deadline` is when the wait should have ended.
    pub(super) fn receive(&mut self, network: bool, clock: bool, deadline: Option<Instant>) {
        let now = Instant::now();
        if network && self.watch.as_mut().is_some_and(Watch::drain) {
            self.burst.record(now);
        }
        if clock && self.sleep.as_mut().is_some_and(|sleep| sleep.rearm().is_err()) {
            // It would stay readable for ever.
            self.sleep = None;
        }
        let slept = self.sleep.as_mut().and_then(Sleep::slept);
        let overslept = deadline.is_some_and(|deadline| now > deadline + OVERSLEPT);
        self.woke |= slept.is_some() || overslept;
    }

    /// Records the next hop that a dial uses.
    pub(super) fn dials(&mut self, machine: &mut Machine, facts: &Result<Facts, ApplyError>) {
        self.local = None;
        if self.watch.is_none() {
            return;
        }
        match facts {
            Ok(facts) => machine.record_next_hop(facts.next_hop.clone()),
            Err(error) if is_unreachable(error) => machine.record_next_hop(None),
            Err(_) => {}
        }
    }

    pub(super) fn connected_from(&mut self, local: Option<Ipv4Addr>) {
        self.local = local;
    }
}

impl Supervisor {
    /// Acts on notifications that are due.
    pub(super) fn roam_on(&mut self, now: Instant) {
        if std::mem::take(&mut self.network.woke) {
            tracing::info!("this host has slept");
            self.handle(Input::Woke);
        }
        let again = self.network.restore_limit.due().is_some_and(|due| due <= now);
        if again {
            // No longer due, whether or not the poll finds something to restore.
            self.network.restore_limit.may(now);
        }
        if self.network.burst.take(now) || again {
            self.poll_network();
        }
    }

    /// Polls the network and sends the result to the machine.
    pub(super) fn poll_network(&mut self) {
        let began = Instant::now();
        if let Some(outlook) = self.outlook() {
            tracing::debug!("the network: {outlook:?}");
            self.handle(Input::Network(outlook));
        }
        let now = Instant::now();
        self.network.burst.polled(now, now.saturating_duration_since(began));
    }

    /// Returns `None`, for no change, if there is no server yet or the kernel cannot be queried.
    fn outlook(&mut self) -> Option<NetworkState> {
        let server = *self.machine.server_to_reach()?.ip();
        let way = match self.changes.as_mut()?.next_hop(server, self.profile.localbind) {
            Ok(way) => Some(way),
            Err(error) if is_unreachable(&error) => None,
            Err(error) => {
                tracing::warn!("{error}");
                return None;
            }
        };
        let connected =
            matches!(self.machine.state(), TunnelState::Dialing | TunnelState::Configuring | TunnelState::Up);
        let address_stays = !connected || self.network.local.is_none_or(is_local_address);
        Some(NetworkState { next_hop: way, address_stays })
    }

    /// Moves what depends on the next hop, and restores routes and rules of ours that were deleted.
    pub(super) fn repin(&mut self) {
        let (Some(server), Some(link)) = (self.machine.server(), &mut self.changes) else { return };
        let done = dial::facts(link, &self.profile, *server.ip()).and_then(|facts| {
            let words = facts.next_hop.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::info!("the way to {} is {words} now", server.ip());
            let planned = self.offered.as_ref().unwrap_or(&self.profile);
            link.perform(&plan::transport(planned, Platform::host()).resolve(&facts))
        });
        self.warn_of(done);
        self.renew();
    }

    /// Restores routes and rules of ours that were deleted.
    pub(super) fn renew(&mut self) {
        let now = Instant::now();
        if !self.network.restore_limit.may(now) {
            if self.network.restore_limit.take_warning() {
                tracing::warn!("{}", contested());
            }
            return;
        }
        let (missing, done) = self.changes.as_mut().map_or((0, Ok(())), apply::Changes::renew_routes);
        if missing > 0 {
            self.network.restore_limit.put_back(now);
            tracing::info!("something changed {missing} of our routes and rules: put back");
        }
        self.warn_of(done);
    }

    /// Returns a warning while another program changes our routes and rules.
    pub(super) fn contest(&self) -> Option<String> {
        self.network.restore_limit.is_in_conflict(Instant::now()).then(contested)
    }

    /// Only logged: a changing network is often in an intermediate state, and another notification follows.
    fn warn_of(&self, done: Result<(), ApplyError>) {
        if let Err(error) = done {
            tracing::warn!("after a change of the network: {error}");
        }
    }

    /// Undoes the steps that lead into the lost tunnel, so that the host works without it.
    pub(super) fn let_go(&mut self) {
        tracing::info!("{WITHOUT_ROUTES}");
        for problem in self.changes.as_mut().map(apply::Changes::withdraw_routes).unwrap_or_default() {
            tracing::warn!("{problem}");
        }
        self.without_routes = true;
    }

    pub(super) fn probe(&mut self) {
        if let Child::Engine(engine) = &self.child {
            engine.send(&ToEngine::Probe);
        }
    }

    /// Kills the engine or the resolver, whose work is useless now.
    pub(super) fn abandon(&mut self, failure: Failure) {
        self.read_log();
        // The engine first: its end of the pty hangs up, and the daemon does not attempt a graceful shutdown.
        self.kill_child();
        let _its_own_verdict = self.drop_ppp();
        self.lost |= self.active.take().is_some();
        if self.query_due.is_some() {
            self.answer_status(None);
        }
        let failure = hints::add(failure, &self.profile, self.machine.server());
        tracing::warn!("{failure}");
        self.last_failure = Some(failure.clone());
        self.reporter.report(&Progress::Attempt(failure));
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
