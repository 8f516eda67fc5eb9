//! The status socket of a profile with `control.group`: the members of a group read the status there, and nothing
//! else.
//!
//! It is another socket than the control socket, with slots of its own, so that no number of its clients keeps root
//! from `down`. It is served at most every [`INTERVAL`], so that its clients cannot keep the supervisor busy. The
//! file's mode admits the group; in addition each peer's credentials are checked.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::MetadataExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::unistd::{Gid, Group, chown};

use super::{connection::Client, files, messages::Request};
use crate::{
    os::{crash, launch, peer},
    platform,
};

/// Maximum number of clients. One more replaces the oldest that has sent no request.
const MAX_CLIENTS: usize = 8;

/// Clients that are accepted at once.
const MAX_ACCEPTED: usize = 16;

/// Time between two rounds of accepting and reading.
const INTERVAL: Duration = Duration::from_millis(100);

/// The socket and its clients. Dropping it removes the socket.
#[derive(Debug)]
pub struct Readers {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket in the file system.
    inode: Option<(u64, u64)>,
    group: Gid,
    clients: Vec<Client>,
    /// When the next round is due; `None` if a round may begin at once.
    next_round: Option<Instant>,
}

impl Readers {
    /// Listens for the members of a group.
    ///
    /// # Errors
    /// Returns an error if there is no such group, or the kernel's error if the socket cannot be created.
    pub fn listen(name: &str, group: &str) -> io::Result<Self> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("there is no group {group}"));
        let group = Group::from_name(group)?.ok_or_else(unknown)?.gid;
        let path = platform::status_socket(name);
        let listener = bind(&path, group)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let inode = files::inode(&path);
        Ok(Self { listener, path, inode, group, clients: Vec::new(), next_round: None })
    }

    /// Returns the descriptors to poll: none before the next round.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let is_due = self.next_round.is_none_or(|at| at <= Instant::now());
        let all = [self.listener.as_fd()].into_iter().chain(self.clients.iter().map(Client::fd));
        all.filter(move |_| is_due)
    }

    /// Returns when the next round is due, and why.
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        // Once it is due, the descriptors are polled.
        let due = self.next_round.filter(|at| *at > Instant::now())?;
        Some((due, "clients of the status socket are served"))
    }

    /// Accepts clients and reads requests without blocking, if a round is due. Returns a request if a client waits for
    /// the status.
    pub fn handle(&mut self) -> Option<Request> {
        let now = Instant::now();
        if self.next_round.is_some_and(|at| at > now) {
            return None;
        }
        self.next_round = None;
        self.read();
        for _ in 0..MAX_ACCEPTED {
            let accepted = self.listener.accept();
            // The next round is a pause after any error but an empty queue: the socket may stay readable.
            if accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                break;
            }
            self.next_round = Some(now + INTERVAL);
            let Ok((stream, _)) = accepted else { break };
            let Some(client) = self.admit(stream) else { continue };
            if self.clients.len() >= MAX_CLIENTS {
                self.read();
            }
            if self.clients.len() >= MAX_CLIENTS {
                let silent = self.clients.iter().position(|client| client.pending.is_none());
                self.clients.remove(silent.unwrap_or(0));
            }
            self.clients.push(client);
        }
        self.read();
        self.clients.iter().any(|client| client.pending.is_some()).then(|| {
            self.next_round = Some(now + INTERVAL);
            Request::Status
        })
    }

    fn read(&mut self) {
        self.clients.retain_mut(|client| match client.read() {
            None => false,
            Some(None | Some(Request::Status)) => true,
            Some(Some(_)) => {
                client.refuse("this socket answers status only".to_owned());
                false
            }
        });
    }

    /// Answers all clients that wait, and disconnects them.
    pub fn answer(&mut self, line: &str) {
        self.clients.retain_mut(|client| {
            if client.pending.is_none() {
                return true;
            }
            client.write(line);
            false
        });
    }

    /// Returns whether the socket is where commands look for it.
    pub fn has_file(&self) -> bool {
        self.inode.is_some() && files::inode(&self.path) == self.inode
    }

    /// Creates the socket again if another program has removed it. The caller holds the profile's lock.
    ///
    /// # Errors
    /// Returns the file system's error.
    pub fn restore_file(&mut self) -> io::Result<()> {
        if !self.has_file() {
            self.listener = bind(&self.path, self.group)?;
            self.inode = files::inode(&self.path);
        }
        Ok(())
    }

    fn admit(&self, stream: UnixStream) -> Option<Client> {
        let uid = peer::uid(&stream).ok()?;
        // Where the kernel does not report the groups, the mode of the file alone decides.
        let is_member = peer::is_in_group(&stream, self.group.as_raw()).ok()?.unwrap_or(true);
        if uid != 0 && !is_member {
            tracing::debug!(uid, "status socket: refused");
            return None;
        }
        Client::new(stream).ok()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        crash::point(format_args!("remove the status socket"));
        // Another supervisor may have created its own.
        if !self.has_file() {
            return;
        }
        match launch::files::remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %self.path.display(), "status socket stays");
            }
            _ => {}
        }
    }
}

/// Returns a listening socket that only this group can connect to. The caller holds the profile's lock, so an existing
/// socket is stale.
fn bind(path: &Path, group: Gid) -> io::Result<UnixListener> {
    match launch::files::remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    crash::point(format_args!("make the status socket"));
    let listener = launch::files::listen(path, Some(group.as_raw()))?;
    crash::point(format_args!("open the status socket to its group"));
    let opened = give_to(path, group);
    if opened.is_err() {
        let _closed = launch::files::remove(path);
    }
    opened?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Makes the socket accessible to the group, which has been the supervisor's own until now.
fn give_to(path: &Path, group: Gid) -> io::Result<()> {
    if fs::symlink_metadata(path)?.gid() != group.as_raw() {
        chown(path, None, Some(group))?;
    }
    launch::files::set_mode(path, 0o660)
}
