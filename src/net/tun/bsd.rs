//! Opens a tun device through /dev/tunN, which creates the interface if it does not exist (tun(4)).

use std::{
    fs::OpenOptions,
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
};

use nix::{errno::Errno, net::if_::if_nametoindex};

use super::{Error, Tun, explain};
use crate::{net::bsd::REQUESTS, os::bsd::control};

/// Number of units to try if none was requested.
const UNITS: u32 = 256;

/// Opens `tunN`, or with `None` the first unit that is not open.
///
/// # Errors
/// Returns the [`Error`] variant for the reason.
pub fn open(unit: Option<u32>) -> Result<Tun, Error> {
    if let Some(unit) = unit {
        return open_unit(unit).map_err(|error| explain(error, Some(unit)));
    }
    let mut missing = None;
    for unit in 0..UNITS {
        match open_unit(unit) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            // FreeBSD hides the devices of other jails.
            Err(error) if cfg!(target_os = "freebsd") && error.kind() == io::ErrorKind::NotFound => {
                missing = Some(error);
            }
            outcome => return outcome.map_err(|error| explain(error, None)),
        }
    }
    if let Some(error) = missing {
        return Err(explain(error, None));
    }
    Err(Error::Other(io::Error::other(format!("tun0 to tun{} are in use", UNITS - 1))))
}

fn open_unit(unit: u32) -> io::Result<Tun> {
    let name = format!("tun{unit}");
    let existed = if_nametoindex(name.as_str()).is_ok();
    if cfg!(target_os = "freebsd") && !existed && has_node(&name) {
        // The interface is in another network stack (vnet); opening the node would take it from there.
        return Err(Errno::EBUSY.into());
    }
    let node = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(format!("/dev/{name}"))?;
    let fd = OwnedFd::from(node);
    for setting in REQUESTS.opened_tun(existed) {
        match control::request(&fd, setting.request, &mut setting.value.to_ne_bytes()) {
            Err(error) if setting.optional && error.raw_os_error() == Some(Errno::ENOTTY as i32) => {}
            outcome => outcome?,
        }
    }
    let index = if_nametoindex(name.as_str())?;
    Ok(Tun { fd, name, index, existed })
}

/// Returns whether /dev lists the device. Looking the name up would create it (FreeBSD).
fn has_node(name: &str) -> bool {
    std::fs::read_dir("/dev").is_ok_and(|nodes| nodes.flatten().any(|node| node.file_name() == *name))
}
