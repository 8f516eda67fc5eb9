//! Following the network: what the kernel tells of it, what it looks like then, and what the machine wants done.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use super::{Child, Supervisor, dial};
use crate::{
    apply::{self, ApplyError, Cause},
    engine::{failure::Failure, message::ToEngine},
    net::{kernel::Watch, sleep::Sleep},
    plan::{self, Facts, Platform},
    supervisor::{
        debounce::Debounce,
        hints,
        ipc::progress::Progress,
        machine::{Input, Machine, NetworkState, TunnelState},
        restore_limit::{self, RestoreLimit},
    },
};

/// A wait that ends so much later than it should was a stop of this process, or of the whole machine under a
/// hypervisor: the peer may have given up on us.
const OVERSLEPT: Duration = Duration::from_secs(5);

/// For log and status.
pub(super) const WITHOUT_ROUTES: &str = "retry.keep-routes = false: until the tunnel is up again, what is meant for it goes another way, in clear";

/// For log and status.
fn contested() -> String {
    format!(
        "something changes our routes and rules again and again (systemd-networkd, a DHCP client?): they are put back \
         at most {} times in {} s",
        restore_limit::MOST,
        restore_limit::WITHIN.as_secs()
    )
}

/// The ears of a supervisor.
pub(super) struct NetworkWatch {
    /// Without it nothing is known of changes, and the backoff alone decides when to try again.
    watch: Option<Watch>,
    sleep: Option<Sleep>,
    burst: Debounce,
    contest: RestoreLimit,
    woke: bool,
    /// The address that the present connection has.
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
            contest: RestoreLimit::default(),
            woke: false,
            local: None,
        }
    }

    /// The routing messages, and the clock.
    pub(super) fn fds(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [self.watch.as_ref().map(AsFd::as_fd), self.sleep.as_ref().and_then(Sleep::fd)]
    }

    pub(super) fn due(&self) -> Option<Instant> {
        [self.burst.due(), self.contest.due()].into_iter().flatten().min()
    }

    /// Takes in what has come; `deadline` is when the wait should have ended.
    pub(super) fn hear(&mut self, network: bool, clock: bool, deadline: Option<Instant>) {
        let now = Instant::now();
        if network && self.watch.as_mut().is_some_and(Watch::drain) {
            self.burst.notice(now);
        }
        if clock && self.sleep.as_mut().is_some_and(|sleep| sleep.rearm().is_err()) {
            // It would be readable for ever.
            self.sleep = None;
        }
        let slept = self.sleep.as_mut().and_then(Sleep::slept);
        let overslept = deadline.is_some_and(|deadline| now > deadline + OVERSLEPT);
        self.woke |= slept.is_some() || overslept;
    }

    /// The network as a dial sees it.
    pub(super) fn dials(&mut self, machine: &mut Machine, facts: &Result<Facts, ApplyError>) {
        self.local = None;
        if self.watch.is_none() {
            return;
        }
        match facts {
            Ok(facts) => machine.sees(facts.next_hop.clone()),
            Err(error) if is_unreachable(error) => machine.sees(None),
            Err(_) => {}
        }
    }

    pub(super) fn connected_from(&mut self, local: Option<Ipv4Addr>) {
        self.local = local;
    }
}

impl Supervisor {
    /// What has been heard, once it is time to act on it.
    pub(super) fn roam_on(&mut self, now: Instant) {
        if std::mem::take(&mut self.network.woke) {
            tracing::info!("{}: this host has slept", self.profile.log_name());
            self.handle(Input::Woke);
        }
        let again = self.network.contest.due().is_some_and(|due| due <= now);
        if again {
            // Whether or not the look finds something to put back, it need not be waited for any more.
            self.network.contest.may(now);
        }
        if self.network.burst.take(now) || again {
            self.look();
        }
    }

    /// Tells the machine what the network looks like now.
    pub(super) fn look(&mut self) {
        let began = Instant::now();
        if let Some(outlook) = self.outlook() {
            tracing::debug!("{}: the network: {outlook:?}", self.profile.log_name());
            self.handle(Input::Network(outlook));
        }
        let now = Instant::now();
        self.network.burst.looked(now, now.saturating_duration_since(began));
    }

