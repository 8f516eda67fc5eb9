//! The supervisor's loop: performs the actions of the [`Machine`] and feeds the results back.
//!
//! It is the only part of a tunnel that keeps root. It reads nothing from the network: the resolver and the
//! engine do that in processes of their own, and their messages are checked before they get here. `dial`
//! begins an attempt and configures this host, `children` and `external_ppp` manage those processes,
//! `network_watch` and `resolver_watch` follow changes, `status` reports.

mod children;
mod dial;
mod external_ppp;
mod network_watch;
mod resolver_watch;
mod status;

use std::{
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant, SystemTime},
};

use self::{children::Child, network_watch::NetworkWatch, resolver_watch::ResolverWatch};
use super::{
    backoff, hints,
    ipc::{
        lock::Lock,
        messages::{Request, Response},
        progress::{Progress, Reporter},
        server::Control,
    },
    log::{self, EngineLog},
    machine::{Action, Input, Machine, TunnelState},
    systemd,
};
use crate::{
    apply,
    engine::message::{LinkUp, ToEngine},
    failure::{Failure, FailureKind, Phase},
    os::{
        signals::{self, Signals},
        wait::{self, Interest},
    },
    profile::Profile,
    secret::Secret,
};

/// How long a status request waits for the engine's counters.
const QUERY_WAIT: Duration = Duration::from_secs(1);

/// Everything that a supervisor needs to run one tunnel.
pub struct TunnelJob {
    /// The profile, as the user wrote it.
    pub profile: Profile,
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
pub fn run(job: TunnelJob, reporter: Reporter) -> Result<(), Failure> {
    // Sockets and files are private unless their mode is set explicitly.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let name = job.profile.name.clone();
    match Supervisor::new(job, reporter) {
        Ok(supervisor) => {
            let _tunnel = log::tunnel(supervisor.profile.log_name()).entered();
            // Moved, so that what it logs when it is dropped is in the span, too.
            let mut supervisor = supervisor;
            supervisor.run()
        }
        Err((mut reporter, lock, failure)) => {
            tracing::error!("{name}: {failure}");
            lock.release();
            reporter.report(&Progress::Failed { failure: failure.clone(), problems: Vec::new() });
            Err(failure)
        }
    }
}

fn listen(name: &str) -> io::Result<Control> {
    let place = crate::platform::control_socket(name);
    Control::listen(name).map_err(|error| io::Error::other(format!("{}: {error}", place.display())))
}

struct Supervisor {
    profile: Profile,
    password: Secret,
    lock: Option<Lock>,
    started: Instant,
    reporter: Reporter,
    machine: Machine,
    changes: Option<apply::Changes>,
    control: Control,
    signals: Signals,
    child: Child,
    /// The external PPP of the current attempt, if there is one.
    ppp: Option<external_ppp::External>,
    engine_log: EngineLog,
    /// When to kill a child that was asked to end, or a resolver.
    child_due: Option<Instant>,
    /// When to answer status requests without the engine's counters.
    query_due: Option<Instant>,
    active: Option<ActiveLink>,
    /// The profile with the routes that the server offered; set with `peer-routes`, after the first answer.
    offered: Option<Profile>,
    resolvers: ResolverWatch,
    network: NetworkWatch,
    /// SIGUSR1 was received: the next statistics go to the log.
    log_statistics: bool,
    /// The tunnel was up and has been lost.
    lost: bool,
    /// The steps that lead traffic into the tunnel are undone until it is up again.
    without_routes: bool,
    reconnects: u64,
    last_failure: Option<Failure>,
    end: Option<Result<(), Failure>>,
}

/// The event sources of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    /// The channel to the engine or the resolver.
    Child,
    /// Standard error of that process.
    ChildLog,
    /// Log output of pppd or ppp.
    PppLog,
    /// Exit of pppd or ppp.
    PppEnd,
    /// A watched file of the resolver configuration.
    Files,
    /// A kernel message about routes, addresses or links.
    Network,
    /// The wall clock was set, as after a suspend.
    Clock,
    /// The control socket or one of its clients.
    Control,
}

/// A link that is up.
struct ActiveLink {
    link: LinkUp,
    since: SystemTime,
    /// The same time on the monotonic clock.
    began: Instant,
}

impl Drop for Supervisor {
    /// Undoes the changes to the host if a bug has ended the loop early.
    fn drop(&mut self) {
        self.drop_ppp();
        let Some(link) = self.changes.take() else { return };
        self.kill_child();
        for problem in link.undo_all_and_close() {
            tracing::error!("{problem}");
        }
        self.control.close();
        if let Some(lock) = self.lock.take() {
            lock.release();
        }
    }
}

/// Returns a failure of this program itself, before the connection.
fn internal(words: &str) -> Failure {
    Failure::new(Phase::Connect, FailureKind::Internal, words)
}

type Refused = (Reporter, Lock, Failure);

