//! Being told that something about routes, addresses or interfaces has changed: not what, for whoever is told asks
//! the kernel anew anyway, and then sees the truth of now.

use std::{
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::LAYOUT;
use crate::net::{
    routes::Error,
    rtsock::{Message, read},
};

/// Messages that are read at one time; the descriptor stays readable if there are more.
const AT_ONCE: u32 = 64;

/// The longest message that is read.
const LONGEST: usize = 2048;

/// A subscription: every routing socket is one.
#[derive(Debug)]
pub struct Watch(Socket);

impl Watch {
    /// Subscribes. What changes from now on is told.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn open() -> Result<Self, Error> {
        Self::open_socket().map_err(|error| Error::other("watch the network", error.to_string()))
    }

    fn open_socket() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(libc::AF_ROUTE), Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Takes what was told; whether there was a change among it. More than the kernel could keep for us counts as
    /// one: OpenBSD says RTM_DESYNC then, the others fail the read once with ENOBUFS.
    pub fn drain(&mut self) -> bool {
        let mut changed = false;
        let mut buffer = [0; LONGEST];
        for _ in 0..AT_ONCE {
            match self.0.read(&mut buffer) {
                Ok(0) => break,
                Ok(size) => {
                    let mut messages = read(LAYOUT, buffer.get(..size).unwrap_or_default());
                    changed |= messages.any(|message| message.as_ref().map_or(true, Message::is_change));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => changed = true,
            }
        }
        changed
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