    /// `None` when there is nothing to look for, or the kernel cannot be asked: then all stays as it is.
    fn outlook(&mut self) -> Option<NetworkState> {
        let server = *self.machine.looks_for()?.ip();
        let way = match self.changes.as_mut()?.next_hop(server, self.profile.localbind) {
            Ok(way) => Some(way),
            Err(error) if is_unreachable(&error) => None,
            Err(error) => {
                tracing::warn!("{}: {error}", self.profile.log_name());
                return None;
            }
        };
        let connected =
            matches!(self.machine.state(), TunnelState::Dialing | TunnelState::Configuring | TunnelState::Up);
        let address_stays = !connected || self.network.local.is_none_or(is_ours);
        Some(NetworkState { way, address_stays })
    }

    /// Everything that hangs on the way to the server, and every route of ours that something took away.
    pub(super) fn repin(&mut self) {
        let (Some(server), Some(link)) = (self.machine.server(), &mut self.changes) else { return };
        let done = dial::facts(link, &self.profile, *server.ip()).and_then(|facts| {
            let words = facts.next_hop.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::info!("{}: the way to {} is {words} now", self.profile.log_name(), server.ip());
            let planned = self.offered.as_ref().unwrap_or(&self.profile);
            link.perform(&plan::transport(planned, Platform::host()).resolve(&facts))
        });
        self.warn_of(done);
        self.renew();
    }

    /// Every route and rule of ours that something took away.
    pub(super) fn renew(&mut self) {
        let now = Instant::now();
        if !self.network.contest.may(now) {
            if self.network.contest.tells() {
                tracing::warn!("{}: {}", self.profile.log_name(), contested());
            }
            return;
        }
        let (missing, done) = self.changes.as_mut().map_or((0, Ok(())), apply::Changes::renew_routes);
        if missing > 0 {
            self.network.contest.put_back(now);
            tracing::info!(
                "{}: something changed {missing} of our routes and rules: put back",
                self.profile.log_name()
            );
        }
        self.warn_of(done);
    }

    /// What a person should know of others who change our routes and rules.
    pub(super) fn contest(&self) -> Option<String> {
        self.network.contest.goes_on(Instant::now()).then(contested)
    }

    /// The network is between two states more often than not: what comes next is another notice.
    fn warn_of(&self, done: Result<(), ApplyError>) {
        if let Err(error) = done {
            tracing::warn!("{}: after a change of the network: {error}", self.profile.log_name());
        }
    }

    /// The tunnel is lost, and the profile wants the host to work without it meanwhile.
    pub(super) fn let_go(&mut self) {
        tracing::info!("{}: {WITHOUT_ROUTES}", self.profile.log_name());
        for problem in self.changes.as_mut().map(apply::Changes::withdraw_routes).unwrap_or_default() {
            tracing::warn!("{}: {problem}", self.profile.log_name());
        }
        self.without_routes = true;
    }

    pub(super) fn probe(&mut self) {
        if let Child::Engine(engine) = &self.child {
            engine.say(&ToEngine::Probe);
        }
    }

    /// The engine's or resolver's work is of no use any more.
    pub(super) fn abandon(&mut self, failure: Failure) {
        self.read_log();
        // The engine first: its end of the line hangs up, and a daemon does not try to be polite.
        self.kill_child();
        let _its_own_verdict = self.drop_ppp();
        self.lost |= self.active.take().is_some();
        if self.query_due.is_some() {
            self.answer_status(None);
        }
        let failure = hints::add(failure, &self.profile, self.machine.server());
        tracing::warn!("{}: {failure}", self.profile.log_name());
        self.last_failure = Some(failure.clone());
        self.reporter.say(&Progress::Attempt(failure));
    }
}

/// Whether an address is one of this host's: then a socket can have it.
fn is_ours(address: Ipv4Addr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::AddrNotAvailable,
    }
}

fn is_unreachable(error: &ApplyError) -> bool {
    matches!(&error.cause, Cause::Kernel(error) if error.is_unreachable())
}
