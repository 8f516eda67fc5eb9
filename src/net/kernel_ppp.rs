//! The tunnel device and the call in the kernel: a unit of Linux's PPP driver in the place of a tun device, and its
//! PPTP socket in the place of the engine's GRE.
//!
//! The unit exists as long as its descriptor is open, in the supervisor or in the engine, as a tun device does. A call is
//! a PPTP socket that is bound to our call id before it is requested from the server, and connected once the server has
//! answered; frames that are not data then pass by the channel and by the unit.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
};

use super::{
    routes::Traffic,
    tun::{Error, Tun},
};
use crate::os::ppp::{self, MPPE_KEY, MPPE_OPTION};

/// Attempts to create a unit while the driver is busy, which it reports instead of waiting.
const ATTEMPTS: u32 = 50;

/// One call in the kernel. Dropping it ends the kernel's part in the call.
#[derive(Debug)]
pub struct KernelCall {
    socket: OwnedFd,
    channel: OwnedFd,
    unit: OwnedFd,
}

/// Returns whether this kernel has PPTP sockets and the PPP driver; loads the modules.
///
/// # Errors
/// Returns what is missing, as the middle of a sentence.
pub fn probe() -> Result<(), String> {
    match ppp::pptp_socket() {
        Ok(_) => {}
        Err(error) => return Err(explain_socket(&error)),
    }
    ppp::open_node().map(drop).map_err(|error| explain_node(&error))
}

/// Returns the words for a PPTP socket that could not be created.
fn explain_socket(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT) => {
            "this kernel has no PPTP sockets (module pptp), or the systemd unit refuses them (kernel-path.conf)".to_owned()
        }
        _ => format!("this kernel's PPTP sockets cannot be used: {error}"),
    }
}

/// Returns the words for a node of the driver that could not be opened.
fn explain_node(error: &io::Error) -> String {
    let node = ppp::NODE;
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            format!("{node} is missing (module ppp_generic; in a container it must be passed in)")
        }
        Some(libc::ENXIO | libc::ENODEV) => "this kernel has no PPP driver (module ppp_generic)".to_owned(),
        Some(libc::EPERM | libc::EACCES) => format!("{node} may not be opened: {error}"),
        _ => format!("{node}: {error}"),
    }
}

/// Creates a unit of the PPP driver as the device `tunN`, or with `None` the first free one. The device is down, has no
/// address, and passes no packet.
///
/// # Errors
/// Returns [`Error::InUse`] if there is such a device, [`Error::Missing`] without the driver, else the kernel's error.
#[cfg(target_os = "linux")]
pub fn open_unit(unit: Option<u32>) -> Result<Tun, Error> {
    let (fd, name) = create(unit)?;
    let mut kernel = super::netlink::Netlink::open().map_err(other)?;
    kernel.no_automatic_ipv6(&name).and_then(|()| kernel.keep_second_address(&name)).map_err(other)?;
    pass_nothing(&fd)?;
    let index = nix::net::if_::if_nametoindex(name.as_str()).map_err(io::Error::from)?;
    Ok(Tun { fd, name, index, existed: false })
}

#[cfg(target_os = "linux")]
fn create(unit: Option<u32>) -> Result<(OwnedFd, String), Error> {
    let node = ppp::open_node()?;
    let mut kernel = super::netlink::Netlink::open().map_err(other)?;
    // As many as `unit` can name.
    let units = unit.map_or(0..=9999, |unit| unit..=unit);
    let mut busy = 0;
    for number in units {
        let name = format!("tun{number}");
        loop {
            match kernel.create_ppp(&name, node.as_fd()) {
                Ok(()) => return Ok((node, name)),
                Err(error) if error.is_present() && unit.is_some() => return Err(Error::InUse(number)),
                Err(error) if error.is_present() => break,
                Err(error) if error.errno == Some(nix::errno::Errno::EBUSY) && busy < ATTEMPTS => busy += 1,
                Err(error) => return Err(other(error)),
            }
        }
    }
    Err(Error::Other(io::Error::other("every tunN is in use")))
}

