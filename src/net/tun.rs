//! The tun device: /dev/net/tun on Linux, the BSDs' device nodes (`bsd`).
//!
//! Owns opening a tun device (layer 3, no packet information, non-blocking) and the errors of that. Its
//! addresses, MTU and state are steps of a plan. The device exists as long as a descriptor of it is open:
//! when supervisor and engine have both exited, the kernel removes it with all its routes and addresses (on
//! NetBSD it removes the routes but keeps the device, which `Kernel::delete_link` destroys).

#[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
mod bsd;

use std::{io, os::fd::OwnedFd};

use nix::errno::Errno;

/// An open tun device.
#[derive(Debug)]
pub struct Tun {
    /// The descriptor, for [`super::packets::PacketIo`]. Non-blocking, close-on-exec.
    pub fd: OwnedFd,
    /// Interface name, `tunN`.
    pub name: String,
    /// Interface index.
    pub index: u32,
    /// Whether the interface existed before. It then stays when it is closed. Always false on Linux.
    pub existed: bool,
}

impl Tun {
    /// Duplicates the descriptor, for the engine.
    ///
    /// # Errors
    /// Returns EMFILE if the process has no descriptor left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }
}

/// Why a tun device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device node or the kernel's driver is missing.
    #[error("{0}")]
    Missing(&'static str),
    /// This process lacks the privilege.
    #[error("permission denied opening the tun device (root, or CAP_NET_ADMIN in this namespace, is needed)")]
    Permission,
    /// The requested unit is in use.
    #[error("tun{0} is in use: there is a device of that name already")]
    InUse(u32),
    /// Anything else.
    #[error("cannot open the tun device: {0}")]
    Other(#[from] io::Error),
}

#[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
pub use self::bsd::open;

const NO_NODE: &str =
    if cfg!(target_os = "linux") { "/dev/net/tun is missing" } else { "its node /dev/tunN is missing" };

const NO_DRIVER: &str = if cfg!(target_os = "linux") {
    "the kernel has no tun driver (CONFIG_TUN)"
} else {
    "the kernel has no tun driver"
};

/// What to do if the node or the driver is missing.
pub const REMEDY: &str = if cfg!(target_os = "linux") {
    "`modprobe tun` loads the driver and makes /dev/net/tun; a container needs it passed in: --device /dev/net/tun"
} else if cfg!(target_os = "freebsd") {
    "`kldload if_tuntap` loads the driver; a jail needs a devfs rule for /dev/tunN"
} else {
    "MAKEDEV(8) makes /dev/tunN"
};

/// Opens `tunN`, or with `None` the first free unit. The device is down and has no address, not even a
/// link-local one; a plan configures it.
///
/// # Errors
/// Returns the [`Error`] variant for the reason.
#[cfg(target_os = "linux")]
pub fn open(unit: Option<u32>) -> Result<Tun, Error> {
    let name = unit.map_or_else(|| "tun%d".to_owned(), |unit| format!("tun{unit}"));
    // An existing device that is not open (a persistent one of openvpn or ip tuntap) can be attached to, but
    // the kernel does not remove it when this program exits: it counts as in use.
    if let Some(unit) = unit
        && nix::net::if_::if_nametoindex(name.as_str()).is_ok()
    {
        return Err(Error::InUse(unit));
    }
    let (fd, name) = crate::os::tun::create(&name).map_err(|error| explain(error, unit))?;
    let index = nix::net::if_::if_nametoindex(name.as_str()).map_err(io::Error::from)?;
    Ok(Tun { fd, name, index, existed: false })
}

/// Checks, without creating a device, whether [`open`] would succeed. Returns whether the driver is loaded; if it is
/// not, the kernel loads it when a device is opened, if it has it. `None`: only opening a device shows it.
///
/// # Errors
/// Returns the error that `open` would return.
pub fn probe(unit: Option<u32>) -> Result<Option<bool>, Error> {
    #[cfg(target_os = "linux")]
    {
        use std::path::Path;
        if let Some(unit) = unit
            && nix::net::if_::if_nametoindex(format!("tun{unit}").as_str()).is_ok()
        {
            return Err(Error::InUse(unit));
        }
        if !Path::new("/dev/net/tun").exists() {
            return Err(Error::Missing(NO_NODE));
        }
        // Opening the node would load the module.
        if !Path::new("/sys/class/misc/tun").exists() {
            return Ok(Some(false));
        }
        // A device is created by TUNSETIFF, not by this.
        let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
        opened.map(|_| Some(true)).map_err(|error| explain(error, unit))
    }
    #[cfg(target_os = "freebsd")]
    {
        let _ = unit;
        Ok(None)
    }
    #[cfg(any(target_os = "openbsd", target_os = "netbsd"))]
    {
        let node = format!("/dev/tun{}", unit.unwrap_or(0));
        if std::path::Path::new(&node).exists() { Ok(None) } else { Err(Error::Missing(NO_NODE)) }
    }
}

pub(super) fn explain(error: io::Error, unit: Option<u32>) -> Error {
    match (error.raw_os_error().map(Errno::from_raw), unit) {
        (Some(Errno::EBUSY | Errno::EEXIST), Some(unit)) => Error::InUse(unit),
        (Some(Errno::ENOENT), _) => Error::Missing(NO_NODE),
        (Some(Errno::ENODEV | Errno::ENXIO), _) => Error::Missing(NO_DRIVER),
        (Some(Errno::EPERM | Errno::EACCES), _) => Error::Permission,
        _ => Error::Other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_for(errno: Errno, unit: Option<u32>) -> String {
        explain(io::Error::from_raw_os_error(errno as i32), unit).to_string()
    }

    #[test]
    fn common_errors_have_specific_messages() {
        assert!(message_for(Errno::ENOENT, None).contains("/dev/net/tun is missing"));
        assert!(message_for(Errno::ENODEV, None).contains("no tun driver"));
        assert!(message_for(Errno::EPERM, Some(1)).contains("permission denied"));
        assert!(message_for(Errno::EBUSY, Some(7)).starts_with("tun7 is in use"));
        assert!(message_for(Errno::EIO, None).starts_with("cannot open the tun device: "));
    }
}
