//! The tunnel device: one small facade over tun-rs on Linux, so that nothing else in the house knows that crate, and
//! over the nodes of the BSDs (`net::bsd`).
//!
//! Owns opening a tun device (layer 3, no packet information, non-blocking) and the errors of that. Does not
//! own its addresses, MTU or state: those are steps of a plan. A device lives as long as its last open
//! descriptor: when supervisor and engine are both gone the kernel removes it, with every route and address (on NetBSD,
//! it takes those away and leaves the device).

#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::{io, os::fd::OwnedFd};

use nix::errno::Errno;

/// An open tun device.
#[derive(Debug)]
pub struct Tun {
    /// The descriptor: one read or write is one IP packet. Non-blocking, close-on-exec.
    pub fd: OwnedFd,
    /// `tunN`.
    pub name: String,
    /// The kernel's number for the interface.
    pub index: u32,
}

impl Tun {
    /// Another descriptor of the same device, for the engine process.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }
}

/// Why there is no tun device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device node or the kernel's driver is not there.
    #[error("no tun device: {0}")]
    Missing(&'static str),
    /// The caller may not.
    #[error(
        "no tun device: permission denied opening it (root, or CAP_NET_ADMIN in this namespace, is needed)"
    )]
    Permission,
    /// The unit that was asked for is taken.
    #[error("tun{0} is in use: there is a device of that name already")]
    InUse(u32),
    /// Anything else.
    #[error("no tun device: {0}")]
    Other(#[from] io::Error),
}

#[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
pub use super::bsd::tun::open;

const NO_NODE: &str = if cfg!(target_os = "linux") {
    "/dev/net/tun is missing (in a container it must be passed in)"
} else {
    "its node is missing: MAKEDEV(8) makes /dev/tunN, and a jail needs a devfs rule for it"
};

const NO_DRIVER: &str = if cfg!(target_os = "linux") {
    "the kernel has no tun driver (modprobe tun, or a kernel with CONFIG_TUN)"
} else {
    "the kernel has no tun driver (FreeBSD: kldload if_tuntap)"
};

/// Opens `tunN`, or with `None` the first free unit.
///
/// The device has no address, is down, and gives no link-local address of its own until a plan says so.
///
/// # Errors
/// [`Error`]: which of the usual reasons it is.
#[cfg(target_os = "linux")]
pub fn open(unit: Option<u32>) -> Result<Tun, Error> {
    // tun-rs would make the node by itself and leave it behind, and would not say that it was missing.
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Err(explain(Errno::ENOENT.into(), unit));
    }
    let mut builder = tun_rs::DeviceBuilder::new().inherit_enable_state().packet_information(false);
    if let Some(unit) = unit {
        let name = format!("tun{unit}");
        // A device that exists but that nobody has open (a persistent one of openvpn or ip tuntap) could be
        // attached to; it would not go away with us, so it counts as taken.
        if nix::net::if_::if_nametoindex(name.as_str()).is_ok() {
            return Err(Error::InUse(unit));
        }
        builder = builder.name(name);
    }
    let device = builder.build_sync().map_err(|error| explain(error, unit))?;
    let name = device.name()?;
    let index = device.if_index()?;
    device.set_nonblocking(true)?;
    // A duplicate keeps the device alive while tun-rs closes its own descriptor.
    let fd = device.as_fd().try_clone_to_owned()?;
    drop(device);
    Ok(Tun { fd, name, index })
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

    fn why(errno: Errno, unit: Option<u32>) -> String {
        explain(io::Error::from_raw_os_error(errno as i32), unit).to_string()
    }

    #[test]
    fn each_usual_reason_has_its_own_words() {
        assert!(why(Errno::ENOENT, None).contains("/dev/net/tun is missing"));
        assert!(why(Errno::ENODEV, None).contains("modprobe tun"));
        assert!(why(Errno::EPERM, Some(1)).contains("permission denied"));
        assert!(why(Errno::EBUSY, Some(7)).starts_with("tun7 is in use"));
        assert!(why(Errno::EIO, None).starts_with("no tun device: "));
    }
}
