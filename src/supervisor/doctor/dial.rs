//! `doctor --dial`: one connection with the state machine, child processes and sockets of `up`, which ends when IPCP
//! has agreed on addresses. It opens no tun device and performs no step.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixDatagram,
    },
    rc::Rc,
    time::{Duration, Instant},
};

use super::{files, finding::Finding, leftovers, negotiation};
use crate::{
    apply,
    engine::message::{FromEngine, Offers},
    failure::{Failure, FailureKind, Phase},
    net::transport,
    os::{
        descriptors::Inherited,
        signals::{Request, Signals},
        wait::{self, Interest},
    },
    profile::{DataPath, Host, PppBackend, Profile},
    secret::Secret,
    supervisor::{
        backoff, disable_core_files, engine_spec,
        firewall::{DialPath, HELPER_NOT_LOADED},
        host_files,
        interruptible::unless_ended,
        ipc::{
            client,
            lock::{Lock, LockError},
        },
        login_record::LoginRecord,
        machine::{Action, Input, Machine, TunnelState},
        password::{self, SecretAccess},
        preview::link_refusal,
        run::{
            child_events::unfiltered,
            children::{ChildEvent, Children},
            firewall_watch::{FirewallWatch, device_of},
            steps::{Sockets, open_sockets, path_mtu, route_failure},
        },
        unreadable,
    },
};

/// Messages of an engine that are handled before signals are polled again.
const MAX_MESSAGES: usize = 64;

/// The longest time that a link stays open for the search of the path's MTU: 12 padded echoes without an answer take
/// 1.3 s each.
const PATH_SEARCH: Duration = Duration::from_secs(16);

/// One dial.
struct Dial<'a> {
    children: Children,
    machine: Machine,
    logins: LoginRecord,
    signals: &'a mut Signals,
    profile: Rc<Profile>,
    /// Stands for the tun device: packets of the peer end here, and none are sent.
    device: Option<UnixDatagram>,
    offers: Offers,
    firewall: FirewallWatch,
    /// The address of this host that the dial uses.
    local: Option<Ipv4Addr>,
    /// When the search of the path's MTU has reported nothing.
    searched: Option<Instant>,
    /// The link was up, and the engine was asked to end it.
    done: bool,
    found: &'a mut dyn FnMut(Finding),
}

/// Dials the profile's servers once, as `up` does. The password is read when nothing else prevents the dial, and the
/// profile's lock is held meanwhile.
pub(super) fn dial(profile: &Rc<Profile>, inherited: Inherited, found: &mut dyn FnMut(Finding)) {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return found(internal(&error)),
    };
    let name = profile.name.as_str();
    if leftovers::profiles().is_some_and(|names| names.iter().any(|left| left == name)) {
        let words = "not dialled: a killed supervisor of this profile has left changes";
        return found(Finding::warning("dial", words).next("`pptpctl recover`, then again"));
    }
    let lock = match lock(name) {
        Ok(lock) => lock,
        Err(finding) => return found(finding),
    };
    let password = load_password(profile, &inherited, &mut signals);
    inherited.close();
    match password {
        Ok(password) => Dial::new(profile, password, &mut signals, found).run(),
        Err(finding) => found(finding),
    }
    lock.release();
}

/// Takes the profile's lock, so that no `up` dials at the same time: some servers accept one connection only.
fn lock(name: &str) -> Result<Lock, Finding> {
    let is_up = |pid: u32| {
        let words = format!("not dialled: this tunnel is up or coming up (process {pid})");
        Finding::warning("dial", words).next(format!(
            "`pptpctl status {name}` shows its connection; `pptpctl down {name}` before a dial"
        ))
    };
    if let Some(pid) = client::supervisor_in_ledger(name) {
        return Err(is_up(pid));
    }
    let signed = Lock::acquire(name).and_then(|mut lock| match lock.sign() {
        Ok(()) => Ok(lock),
        Err(error) => {
            lock.release();
            Err(error)
        }
    });
    signed.map_err(|error| match error {
        LockError::Held(pid) => is_up(pid),
        LockError::Io { ref path, error: ref why } => match host_files::failure(Phase::Resolve, path, why) {
            Some(failure) => Finding::failure(&failure),
            None => internal(&error),
        },
    })
}

