//! The processes of the current attempt, a resolver or an engine with its external PPP: their messages, how
//! they are ended, how they exit by themselves.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    capture::CaptureSink,
    engine_watch::{Due, EngineWatch, dial_limit},
    external_ppp::{External, Found},
    internal,
    kernel_dial::KernelDial,
    steps::Sockets,
};
use crate::{
    engine::{
        handle::{Engine, EngineOutput},
        message::{FromEngine, LinkUp, ToEngine},
        spec::Spec,
    },
    failure::{Failure, FailureKind, Phase},
    plan::Daemon,
    profile::Profile,
    secret::Secret,
    supervisor::{
        log::EngineLog,
        machine::Input,
        name_lookup::{Lookup, LookupEvent},
    },
};

/// How long a status request waits for the engine's counters.
const QUERY_WAIT: Duration = Duration::from_secs(1);

/// The child process of this tunnel.
enum Child {
    None,
    Lookup(Lookup),
    Engine(Engine),
}

/// What a child reports.
pub(in crate::supervisor) enum ChildEvent {
    /// The result of looking a name up.
    Resolved(String, Result<Vec<Ipv4Addr>, Failure>),
    /// The resolver may not read these files.
    Unreadable(Vec<String>),
    /// A message of the engine. After [`FromEngine::Down`] the engine and the external PPP have ended.
    Engine(FromEngine),
    /// The engine has not answered [`Children::query`] in time.
    NoStatistics,
}

/// The processes of the current attempt.
pub(in crate::supervisor) struct Children {
    /// The external PPP of the current attempt, if there is one. It is dropped before the engine, whose end of
    /// the pty hangs up.
    ppp: Option<External>,
    /// Why the external PPP ended; the engine only reports that it was asked to stop.
    ppp_verdict: Option<Failure>,
    child: Child,
    /// The kernel's part in the call, if it has one.
    kernel: Option<KernelDial>,
    log: EngineLog,
    /// When to kill an engine that was asked to end.
    due: Option<Instant>,
    /// When to give up waiting for the engine's counters.
    query_due: Option<Instant>,
    /// Whether the engine runs; of the last engine if there is none now.
    watch: Option<EngineWatch>,
    /// The client of a capture.
    pub(super) capture: Option<CaptureSink>,
    password: Secret,
    profile: Rc<Profile>,
}

impl Children {
    pub fn new(profile: Rc<Profile>, password: Secret) -> Self {
        Self {
            ppp: None,
            ppp_verdict: None,
            child: Child::None,
            kernel: None,
            log: EngineLog::default(),
            due: None,
            query_due: None,
            watch: None,
            capture: None,
            password,
            profile,
        }
    }

    /// Replaces the profile, for the next child.
    pub fn set_profile(&mut self, profile: Rc<Profile>) {
        self.profile = profile;
    }

    /// Returns the descriptors to poll: channel and log of the child, log and exit of the external PPP.
    pub fn fds(&self) -> [Option<BorrowedFd<'_>>; 4] {
        let process = match &self.child {
            Child::None => None,
            Child::Lookup(lookup) => Some(lookup.process().fds()),
            Child::Engine(engine) => Some(engine.process().fds()),
        };
        let (channel, log) = process.map_or((None, None), |(channel, log)| (Some(channel), log));
        // Not by as_ref(): the compiler leaves out the branch if an External has no value.
        let [ppp_log, ppp_end] = match &self.ppp {
            Some(ppp) => ppp.fds(),
            None => [None, None],
        };
        [channel, log, ppp_log, ppp_end]
    }

