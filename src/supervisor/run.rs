//! The supervisor's loop: performs what the [`Machine`] decides, and feeds back what came of it.
//!
//! It is the only part of a tunnel that keeps root. It reads nothing from the network: the resolver and the
//! engine do that in processes of their own, and what they say is checked before it gets here.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    backoff,
    control::Control,
    dial, hints,
    lock::Lock,
    log::EngineLog,
    machine::{Action, Input, Machine, State},
    notify,
    report::{Progress, Reporter},
    status::{Answer, Request, Status},
};
use crate::{
    engine::{
        failure::{Failure, FailureKind, Phase},
        message::{FromEngine, LinkUp, Statistics, ToEngine},
        parent::{Engine, Resolver, Said},
        resolver,
    },
    link::{self, Cause, LinkError, Places},
    net::{
        signals::{self, Signals},
        transport,
        wait::{self, Interest},
    },
    os::ticks,
    plan::{self, Facts, Platform},
    profile::{Host, Profile, Server},
    secret::Secret,
};

/// The largest IP packet on a way of which the kernel knows nothing better, in bytes.
const ETHERNET: u16 = 1500;

/// How long a status may wait for the engine's counters.
const QUERY_WAIT: Duration = Duration::from_secs(1);

/// Everything that a tunnel is made from.
pub struct Job {
    /// What the person wrote.
    pub profile: Profile,
    /// What the profile does not hold.
    pub password: Secret,
    /// Held until everything is undone.
    pub lock: Lock,
    /// When `up` was called: what the person waits from.
    pub started: Instant,
}

/// Runs one tunnel from `up` to `down`. The failure has been reported by then.
///
/// # Errors
/// Why the tunnel did not come up, or did not stay up and was given up on.
pub fn run(job: Job, reporter: Reporter) -> Result<(), Failure> {
    // Sockets and files are ours alone unless they say otherwise.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let name = job.profile.name.clone();
    match Supervisor::new(job, reporter) {
        Ok(mut supervisor) => supervisor.run(),
        Err((mut reporter, lock, failure)) => {
            tracing::error!("{name}: {failure}");
            lock.release();
            reporter.say(&Progress::Failed { failure: failure.clone(), problems: Vec::new() });
            Err(failure)
        }
    }
}

struct Supervisor {
    profile: Profile,
    password: Secret,
    lock: Option<Lock>,
    started: Instant,
    reporter: Reporter,
    machine: Machine,
    link: Option<link::Session>,
    control: Control,
    signals: Signals,
    child: Child,
    engine_log: EngineLog,
    /// When a child that was asked to end, or a resolver, is ended without asking.
    child_due: Option<Instant>,
    /// When those who asked for a status are answered without the engine's counters.
    query_due: Option<Instant>,
    live: Option<Live>,
    /// SIGUSR1: the next statistics are for the log.
    log_statistics: bool,
    /// The tunnel was up and has been lost.
    lost: bool,
    reconnects: u64,
    last_failure: Option<Failure>,
    end: Option<Result<(), Failure>>,
}

enum Child {
    None,
    Resolver(Resolver),
    Engine(Engine),
}

/// What is known of a tunnel that is up.
struct Live {
    link: LinkUp,
    since: SystemTime,
}

type Refused = (Reporter, Lock, Failure);