fn load_password(profile: &Profile, inherited: &Inherited, signals: &mut Signals) -> Result<Secret, Finding> {
    disable_core_files().map_err(|error| internal(&error))?;
    let (source, access) = (profile.password.clone(), SecretAccess::of_profile(profile));
    let inherited = inherited.clone();
    let load = move || {
        let open_fd = move |fd| inherited.reader(fd);
        password::load(&source, &SecretAccess { open_fd: &open_fd, ..access })
    };
    match unless_ended(signals, load) {
        Ok(Some(Ok(password))) => Ok(password),
        Ok(Some(Err(error))) => Err(Finding::password(&error)),
        Ok(None) => Err(Finding::failure(&Failure::new(Phase::Resolve, FailureKind::Interrupted, ""))),
        Err(error) => Err(internal(&error)),
    }
}

fn internal(error: &dyn std::fmt::Display) -> Finding {
    Finding::failure(&Failure::new(Phase::Connect, FailureKind::Internal, error.to_string()))
}

impl<'a> Dial<'a> {
    fn new(
        profile: &Profile,
        password: Secret,
        signals: &'a mut Signals,
        found: &'a mut dyn FnMut(Finding),
    ) -> Self {
        let mut profile = profile.clone();
        // A daemon would configure its device, and the request for routes uses the addresses.
        profile.ppp.backend = PppBackend::Builtin;
        profile.peer_routes = false;
        profile.data_path = DataPath::Userland;
        let profile = Rc::new(profile);
        let once = backoff::Policy {
            first: profile.retry.first,
            max: profile.retry.max,
            attempts: Some(0),
            jitter_percent: 0,
        };
        let mut machine = Machine::new(profile.servers.clone(), once);
        let logins = LoginRecord::load(profile.name.as_str(), &mut machine);
        Self {
            children: Children::new(profile.clone(), password),
            machine,
            logins,
            signals,
            profile,
            device: None,
            offers: Offers::default(),
            firewall: FirewallWatch::default(),
            local: None,
            searched: None,
            done: false,
            found,
        }
    }

