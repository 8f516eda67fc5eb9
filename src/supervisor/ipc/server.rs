//! The control socket of one profile, with its lock: access control and reading of requests.
//!
//! It is a Unix socket of mode 0600 in the control directory; each peer must also be root or the user of the
//! supervisor. A client sends one line and receives one, or one for each event if it subscribes. A client that sends more is dropped, as is a silent
//! one whose slot is needed.

mod files;

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    connection::Client,
    files::inode,
    lock::{Lock, LockError},
    messages::{Request, Response},
    readers::Readers,
};
use crate::{
    deadline::earliest,
    os::{accept::AcceptPause, crash, launch, peer},
    platform,
};

/// Maximum number of clients. One more replaces the oldest that has sent no request, or waits in the kernel's
/// queue.
const MAX_CLIENTS: usize = 16;

/// The socket and its connected clients. Dropping it closes the socket.
#[derive(Debug)]
pub struct Control {
    /// The profile's lock, until the socket is closed.
    lock: Option<Lock>,
    listener: UnixListener,
    pause: AcceptPause,
    /// Device and inode of the socket in the file system.
    inode: Option<(u64, u64)>,
    path: PathBuf,
    clients: Vec<Client>,
    /// The socket of the group that may read the status.
    readers: Option<Readers>,
}

impl Control {
    /// Signs the profile's lock, and listens.
    ///
    /// # Errors
    /// Releases the lock and returns the kernel's error if the socket cannot be created.
    pub fn listen(name: &str, mut lock: Lock) -> io::Result<Self> {
        let path = platform::control_socket(name);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        match lock.sign().map_err(LockError::into_io).and_then(|()| bind(&path).map_err(named)) {
            Ok(listener) => Ok(Self {
                lock: Some(lock),
                listener,
                pause: AcceptPause::default(),
                inode: inode(&path),
                path,
                clients: Vec::new(),
                readers: None,
            }),
            Err(error) => {
                lock.release();
                Err(error)
            }
        }
    }

    /// Lets the members of a group read the status, on a socket of their own.
    ///
    /// # Errors
    /// Returns why there is no such socket.
    pub fn admit_group(&mut self, name: &str, group: &str) -> io::Result<()> {
        self.readers = Some(Readers::listen(name, group)?);
        Ok(())
    }

    /// Returns when [`Control::handle`] is due without a readable descriptor, and why.
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        // accept(2) has failed, and is tried again then.
        let accepts = self.pause.next_timeout(Instant::now()).map(|at| (at, "clients are accepted again"));
        earliest([accepts, self.readers.as_ref().and_then(Readers::next_timeout)])
    }

    /// Returns the descriptors to poll; [`Control::handle`] is due when one of them is readable.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let accepts = self.has_room() && !self.pause.is_pausing(Instant::now());
        let listener = accepts.then(|| self.listener.as_fd());
        // Clients that wait for an answer are polled too, so that their slot is freed when they disconnect.
        let own = listener.into_iter().chain(self.clients.iter().map(Client::fd));
        own.chain(self.readers.iter().flat_map(Readers::fds))
    }

    /// Accepts clients and reads requests without blocking; returns the new requests.
    pub fn handle(&mut self) -> Vec<Request> {
        // Connected clients first, so that those with a request keep their slots.
        let mut asked = self.read();
        while self.has_room() {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let Some(client) = admit(stream) else { continue };
                    if self.clients.len() >= MAX_CLIENTS {
                        asked.extend(self.read());
                    }
                    if self.clients.len() >= MAX_CLIENTS
                        && let Some(silent) = self.clients.iter().position(|client| client.pending.is_none())
                    {
                        self.clients.remove(silent);
                    }
                    self.clients.push(client);
                }
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::debug!(%error, "control socket");
                    }
                    self.pause.failed(Instant::now(), &error);
                    break;
                }
            }
        }
        asked.extend(self.read());
        asked.extend(self.readers.as_mut().and_then(Readers::handle));
        asked
    }

    fn read(&mut self) -> Vec<Request> {
        let mut asked = Vec::new();
        self.clients.retain_mut(|client| {
            let Some(fresh) = client.read() else { return false };
            asked.extend(fresh);
            true
        });
        asked
    }

    /// Returns the clients that have subscribed, which are no longer among those that wait for an answer, each with the
    /// interval that it has asked for.
    pub fn take_subscribers(&mut self) -> Vec<(UnixStream, Option<u32>)> {
        let is_subscriber = |client: &mut Client| matches!(client.pending, Some(Request::Subscribe { .. }));
        let taken = self.clients.extract_if(.., is_subscriber);
        taken
            .map(|client| {
                let interval = match client.pending {
                    Some(Request::Subscribe { interval }) => interval,
                    _ => None,
                };
                (client.into_stream(), interval)
            })
            .collect()
    }

    /// Returns the clients that have asked for a capture, which no longer wait for an answer, each with whether it has
    /// asked for the packets in the tunnel.
    pub fn take_captures(&mut self) -> Vec<(UnixStream, bool)> {
        let mut taken = Vec::new();
        for client in self.clients.extract_if(.., |one| matches!(one.pending, Some(Request::Capture { .. })))
        {
            let inner = matches!(client.pending, Some(Request::Capture { inner: true }));
            taken.push((client.into_stream(), inner));
        }
        taken
    }

    fn has_room(&self) -> bool {
        self.clients.len() < MAX_CLIENTS || self.clients.iter().any(|client| client.pending.is_none())
    }

    /// Answers all clients that sent this request, and disconnects them.
    pub fn answer(&mut self, request: Request, answer: &Response) {
        let Ok(line) = serde_json::to_string(answer) else { return };
        if let (Request::Status, Some(readers)) = (request, &mut self.readers) {
            readers.answer(&line);
        }
        self.clients.retain_mut(|client| {
            if client.pending != Some(request) {
                return true;
            }
            client.write(&line);
            false
        });
    }

    /// Removes the socket from the file system and releases the lock; waiting clients stay connected until
    /// `self` is dropped.
    pub fn close(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        self.readers = None;
        crash::point(format_args!("remove the control socket"));
        if self.has_socket()
            && let Err(error) = launch::files::remove(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "control socket stays");
        }
        lock.release();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.close();
    }
}

/// Returns a listening socket. The caller holds the profile's lock, so an existing socket is stale.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match launch::files::remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // No other user can connect between bind and chmod: the umask of a supervisor is 077.
    crash::point(format_args!("make the control socket"));
    let listener = launch::files::listen(path, None)?;
    crash::point(format_args!("close the control socket to others"));
    launch::files::set_mode(path, 0o600)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn admit(stream: UnixStream) -> Option<Client> {
    let uid = peer::uid(&stream).ok()?;
    if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
        tracing::warn!(uid, "control socket: refused");
        return None;
    }
    Client::new(stream).ok()
}
