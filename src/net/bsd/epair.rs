//! Pairs of interfaces that are linked to each other, and the jails that they are moved to (FreeBSD): epair(4).

use nix::errno::Errno;

use super::{REQUESTS, kernel::Kernel};
use crate::net::routes::Error;

/// SIOCIFCREATE2: the kernel replaces the name of the kind by that of the interface.
const CREATE: u64 = 0xc020_697c;
/// SIOCSIFVNET: the number of a jail is at the offset of the MTU.
const MOVE: u64 = 0xc020_695a;

impl Kernel {
    /// Creates a pair of interfaces, and returns their names.
    ///
    /// # Errors
    /// Returns EINVAL if the kernel has no epair(4), EPERM.
    pub fn create_epair(&self) -> Result<(String, String), Error> {
        const WHAT: &str = "create an epair";
        let answer = self.request(WHAT, CREATE, REQUESTS.named("epair"))?;
        let name = answer.split(|byte| *byte == 0).next().and_then(|name| std::str::from_utf8(name).ok());
        let number = name.and_then(|name| name.strip_suffix('a'));
        let number = number.ok_or_else(|| Error::errno(WHAT, Errno::EINVAL))?;
        Ok((format!("{number}a"), format!("{number}b")))
    }

    /// Moves an interface into the network stack of a jail.
    ///
    /// # Errors
    /// Returns ENXIO if there is no such interface or jail, EPERM.
    pub fn move_to_jail(&self, dev: &str, jail: i32) -> Result<(), Error> {
        let number = u32::try_from(jail).map_err(|_| Error::errno("move an interface", Errno::EINVAL))?;
        let what = format!("move {dev} to jail {jail}");
        self.request(&what, MOVE, REQUESTS.mtu(dev, number)).map(drop)
    }
}
