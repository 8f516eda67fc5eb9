//! The control socket of one profile: who may ask, and how a line is taken in.
//!
//! It is a Unix socket of mode 0600 in the control directory; besides, each peer must be root or the user of
//! the supervisor. A client sends one line and gets one line; whoever sends more, or nothing, is dropped.

use std::{
    fs,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::PathBuf,
    time::Duration,
};

use super::messages::{Request, Response};
use crate::os::{crash, paths, peer};

/// The longest request, in bytes.
const LONGEST: usize = 1024;

/// Clients at a time; one more takes the place of the oldest that has asked nothing, or has to wait in the
/// kernel's queue.
const MOST_CLIENTS: usize = 16;

/// The socket and those who are connected.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    line: Vec<u8>,
    asked: Option<Request>,
}

impl Control {
    /// Listens for this profile. The caller holds the profile's lock, so a socket that is there is dead.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listen(name: &str) -> io::Result<Self> {
        let path = paths::control_socket(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Nobody can connect between bind and chmod: the umask of a supervisor is 077.
        crash::point(format_args!("make the control socket"));
        let listener = UnixListener::bind(&path)?;
        crash::point(format_args!("close the control socket to others"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path, clients: Vec::new() })
    }

    /// Everything to wait on; [`Control::handle`] is due when one of them is readable.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = self.has_room().then(|| self.listener.as_fd());
        // Those who wait for an answer are watched too: when they go, their place is free.
        listener.into_iter().chain(self.clients.iter().map(|client| client.stream.as_fd()))
    }

    /// Takes in whoever and whatever has come, without blocking; what has been asked newly is returned.
    pub fn handle(&mut self) -> Vec<Request> {
        // What those who are here have asked comes first: they keep their places.
        let mut asked = self.read();
        while self.has_room() {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let Some(client) = admit(stream) else { continue };
                    if self.clients.len() >= MOST_CLIENTS {
                        asked.extend(self.read());
                    }
                    if self.clients.len() >= MOST_CLIENTS
                        && let Some(silent) = self.clients.iter().position(|client| client.asked.is_none())
                    {
                        self.clients.remove(silent);
                    }
                    self.clients.push(client);
                }
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::debug!(%error, "control socket");
                    }
                    break;
                }
            }
        }
        asked.extend(self.read());
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

    fn has_room(&self) -> bool {
        self.clients.len() < MOST_CLIENTS || self.clients.iter().any(|client| client.asked.is_none())
    }

    /// Answers everyone who asked this, and lets them go.
    pub fn answer(&mut self, request: Request, answer: &Response) {
        let Ok(line) = serde_json::to_string(answer) else { return };
        self.clients.retain_mut(|client| {
            if client.asked != Some(request) {
                return true;
            }
            client.write(&line);
            false
        });
    }

    /// Whether someone waits for an answer to this.
    #[must_use]
    pub fn is_asked(&self, request: Request) -> bool {
        self.clients.iter().any(|client| client.asked == Some(request))
    }

    /// Removes the socket from the file system; those who wait stay connected until this is dropped.
    pub fn close(&self) {
        crash::point(format_args!("remove the control socket"));
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "control socket stays");
        }
    }
}

impl Client {
    /// Reads what is there. `None` drops the client; `Some(Some(request))` is a request that is new.
    fn read(&mut self) -> Option<Option<Request>> {
        let mut bytes = [0; LONGEST];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(_) if self.asked.is_some() => return None,
                Ok(size) => self.line.extend_from_slice(bytes.get(..size)?),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
            if self.line.len() > LONGEST {
                return None;
            }
        }
        let Some(line) = self.line.strip_suffix(b"\n") else { return Some(None) };
        match serde_json::from_slice(line) {
            Ok(request) => {
                self.asked = Some(request);
                Some(Some(request))
            }
            Err(error) => {
                let refused = Response::Refused(format!("not a request: {error}"));
                if let Ok(line) = serde_json::to_string(&refused) {
                    self.write(&line);
                }
                None
            }
        }
    }

    /// An answer fits into the socket's buffer; a client that does not take it has itself to blame.
    fn write(&mut self, line: &str) {
        if let Err(error) = self.stream.write_all(format!("{line}\n").as_bytes()) {
            tracing::debug!(%error, "answer not taken");
        }
    }
}

fn admit(stream: UnixStream) -> Option<Client> {
    let uid = peer::uid(&stream).ok()?;
    if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
        tracing::warn!(uid, "control socket: refused");
        return None;
    }
    stream.set_nonblocking(true).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(100))).ok()?;
    Some(Client { stream, line: Vec::new(), asked: None })
}
