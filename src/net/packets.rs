//! IP packets through the tun device's descriptor, one per call, never blocking.
//!
//! On Linux a packet is bare. The BSDs put the address family, four bytes in network order, before it.

use std::{io, os::fd::AsFd};

/// Bytes that the platform puts before a packet.
#[cfg(not(target_os = "linux"))]
const FAMILY: usize = 4;

/// The next packet; gives its length in `buffer`, or `None` when there is none.
///
/// # Errors
/// When the device is gone.
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
        // EIO: the device is down, as it is before its addresses are there.
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR | nix::errno::Errno::EIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Hands one packet to the kernel; `false` when it did not take it.
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
