//! Reads and writes IP packets on a tun device, one per call, without blocking.
//!
//! On the BSDs the address family precedes each packet: four bytes in network order.

use std::{io, os::fd::AsFd};

/// Size of the address family before a packet, in bytes.
#[cfg(not(target_os = "linux"))]
const FAMILY: usize = 4;

/// Reads the next packet into `buffer` and returns its length, or `None` if no packet is queued.
///
/// # Errors
/// Returns the kernel's error if the device is gone.
pub fn receive(tun: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    #[cfg(target_os = "linux")]
    let read = nix::unistd::read(tun, buffer);
    #[cfg(not(target_os = "linux"))]
    let read = {
        let mut family = [0; FAMILY];
        let mut parts = [io::IoSliceMut::new(&mut family), io::IoSliceMut::new(buffer)];
        nix::sys::uio::readv(tun, &mut parts).map(|size| size.saturating_sub(FAMILY))
    };
    match read {
        Ok(size) => Ok(Some(size)),
        // EIO: the device is down, as it is until it has its addresses.
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR | nix::errno::Errno::EIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes one packet to the device; returns `false` if the kernel did not accept it.
#[must_use]
pub fn send(tun: impl AsFd, packet: &[u8]) -> bool {
    #[cfg(target_os = "linux")]
    let written = nix::unistd::write(tun, packet);
    #[cfg(not(target_os = "linux"))]
    let written = {
        let version = packet.first().map_or(0, |first| first >> 4);
        let family = if version == 6 { libc::AF_INET6 } else { libc::AF_INET };
        let family = u32::try_from(family).unwrap_or(0).to_be_bytes();
        nix::sys::uio::writev(tun, &[io::IoSlice::new(&family), io::IoSlice::new(packet)])
    };
    written.is_ok()
}