impl Supervisor {
    fn new(job: Job, reporter: Reporter) -> Result<Self, Refused> {
        let Job { profile, password, mut lock, started } = job;
        let name = profile.name.as_str();
        let ready = lock
            .sign()
            .map_err(io::Error::other)
            .and_then(|()| Ok((Signals::listen()?, Control::listen(name)?)))
            .map_err(|error| Failure::new(Phase::Resolve, FailureKind::Internal, error.to_string()));
        let opened = ready.and_then(|(signals, control)| {
            let link = open_link(name).inspect_err(|_| control.close())?;
            Ok((signals, control, link))
        });
        let (signals, control, link) = match opened {
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
            machine: Machine::new(profile.servers.clone(), retry),
            profile,
            password,
            lock: Some(lock),
            started,
            reporter,
            link: Some(link),
            control,
            signals,
            child: Child::None,
            engine_log: EngineLog::default(),
            child_due: None,
            query_due: None,
            live: None,
            log_statistics: false,
            lost: false,
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
                // poll(2) fails only for a defect of ours; going on would spin.
                tracing::error!(%error, "poll");
                self.handle(Input::Stop);
                self.kill_child();
            }
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadline =
            [self.machine.next_timeout(), self.child_due, self.query_due].into_iter().flatten().min();
        let (mut signals, mut control, mut channel, mut log) = (false, false, false, false);
        {
            let process = match &self.child {
                Child::None => None,
                Child::Resolver(resolver) => Some(resolver.process().fds()),
                Child::Engine(engine) => Some(engine.process().fds()),
            };
            let mut fds = Vec::new();
            let mut flags: Vec<&mut bool> = Vec::new();
            let [end, statistics] = self.signals.fds();
            fds.extend([(end, Interest::Readable), (statistics, Interest::Readable)]);
            if let Some((ours, stderr)) = process {
                fds.push((ours, Interest::Readable));
                flags.push(&mut channel);
                if let Some(stderr) = stderr {
                    fds.push((stderr, Interest::Readable));
                    flags.push(&mut log);
                }
            }
            let fixed = fds.len();
            fds.extend(self.control.fds().map(|fd| (fd, Interest::Readable)));
            let ready = wait::any(&fds, deadline)?;
            signals = ready.iter().take(2).any(|ready| *ready) || signals;
            for (flag, ready) in flags.into_iter().zip(ready.iter().skip(2)) {
                *flag = *ready;
            }
            control = ready.iter().skip(fixed).any(|ready| *ready) || control;
        }
        if signals {
            self.signalled();
        }
        if log {
            self.read_log();
        }
        if channel {
            self.hear_child();
        }
        if control {
            self.serve();
        }
        self.expire();
        Ok(())
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
            Action::Waiting(wait) => {
                tracing::info!("{}: next attempt in {:.1} s", self.profile.log_name(), wait.as_secs_f32());
                notify::status(&format!("waiting {:.0} s for the next attempt", wait.as_secs_f32()));
            }
            Action::StopChild => self.stop_child(),
            Action::End(outcome) => self.finish(outcome),
        }
    }

    fn resolve(&mut self, server: &Server) {
        let Host::Name(name) = &server.host else { return };
        self.say_phase(Phase::Resolve, "");
        match Resolver::start(name, 1) {
            Ok(resolver) => {
                self.child = Child::Resolver(resolver);
                self.child_due = Some(Instant::now() + self.profile.timeouts.resolve);
            }
            Err(error) => {
                let failure =
                    Failure::new(Phase::Resolve, FailureKind::Internal, format!("resolver: {error}"));
                self.failed(failure, |failure| Input::Resolved(Err(failure)));
            }
        }
    }

    /// Host route, sockets, engine: in this order, so that the first packet already goes the right way.
    fn dial(&mut self, server: SocketAddrV4) -> Result<(), Failure> {
        self.say_phase(Phase::Connect, "");
        let localbind = self.profile.localbind;
        let Some(link) = &mut self.link else { return Err(internal("the link is closed")) };
        let facts = link.facts(*server.ip(), localbind).map_err(|error| route_failure(&error))?;
        let transport = plan::transport(&self.profile, Platform::host()).resolve(&facts);
        link.perform(&transport).map_err(|error| step_failure(Phase::Connect, &error))?;
        let notes = transport.notes.clone();
        let path_mtu = path_mtu(&facts);
        let options = transport::Options { local: localbind, mark: 0 };
        let tcp =
            transport::tcp_socket(&options).map_err(|error| socket_failure("TCP", localbind, &error))?;
        let gre = transport::gre_socket(*server.ip(), &options)
            .map_err(|error| socket_failure("GRE", localbind, &error))?;
        let tun = self.tun()?;
        let spec = dial::spec(&self.profile, server, path_mtu);
        let engine = Engine::start(spec, &self.password, tcp.as_fd(), gre.as_fd(), tun.as_fd())
            .map_err(|error| internal(&format!("the engine does not start: {error}")))?;
        self.child = Child::Engine(engine);
        self.child_due = None;
        self.notes(&notes);
        Ok(())
    }

    fn tun(&self) -> Result<OwnedFd, Failure> {
        let tun = self.link.as_ref().and_then(link::Session::tun).ok_or_else(|| internal("no tun device"))?;
        tun.share().map_err(|error| internal(&error.to_string()))
    }

    fn configure(&mut self, up: LinkUp) {
        let server = self.machine.server().map_or(Ipv4Addr::UNSPECIFIED, |server| *server.ip());
        let localbind = self.profile.localbind;
        let Some(link) = &mut self.link else { return };
        let done = link.facts(server, localbind).and_then(|facts| {
            let facts = Facts {
                mtu: Some(up.mtu),
                local: Some(up.local),
                peer: Some(up.peer),
                ipv6: up
                    .ipv6
                    .map_or(plan::Ipv6::Absent, |(local, peer)| plan::Ipv6::from_identifiers(local, peer)),
                ..facts
            };
            let run = std::path::Path::new(Platform::host().run_dir());
            let network = plan::network(&self.profile, Platform::host(), run).resolve(&facts);
            link.perform(&network)?;
            Ok(network)
        });
        let words = format!("{} → {}, MTU {}", up.local, up.peer, up.mtu);
        self.say_phase(Phase::Routes, &words);
        match done {
            Ok(network) => {
                self.notes(&network.notes);
                self.live = Some(Live { link: up, since: SystemTime::now() });
                self.handle(Input::Configured(Ok(())));
            }
            Err(error) => {
                let failure = step_failure(Phase::Routes, &error);
                self.failed(failure, |failure| Input::Configured(Err(failure)));
            }
        }
    }

    fn ready(&mut self) {
        let tun = self.tun_name().unwrap_or_default();
        if std::mem::take(&mut self.lost) {
            self.reconnects += 1;
        }
        tracing::info!("{}: up on {tun}", self.profile.log_name());
        notify::ready(&format!("up on {tun}"));
        let at_ms = self.elapsed_ms();
        self.reporter.say(&Progress::Ready { tun, at_ms });
    }

    /// Undoes everything; only then does anyone hear of the end.
    fn finish(&mut self, outcome: Result<(), Failure>) {
        notify::stopping();
        self.child = Child::None;
        self.live = None;
        let errors = self.link.take().map(link::Session::unwind).unwrap_or_default();
        let problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for problem in &problems {
            tracing::error!("{}: {problem}", self.profile.log_name());
        }
        self.control.close();
        if let Some(lock) = self.lock.take() {
            lock.release();
        }
        match &outcome {
            Ok(()) => tracing::info!("{}: down", self.profile.log_name()),
            Err(failure) => {
                tracing::error!("{}: {failure}", self.profile.log_name());
                for hint in &failure.hints {
                    tracing::info!("{}: check: {hint}", self.profile.log_name());
                }
                self.reporter.say(&Progress::Failed { failure: failure.clone(), problems: problems.clone() });
            }
        }
        self.control.answer(Request::Down, &Answer::Down { problems });
        self.end = Some(outcome);
    }

    fn stop_child(&mut self) {
        match &self.child {
            Child::Engine(engine) => {
                engine.say(&ToEngine::Stop);
                // LCP Terminate, Call-Clear, Stop: each has its own limit; then patience ends.
                self.child_due =
                    Some(Instant::now() + self.profile.timeouts.stop * 3 + Duration::from_secs(1));
            }
            Child::Resolver(_) => {
                self.kill_child();
                let stopped = Failure::new(Phase::Resolve, FailureKind::Interrupted, "");
                self.handle(Input::Resolved(Err(stopped)));
            }
            Child::None => {
                let stopped = Failure::new(self.machine.phase(), FailureKind::Interrupted, "");
                self.handle(Input::EngineEnded(stopped));
            }
        }
    }

    fn kill_child(&mut self) {
        self.child = Child::None;
        self.child_due = None;
    }

    fn signalled(&mut self) {
        while let Some(request) = self.signals.take() {
            match request {
                signals::Request::End => self.handle(Input::Stop),
                signals::Request::Statistics => {
                    let (state, phase) = (self.machine.state().word(), self.machine.phase());
                    tracing::info!(
                        "{}: {state}, phase {phase}, {} reconnects",
                        self.profile.log_name(),
                        self.reconnects
                    );
                    if let Child::Engine(engine) = &self.child {
                        engine.say(&ToEngine::Query);
                        self.log_statistics = true;
                    }
                }
            }
        }
    }

    fn read_log(&mut self) {
        let Self { child, engine_log, .. } = self;
        let helper = match child {
            Child::Engine(engine) => engine.helper(),
            Child::Resolver(resolver) => resolver.helper(),
            Child::None => return,
        };
        helper.read_log(|bytes| engine_log.take(bytes));
    }

    fn hear_child(&mut self) {
        match &self.child {
            Child::Resolver(resolver) => {
                let Some(answer) = resolver.answer() else { return };
                self.kill_child();
                match answer {
                    resolver::Answer::Found(addresses) => self.handle(Input::Resolved(Ok(addresses))),
                    resolver::Answer::Failed(why) => {
                        let failure = Failure::new(Phase::Resolve, FailureKind::NameNotResolved, why);
                        self.failed(failure, |failure| Input::Resolved(Err(failure)));
                    }
                }
            }
            Child::Engine(_) => {
                // Bounded by what the channel holds; between messages the machine has its say.
                while let Child::Engine(engine) = &self.child {
                    match engine.hear() {
                        Said::Message(message) => self.engine_said(message),
                        Said::Nothing => break,
                        Said::Ended(why) => self.engine_gone(&why),
                    }
                }
            }
            Child::None => {}
        }
    }

    fn engine_said(&mut self, message: FromEngine) {
        match message {
            FromEngine::Phase { phase, detail } => {
                self.say_phase(phase, &detail);
                self.handle(Input::Phase(phase));
            }
            FromEngine::Up(link) => self.handle(Input::LinkUp(link)),
            FromEngine::Statistics(statistics) => {
                if std::mem::take(&mut self.log_statistics) {
                    for (name, value) in statistics.counters.iter().filter(|(_, value)| *value > 0) {
                        tracing::info!("{}: {name} {value}", self.profile.log_name());
                    }
                }
                self.answer_status(Some(&statistics));
            }
            FromEngine::Down(failure) => {
                self.read_log();
                self.engine_ended(failure);
            }
        }
    }

    fn engine_gone(&mut self, why: &str) {
        self.read_log();
        let how = match &mut self.child {
            Child::Engine(engine) => engine.helper().end(),
            _ => String::new(),
        };
        let failure = Failure::new(self.machine.phase(), FailureKind::Internal, format!("{why} ({how})"));
        self.engine_ended(failure);
    }

    fn engine_ended(&mut self, failure: Failure) {
        self.kill_child();
        self.lost |= self.live.take().is_some();
        if self.query_due.is_some() {
            self.answer_status(None);
        }
        self.failed(failure, Input::EngineEnded);
    }

    /// An attempt, or the tunnel itself, has failed: the person hears of it, and the machine decides.
    fn failed(&mut self, failure: Failure, input: impl FnOnce(Failure) -> Input) {
        let failure = hints::add(failure, &self.profile, self.machine.server());
        if failure.kind != FailureKind::Interrupted {
            tracing::warn!("{}: {failure}", self.profile.log_name());
            self.last_failure = Some(failure.clone());
        }
        self.handle(input(failure.clone()));
        // What comes next is either the end, which carries the failure itself, or another attempt.
        if matches!(self.machine.state(), State::Resolving | State::Dialing) {
            self.reporter.say(&Progress::Attempt(failure));
        }
    }

    fn serve(&mut self) {
        for request in self.control.handle() {
            match request {
                Request::Down => self.handle(Input::Stop),
                Request::Status => match &self.child {
                    Child::Engine(engine) => {
                        engine.say(&ToEngine::Query);
                        self.query_due = Some(Instant::now() + QUERY_WAIT);
                    }
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
                Child::Resolver(_) => {
                    self.kill_child();
                    let seconds = self.profile.timeouts.resolve.as_secs_f32();
                    let late = format!("no answer from the resolver within {seconds} s");
                    let failure = Failure::new(Phase::Resolve, FailureKind::NameNotResolved, late);
                    self.failed(failure, |failure| Input::Resolved(Err(failure)));
                }
                Child::Engine(_) => self.engine_gone("the engine did not end in time"),
                Child::None => {}
            }
        }
        if self.machine.next_timeout().is_some_and(|due| due <= now) {
            self.handle(Input::Timeout);
        }
    }

    fn answer_status(&mut self, statistics: Option<&Statistics>) {
        self.query_due = None;
        let status = self.status(statistics);
        self.control.answer(Request::Status, &Answer::Status(Box::new(status)));
    }

    fn status(&self, statistics: Option<&Statistics>) -> Status {
        let now = Instant::now();
        let live = self.live.as_ref();
        let link = live.map(|live| &live.link);
        let statistics = statistics.cloned().unwrap_or_default();
        Status {
            name: self.profile.name.as_str().to_owned(),
            state: self.machine.state().word().to_owned(),
            phase: self.machine.phase().word().to_owned(),
            server: self.machine.server().map(|server| server.to_string()),
            tun: self.tun_name(),
            local: link.map(|link| link.local),
            peer: link.map(|link| link.peer),
            mtu: link.map(|link| link.mtu),
            dns: link.map(|link| link.dns.clone()).unwrap_or_default(),
            mppe: link.map(|link| link.encryption.clone()),
            auth: link.map(|link| link.authentication.clone()),
            since: live.and_then(|live| Some(live.since.duration_since(UNIX_EPOCH).ok()?.as_secs())),
            uptime: live.and_then(|live| Some(live.since.elapsed().ok()?.as_secs())),
            next_attempt_in: match self.machine.state() {
                State::Waiting => {
                    self.machine.next_timeout().map(|at| at.saturating_duration_since(now).as_secs())
                }
                _ => None,
            },
            reconnects: self.reconnects,
            last_failure: self.last_failure.clone(),
            supervisor_pid: std::process::id(),
            engine_pid: match &self.child {
                Child::Engine(engine) => Some(engine.process().pid()),
                Child::None | Child::Resolver(_) => None,
            },
            engine_cpu_micros: (!statistics.counters.is_empty()).then_some(statistics.cpu_micros),
            sleeps: (ticks::voluntary_switches(), statistics.sleeps),
            counters: statistics.counters.into_iter().collect(),
        }
    }

    fn tun_name(&self) -> Option<String> {
        Some(self.link.as_ref()?.tun()?.name.clone())
    }

    fn say_phase(&mut self, phase: Phase, detail: &str) {
        let separator = if detail.is_empty() { "" } else { " ◂ " };
        tracing::info!("{}: {phase}{separator}{detail}", self.profile.log_name());
        notify::status(phase.word());
        let at_ms = self.elapsed_ms();
        self.reporter.say(&Progress::Phase { phase, detail: detail.to_owned(), at_ms });
    }

    fn notes(&mut self, notes: &[String]) {
        for note in notes {
            tracing::info!("{}: {note}", self.profile.log_name());
            self.reporter.say(&Progress::Note(note.clone()));
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn open_link(name: &str) -> Result<link::Session, Failure> {
    let places = Places::system(Platform::host());
    link::system_host()
        .and_then(|host| link::Session::open(&places, name, host))
        .map_err(|error| step_failure(Phase::Resolve, &error))
}

/// The largest packet on the way, as far as this host knows.
fn path_mtu(facts: &Facts) -> u16 {
    let Some(plan::Way::By { dev, .. }) = &facts.way else { return ETHERNET };
    link::device_mtu(dev).unwrap_or(ETHERNET)
}

fn internal(words: &str) -> Failure {
    Failure::new(Phase::Connect, FailureKind::Internal, words)
}

fn route_failure(error: &LinkError) -> Failure {
    let unreachable = matches!(&error.cause, Cause::Kernel(error) if error.is_unreachable());
    let kind = if unreachable { FailureKind::NoRoute } else { FailureKind::LinkStep };
    Failure::new(Phase::Connect, kind, error.to_string())
}

fn step_failure(phase: Phase, error: &LinkError) -> Failure {
    let kind = if matches!(error.cause, Cause::Tun(_)) { FailureKind::NoTun } else { FailureKind::LinkStep };
    Failure::new(phase, kind, error.to_string())
}

fn socket_failure(which: &str, localbind: Option<Ipv4Addr>, error: &io::Error) -> Failure {
    match (error.kind(), localbind) {
        (io::ErrorKind::AddrNotAvailable, Some(address)) => {
            let words = format!("localbind = \"{address}\" is none of this host's addresses");
            Failure::new(Phase::Connect, FailureKind::NoRoute, words)
        }
        (io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable, _) => {
            Failure::new(Phase::Connect, FailureKind::NoRoute, error.to_string())
        }
        _ => internal(&format!("{which} socket: {error}")),
    }
}
