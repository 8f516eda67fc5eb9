//! The external PPP of the current attempt: pppd(8) or ppp(8) on the engine's pty, from its start to its end.
//!
//! It is started when the call is up and ended before the call is. The engine observes its negotiation; the
//! kernel shows whether its device exists, and with which addresses. Nothing here reads network data but the
//! daemon's log lines, which are sanitised and logged.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    apply::ppp_daemon,
    engine::{
        bridge::{IN_BUILD, InBuild},
        message::{LinkUp, plain},
    },
    failure::{Failure, FailureKind, Phase},
    os::{
        child::{self, Awaited},
        launch::{ProgramFile, Spawned, Start},
        process,
        pty::Pty,
        wait,
    },
    plan::Daemon,
    platform,
    platform::Platform,
    profile::Profile,
    secret::Secret,
    supervisor::{
        backend::{self, exits, ppp, pppd},
        hints::SHOW_DEVICE,
    },
};

/// The daemon sends its last negotiation packet before it configures its device: the interval at which that
/// is polled.
const LOOK: Duration = Duration::from_millis(20);
/// The longest log line of a daemon that is kept, in bytes.
const LONGEST_LINE: usize = 1024;
/// Bytes of a daemon's log that are read at a time, so that a daemon that logs without end does not block the
/// other sources.
const MAX_LOG_READ: usize = 64 * 1024;

/// A link that is up, with the device of the external PPP.
pub(in crate::supervisor) type Found = Option<(LinkUp, Option<String>)>;

/// The external PPP of one attempt. Dropping it ends the daemon. It has no value in a build without it.
pub(super) struct External {
    _in_build: InBuild,
    which: Daemon,
    /// The daemon's end of the pty, kept open until the daemon has exited: the engine's end hangs up with the
    /// last holder.
    pty: OwnedFd,
    name: PathBuf,
    /// The largest PPP information field that the path carries, in bytes.
    limit: u16,
    profile: Rc<Profile>,
    running: Option<Running>,
    /// The link that the engine has seen come up but the kernel has not, and the deadline for that.
    pending: Option<(LinkUp, Instant)>,
    look: Option<Instant>,
}

struct Running {
    child: Spawned,
    held: process::Process,
    log: Option<io::PipeReader>,
    line: Vec<u8>,
    reason_line: String,
    /// Private configuration file, removed when the daemon has exited.
    file: Option<PathBuf>,
}

impl External {
    /// Checks this host before anything is sent, and opens a pty; returns it with the engine's end.
    pub fn prepare(which: Daemon, profile: Rc<Profile>, limit: u16) -> Result<(Self, OwnedFd), Failure> {
        // `Daemon::of` returns none in a build without them.
        let Some(in_build) = IN_BUILD else { return Err(super::internal("a build without external PPP")) };
        check_daemon(which)?;
        // ppp(8) opens a tun device that exists; if another process has it, ppp(8) says so.
        let unit = profile.unit.filter(|_| which == Daemon::Pppd);
        if let Some(unit) = unit {
            let device = format!("{}{unit}", which.device());
            if nix::net::if_::if_nametoindex(device.as_str()).is_ok() {
                let words = format!("{device} is in use: there is a device of that name already");
                return Err(Failure::new(Phase::Connect, FailureKind::NoTun, words)
                    .hint(format!("`pptpctl status` shows whether another tunnel has it; `{SHOW_DEVICE} {device}`, what it is"))
                    .hint(format!("without unit = {unit} in the profile a free one is taken")));
            }
        }
        let pty = Pty::open()
            .and_then(|pty| wait::set_nonblocking(pty.master.as_fd()).map(|()| pty))
            .map_err(|error| super::internal(&format!("pty: {error}")))?;
        let external = Self {
            _in_build: in_build,
            which,
            pty: pty.slave,
            name: pty.name,
            limit,
            profile,
            running: None,
            pending: None,
            look: None,
        };
        Ok((external, pty.master))
    }

    /// Returns the descriptors to poll: the daemon's log, and its exit.
    pub fn fds(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let running = self.running.as_ref();
        [
            running.and_then(|running| running.log.as_ref()).map(AsFd::as_fd),
            running.map(|running| running.held.as_fd()),
        ]
    }

