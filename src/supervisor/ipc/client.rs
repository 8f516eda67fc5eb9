//! The client half: how `status` and `down` ask a supervisor.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use super::{
    lock,
    messages::{Request, Response, Status},
};
use crate::{apply::Directories, os::paths, plan::Platform};

/// A status is at hand at once; a supervisor that takes longer is stuck.
const STATUS_WAIT: Duration = Duration::from_secs(5);

/// The longest that a polite end may take: three waits of `timeouts.stop` at most a minute each, and the steps.
const DOWN_WAIT: Duration = Duration::from_secs(240);

/// How long a supervisor that has its lock may take to be there to be asked, and how often it is tried.
const COMING_WAIT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// An answer is one line, and none is longer than this.
const LONGEST: u64 = 1024 * 1024;

/// Why a supervisor could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No supervisor lives for this profile.
    #[error("not up")]
    NotUp,
    /// Someone holds the lock, and has no socket yet: `up` waits for the password.
    #[error(
        "process {0} is about to bring it up and cannot be asked yet, perhaps waits for the password; SIGTERM ends it"
    )]
    NotYet(u32),
    /// None lives, and the last one has left something on this host.
    #[error("its supervisor has died; `pptpctl recover` puts back what it left")]
    Died,
    /// The socket may not be used by this user.
    #[error("only root may ask: {0}")]
    Denied(io::Error),
    /// There is one, and it does not answer as it should.
    #[error("the supervisor does not answer: {0}")]
    Silent(io::Error),
    /// It answered that it does not want to.
    #[error("the supervisor refused: {0}")]
    Refused(String),
}

/// Where the tunnel of this profile is.
///
/// # Errors
/// As [`ClientError`] says.
pub fn status(name: &str) -> Result<Status, ClientError> {
    match ask(name, Request::Status, STATUS_WAIT) {
        Ok((Response::Status(status), _)) => Ok(*status),
        Ok((other, _)) => Err(unexpected(other)),
        // Whoever only looks at a lock holds it for a moment, and has not signed.
        Err(ClientError::NotUp) if lock::is_held(name) && lock::signer(name) != 0 => {
            Err(ClientError::NotYet(lock::signer(name)))
        }
        Err(wrong) => Err(wrong),
    }
}

/// Takes the tunnel down and waits until its supervisor has ended. Returns what could not be undone.
///
/// # Errors
/// As [`ClientError`] says.
pub fn down(name: &str) -> Result<Vec<String>, ClientError> {
    let patience = Instant::now() + COMING_WAIT;
    let (answer, mut stream) = loop {
        match ask(name, Request::Down, DOWN_WAIT) {
            Err(ClientError::NotUp) if lock::is_held(name) => {
                if Instant::now() >= patience {
                    return Err(ClientError::NotYet(lock::signer(name)));
                }
                std::thread::sleep(LOOK);
            }
            outcome => break outcome?,
        }
    };
    let Response::Down { problems } = answer else { return Err(unexpected(answer)) };
    // The connection ends with the process: when `down` returns, a new `up` finds nothing in its way.
    let _end = stream.read(&mut [0; 1]);
    Ok(problems)
}

/// The profiles whose supervisors live, by name.
#[must_use]
pub fn live() -> Vec<String> {
    lock::names().into_iter().filter(|name| lock::is_held(name)).collect()
}

/// Whether there is a ledger: something that is to be undone, now or later. Only root can see that.
#[must_use]
pub fn has_remains(name: &str) -> bool {
    Directories::system(Platform::host()).ledger(name).exists()
}

/// A ledger without a supervisor. For others than root such a tunnel is not up.
fn has_died(name: &str) -> bool {
    has_remains(name) && !lock::is_held(name)
}

fn ask(name: &str, request: Request, wait: Duration) -> Result<(Response, UnixStream), ClientError> {
    let mut stream =
        UnixStream::connect(paths::control_socket(name)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused if has_died(name) => ClientError::Died,
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotUp,
            io::ErrorKind::PermissionDenied => ClientError::Denied(error),
            _ => ClientError::Silent(error),
        })?;
    let answer = converse(&mut stream, request, wait).map_err(|error| match error.kind() {
        // It has ended with our question unread, or while we asked.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            if !lock::is_held(name) =>
        {
            ClientError::NotUp
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            ClientError::Silent(io::Error::other(format!("no word within {} s", wait.as_secs())))
        }
        _ => ClientError::Silent(error),
    })?;
    match answer {
        Response::Refused(why) => Err(ClientError::Refused(why)),
        answer => Ok((answer, stream)),
    }
}

fn converse(stream: &mut UnixStream, request: Request, wait: Duration) -> io::Result<Response> {
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(STATUS_WAIT))?;
    stream.write_all(format!("{}\n", serde_json::to_string(&request)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?.take(LONGEST)).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(serde_json::from_str(&line)?)
}

fn unexpected(answer: Response) -> ClientError {
    match answer {
        Response::Refused(why) => ClientError::Refused(why),
        _ => ClientError::Silent(io::Error::from(io::ErrorKind::InvalidData)),
    }
}
