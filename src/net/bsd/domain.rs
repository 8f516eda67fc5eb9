//! The routing domain (OpenBSD) or FIB (FreeBSD) of an interface.

use nix::errno::Errno;

use super::{REQUESTS, kernel::Kernel};
use crate::net::{ifreq::domain_in, routes::Error};

impl Kernel {
    /// Returns the routing domain or FIB of an interface; `None` on NetBSD.
    ///
    /// # Errors
    /// Returns ENXIO.
    pub fn domain(&self, dev: &str) -> Result<Option<u32>, Error> {
        let Some(request) = REQUESTS.get_domain else { return Ok(None) };
        let what = format!("look up the routing table of {dev}");
        let argument = self.request(&what, request, REQUESTS.named(dev))?;
        domain_in(&argument).map(Some).ok_or_else(|| Error::errno(what, Errno::EINVAL))
    }

    /// Moves an interface to a routing domain (OpenBSD, which deletes its addresses) or a FIB (FreeBSD).
    ///
    /// # Errors
    /// Returns ENXIO, EPERM, EINVAL if the table does not exist. Always fails on NetBSD.
    pub fn set_domain(&mut self, dev: &str, number: u32) -> Result<(), Error> {
        let what = format!("place {dev} in routing table {number}");
        let Some((request, argument)) = REQUESTS.domain(dev, number) else {
            return Err(Error::other(what, "this system has only one"));
        };
        self.request(&what, request, Some(argument)).map(drop)
    }
}
