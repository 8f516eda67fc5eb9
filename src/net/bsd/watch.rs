//! Notification that a route, address or interface has changed, without the details: the subscriber reads the
//! current state from the kernel anyway.

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

/// Maximum number of reads per [`Watch::drain`]; the descriptor stays readable if more messages are queued.
const MAX_READS: u32 = 4096;

/// Size of the receive buffer, in bytes.
const BUFFER_SIZE: usize = 2048;

/// A subscription: every routing socket receives all notifications.
#[derive(Debug)]
pub struct Watch(Socket);

impl Watch {
    /// Subscribes to changes from now on.
    ///
    /// # Errors
    /// Returns the kernel's error if the process has no descriptor left.
    pub fn open() -> Result<Self, Error> {
        Self::open_socket().map_err(|error| Error::other("watch the network", error.to_string()))
    }

    fn open_socket() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(libc::AF_ROUTE), Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Reads the queued messages; returns whether one reports a change. An overflow of the queue counts as a
    /// change: OpenBSD reports it with RTM_DESYNC, the others by failing one read with ENOBUFS.
    pub fn drain(&mut self) -> bool {
        let mut changed = false;
        let mut buffer = [0; BUFFER_SIZE];
        for _ in 0..MAX_READS {
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
