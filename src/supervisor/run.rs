//! The supervisor's loop: performs the actions of the [`Machine`] and feeds the results back.
//!
//! It is the only part of a tunnel that keeps root. It reads nothing from the network but the headers of GRE packets
//! that go astray while a dial stalls: the resolver and the engine do the rest in processes of their own, and their
//! messages are checked before they get here. Each part owns its state and returns results or inputs, which the loop
//! passes on: `children` and `external_ppp` have those processes, `steps` the changes to this host, `network_watch` and
//! `resolver_watch` follow changes by others, `firewall_watch` reads this host's rules when a dial stalls, `attempt`
//! looks up, dials and configures, `status` and `answers` report.

mod answers;
mod attempt;
mod capture;
pub(super) mod child_events;
pub(super) mod children;
mod control_files;
mod device_watch;
mod engine_watch;
pub(super) mod external_ppp;
pub(super) mod firewall_watch;
mod forgeable;
mod kernel_dial;
mod kernel_path;
mod network_watch;
mod pause;
mod reload;
mod resolver_files;
mod resolver_watch;
mod status;
pub(super) mod steps;

pub use self::reload::ProfileSource;

use std::{io, rc::Rc, time::Instant};

use self::{
    children::Children, control_files::ControlFiles, firewall_watch::FirewallWatch,
    network_watch::NetworkWatch, reload::Reload, resolver_watch::ResolverWatch, status::Report, steps::Steps,
};
use super::{
    host_files,
    ipc::{
        lock::Lock,
        messages::{Request, Response},
        progress::{Progress, Reporter},
        server::Control,
    },
    log, login_limit,
    login_record::LoginRecord,
    machine::{Action, Input, Machine, TunnelState},
    redial_memory::RedialMemory,
    restrict::{self, Restrictions},
    systemd,
};
use crate::{
    engine::message::ToEngine,
    failure::{Failure, FailureKind, Phase},
    os::{
        launch, memory,
        signals::{self, Signals},
        wait::{self, Interest},
    },
    profile::{Host, PppBackend, Profile},
    secret::Secret,
};

/// Messages of an engine that are handled before signals and the control socket are polled again.
const MOST_MESSAGES: usize = 64;

/// Everything that a supervisor needs to run one tunnel.
pub struct TunnelJob {
    /// The profile, as the user wrote it.
    pub profile: Profile,
    /// Where it was read.
    pub source: ProfileSource,
    /// The password, which is not part of the profile.
    pub password: Secret,
    /// The profile's lock, held until everything is undone.
    pub lock: Lock,
    /// When the user called `up`.
    pub started: Instant,
    /// Signal listener of this process, from before any program could read its pid from the lock.
    pub signals: Signals,
}