    /// Returns when to look for the device.
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        Some((self.look?, "device of the PPP daemon"))
    }

    /// Starts the daemon, when the call is up.
    pub fn start(&mut self, password: &Secret) -> Result<(), Failure> {
        if self.running.is_some() {
            return Ok(());
        }
        let profile = &*self.profile;
        let started = match self.which {
            Daemon::Pppd => start_pppd(self, &pppd::options(profile, Some(password), self.limit)),
            Daemon::Ppp => {
                let section = ppp::section(profile, Some(password), self.limit);
                start_ppp(self, profile.name.as_str(), &ppp::arguments(profile), section.as_bytes())
            }
        };
        let running = started.map_err(|error| {
            let words = format!("{} does not start: {error}", self.which.name());
            Failure::new(Phase::Lcp, FailureKind::PppFailed, words)
        })?;
        tracing::info!("{} runs, process {}", self.which.name(), running.child.id());
        self.running = Some(running);
        Ok(())
    }

    /// Handles the engine's report that the link is up, which the kernel has to confirm.
    pub fn link_up(&mut self, up: LinkUp) -> Result<Found, Failure> {
        let now = Instant::now();
        self.pending = Some((up, now + self.profile.timeouts.network));
        self.look_for_device(now)
    }

    fn look_for_device(&mut self, now: Instant) -> Result<Found, Failure> {
        self.look = None;
        let Some((up, limit)) = self.pending.take() else { return Ok(None) };
        let found = self.device().and_then(|name| Some((addresses_of(&name)?, name)));
        let Some(((local, peer), device)) = found else {
            if now >= limit {
                let words = format!("{} has not given its device an address", self.which.name());
                return Err(Failure::new(Phase::Addresses, FailureKind::PppFailed, words));
            }
            self.pending = Some((up, limit));
            self.look = Some(now + LOOK);
            return Ok(None);
        };
        Ok(Some((LinkUp { local, peer: peer.unwrap_or(up.peer), ..up }, Some(device))))
    }

    /// Handles events of [`External::fds`] and [`External::next_timeout`]. Returns why the daemon ended if it was not
    /// stopped here; `phase` is the one in which it did.
    pub fn serve(&mut self, log: bool, ended: bool, phase: Phase) -> Result<Found, Failure> {
        if log {
            self.read_log();
        }
        if ended {
            self.ended(phase)?;
        }
        let now = Instant::now();
        if self.look.is_some_and(|due| due <= now) { self.look_for_device(now) } else { Ok(None) }
    }

    fn read_log(&mut self) {
        let Self { running: Some(running), which, .. } = self else { return };
        running.read_log(|line| tracing::info!("{}: {line}", which.name()));
    }

    fn ended(&mut self, phase: Phase) -> Result<(), Failure> {
        self.read_log();
        let Some(mut running) = self.running.take() else { return Ok(()) };
        self.pending = None;
        self.look = None;
        let end = running.reap();
        let failure = exits::failure_of(self.which, end, phase, &running.reason_line);
        tracing::info!("{failure}");
        self.remove_remains(&running);
        Err(failure)
    }

    /// Ends the daemon while the call still carries its LCP Terminate: gracefully, within a bounded time.
    pub fn end(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        if let Err(error) = running.child.terminate() {
            tracing::debug!(parent: None, %error, "daemon not told");
        }
        let deadline = Instant::now() + self.profile.timeouts.stop;
        // The daemon must not block on its log.
        while !running.drained_until_ended(deadline) && Instant::now() < deadline {}
        running.reap();
        self.remove_remains(&running);
        self.pending = None;
        self.look = None;
    }

    fn remove_remains(&self, running: &Running) {
        let run = Path::new(Platform::host().run_dir());
        let pids = ppp_daemon::remove_pid_files(run, &backend::link_name(&self.profile), running.child.id());
        let file = running.file.as_ref().map_or(Ok(()), std::fs::remove_file);
        for error in [pids.err(), file.err()].into_iter().flatten() {
            tracing::warn!("what the daemon left: {error}");
        }
    }

    /// Returns the daemon's device: from pppd's own file, or for ppp from `unit` or its pid file.
    fn device(&self) -> Option<String> {
        let pid = self.running.as_ref()?.child.id();
        match self.which {
            Daemon::Pppd => {
                let run = Path::new(Platform::host().run_dir());
                ppp_daemon::find(run, &backend::link_name(&self.profile))
                    .filter(|found| found.pid == pid)
                    .map(|found| found.device)
            }
            Daemon::Ppp => {
                self.profile.unit.map(|unit| format!("{}{unit}", self.which.device())).or_else(|| tun_of(pid))
            }
        }
    }
}

impl Drop for External {
    fn drop(&mut self) {
        self.end();
    }
}

