//! The demo's environment: namespaces (Linux) or a jail (FreeBSD) for the client, and a server, which makes a
//! network stack of its own with a link to the client's.
//!
//! The server exits when its pipe from this process closes, however it ends.

#[cfg(target_os = "freebsd")]
pub mod jail;
#[cfg(target_os = "linux")]
mod namespaces;

#[cfg(target_os = "linux")]
pub use self::namespaces::enter;

use std::{
    io::{self, BufRead, BufReader, Write},
    os::fd::AsFd,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{config::ServerConfig, server};
use crate::os::wait;

/// Limit for the start of a server.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that accepts calls. Dropping it kills it, and on Linux all processes in its pid namespace.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts `program`, which must be this one, as a server. On Linux it must be the first process started
    /// after `enter`.
    ///
    /// # Errors
    /// Returns the reason if it does not start; `PermissionDenied` where a container or policy forbids it.
    pub fn start(program: &Path, orders: &ServerConfig) -> io::Result<Self> {
        let child = Command::new(program)
            .arg(server::ROLE)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if orders.talk { Stdio::inherit() } else { Stdio::null() })
            .spawn()?;
        let mut server = Self { child };
        server.give(orders)?;
        match server.read_status()?.trim_end().split_once(": ") {
            None => Ok(server),
            Some(("denied", why)) => Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())),
            Some((_, why)) => Err(io::Error::other(why.to_owned())),
        }
    }

    fn give(&mut self, orders: &ServerConfig) -> io::Result<()> {
        let mut line = serde_json::to_vec(orders)?;
        line.push(b'\n');
        // The pipe stays open: the server exits when it is closed.
        self.child.stdin.as_mut().map_or_else(|| Err(gone()), |stdin| stdin.write_all(&line))
    }

    fn read_status(&mut self) -> io::Result<String> {
        let stdout = self.child.stdout.take().ok_or_else(gone)?;
        let deadline = Instant::now() + PATIENCE;
        if !wait::readable(stdout.as_fd(), deadline)? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server is not ready in time"));
        }
        let mut word = String::new();
        BufReader::new(stdout).read_line(&mut word)?;
        if word.is_empty() { Err(gone()) } else { Ok(word) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // The server may be busy; SIGKILL to the first process ends its whole namespace.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn gone() -> io::Error {
    io::Error::other("the server exited without a message")
}