    /// Returns when [`Children::expired`] or [`Children::serve_ppp`] is due, and why.
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let child = self.due.map(|due| (due, "time limit of the child"));
        let query = self.query_due.map(|due| (due, "no counters for status"));
        let ppp = match &self.ppp {
            Some(ppp) => ppp.next_timeout(),
            None => None,
        };
        let lookup = match &self.child {
            Child::Lookup(lookup) => Some(lookup.next_timeout()),
            Child::None | Child::Engine(_) => None,
        };
        let watch = self.watch.as_ref().filter(|_| self.is_watched()).map(EngineWatch::next_timeout);
        [child, query, ppp, lookup, watch].into_iter().flatten().min()
    }

    /// Returns whether the engine has to answer questions: it runs, and was not asked to end, which has its limit.
    fn is_watched(&self) -> bool {
        matches!(self.child, Child::Engine(_)) && self.due.is_none()
    }

    /// Returns for how long the engine has owed an answer, if that is unusual.
    pub fn engine_silent_for(&self) -> Option<Duration> {
        let silent = self.watch.as_ref().filter(|_| self.is_watched())?.silent_for(Instant::now());
        silent.filter(|silent| *silent >= QUERY_WAIT)
    }

    /// Starts to look a name up; `explains` a failure, which takes longer.
    pub fn resolve(&mut self, name: &str, explains: bool) -> Result<(), Failure> {
        self.due = None;
        self.child = Child::Lookup(Lookup::start(name, self.profile.timeouts.resolve, explains)?);
        Ok(())
    }

    /// Starts the engine with the tun device and the password; or with the engine's end of a daemon's pty and
    /// no password, which the engine does not need then.
    pub fn dial(&mut self, spec: Spec, sockets: Sockets) -> Result<(), Failure> {
        let line;
        let (device, password) = match Daemon::of(&self.profile) {
            None => (sockets.tun.as_ref().ok_or_else(|| internal("no tun device"))?, self.password.clone()),
            Some(daemon) => {
                let (external, engine_end) = External::prepare(daemon, self.profile.clone(), spec.mtu_limit)?;
                self.ppp = Some(external);
                line = engine_end;
                (&line, Secret::new(Vec::new()))
            }
        };
        let not_started = |error: io::Error| format!("the engine does not start: {error}");
        let engine = Engine::start(&spec).map_err(|error| internal(&not_started(error)))?;
        if let Some(sink) = &self.capture {
            engine.capture(sink.as_fd(), sink.inner);
        }
        let (tcp, gre) = (sockets.tcp.as_fd(), sockets.gre.as_fd());
        let channel = sockets.kernel.as_ref().map(|kernel| kernel.call.channel().as_fd());
        let dialed = engine.dial(spec, &password, tcp, gre, device.as_fd(), channel);
        self.child = Child::Engine(engine);
        self.kernel = sockets.kernel;
        self.watch = Some(EngineWatch::new(dial_limit(&self.profile.timeouts), Instant::now()));
        self.due = None;
        dialed.map_err(|error| {
            let failure = self.internal_end(&not_started(error), Phase::Connect);
            self.kill();
            failure
        })
    }

    /// Returns the pid of the engine, while it runs.
    pub fn engine_pid(&self) -> Option<u32> {
        match &self.child {
            Child::Engine(engine) => Some(engine.process().pid()),
            Child::None | Child::Lookup(_) => None,
        }
    }

    /// Captures from now on, or from the next dial if the running engine is not to get a descriptor any more.
    pub(super) fn begin_capture(&mut self, sink: CaptureSink, reaches_running: bool) {
        if let Child::Engine(engine) = &self.child
            && reaches_running
        {
            engine.capture(sink.as_fd(), sink.inner);
        }
        self.capture = Some(sink);
    }

    /// Returns the kernel's part in the call, if it has one.
    pub fn kernel(&mut self) -> Option<&mut KernelDial> {
        self.kernel.as_mut()
    }

    /// Returns whether this attempt has an external PPP.
    pub fn has_ppp(&self) -> bool {
        self.ppp.is_some()
    }

    /// Sends a message to the engine, if there is one; returns whether it was accepted.
    pub fn send(&self, message: &ToEngine) -> bool {
        matches!(&self.child, Child::Engine(engine) if engine.send(message))
    }

    /// Asks the engine for its counters, unless it has been asked already; returns whether to wait for them.
    pub fn query(&mut self) -> bool {
        if self.query_due.is_none() && self.send(&ToEngine::Query) {
            self.query_due = Some(Instant::now() + QUERY_WAIT);
        }
        self.query_due.is_some()
    }

    /// Returns whether the counters are waited for in vain, as the engine has ended.
    pub fn take_query(&mut self) -> bool {
        self.query_due.take().is_some()
    }

    /// Asks the child to end; returns the result if that needs no wait. `phase` is that of the attempt.
    pub fn stop(&mut self, phase: Phase) -> Option<Input> {
        match &self.child {
            Child::Engine(_) => {
                if let Some(ppp) = &mut self.ppp {
                    ppp.end();
                }
                self.stop_engine();
                None
            }
            Child::Lookup(_) => {
                self.kill();
                let stopped = Failure::new(Phase::Resolve, FailureKind::Interrupted, "");
                Some(Input::Resolved(Err(stopped)))
            }
            Child::None => Some(Input::EngineEnded(Failure::new(phase, FailureKind::Interrupted, ""))),
        }
    }

    fn stop_engine(&mut self) {
        if let Child::Engine(engine) = &self.child {
            // LCP Terminate, Call-Clear, Stop: each has its own limit. An engine that does not accept the
            // message is killed at once.
            let limit = self.profile.timeouts.stop * 3 + Duration::from_secs(1);
            let limit = if engine.send(&ToEngine::Stop) { limit } else { Duration::ZERO };
            self.due = Some(Instant::now() + limit);
        }
    }

    pub fn kill(&mut self) {
        self.child = Child::None;
        self.kernel = None;
        self.due = None;
    }

    /// Kills the child, whose work is useless now.
    pub fn abandon(&mut self) {
        self.read_log();
        // The engine first: its end of the pty hangs up, and the daemon does not attempt a graceful shutdown.
        self.kill();
        let _its_own_verdict = self.drop_ppp();
    }

    pub fn read_log(&mut self) {
        let helper = match &mut self.child {
            Child::Engine(engine) => engine.helper(),
            Child::Lookup(lookup) => lookup.helper(),
            Child::None => return,
        };
        helper.read_log(|bytes| self.log.take(bytes));
    }

    /// Returns the next event of the child without blocking. `phase` is that of the attempt.
    pub fn read(&mut self, phase: Phase) -> Option<ChildEvent> {
        match &mut self.child {
            Child::None => None,
            Child::Lookup(lookup) => {
                let event = lookup.read()?;
                Some(self.looked_up(event))
            }
            Child::Engine(engine) => match engine.receive() {
                EngineOutput::Nothing => None,
                EngineOutput::Message(message) => {
                    if let Some(watch) = &mut self.watch {
                        watch.received(Instant::now());
                    }
                    match message {
                        FromEngine::Down(failure) => {
                            self.read_log();
                            return Some(self.ended(failure));
                        }
                        FromEngine::Statistics(_) => self.query_due = None,
                        _ => {}
                    }
                    Some(ChildEvent::Engine(message))
                }
                EngineOutput::Ended(why) => Some(self.gone(&why, phase)),
            },
        }
    }

    /// Returns the next event of the time: a child that had to end by now is killed.
    pub fn expired(&mut self, now: Instant, phase: Phase) -> Option<ChildEvent> {
        if self.query_due.take_if(|due| *due <= now).is_some() {
            if let Some(watch) = &mut self.watch {
                watch.unanswered(now);
            }
            return Some(ChildEvent::NoStatistics);
        }
        if let Child::Lookup(lookup) = &mut self.child {
            let event = lookup.expire(now)?;
            return Some(self.looked_up(event));
        }
        if self.is_watched() {
            return match self.watch.as_mut()?.expired(now)? {
                Due::End(why) => Some(self.gone(&why, phase)),
                Due::Question => {
                    self.send(&ToEngine::Alive);
                    None
                }
            };
        }
        self.due.take_if(|due| *due <= now)?;
        match &self.child {
            Child::None | Child::Lookup(_) => None,
            Child::Engine(_) => Some(self.gone("the engine did not end in time", phase)),
        }
    }

    fn looked_up(&mut self, event: LookupEvent) -> ChildEvent {
        match event {
            LookupEvent::Unreadable(files) => ChildEvent::Unreadable(files),
            LookupEvent::Done(answer) => {
                self.read_log();
                let name = match &self.child {
                    Child::Lookup(lookup) => lookup.name().to_owned(),
                    Child::None | Child::Engine(_) => String::new(),
                };
                self.kill();
                ChildEvent::Resolved(name, answer)
            }
        }
    }

    /// Handles an engine that has ended without a reason of its own.
    fn gone(&mut self, why: &str, phase: Phase) -> ChildEvent {
        let failure = self.internal_end(why, phase);
        self.ended(failure)
    }

    /// Returns the failure of an engine that has ended without a reason of its own: its exit status, and its
    /// last error message.
    fn internal_end(&mut self, why: &str, phase: Phase) -> Failure {
        let how = match &mut self.child {
            Child::Engine(engine) => engine.helper().end(),
            _ => String::new(),
        };
        // It has exited: its log is complete.
        self.read_log();
        let error = self.log.take_error().map(|error| format!(": {error}")).unwrap_or_default();
        Failure::new(phase, FailureKind::Internal, format!("{why} ({how}){error}"))
    }

    fn ended(&mut self, failure: Failure) -> ChildEvent {
        // If the daemon ended first, its reason counts; otherwise the engine's, which observed both
        // directions.
        let failure = match self.drop_ppp() {
            Some(verdict) if failure.kind == FailureKind::Interrupted => verdict,
            _ => failure,
        };
        self.kill();
        ChildEvent::Engine(FromEngine::Down(failure))
    }

    /// Starts the external PPP, if there is one, when the call is up.
    pub fn start_ppp(&mut self) -> Result<(), Failure> {
        match &mut self.ppp {
            Some(ppp) => ppp.start(&self.password),
            None => Ok(()),
        }
    }

    /// Handles the engine's report that the link is up. With an external PPP, the kernel has to confirm it.
    pub fn link_up(&mut self, up: LinkUp) -> Result<Found, Failure> {
        if let Some(watch) = &mut self.watch {
            watch.is_up();
            watch.received(Instant::now());
        }
        match &mut self.ppp {
            Some(ppp) => ppp.link_up(up),
            None => Ok(Some((up, None))),
        }
    }

    /// Handles events of the external PPP: its log is readable, it has ended, its time has come.
    pub fn serve_ppp(&mut self, log: bool, ended: bool, phase: Phase) -> Result<Found, Failure> {
        match &mut self.ppp {
            Some(ppp) => ppp.serve(log, ended, phase),
            None => Ok(None),
        }
    }

    /// Handles a failure of the external PPP: stops the engine, unless it was asked to stop already.
    pub fn ppp_failed(&mut self, verdict: Failure, stopping: bool) {
        self.ppp_verdict = Some(verdict);
        if !stopping {
            self.stop_engine();
        }
    }

    /// Ends the external PPP with its attempt; returns why it ended, if known.
    pub fn drop_ppp(&mut self) -> Option<Failure> {
        self.ppp = None;
        self.ppp_verdict.take()
    }
}
