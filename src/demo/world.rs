//! The demo's environment: namespaces for the calling thread, and a server behind a veth pair.
//!
//! Nothing in it has a name on the host. The calling thread leaves the host's network and mount namespaces.
//! The server is the first process of a pid namespace, so the kernel kills all other processes in it
//! (including a tunnel's supervisor) when the server exits; and the server exits when its pipe from this
//! process closes, however it ends.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::fd::AsFd,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::{config::ServerConfig, server};
use crate::os::wait;

/// Directories of the host that must not be touched; an empty file system is mounted over each.
const PRIVATE: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// Limit for the start of a server.
const PATIENCE: Duration = Duration::from_secs(30);

/// Moves the calling thread, and processes that it starts later, into new namespaces.
///
/// # Errors
/// Returns the kernel's error and the operation; `EPERM` where a container or policy forbids it.
pub fn enter() -> Result<(), (&'static str, io::Error)> {
    let wrong = |what| move |errno: nix::errno::Errno| (what, io::Error::from(errno));
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    unshare(flags).map_err(wrong("make namespaces"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(wrong("make mounts private"))?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for place in PRIVATE {
        mount(Some("tmpfs"), place, Some("tmpfs"), safe, Some("mode=0755,size=16m"))
            .map_err(wrong("mount an empty file system"))?;
    }
    Ok(())
}

/// A server that accepts calls. Dropping it kills it and all processes in its pid namespace.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts `program`, which must be this one, as a server. It must be the first process started after
    /// [`enter`].
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
