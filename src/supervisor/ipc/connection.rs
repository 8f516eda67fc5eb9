//! A client of a supervisor's socket: it sends one request, and receives one answer.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};

use super::messages::{Request, Response};

/// The longest request, in bytes.
const MAX_REQUEST: usize = 1024;

/// Size of a client's socket buffer in bytes: the longest answer fits, which is a log.
const BUFFER: usize = 64 * 1024;

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    line: Vec<u8>,
    pub(super) pending: Option<Request>,
}

impl Client {
    /// Returns a client that has sent nothing.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_write_timeout(Some(Duration::from_millis(100)))?;
        // Without it the kernel's default remains, which is smaller on some systems.
        let _smaller = setsockopt(&stream, sockopt::SndBuf, &BUFFER);
        Ok(Self { stream, line: Vec::new(), pending: None })
    }

    /// Returns the stream, without this client's time limits.
    pub(super) fn into_stream(self) -> UnixStream {
        self.stream
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads what has arrived. `None` drops the client; `Some(Some(request))` is a new request.
    pub(super) fn read(&mut self) -> Option<Option<Request>> {
        let mut bytes = [0; MAX_REQUEST];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(_) if self.pending.is_some() => return None,
                Ok(size) => self.line.extend_from_slice(bytes.get(..size)?),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
            if self.line.len() > MAX_REQUEST {
                return None;
            }
        }
        let Some(line) = self.line.strip_suffix(b"\n") else { return Some(None) };
        match serde_json::from_slice(line) {
            Ok(request) => {
                self.pending = Some(request);
                Some(Some(request))
            }
            Err(error) => {
                self.refuse(format!("not a request: {error}"));
                None
            }
        }
    }

    /// Sends a refusal, before the client is dropped.
    pub(super) fn refuse(&mut self, why: String) {
        if let Ok(line) = serde_json::to_string(&Response::Refused(why)) {
            self.write(&line);
        }
    }

    /// Sends an answer. It fits into the socket's buffer, so only a client that does not read loses it.
    pub(super) fn write(&mut self, line: &str) {
        if let Err(error) = self.stream.write_all(format!("{line}\n").as_bytes()) {
            tracing::debug!(%error, "answer not taken");
        }
    }
}