#[cfg(target_os = "linux")]
fn other(error: super::routes::Error) -> Error {
    Error::Other(io::Error::other(error))
}

/// As on Linux, but there is no such driver.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn open_unit(_unit: Option<u32>) -> Result<Tun, Error> {
    let _ = ATTEMPTS;
    Err(Error::Missing("this system has no PPTP in the kernel"))
}

/// Lets no data packet pass a unit, and removes its compressors.
fn pass_nothing(unit: impl AsFd) -> io::Result<()> {
    for protocol in [IPV4, IPV6] {
        ppp::set_mode(&unit, protocol, false)?;
    }
    ppp::set_flags(&unit, 0)
}

/// The PPP protocols of data packets.
const IPV4: u16 = 0x0021;
const IPV6: u16 = 0x0057;

/// Returns whether the kernel has MPPE; loads the module.
///
/// # Errors
/// Returns what is missing, as the middle of a sentence.
pub fn probe_mppe(unit: impl AsFd) -> Result<(), String> {
    // Any option and key: they are removed again, and take effect only with a Configure-Ack.
    let outcome = ppp::set_compressor(&unit, true, [18, 6, 1, 0, 0, 0x40], &[0; MPPE_KEY]);
    const { assert!(MPPE_OPTION == 6) };
    let removed = ppp::set_flags(&unit, ppp::flag::CCP_OPEN).and_then(|()| ppp::set_flags(&unit, 0));
    outcome
        .map_err(|error| format!("this kernel has no MPPE (module ppp_mppe): {error}"))
        .and(removed.map_err(|error| error.to_string()))
}

/// Returns what a device has carried since it exists; `None` if the kernel does not tell.
#[must_use]
pub fn traffic(device: &str) -> Option<Traffic> {
    #[cfg(target_os = "linux")]
    return super::netlink::Netlink::open().and_then(|mut kernel| kernel.traffic(device)).ok().flatten();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = device;
        None
    }
}

impl KernelCall {
    /// Binds a PPTP socket to this end of a call, for a unit, which passes nothing from now on.
    ///
    /// # Errors
    /// Returns EBUSY if a PPTP socket of this host has the call id, else the kernel's error.
    pub fn prepare(unit: impl AsFd, local: Ipv4Addr, call_id: u16, mark: u32) -> io::Result<Self> {
        let socket = ppp::pptp_socket()?;
        #[cfg(target_os = "linux")]
        if mark != 0 {
            // Kernels before 6.2 do not read it.
            socket2::SockRef::from(&socket).set_mark(mark)?;
        }
        #[cfg(not(target_os = "linux"))]
        let _ = mark;
        ppp::bind(&socket, local, call_id)?;
        let unit = unit.as_fd().try_clone_to_owned()?;
        pass_nothing(&unit)?;
        Ok(Self { socket, channel: ppp::open_node()?, unit })
    }

    /// Returns the node that becomes the channel, for the engine.
    #[must_use]
    pub const fn channel(&self) -> &OwnedFd {
        &self.channel
    }

    /// Begins the call in the kernel: it takes the GRE packets that the server sends for it.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn begin(&self, server: Ipv4Addr, peer_call_id: u16) -> io::Result<()> {
        ppp::connect(&self.socket, server, peer_call_id)?;
        ppp::attach_channel(&self.channel, &self.socket)?;
        ppp::connect_channel(&self.channel, &self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_what_is_missing() {
        let socket = |errno| explain_socket(&io::Error::from_raw_os_error(errno));
        let node = |errno| explain_node(&io::Error::from_raw_os_error(errno));
        for errno in [libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT] {
            assert!(socket(errno).contains("no PPTP sockets"), "{errno}");
        }
        assert!(socket(libc::EPERM).contains("cannot be used"));
        assert!(node(libc::ENOENT).contains("/dev/ppp is missing"));
        assert!(node(libc::ENXIO).contains("no PPP driver"));
        assert!(node(libc::EPERM).contains("may not be opened"));
    }
}