impl Supervisor {
    fn new(job: TunnelJob, reporter: Reporter) -> Result<Self, Refused> {
        let TunnelJob { profile, password, mut lock, started, signals } = job;
        let name = profile.name.as_str();
        let ready = lock
            .sign()
            .map_err(io::Error::other)
            .and_then(|()| listen(name))
            .map_err(|error| Failure::new(Phase::Resolve, FailureKind::Internal, error.to_string()));
        let opened = ready.and_then(|control| {
            let link = dial::open_link(&profile).inspect_err(|_| control.close())?;
            Ok((control, link))
        });
        let (control, link) = match opened {
            Ok(opened) => opened,
            Err(failure) => return Err((reporter, lock, failure)),
        };
        let retry = backoff::Policy {
            first: profile.retry.first,
            max: profile.retry.max,
            attempts: profile.retry.attempts,
            jitter_percent: profile.retry.jitter_percent,
        };
        Ok(Self {
            machine: Machine::new(profile.servers.clone(), retry).keeping_routes(profile.retry.keep_routes),
            profile,
            password,
            lock: Some(lock),
            started,
            reporter,
            changes: Some(link),
            control,
            signals,
            child: Child::None,
            ppp: None,
            engine_log: EngineLog::default(),
            child_due: None,
            query_due: None,
            active: None,
            offered: None,
            resolvers: ResolverWatch::default(),
            network: NetworkWatch::new(),
            log_statistics: false,
            lost: false,
            without_routes: false,
            reconnects: 0,
            last_failure: None,
            end: None,
        })
    }

