//! No host route is made on this system: the same words as where one is.

use std::{fmt, io, net::Ipv4Addr, os::fd::BorrowedFd, time::Instant};

/// There is none.
pub enum HostRoute {}

impl HostRoute {
    /// Makes none.
    ///
    /// # Errors
    /// None.
    pub fn make(_server: Ipv4Addr, _local: Option<Ipv4Addr>, _mark: u32) -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Never there.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match *self {}
    }

    /// Never called.
    pub fn changed(&mut self, _now: Instant) {
        match *self {}
    }

    /// Never there.
    pub fn next_timeout(&self) -> Option<Instant> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn handle_timeout(&mut self, _now: Instant) -> io::Result<Option<&dyn fmt::Display>> {
        match *self {}
    }
}