    fn run(&mut self) {
        if let Err(failure) = self.logins.check(&self.machine) {
            return (self.found)(Finding::failure(&failure));
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
                return (self.found)(internal(&error));
            }
        }
    }

    fn finish(&mut self, outcome: Result<(), Failure>) {
        (self.found)(match outcome {
            // `up` loads the helper's table before it dials.
            Err(failure) if failure.hints.first().is_some_and(|hint| hint == HELPER_NOT_LOADED) => {
                Finding::overcome(&failure)
            }
            Err(failure) if !self.done => Finding::failure(&failure),
            _ => Finding::ok("dial", "the link came up and was closed; nothing was changed"),
        });
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeouts = [self.children.next_timeout(), self.firewall.next_timeout()];
        let deadline = timeouts.into_iter().flatten().map(|(at, _)| at).chain(self.searched).min();
        let children = self.children.fds();
        let fds: Vec<(BorrowedFd<'_>, Interest)> = std::iter::once(self.signals.end())
            .chain(children.into_iter().flatten())
            .map(|fd| (fd, Interest::Readable))
            .collect();
        wait::any(&fds, deadline)?;
        while let Some(request) = self.signals.take() {
            if request == Request::End {
                self.handle(Input::Stop);
            }
        }
        self.children.read_log();
        for _ in 0..MAX_MESSAGES {
            let Some(event) = self.children.read(self.machine.phase()) else { break };
            self.child_reports(event);
        }
        while let Some(event) = self.children.expired(Instant::now(), self.machine.phase()) {
            self.child_reports(event);
        }
        if self.searched.is_some_and(|until| until <= Instant::now()) {
            self.path_found(negotiation::path_searched(None));
        }
        if let Some(failure) = self.firewall.expired(Instant::now()) {
            self.children.abandon();
            self.handle(Input::EngineEnded(failure));
        }
        Ok(())
    }

    /// Passes an input to the machine; reports a failure that another attempt follows.
    fn handle(&mut self, mut input: Input) {
        let failure = input.failure_mut().map(|failure| {
            let server = self.machine.server();
            *failure = self.firewall.explained(failure.clone(), &self.profile, server, self.local);
            failure.clone()
        });
        self.machine.handle(Instant::now(), 0, input);
        self.logins.store(self.machine.logins());
        if let Some(failure) = failure
            && matches!(self.machine.state(), TunnelState::Resolving | TunnelState::Dialing)
        {
            (self.found)(Finding::overcome(&failure));
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Resolve(server) => {
                if let Host::Name(name) = server.host
                    && let Err(failure) = self.children.resolve(&name, true)
                {
                    self.handle(Input::Resolved(Err(failure)));
                }
            }
            Action::Dial(server) => {
                if let Err(failure) = self.connect(server) {
                    self.handle(Input::DialFailed(failure));
                }
            }
            // Here `up` would use the addresses.
            Action::Configure(link) => {
                (self.found)(negotiation::addresses(&link));
                let server = self.machine.server().map(|server| *server.ip());
                if let Some(failure) = server.and_then(|server| link_refusal(&self.profile, server, &link)) {
                    (self.found)(Finding::failure(&failure));
                }
                files::check_link(&self.profile, &link.dns).into_iter().for_each(&mut self.found);
                self.searched = Some(Instant::now() + PATH_SEARCH);
            }
            Action::StopChild => {
                if let Some(input) = self.children.stop(self.machine.phase()) {
                    self.handle(input);
                }
            }
            // Of a tunnel that was up, which this one never is.
            Action::Ready
            | Action::WithdrawRoutes
            | Action::Waiting(_)
            | Action::NoNetwork
            | Action::PollNetwork
            | Action::Repin
            | Action::RestoreRoutes
            | Action::Probe
            | Action::Abandon(_)
            | Action::End(_) => {}
        }
    }

    /// Creates the sockets, and starts the engine.
    fn connect(&mut self, server: SocketAddrV4) -> Result<(), Failure> {
        let local = self.profile.localbind;
        let next_hop = apply::Host::system()
            .and_then(|mut host| host.next_hop((*server.ip()).into(), local.map(IpAddr::V4)))
            .map_err(|error| route_failure(&error))?;
        let options = transport::Options { local, mark: 0 };
        let (tcp, gre) = open_sockets(*server.ip(), &options)?;
        self.local = transport::local_address(&gre);
        let failed =
            |error: io::Error| Failure::new(Phase::Connect, FailureKind::Internal, error.to_string());
        let (device, engine_end) = UnixDatagram::pair().map_err(failed)?;
        wait::set_nonblocking(engine_end.as_fd()).map_err(failed)?;
        self.device = Some(device);
        self.offers = Offers::default();
        let sockets = Sockets {
            options,
            tcp,
            gre,
            tun: Some(engine_end.into()),
            path_mtu: path_mtu(Some(&next_hop)),
            notes: Vec::new(),
            kernel: None,
        };
        let spec = engine_spec::spec(&self.profile, server, sockets.path_mtu, &self.machine);
        let (local, dev, call_id) = (self.local, Some(device_of(&next_hop)), spec.call_id);
        self.firewall.dials(DialPath { server, local, dev, options, call_id });
        self.children.dial(spec, sockets)
    }

    fn child_reports(&mut self, event: ChildEvent) {
        match event {
            ChildEvent::Resolved(_, answer) => self.handle(Input::Resolved(answer)),
            ChildEvent::Unreadable(files) => {
                for note in unreadable::notes(&files) {
                    (self.found)(Finding::warning("resolvers", note));
                }
            }
            ChildEvent::Engine(FromEngine::Phase { phase, detail }) => {
                let findings = negotiation::finished(phase, &detail, &self.offers, &self.profile);
                findings.into_iter().for_each(&mut *self.found);
                self.firewall.phase(phase, self.profile.timeouts.gre);
                self.handle(Input::Phase(phase));
            }
            ChildEvent::Engine(FromEngine::Offers(offers)) => self.offers = offers,
            ChildEvent::Engine(FromEngine::PathMtu(path)) => {
                if self.searched.is_some() {
                    self.path_found(negotiation::path(&path));
                }
            }
            ChildEvent::Engine(FromEngine::PathSearched(end)) => {
                if self.searched.is_some() {
                    self.path_found(negotiation::path_searched(Some(end)));
                }
            }
            ChildEvent::Engine(FromEngine::Alive | FromEngine::Attach(_)) => {}
            ChildEvent::Engine(FromEngine::Unfiltered(why)) => {
                (self.found)(Finding::warning("filter", unfiltered(&why)));
            }
            ChildEvent::Engine(FromEngine::Up(link)) => self.handle(Input::LinkUp(link)),
            ChildEvent::Engine(FromEngine::Statistics(statistics)) => {
                (self.found)(negotiation::packets(&statistics));
                self.stop();
            }
            ChildEvent::NoStatistics => self.stop(),
            ChildEvent::Engine(FromEngine::Down(failure)) => {
                (self.device, self.searched) = (None, None);
                self.handle(Input::EngineEnded(failure));
            }
        }
    }

    /// Handles the end of the search of the path's MTU: asks for the counters, the last thing that the link is for.
    fn path_found(&mut self, path: Finding) {
        self.searched = None;
        (self.found)(path);
        if !self.children.query() {
            self.stop();
        }
    }

    /// Closes link, call and control connection gracefully.
    fn stop(&mut self) {
        self.done = true;
        self.handle(Input::Stop);
    }
}
