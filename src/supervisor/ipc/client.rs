//! Client of the control socket: how `status` and `down` query a supervisor.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::Path,
    time::{Duration, Instant},
};

use super::{
    lock,
    messages::{LogLine, Request, Response, Status},
    reloaded::Reloaded,
};
use crate::{
    apply::Directories,
    os::process::{self, Process},
    platform,
    platform::Platform,
};

/// A status is available at once; a supervisor that takes longer is stuck.
const STATUS_WAIT: Duration = Duration::from_secs(5);

/// Timeout of a pause: nft(8) and the program that sets the resolvers run, 20 s each at most.
const PAUSE_WAIT: Duration = Duration::from_secs(60);

/// Timeout of a graceful shutdown: three waits of `timeouts.stop`, at most a minute each, and the steps.
const DOWN_WAIT: Duration = Duration::from_secs(240);

/// How long a supervisor may take from holding its lock to listening on its socket, and the poll interval.
const STARTUP_WAIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest answer, which is one line, in bytes.
const MAX_ANSWER: u64 = 1024 * 1024;

/// Why a supervisor could not be queried.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No supervisor runs for this profile.
    #[error("not up")]
    NotUp,
    /// The process with this pid holds the lock but has no socket yet: `up` waits for the password.
    #[error(
        "process {0} is about to bring it up and cannot be queried yet; it may be waiting for the password; SIGTERM ends it"
    )]
    NotYet(u32),
    /// The supervisor with this pid runs, but its control socket has been removed.
    #[error("process {0} runs it, but its control socket is gone; `pptpctl down` still ends it")]
    NoSocket(u32),
    /// No supervisor runs, and the last one left changes on this host.
    #[error("its supervisor has died; `pptpctl recover` undoes what it left")]
    Died,
    /// This user may not use the socket.
    #[error("it runs, and only root or a member of its control.group may query it: {0}")]
    Denied(io::Error),
    /// A supervisor runs, but does not answer as it should.
    #[error("the supervisor does not answer: {0}")]
    Silent(io::Error),
    /// The supervisor refused the request, for this reason.
    #[error("the supervisor refused: {0}")]
    Refused(String),
}

impl ClientError {
    /// Returns whether a supervisor runs that cannot be asked.
    #[must_use]
    pub const fn is_stuck(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Refused(_) | Self::NoSocket(_))
    }

    /// Returns whether `down` ends this supervisor although it cannot be asked for its status.
    const fn answers(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NoSocket(_))
    }

    /// Returns the word that `list` and `status --json` show as the state of such a tunnel.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match self {
            Self::NotUp => "down",
            Self::NotYet(_) => "starting",
            Self::Died => "died",
            // The socket exists, and only root may use it.
            Self::Denied(_) => "running",
            Self::Silent(_) | Self::Refused(_) | Self::NoSocket(_) => "stuck",
        }
    }
}

/// Returns the status of this profile's tunnel.
///
/// # Errors
/// Returns why the supervisor could not be queried.
pub fn status(name: &str) -> Result<Status, ClientError> {
    let answer = match ask(name, &platform::control_socket(name), Request::Status, STATUS_WAIT) {
        // Members of `control.group` have a socket of their own. Without one, or for others, only root may query.
        Err(ClientError::Denied(denied)) => {
            ask(name, &platform::status_socket(name), Request::Status, STATUS_WAIT).map_err(|other| {
                match other {
                    ClientError::Refused(_) | ClientError::Silent(_) => other,
                    _ => ClientError::Denied(denied),
                }
            })
        }
        answer => answer,
    };
    match answer {
        Ok((Response::Status(status), _)) => Ok(*status),
        Ok((other, _)) => Err(unexpected(other)),
        Err(wrong) => Err(starting(name, wrong)),
    }
}

