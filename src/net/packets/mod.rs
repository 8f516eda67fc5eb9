//! Reads and writes IP packets on a tun device, without blocking.
//!
//! On Linux one read may return many packets of one flow, and packets to the device are combined until
//! [`PacketIo::flush`], as far as the kernel supports it ([`offload`](super::offload)). On the BSDs each call
//! transfers one packet.

#[cfg(not(target_os = "linux"))]
mod bsd;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
pub use self::bsd::PacketIo;
#[cfg(target_os = "linux")]
pub use self::linux::PacketIo;

/// Size of the buffer for a packet that is not combined, in bytes; well above the MTU of a tunnel.
const PACKET: usize = 2048;

use std::{io, os::fd::AsFd};

use nix::errno::Errno;

impl PacketIo {
    /// Passes the packets that are queued to `each`: all, or those of as many reads as give `most` packets.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn receive_each(
        &mut self,
        tun: impl AsFd,
        most: usize,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut count = 0;
        while count < most {
            let Some(mut read) = self.receive(tun.as_fd())? else { break };
            while let Some(packet) = read.next_packet() {
                each(packet);
                count += 1;
            }
        }
        Ok(())
    }
}

/// Returns the size of what was read, or `None` if no packet is queued.
fn outcome(read: nix::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Ok(size) => Ok(Some(size)),
        // EIO: the device is down, as it is until it has its addresses.
        Err(Errno::EAGAIN | Errno::EINTR | Errno::EIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