/// Runs one tunnel from `up` to `down`. A failure has been reported when it returns.
///
/// # Errors
/// Returns why the tunnel did not come up, or did not stay up and was given up on.
pub fn run(job: TunnelJob, mut reporter: Reporter) -> Result<(), Failure> {
    // Sockets and files are private unless their mode is set explicitly.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let TunnelJob { profile, source, password, lock, started, signals } = job;
    let profile = Rc::new(profile);
    let name = profile.name.as_str();
    let mut machine = Machine::of(&profile);
    let logins = LoginRecord::load(name, &mut machine);
    // With `retry.from-start` the machine waits until a log-in is allowed.
    let delayed = logins.check(&machine).err();
    let opened = match delayed.clone().filter(|_| !profile.retry.from_start) {
        None => Control::listen(name, lock)
            .map_err(|error| host_files::socket_failure(name, &error))
            .and_then(|mut control| {
                let mut steps = Steps::open(profile.clone())?;
                steps.refuse_collisions()?;
                // Looking a group up reads files that a restricted supervisor does not.
                let group = profile.control_group.as_deref();
                let admitted = group.map_or(Ok(()), |group| control.admit_group(name, group));
                let restrictions =
                    restrict::apply(&profile, source.locations()).map_err(|error| internal(&error))?;
                Ok((control, steps, restrictions, admitted))
            }),
        Some(failure) => {
            lock.release();
            Err(failure)
        }
    };
    let (control, steps, restrictions, admitted) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            tracing::error!("{name}: {failure}");
            reporter.report(&Progress::Failed { failure: failure.clone(), problems: Vec::new() });
            return Err(failure);
        }
    };
    let network = NetworkWatch::new();
    let _tunnel = log::tunnel(profile.log_name()).entered();
    if let Err(error) = admitted {
        let note = format!("control.group: {error}; only root can read the status");
        tracing::warn!("{note}");
        reporter.report(&Progress::Note(note));
    }
    let mut supervisor = Supervisor {
        children: Children::new(profile.clone(), password),
        steps,
        control,
        machine,
        network,
        control_files: ControlFiles::new(profile.name.as_str()),
        firewall: FirewallWatch::default(),
        resolvers: ResolverWatch::default(),
        logins,
        redial_memory: RedialMemory::default(),
        report: Report::new(profile.name.as_str(), reporter, started),
        signals,
        watchdog: systemd::Watchdog::of_environment(profile.hooks.longest()),
        restrictions,
        broken: None,
        pause: None,
        reload: Reload { source, started: profile.clone() },
        profile,
    };
    if let Some(failure) = &delayed {
        supervisor.report.failure(failure);
    }
    supervisor.run()
}

/// The parts of one tunnel. The first three undo their effects when they are dropped, in this order, if a bug
/// has ended the loop early.
struct Supervisor {
    children: Children,
    steps: Steps,
    control: Control,
    machine: Machine,
    network: NetworkWatch,
    firewall: FirewallWatch,
    control_files: ControlFiles,
    resolvers: ResolverWatch,
    logins: LoginRecord,
    redial_memory: RedialMemory,
    report: Report,
    signals: Signals,
    watchdog: systemd::Watchdog,
    restrictions: Restrictions,
    /// Why the loop cannot go on.
    broken: Option<Failure>,
    reload: Reload,
    /// When the pause of the kill switch is over, if it is paused.
    pause: Option<Instant>,
    profile: Rc<Profile>,
}

/// Returns a failure of this program itself, before the connection.
fn internal(words: &str) -> Failure {
    Failure::new(Phase::Connect, FailureKind::Internal, words)
}

