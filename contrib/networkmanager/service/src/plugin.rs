//! The D-Bus interface that NetworkManager calls, and the state of the one connection that this process serves.

use std::{
    collections::HashMap,
    process::ExitStatus,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use zbus::{
    blocking::Connection,
    zvariant::{DynamicType, OwnedValue},
};

use crate::{
    report::{self, Carrier, Event, Failure},
    settings::{Dictionary, Settings},
    tunnel::{Profile, each_line},
};

/// The path of the object.
pub const PATH: &str = "/org/freedesktop/NetworkManager/VPN/Plugin";
const INTERFACE: &str = "org.freedesktop.NetworkManager.VPN.Plugin";

/// How long the graceful end of a tunnel may take before its supervisor is killed.
const STOP: Duration = Duration::from_secs(30);

/// The states of a service (NMVpnServiceState).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Init = 1,
    Starting = 3,
    Started = 4,
    Stopping = 5,
    Stopped = 6,
}

/// The errors that NetworkManager knows.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.NetworkManager.VPN.Error")]
pub enum Error {
    /// An error of D-Bus itself.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// The connection lacks something.
    BadArguments(String),
    /// There is a tunnel already.
    AlreadyStarted(String),
    /// There is none.
    AlreadyStopped(String),
}

/// The connection of this process.
#[derive(Default)]
struct Job {
    state: State,
    settings: Settings,
    /// Whether NetworkManager can ask the user while it connects.
    interactive: bool,
    /// The password that the server has refused.
    refused: Option<String>,
    /// The supervisor, while it runs.
    supervisor: Option<Pid>,
    /// Whether the tunnel is to end.
    ending: bool,
    /// Whether the process can exit.
    done: bool,
    bus: Option<Connection>,
}

/// What the interface and the thread of the tunnel share.
#[derive(Default)]
pub struct Service {
    job: Mutex<Job>,
    changed: Condvar,
}

/// The object on the bus.
pub struct Plugin {
    service: Arc<Service>,
}

impl Plugin {
    /// Returns the object.
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }
}

#[zbus::interface(name = "org.freedesktop.NetworkManager.VPN.Plugin")]
impl Plugin {
    fn connect(&self, connection: Dictionary) -> Result<(), Error> {
        Service::connect(&self.service, Settings::read(&connection), false)
    }

    fn connect_interactive(
        &self,
        connection: Dictionary,
        _details: HashMap<String, OwnedValue>,
    ) -> Result<(), Error> {
        Service::connect(&self.service, Settings::read(&connection), true)
    }

    /// Returns the setting whose secrets are missing; empty if none are.
    fn need_secrets(&self, settings: Dictionary) -> String {
        if Settings::read(&settings).need_password() { "vpn".to_owned() } else { String::new() }
    }

    /// Takes the answer to the signal SecretsRequired.
    fn new_secrets(&self, connection: Dictionary) -> Result<(), Error> {
        Service::new_secrets(&self.service, Settings::read(&connection))
    }

    fn disconnect(&self) -> Result<(), Error> {
        self.service.disconnect()
    }

    /// NetworkManager's own helpers call these for plug-ins whose helper is another process; this one has none.
    fn set_config(&self, _config: HashMap<String, OwnedValue>) {}

    fn set_ip4_config(&self, _config: HashMap<String, OwnedValue>) {}

    fn set_ip6_config(&self, _config: HashMap<String, OwnedValue>) {}

    fn set_failure(&self, _reason: String) {}

    #[zbus(property)]
    fn state(&self) -> u32 {
        self.service.lock().state as u32
    }
}

impl Service {
    /// Stores the connection to the bus, for the signals.
    pub fn connected(&self, bus: Connection) {
        self.lock().bus = Some(bus);
    }

