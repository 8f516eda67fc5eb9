//! Being told that something about routes, rules, addresses or links has changed: not what, for whoever is told asks
//! the kernel anew anyway, and then sees the truth of now.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::Error;

/// RTNLGRP_* of linux/rtnetlink.h: links; addresses, routes and rules of IPv4; addresses, routes and rules of IPv6.
const GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];
/// Notices that are read at one time; the descriptor stays readable if there are more.
const AT_ONCE: u32 = 64;
/// Only whose it is counts, not what is in it.
const BUFFER: usize = 64;

/// A subscription, in the network namespace that it was opened in.
pub struct Watch {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Watch {
    /// Subscribes. What changes from now on is told.
    ///
    /// # Errors
    /// When the kernel has no netlink or the process no descriptor left.
    pub fn open() -> Result<Self, Error> {
        Self::open_socket().map_err(|error| Error::other("watch the network", error.to_string()))
    }

    fn open_socket() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let groups = GROUPS.iter().fold(0, |groups, group| groups | 1_u32 << (group - 1));
        socket.bind(&SocketAddr::new(0, groups))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Takes what was told; whether there was anything. More than the kernel could keep for us counts as a change.
    pub fn drain(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..AT_ONCE {
            self.buffer.clear();
            match self.socket.recv_from(&mut self.buffer, 0) {
                // Only the kernel speaks from port 0.
                Ok((_, from)) => changed |= from.port_number() == 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ENOBUFS, which is said once: what was lost is made up for by asking.
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
