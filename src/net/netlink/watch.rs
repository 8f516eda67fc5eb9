//! Notification that a route, rule, address or interface has changed. The messages are not decoded: the
//! subscriber reads the current state from the kernel anyway.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::Error;

/// RTNLGRP_* of linux/rtnetlink.h: LINK; IPV4_IFADDR, ROUTE and RULE; IPV6_IFADDR, ROUTE and RULE.
const GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];
/// Maximum number of messages per [`Watch::drain`]; the descriptor stays readable if more are queued.
const MAX_MESSAGES: u32 = 4096;
/// Size of the socket's queue, in bytes: messages wait in it while the subscriber waits for the end of a burst, and hundreds of
/// subscribers have one each. Its overflow counts as a change.
const QUEUE: u32 = 32 * 1024;
/// Size of the receive buffer, in bytes. Messages may be truncated: only their sender is checked.
const BUFFER: usize = 64;

/// A subscription to changes in the network namespace in which it was opened.
pub struct Watch {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Watch {
    /// Subscribes to changes from now on.
    ///
    /// # Errors
    /// Returns the kernel's error if it has no netlink or the process has no descriptor left.
    pub fn open() -> Result<Self, Error> {
        Self::open_socket().map_err(|error| Error::other("watch the network", error.to_string()))
    }

    fn open_socket() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let groups = GROUPS.iter().fold(0, |groups, group| groups | 1_u32 << (group - 1));
        socket.bind(&SocketAddr::new(0, groups))?;
        socket.set_non_blocking(true)?;
        socket.set_rx_buf_sz(QUEUE)?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Reads the queued messages; returns whether there were any. An overflow of the queue counts as a
    /// change.
    pub fn drain(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..MAX_MESSAGES {
            self.buffer.clear();
            match self.socket.recv_from(&mut self.buffer, 0) {
                // Only the kernel's messages have port 0.
                Ok((_, from)) => changed |= from.port_number() == 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ENOBUFS, reported once per overflow: the caller reads the current state.
                Err(_) => changed = true,
            }
        }
        changed
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