/// Takes the tunnel down and waits until its supervisor has exited. Returns what could not be undone.
///
/// # Errors
/// Returns why the supervisor could not be queried.
pub fn down(name: &str) -> Result<Vec<String>, ClientError> {
    let deadline = Instant::now() + STARTUP_WAIT;
    resume(name);
    let (answer, mut stream) = loop {
        match ask(name, &platform::control_socket(name), Request::Down, DOWN_WAIT) {
            Err(ClientError::NoSocket(pid)) => return end_by_signal(name, pid),
            Err(ClientError::NotUp) if lock::is_held(name) => {
                if Instant::now() >= deadline {
                    return Err(ClientError::NotYet(lock::signer_pid(name)));
                }
                std::thread::sleep(POLL_INTERVAL);
            }
            outcome => break outcome?,
        }
    };
    let Response::Down { problems } = answer else { return Err(unexpected(answer)) };
    // The connection closes when the process exits: after `down` has returned, a new `up` meets no remains.
    let mut until_exit = UntilDeadline { stream: &mut stream, deadline: Instant::now() + DOWN_WAIT };
    let _end = until_exit.read_exact(&mut [0; 1]);
    Ok(problems)
}

/// Asks the supervisor to read its profile again. It may run hooks and programs, as `down` does.
///
/// # Errors
/// Returns why the supervisor could not be asked.
pub fn reload(name: &str, redial: bool, dry_run: bool) -> Result<Reloaded, ClientError> {
    let request = Request::Reload { redial, dry_run };
    match ask(name, &platform::control_socket(name), request, DOWN_WAIT) {
        Ok((Response::Reload(result), _)) => Ok(*result),
        Ok((other, _)) => Err(unexpected(other)),
        Err(wrong) => Err(starting(name, wrong)),
    }
}

/// Pauses the kill switch of this tunnel for a number of seconds, or ends the pause. Returns the seconds that are left.
///
/// # Errors
/// Returns why the supervisor could not be asked, or has refused.
pub fn pause(name: &str, seconds: Option<u32>, end: bool) -> Result<Option<u64>, ClientError> {
    let request = Request::Pause { seconds, end };
    match ask(name, &platform::control_socket(name), request, PAUSE_WAIT) {
        Ok((Response::Pause { left }, _)) => Ok(left),
        Ok((other, _)) => Err(unexpected(other)),
        Err(wrong) => Err(starting(name, wrong)),
    }
}

/// Ends the link, or the wait for the next attempt, and dials again.
///
/// # Errors
/// Returns why the supervisor could not be asked, or has refused.
pub fn redial(name: &str) -> Result<(), ClientError> {
    match ask(name, &platform::control_socket(name), Request::Redial, STATUS_WAIT) {
        Ok((Response::Redial {}, _)) => Ok(()),
        Ok((other, _)) => Err(unexpected(other)),
        Err(wrong) => Err(starting(name, wrong)),
    }
}

/// Returns the last lines of this tunnel's log, the oldest first.
///
/// # Errors
/// Returns why the supervisor could not be asked.
pub fn log(name: &str, lines: u32) -> Result<Vec<LogLine>, ClientError> {
    let request = Request::Log { lines: Some(lines) };
    match ask(name, &platform::control_socket(name), request, STATUS_WAIT) {
        Ok((Response::Log { lines }, _)) => Ok(lines),
        Ok((other, _)) => Err(unexpected(other)),
        Err(wrong) => Err(starting(name, wrong)),
    }
}

/// Ends a supervisor that cannot be asked, and waits until it has exited.
fn end_by_signal(name: &str, pid: u32) -> Result<Vec<String>, ClientError> {
    let process = i32::try_from(pid).map_err(io::Error::other).and_then(Process::open);
    let ended = process.and_then(|process| {
        // Checked after it was opened, so that no other process that got its pid is signalled.
        if supervisor_in_ledger(name) != Some(pid) {
            return Ok(true);
        }
        process.terminate()?;
        process.wait_until(Instant::now() + DOWN_WAIT)
    });
    match ended {
        Ok(true) if has_ledger(name) => Ok(vec![format!("{name}: its supervisor has left steps to undo")]),
        Ok(true) => Ok(Vec::new()),
        Ok(false) => {
            let words = format!("process {pid} has not ended within {} s", DOWN_WAIT.as_secs());
            Err(ClientError::Silent(io::Error::other(words)))
        }
        // It has ended meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(Vec::new()),
        Err(error) => Err(ClientError::Silent(error)),
    }
}