impl Running {
    fn read_log(&mut self, mut each: impl FnMut(&str)) {
        let mut bytes = [0; 4096];
        let mut taken = 0;
        while taken < MAX_LOG_READ {
            let Some(log) = &mut self.log else { return };
            match log.read(&mut bytes) {
                Ok(0) => self.log = None,
                Ok(size) => {
                    taken += size;
                    self.take_log(bytes.get(..size).unwrap_or_default(), &mut each);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It would stay readable for ever.
                Err(_) => self.log = None,
            }
        }
    }

    fn take_log(&mut self, bytes: &[u8], each: &mut impl FnMut(&str)) {
        for byte in bytes {
            if *byte != b'\n' && self.line.len() < LONGEST_LINE {
                self.line.push(*byte);
                continue;
            }
            let line = plain(String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim());
            if line.is_empty() {
                continue;
            }
            each(&line);
            if exits::is_informative(&line) {
                self.reason_line = line;
            }
        }
    }

    /// Discards the log while waiting for the daemon's exit; returns whether it exited.
    fn drained_until_ended(&mut self, deadline: Instant) -> bool {
        self.read_log(|_| {});
        let log = self.log.as_ref().map(|log| (log.as_fd(), wait::Interest::Readable));
        let ready = wait::until([Some((self.held.as_fd(), wait::Interest::Readable)), log], Some(deadline));
        ready.is_ok_and(|[ended, _]| ended)
    }

    /// Returns how the daemon ended; kills it if it still runs.
    fn reap(&mut self) -> exits::End {
        let status = child::reap(&mut self.child);
        self.read_log(|_| {});
        match status {
            Some(status) => status
                .code()
                .map_or_else(|| exits::End::Signal(status.signal().unwrap_or(0)), exits::End::Status),
            None => exits::End::Signal(nix::libc::SIGKILL),
        }
    }
}

/// Checks that this host has the daemon and what it needs of the kernel.
pub(in crate::supervisor) fn check_daemon(which: Daemon) -> Result<(), Failure> {
    let missing = |words: String| Err(Failure::new(Phase::Connect, FailureKind::NoPpp, words));
    let program = program(which);
    if !Path::new(program).exists() {
        return missing(format!("{program} is missing"));
    }
    if which == Daemon::Pppd && !Path::new("/dev/ppp").exists() {
        return missing("/dev/ppp is missing".to_owned());
    }
    Ok(())
}

fn program(which: Daemon) -> &'static str {
    match which {
        Daemon::Pppd => pppd::PROGRAM,
        Daemon::Ppp => ppp::PROGRAM,
    }
}

/// Starts pppd with its options in a pipe, which it opens by name as its standard input: no file holds the
/// password, and once it is read, nothing does.
fn start_pppd(external: &External, options: &[u8]) -> io::Result<Running> {
    let (reader, mut writer) = io::pipe()?;
    wait::set_nonblocking(writer.as_fd())?;
    // A pipe holds 64 KiB; no list of options is longer.
    writer.write_all(options)?;
    drop(writer);
    let pty = external.name.to_string_lossy().into_owned();
    let arguments = [&pty, "nodetach", "file", ppp_daemon::OPTIONS].map(str::to_owned);
    launch(pppd::PROGRAM, arguments.into(), Vec::new(), reader.into(), None)
}

fn start_ppp(external: &External, name: &str, arguments: &[String], section: &[u8]) -> io::Result<Running> {
    let path = platform::control_dir().join(format!("{name}.ppp.conf"));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(section)?;
    let environment = ppp::environment(&path);
    let environment =
        environment.map(|(name, value)| (name.to_owned(), value.to_string_lossy().into_owned()));
    let pty = external.pty.try_clone()?;
    launch(ppp::PROGRAM, arguments.to_vec(), environment.into(), pty, Some(path.clone())).inspect_err(|_| {
        let _as_well = std::fs::remove_file(&path);
    })
}

fn launch(
    program: &str,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    stdin: OwnedFd,
    file: Option<PathBuf>,
) -> io::Result<Running> {
    let (log, theirs) = io::pipe()?;
    wait::set_nonblocking(log.as_fd())?;
    let start = Start {
        program: ProgramFile::At(program.into()),
        title: None,
        arguments,
        environment,
        umask: None,
        // Ctrl-C at the terminal of `up --foreground` is for the supervisor only.
        separate_group: true,
        // It ends with its pty, and the next `up` or `recover` waits for that.
        ends_with_parent: false,
    };
    let mut child = start.spawn([Some(stdin), Some(theirs.try_clone()?.into()), Some(theirs.into())])?;
    let held = i32::try_from(child.id()).map_err(io::Error::other).and_then(process::Process::open);
    let held = held.inspect_err(|_| {
        child::reap(&mut child);
    })?;
    Ok(Running { child, held, log: Some(log), line: Vec::new(), reason_line: String::new(), file })
}

/// Returns the local address and the peer's of a device that is up.
fn addresses_of(device: &str) -> Option<(std::net::Ipv4Addr, Option<std::net::Ipv4Addr>)> {
    use nix::net::if_::InterfaceFlags;
    let all = nix::ifaddrs::getifaddrs().ok()?;
    all.filter(|entry| entry.interface_name == device && entry.flags.contains(InterfaceFlags::IFF_UP))
        .find_map(|entry| {
            let local = entry.address.as_ref()?.as_sockaddr_in()?.ip();
            let peer = entry.destination.as_ref().and_then(|peer| Some(peer.as_sockaddr_in()?.ip()));
            Some((local, peer))
        })
}

/// Returns the tun device whose pid file names this process.
fn tun_of(pid: u32) -> Option<String> {
    let entries = std::fs::read_dir(Platform::host().run_dir()).ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let device = name.strip_suffix(".pid").filter(|device| device.starts_with("tun"))?;
        let text = std::fs::read_to_string(entry.path()).ok()?;
        (text.trim().parse() == Ok(pid)).then(|| device.to_owned())
    })
}