    fn run(&mut self) -> Result<(), Failure> {
        self.handle(Input::Start);
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.perform(action);
            }
            if let Some(end) = self.end.take() {
                return end;
            }
            if let Err(error) = self.wait() {
                // poll(2) fails only because of a bug here; continuing would spin.
                tracing::error!(parent: None, %error, "poll");
                self.handle(Input::Stop);
                self.kill_child();
            }
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadline =
            [self.machine.next_timeout(), self.child_due, self.query_due, self.ppp_due(), self.network.due()]
                .into_iter()
                .flatten()
                .min();
        let ready = self.readable(deadline)?;
        let is = |source: Source| ready.contains(&source);
        if is(Source::Signals) {
            self.signalled();
        }
        if is(Source::ChildLog) {
            self.read_log();
        }
        if is(Source::Child) {
            self.read_child();
        }
        self.serve_ppp(is(Source::PppLog), is(Source::PppEnd));
        if is(Source::Control) {
            self.serve();
        }
        if is(Source::Files) {
            self.files_changed();
        }
        self.network.receive(is(Source::Network), is(Source::Clock), deadline);
        self.expire();
        Ok(())
    }

    /// Waits until a source is readable or the deadline passes; returns the readable sources.
    fn readable(&self, deadline: Option<Instant>) -> io::Result<Vec<Source>> {
        let sources = self.sources();
        let fds: Vec<_> = sources.iter().map(|(_, fd)| (*fd, Interest::Readable)).collect();
        let ready = wait::any(&fds, deadline)?;
        Ok(sources.iter().zip(ready).filter(|(_, ready)| *ready).map(|((source, _), _)| *source).collect())
    }

    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>)> {
        let process = match &self.child {
            Child::None => None,
            Child::Resolver(resolver) => Some(resolver.process().fds()),
            Child::Engine(engine) => Some(engine.process().fds()),
        };
        let (channel, log) = process.map_or((None, None), |(channel, log)| (Some(channel), log));
        let [ppp_log, ppp_end] = self.ppp_fds();
        let [network, clock] = self.network.fds();
        let optional = [
            (Source::Child, channel),
            (Source::ChildLog, log),
            (Source::PppLog, ppp_log),
            (Source::PppEnd, ppp_end),
            (Source::Files, self.resolvers.fd()),
            (Source::Network, network),
            (Source::Clock, clock),
        ];
        let signals = self.signals.fds().into_iter().map(|fd| (Source::Signals, fd));
        let present = optional.into_iter().filter_map(|(source, fd)| Some((source, fd?)));
        signals.chain(present).chain(self.control.fds().map(|fd| (Source::Control, fd))).collect()
    }

    fn handle(&mut self, input: Input) {
        let mut random = [0; 2];
        // The jitter only has to differ between hosts; without it the wait is merely exact.
        let _jitter = getrandom::fill(&mut random);
        self.machine.handle(Instant::now(), u16::from_ne_bytes(random), input);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Resolve(server) => self.resolve(&server),
            Action::Dial(server) => {
                if let Err(failure) = self.dial(server) {
                    self.failed(failure, Input::DialFailed);
                }
            }
            Action::Configure(link) => self.configure(link),
            Action::Ready => self.ready(),
            Action::WithdrawRoutes => self.let_go(),
            Action::Waiting(wait) => {
                tracing::info!("next attempt in {:.1} s", wait.as_secs_f32());
                systemd::status(&format!("waiting {:.0} s for the next attempt", wait.as_secs_f32()));
            }
            Action::NoNetwork => {
                tracing::info!("no network; waits for one");
                systemd::status("waiting for a network");
            }
            Action::PollNetwork => self.poll_network(),
            Action::Repin => self.repin(),
            Action::RestoreRoutes => self.renew(),
            Action::Probe => self.probe(),
            Action::Abandon(failure) => self.abandon(failure),
            Action::StopChild => self.stop_child(),
            Action::End(outcome) => self.finish(outcome),
        }
    }

    fn ready(&mut self) {
        let tun = self.tun_name().unwrap_or_default();
        if std::mem::take(&mut self.lost) {
            self.reconnects += 1;
        }
        tracing::info!("up on {tun}");
        systemd::ready(&format!("up on {tun}"));
        let at_ms = self.elapsed_ms();
        self.reporter.report(&Progress::Ready { tun, at_ms });
    }

    /// Undoes everything, and only then reports the end.
    fn finish(&mut self, outcome: Result<(), Failure>) {
        systemd::stopping();
        self.drop_ppp();
        self.check_resolvers();
        self.child = Child::None;
        self.active = None;
        // A tunnel that was up and is given up on was not taken down by the user: its traffic must still not
        // leave.
        let guarded = outcome.is_err()
            && self.machine.was_up()
            && self.changes.as_ref().is_some_and(apply::Changes::has_kill_switch);
        let unwind = if guarded {
            apply::Changes::undo_all_but_kill_switch
        } else {
            apply::Changes::undo_all_and_close
        };
        let errors = self.changes.take().map(unwind).unwrap_or_default();
        if guarded {
            tracing::warn!(
                "leak = \"block\": what is meant for the tunnel goes nowhere until `pptpctl recover` or the next up"
            );
        }
        let problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for problem in &problems {
            tracing::error!("{problem}");
        }
        self.control.close();
        if let Some(lock) = self.lock.take() {
            lock.release();
        }
        match &outcome {
            Ok(()) => tracing::info!("down"),
            Err(failure) => {
                tracing::error!("{failure}");
                for hint in &failure.hints {
                    tracing::info!("check: {hint}");
                }
                self.reporter
                    .report(&Progress::Failed { failure: failure.clone(), problems: problems.clone() });
            }
        }
        self.control.answer(Request::Down, &Response::Down { problems });
        self.end = Some(outcome);
    }

    fn signalled(&mut self) {
        while let Some(request) = self.signals.take() {
            match request {
                signals::Request::End => self.handle(Input::Stop),
                signals::Request::Statistics => {
                    let (state, phase) = (self.machine.state().word(), self.machine.phase());
                    tracing::info!("{state}, phase {phase}, {} reconnects", self.reconnects);
                    if let Child::Engine(engine) = &self.child {
                        self.log_statistics = engine.send(&ToEngine::Query);
                    }
                }
            }
        }
    }

    fn failed(&mut self, failure: Failure, input: impl FnOnce(Failure) -> Input) {
        let failure = hints::add(failure, &self.profile, self.machine.server());
        if failure.kind != FailureKind::Interrupted {
            tracing::warn!("{failure}");
            self.last_failure = Some(failure.clone());
        }
        self.handle(input(failure.clone()));
        // What follows is either the end, which reports the failure itself, or another attempt.
        if matches!(self.machine.state(), TunnelState::Resolving | TunnelState::Dialing) {
            self.reporter.report(&Progress::Attempt(failure));
        }
    }

    fn serve(&mut self) {
        for request in self.control.handle() {
            match request {
                Request::Down => self.handle(Input::Stop),
                Request::Status => match &self.child {
                    // One query serves all clients that ask while it is pending.
                    Child::Engine(_) if self.query_due.is_some() => {}
                    Child::Engine(engine) if engine.send(&ToEngine::Query) => {
                        self.query_due = Some(Instant::now() + QUERY_WAIT);
                    }
                    Child::Engine(_) => self.answer_status(None),
                    Child::None | Child::Resolver(_) => self.answer_status(None),
                },
            }
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        if self.query_due.is_some_and(|due| due <= now) {
            self.answer_status(None);
        }
        if self.child_due.is_some_and(|due| due <= now) {
            self.child_due = None;
            match &self.child {
                Child::Resolver(resolver) => {
                    let name = resolver.name().to_owned();
                    self.kill_child();
                    let seconds = self.profile.timeouts.resolve.as_secs_f32();
                    let late = format!("no answer from the resolver within {seconds} s");
                    let failure = Failure::new(Phase::Resolve, FailureKind::NameNotResolved, late);
                    self.name_resolved(&name, Err(failure));
                }
                Child::Engine(_) => self.engine_gone("the engine did not end in time"),
                Child::None => {}
            }
        }
        if self.machine.next_timeout().is_some_and(|due| due <= now) {
            self.handle(Input::Timeout);
        }
        self.roam_on(now);
    }
}