/// What is known of a tunnel whose supervisor cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Stuck {
    /// The process of the supervisor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervisor_pid: Option<u32>,
    /// The tunnel's device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tun: Option<String>,
    /// Whether a signal or a debugger has stopped the process, where that can be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<bool>,
    /// The next step for the user.
    pub next: String,
}

impl Stuck {
    fn new(
        name: &str,
        why: &ClientError,
        supervisor_pid: Option<u32>,
        tun: Option<String>,
        stopped: Option<bool>,
    ) -> Self {
        let next = match (supervisor_pid, stopped) {
            (Some(_), Some(true)) => {
                format!("`pptpctl down {name}` lets it run again and takes the tunnel down")
            }
            (Some(_), _) if why.answers() => format!("`pptpctl down {name}` ends it"),
            (Some(pid), _) => format!(
                "it may run a hook or wait for the host; if it stays so: `kill -9 {pid}`, then `pptpctl down {name}` \
                 undoes what it left"
            ),
            (None, _) => format!("as root, `pptpctl status {name}` names the process"),
        };
        Self { supervisor_pid, tun, stopped, next }
    }
}

/// Reads what ledger, lock and the system's table of processes say about a tunnel whose supervisor cannot be asked.
#[must_use]
pub fn stuck(name: &str, why: &ClientError) -> Stuck {
    let signed = || Some(lock::signer_pid(name)).filter(|pid| *pid != 0);
    let pid = supervisor_in_ledger(name).or_else(signed);
    let tun = Directories::system(Platform::host()).ledger_device(name);
    Stuck::new(name, why, pid, tun, pid.and_then(process::is_stopped))
}

/// Lets a supervisor run that a signal has stopped.
fn resume(name: &str) {
    let Some(pid) = supervisor_in_ledger(name) else { return };
    let opened = i32::try_from(pid).map_err(io::Error::other).and_then(Process::open);
    // Checked after it was opened, so that no other process that got its pid is signalled.
    if let Ok(process) = opened
        && supervisor_in_ledger(name) == Some(pid)
    {
        // If that fails, the supervisor does not answer, which is reported.
        let _asked_next = process.resume();
    }
}

/// Returns the profiles whose supervisors run, sorted by name. Those without files in the control directory are
/// known by their ledger, which only root can read.
#[must_use]
pub fn running() -> Vec<String> {
    let mut names = lock::names();
    names.extend(Directories::system(Platform::host()).profiles_with_ledger());
    names.sort();
    names.dedup();
    let may_run = |name: &String| {
        lock::is_held(name)
            || supervisor_in_ledger(name).is_some()
            // Other users than root cannot see more than that there is a socket.
            || (lock::is_private(name) && platform::control_socket(name).exists())
    };
    names.into_iter().filter(may_run).collect()
}

/// Returns the group that may read the status of this tunnel, if there is one.
#[must_use]
pub fn group_of_readers(name: &str) -> Option<String> {
    let group = std::fs::symlink_metadata(platform::status_socket(name)).ok()?.gid();
    let found = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(group)).ok().flatten();
    Some(found.map_or_else(|| group.to_string(), |group| group.name))
}

/// Returns the profiles that have a ledger. Only root can see that.
#[must_use]
pub fn with_ledger() -> Vec<String> {
    Directories::system(Platform::host()).profiles_with_ledger()
}

/// Returns the pid of the running supervisor that a ledger names.
#[must_use]
pub fn supervisor_in_ledger(name: &str) -> Option<u32> {
    let header = Directories::system(Platform::host()).ledger_header(name)?;
    header.is_process_running().then_some(header.pid)
}

/// Returns whether there is a ledger, with steps to undo. Only root can see that.
#[must_use]
pub fn has_ledger(name: &str) -> bool {
    Directories::system(Platform::host()).ledger(name).exists()
}