    /// Waits until the connection has ended, or until none has come for this time.
    pub fn wait_until_done(&self, idle: Duration) {
        let until = Instant::now() + idle;
        let mut job = self.lock();
        while !job.done {
            let left = until.saturating_duration_since(Instant::now());
            if job.state == State::Init && left.is_zero() {
                return;
            }
            // While a tunnel is up there is no limit; the wait only has to be repeated.
            let wait = if job.state == State::Init { left } else { idle };
            job = self.changed.wait_timeout(job, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the tunnel and the process.
    pub fn end(&self, why: &str) {
        let mut job = self.lock();
        eprintln!("nm-pptpctl-service: {why}");
        job.ending = true;
        match job.supervisor {
            Some(supervisor) => stop(supervisor),
            // The thread of a tunnel that is just starting looks at `ending`.
            None => job.done = true,
        }
        drop(job);
        self.changed.notify_all();
    }

    fn connect(this: &Arc<Self>, settings: Settings, interactive: bool) -> Result<(), Error> {
        let mut job = this.lock();
        if job.state != State::Init {
            return Err(Error::AlreadyStarted("this process serves one connection".to_owned()));
        }
        (job.settings, job.interactive) = (settings, interactive);
        this.set_state(&mut job, State::Starting);
        drop(job);
        Self::start(this);
        Ok(())
    }

    fn new_secrets(this: &Arc<Self>, settings: Settings) -> Result<(), Error> {
        let mut job = this.lock();
        if job.state != State::Starting || job.supervisor.is_some() || job.refused.is_none() {
            return Err(Error::BadArguments("no password was asked for".to_owned()));
        }
        // Each refusal counts for the account: it is not asked twice with one password.
        if settings.password.is_none() || settings.password == job.refused {
            let again =
                Failure::own("the password is the one that the server has refused: it is not sent again");
            this.fail(&mut job, &again, report::Reason::LoginFailed);
            return Ok(());
        }
        job.settings = settings;
        drop(job);
        Self::start(this);
        Ok(())
    }

    fn disconnect(&self) -> Result<(), Error> {
        let mut job = self.lock();
        match (job.state, job.supervisor) {
            (State::Init | State::Stopped, _) => {
                return Err(Error::AlreadyStopped("there is no tunnel".to_owned()));
            }
            (_, Some(supervisor)) => {
                job.ending = true;
                self.set_state(&mut job, State::Stopping);
                stop(supervisor);
            }
            // It waits for a password, or is about to start.
            (_, None) => {
                job.ending = true;
                self.set_state(&mut job, State::Stopped);
                job.done = true;
            }
        }
        drop(job);
        self.changed.notify_all();
        Ok(())
    }

    /// Runs the tunnel on a thread of its own.
    fn start(this: &Arc<Self>) {
        let service = this.clone();
        thread::spawn(move || service.run());
    }

    fn run(&self) {
        let settings = self.lock().settings.clone();
        let password = settings.password.clone().unwrap_or_default();
        let failure = match self.tunnel(&settings, &password) {
            Ok(failure) => failure,
            Err(failure) => Some(failure),
        };
        let mut job = self.lock();
        job.supervisor = None;
        match failure.filter(|_| !job.ending) {
            None => {
                self.set_state(&mut job, State::Stopped);
                job.done = true;
            }
            Some(failure) if failure.blames_password() && job.interactive && job.state == State::Starting => {
                log(&job, &failure);
                job.refused = Some(password);
                let words = format!("The server has refused the log-in: {}", failure.sentence());
                self.emit(&job, "SecretsRequired", &(words, vec!["password"]));
            }
            Some(failure) => {
                log(&job, &failure);
                let reason = failure.reason();
                self.fail(&mut job, &failure, reason);
            }
        }
        drop(job);
        self.changed.notify_all();
    }

    /// Brings the tunnel up and follows it until it has ended; returns why.
    fn tunnel(&self, settings: &Settings, password: &str) -> Result<Option<Failure>, Failure> {
        if password.contains(['\n', '\r', '\0']) {
            return Err(Failure::own("the password contains a line break, which no server accepts"));
        }
        let profile = Profile::of(settings)?;
        profile.take_remains_down();
        let mut child = {
            let mut job = self.lock();
            if job.ending {
                return Ok(None);
            }
            let child =
                profile.up(password).map_err(|error| Failure::own(format!("cannot run pptpctl: {error}")))?;
            job.supervisor = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            child
        };
        let mut failure = None;
        each_line(&mut child, |line| match report::event(line) {
            Some(Event::Up(carrier)) => failure = self.up(&carrier).err(),
            Some(Event::Down { failure: why }) => failure = failure.take().or(why),
            Some(Event::Other) => {}
            None => eprintln!("{line}"),
        });
        let ended = child.wait();
        let silent = || {
            let how = ended.as_ref().map_or_else(ToString::to_string, ToString::to_string);
            Failure::own(format!("pptpctl has ended without a message ({how}): its log says why"))
        };
        let is_well = ended.as_ref().is_ok_and(ExitStatus::success);
        Ok(failure.or_else(|| (!is_well).then(silent)))
    }

    /// Passes the addresses to NetworkManager, which adds routes and resolvers.
    fn up(&self, carrier: &Carrier) -> Result<(), Failure> {
        let mut job = self.lock();
        let values = carrier.config().and_then(|config| Ok((config, carrier.ip4_config()?)));
        match values {
            Ok((config, addresses)) => {
                eprintln!("{}: {}", job.settings.id(), carrier.line());
                self.emit(&job, "Config", &(config,));
                self.emit(&job, "Ip4Config", &(addresses,));
                self.set_state(&mut job, State::Started);
                Ok(())
            }
            Err(missing) => {
                if let Some(supervisor) = job.supervisor {
                    stop(supervisor);
                }
                Err(Failure::own(missing))
            }
        }
    }

    fn fail(&self, job: &mut Job, failure: &Failure, reason: report::Reason) {
        if failure.reason() != reason {
            log(job, failure);
        }
        self.emit(job, "Failure", &(reason as u32,));
        self.set_state(job, State::Stopped);
        job.done = true;
        self.changed.notify_all();
    }

    fn set_state(&self, job: &mut Job, state: State) {
        if job.state != state {
            job.state = state;
            self.emit(job, "StateChanged", &(state as u32,));
        }
    }

    fn emit<Body: serde::Serialize + DynamicType>(&self, job: &Job, signal: &str, body: &Body) {
        let Some(bus) = &job.bus else { return };
        if let Err(error) = bus.emit_signal(None::<&str>, PATH, INTERFACE, signal, body) {
            eprintln!("nm-pptpctl-service: {signal}: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a failure to the log by the connection's name. What to check is in the supervisor's lines before it.
fn log(job: &Job, failure: &Failure) {
    eprintln!("{}: {}", job.settings.id(), failure.sentence());
}

/// Ends a supervisor gracefully, and kills it if that takes too long. The engine ends with it, and the next `up` undoes
/// what stayed.
fn stop(supervisor: Pid) {
    let _gone = kill_process(supervisor, Signal::TERM);
    thread::spawn(move || {
        thread::sleep(STOP);
        // The process ends when its connection does, and so does this thread.
        let _gone = kill_process(supervisor, Signal::KILL);
    });
}
