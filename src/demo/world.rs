//! The throw-away world: namespaces for the calling thread, and a server at the far end of a wire.
//!
//! Nothing in it has a name on the host. The calling thread leaves the host's network and mounts for private ones;
//! the server is the first process of a process namespace, so that the kernel ends everything in it (a tunnel's
//! supervisor too) when the server ends; and the server ends when the pipe from us does, however we end.

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
use crate::net::wait::{self, Interest};

/// The client's end of the wire.
pub const CLIENT_DEVICE: &str = "eth0";

/// Where the host keeps what must not be touched; an empty file system stands in its place.
const PRIVATE: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// How long a server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes the calling thread, and the processes that it starts from now on, out of the host.
///
/// # Errors
/// The kernel's, with what was tried; `EPERM` where a container or a policy forbids it.
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

/// A server that is ready for calls. Dropping it ends it, and with it everything that was started in its world.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts `program`, which is this one, as a server. It must be the first process that is started after
    /// [`enter`].
    ///
    /// # Errors
    /// Why it is not ready, in words; `PermissionDenied` where a container or a policy forbids what it needs.
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
        match server.first_word()?.trim_end().split_once(": ") {
            None => Ok(server),
            Some(("denied", why)) => Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())),
            Some((_, why)) => Err(io::Error::other(why.to_owned())),
        }
    }

    /// Its process id, as this process sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn give(&mut self, orders: &ServerConfig) -> io::Result<()> {
        let mut line = serde_json::to_vec(orders)?;
        line.push(b'\n');
        // It stays open: its end is the server's.
        self.child.stdin.as_mut().map_or_else(|| Err(gone()), |stdin| stdin.write_all(&line))
    }

    fn first_word(&mut self) -> io::Result<String> {
        let stdout = self.child.stdout.take().ok_or_else(gone)?;
        let deadline = Instant::now() + PATIENCE;
        let [ready] = wait::until([Some((stdout.as_fd(), Interest::Readable))], Some(deadline))?;
        if !ready {
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
        // It may be in the middle of something; SIGKILL to the first process ends its whole namespace.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn gone() -> io::Error {
    io::Error::other("the server ended without a word")
}