fn ask(
    name: &str,
    socket: &Path,
    request: Request,
    wait: Duration,
) -> Result<(Response, UnixStream), ClientError> {
    let mut stream = connect(name, socket)?;
    let began = Instant::now();
    let answer = converse(&mut stream, request, wait).map_err(|error| match error.kind() {
        // The supervisor exited while the request was being sent, or without reading it.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            if !lock::is_held(name) =>
        {
            ClientError::NotUp
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent(io::Error::other(
            format!("no answer within {} s", began.elapsed().min(wait).as_secs()),
        )),
        _ => ClientError::Silent(error),
    })?;
    match answer {
        Response::Refused(why) => Err(ClientError::Refused(why)),
        answer => Ok((answer, stream)),
    }
}

/// Connects to the control socket of this profile's supervisor, which only root may.
///
/// # Errors
/// Returns why that is not possible.
pub fn connect_control(name: &str) -> Result<UnixStream, ClientError> {
    connect(name, &platform::control_socket(name)).map_err(|error| starting(name, error))
}

/// Tells a tunnel that is down from one whose `up` has no socket yet.
fn starting(name: &str, why: ClientError) -> ClientError {
    match why {
        // A process that only tests the lock holds it briefly and has not signed it.
        ClientError::NotUp if lock::is_held(name) && lock::signer_pid(name) != 0 => {
            ClientError::NotYet(lock::signer_pid(name))
        }
        why => why,
    }
}

fn connect(name: &str, socket: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused if has_ledger(name) => {
            match supervisor_in_ledger(name) {
                Some(pid) => ClientError::NoSocket(pid),
                None if lock::is_held(name) => ClientError::NotUp,
                None => ClientError::Died,
            }
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotUp,
        io::ErrorKind::PermissionDenied => ClientError::Denied(error),
        _ => ClientError::Silent(error),
    })
}

fn converse(stream: &mut UnixStream, request: Request, wait: Duration) -> io::Result<Response> {
    let deadline = Instant::now() + wait;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(STATUS_WAIT))?;
    let request = format!("{}\n", serde_json::to_string(&request)?);
    stream.write_all(request.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::other(format!("the request could not be sent: {error}"))
        }
        _ => error,
    })?;
    let mut line = String::new();
    let reader = UntilDeadline { stream, deadline };
    BufReader::new(reader.take(MAX_ANSWER)).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(serde_json::from_slice(line.as_bytes())?)
}

/// Reads until a deadline, whenever a single read gives up: on OpenBSD 7.8-beta one with a limit of minutes has ended at
/// once with EWOULDBLOCK.
struct UntilDeadline<'a> {
    stream: &'a mut UnixStream,
    deadline: Instant,
}

impl Read for UntilDeadline<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_early = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
                && Instant::now() < self.deadline
        };
        // The caller reads again.
        self.stream
            .read(buffer)
            .map_err(|error| if is_early(&error) { io::ErrorKind::Interrupted.into() } else { error })
    }
}

fn unexpected(answer: Response) -> ClientError {
    match answer {
        Response::Refused(why) => ClientError::Refused(why),
        _ => ClientError::Silent(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_that_gives_up_early_is_repeated_until_the_deadline() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut read = |limit| {
            let mut line = String::new();
            let reader = UntilDeadline { stream: &mut near, deadline: Instant::now() + limit };
            BufReader::new(reader).read_line(&mut line).map(|_| line)
        };
        let kind = read(Duration::from_millis(20)).unwrap_err().kind();
        assert!(matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{kind:?}");
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            far.write_all(b"answer\n").unwrap();
        });
        assert_eq!(read(Duration::from_secs(60)).unwrap(), "answer\n");
        writer.join().unwrap();
    }

    #[test]
    fn way_to_end_a_stuck_supervisor_depends_on_its_state() {
        let next = |pid, stopped| {
            Stuck::new("vpn", &ClientError::Silent(io::ErrorKind::TimedOut.into()), pid, None, stopped).next
        };
        assert!(next(Some(7), Some(true)).contains("`pptpctl down vpn` lets it run again"));
        for stopped in [Some(false), None] {
            assert!(next(Some(7), stopped).contains("`kill -9 7`, then `pptpctl down vpn`"), "{stopped:?}");
        }
        assert!(next(None, None).contains("as root"));
        let gone = Stuck::new("vpn", &ClientError::NoSocket(7), Some(7), None, Some(false)).next;
        assert_eq!(gone, "`pptpctl down vpn` ends it");
    }
}