impl Supervisor {
    fn run(&mut self) -> Result<(), Failure> {
        if self.profile.retry.from_start {
            self.report.trying();
        }
        self.handle(Input::Start);
        loop {
            while let Some(action) = self.machine.poll_action() {
                if let Action::End(outcome) = action {
                    return self.finish(outcome);
                }
                self.perform(action);
            }
            if let Err(error) = self.wait() {
                // poll(2) fails only because of a bug here; continuing would spin.
                let words = match launch::has_ended() {
                    true => "the launcher, which starts programs, has ended".to_owned(),
                    false => format!("poll: {error}"),
                };
                tracing::error!(parent: None, "{words}");
                self.broken = Some(internal(&words));
                self.handle(Input::Stop);
                self.children.kill();
            }
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeouts = [
            self.machine.next_timeout(),
            self.children.next_timeout(),
            self.network.next_timeout(),
            self.firewall.next_timeout(),
            self.control.next_timeout(),
            self.report.subscribers.next_timeout(),
            self.control_files.next_timeout(),
            self.watchdog.next_timeout(),
            self.pause.map(|due| (due, "the pause of the kill switch")),
        ];
        let timeout = timeouts.into_iter().flatten().min();
        let deadline = timeout.map(|(at, _)| at);
        let [end, statistics] = self.signals.fds();
        let [child, child_log, ppp_log, ppp_end] = self.children.fds();
        let [network, clock, names] = self.network.fds();
        let [files, control_files, launcher] = [self.resolvers.fd(), self.control_files.fd(), launch::end()];
        let sources = [
            Some(end),
            Some(statistics),
            child,
            child_log,
            ppp_log,
            ppp_end,
            files,
            network,
            clock,
            names,
            control_files,
            launcher,
        ];
        let fds = sources.into_iter().flatten().chain(self.control.fds());
        let fds: Vec<_> = fds.map(|fd| (fd, Interest::Readable)).collect();
        let mut ready = wait::any(&fds, deadline)?.into_iter();
        let [
            end,
            statistics,
            child,
            child_log,
            ppp_log,
            ppp_end,
            files,
            network,
            clock,
            names,
            control_files,
            launcher,
        ] = sources.map(|fd| fd.is_some() && ready.next() == Some(true));
        let requests = ready.any(|ready| ready);
        if let Some((_, reason)) = timeout.filter(|(at, _)| *at <= Instant::now()) {
            tracing::debug!("timer: {reason}");
        }
        if end || statistics {
            self.signalled();
        }
        if child_log {
            self.children.read_log();
        }
        if child {
            // Bounded, so that an engine that sends without end does not block the other sources.
            for _ in 0..MOST_MESSAGES {
                let Some(event) = self.children.read(self.machine.phase()) else { break };
                self.child_reports(event);
            }
        }
        let found = self.children.serve_ppp(ppp_log, ppp_end, self.machine.phase());
        self.confirmed(found);
        if requests {
            self.serve();
        }
        if files && self.resolvers.files_changed() {
            self.check_resolvers();
        }
        self.network.receive([network, clock, names], deadline);
        if self.control_files.check(Instant::now(), control_files, &mut self.control) {
            self.steps.restore_pid_file();
        }
        self.expire();
        // Without it no engine can be started.
        if launcher { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// Passes an input to the machine. A failure in it gets its hints, and is reported.
    fn handle(&mut self, mut input: Input) {
        let external = self.profile.ppp.backend != PppBackend::Builtin && self.machine.was_up();
        let failure = input.failure_mut().map(|failure| {
            if external {
                *failure = login_limit::of_daemon_redial(failure.clone());
            }
            *failure = self.explained(failure.clone());
            self.report.failure(failure);
            failure.clone()
        });
        let mut random = [0; 2];
        // The jitter only has to differ between hosts; without it the wait is merely exact.
        let _jitter = getrandom::fill(&mut random);
        self.machine.handle(Instant::now(), u16::from_ne_bytes(random), input);
        self.logins.store(self.machine.logins());
        // What follows is either the end, which reports the failure itself, or another attempt.
        if let Some(failure) = failure
            && matches!(self.machine.state(), TunnelState::Resolving | TunnelState::Dialing)
        {
            self.report.attempt(failure);
        }
    }

    fn explained(&mut self, failure: Failure) -> Failure {
        let server = self.machine.server();
        let failure = self.firewall.explained(failure, &self.profile, server, self.network.local);
        let goes_on = self.machine.was_up() || self.profile.retry.from_start;
        pause::advised(failure, &self.profile, goes_on)
    }

    fn perform(&mut self, action: Action) {
        self.watchdog.beat(Instant::now(), true);
        match action {
            Action::Resolve(server) => {
                if let Host::Name(name) = server.host {
                    self.resolve(&name);
                }
            }
            Action::Dial(server) => {
                // A capture that was asked for meanwhile has the dial from its beginning.
                self.serve();
                if let Err(failure) = self.dial(server) {
                    self.handle(Input::DialFailed(failure));
                }
            }
            Action::Configure(link) => self.configure(link),
            Action::Ready => {
                let tun = self.tun_name().unwrap_or_default();
                self.report.ready(tun, self.machine.server());
                memory::return_freed();
            }
            Action::WithdrawRoutes => self.steps.withdraw_routes(),
            Action::Waiting(wait) => self.report.waiting(Some(wait)),
            Action::NoNetwork => self.report.waiting(None),
            Action::PollNetwork => self.poll_network(),
            Action::Repin => {
                if let Some(server) = self.machine.server() {
                    network_watch::warn_of(self.steps.repin(*server.ip()));
                    self.network.restore(|| self.steps.renew_routes());
                }
            }
            Action::RestoreRoutes => self.network.restore(|| self.steps.renew_routes()),
            Action::Probe => {
                self.children.send(&ToEngine::Probe);
            }
            Action::Abandon(failure) => {
                self.children.abandon();
                self.link_down();
                let failure = self.explained(failure);
                if !self.report.has_reported(&failure) {
                    self.report.failure(&failure);
                    self.report.attempt(failure);
                }
            }
            Action::StopChild => {
                if let Some(input) = self.children.stop(self.machine.phase()) {
                    self.handle(input);
                }
            }
            Action::End(_) => {}
        }
    }

    /// Ends the engine's connection for a reason that the engine does not know.
    fn end_link(&mut self, failure: Failure) {
        self.children.abandon();
        self.link_down();
        self.handle(Input::EngineEnded(failure));
    }

    /// Undoes everything, and only then reports the end.
    fn finish(&mut self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        systemd::stopping();
        let outcome = self.broken.take().map_or(outcome, Err);
        self.children.drop_ppp();
        self.check_resolvers();
        self.children.kill();
        // An `up` that the user interrupts is taken down.
        let fails = outcome.as_ref().is_err_and(|failure| failure.kind != FailureKind::Interrupted);
        let was_closed = self.machine.was_up() || self.steps.continues_kill_switch();
        let problems = self.steps.undo(fails && was_closed);
        self.control.close();
        self.report.end(&outcome, &problems);
        self.control.answer(Request::Down, &Response::Down { problems });
        outcome
    }

    fn signalled(&mut self) {
        while let Some(request) = self.signals.take() {
            match request {
                signals::Request::End => self.handle(Input::Stop),
                signals::Request::Statistics => {
                    self.report.summary(&self.machine, || self.children.send(&ToEngine::Query));
                }
            }
        }
    }

    fn poll_network(&mut self) {
        self.check_device();
        // The device of an external PPP disappears when the daemon exits.
        let has_device = self.report.has_link() || !self.children.has_ppp();
        let servers = self.machine.servers_to_reach();
        let is_looked_up = self.profile.retry.from_start && !self.machine.was_up();
        let is_looked_up = is_looked_up && self.machine.server().is_none();
        let steps = &mut self.steps;
        let look = || {
            let mut has_changed = steps.with_route_cache(|steps| steps.follow_collisions(has_device));
            let mut found = None;
            for server in servers {
                found = Some(steps.next_hop(*server.ip()));
                if found.as_ref().is_some_and(Result::is_ok) {
                    break;
                }
            }
            if is_looked_up && !found.as_ref().is_some_and(Result::is_ok) {
                found = Some(steps.next_hop_to_internet());
            }
            if let Some(found) = &found {
                // Also without a path to the server.
                let followed = steps.follow_networks(found.as_ref().ok());
                has_changed |= followed.as_ref().is_ok_and(|changed| *changed);
                network_watch::warn_of(followed.map(drop));
            }
            (found, has_changed)
        };
        if let Some(input) = self.network.poll(self.machine.state(), look) {
            self.handle(input);
        }
        memory::return_freed();
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(event) = self.children.expired(now, self.machine.phase()) {
            self.child_reports(event);
        }
        if let Some(failure) = self.firewall.expired(now) {
            self.end_link(failure);
        }
        if self.machine.next_timeout().is_some_and(|(due, _)| due <= now) {
            self.handle(Input::Timeout);
        }
        if self.pause.is_some_and(|due| due <= now) {
            self.end_pause("its time is over");
        }
        if let Some(slept) = self.network.take_woke() {
            self.machine.add_suspended(slept);
            self.handle(Input::Woke);
        }
        if self.network.take_due(now) {
            self.poll_network();
        }
        self.serve_subscribers(now);
        self.watchdog.beat(now, false);
    }
}
