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

/// Most packets of several reads that are joined.
const JOINED: usize = 64;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::errno::Errno;

#[cfg(not(target_os = "linux"))]
use self::bsd::Packets;
#[cfg(target_os = "linux")]
use crate::net::offload::Segments as Packets;
use crate::os::batch::Batch;

/// Packets of the device whose lengths are known before the first is used.
#[cfg_attr(
    target_os = "linux",
    expect(clippy::large_enum_variant, reason = "one at a time, on the stack; a box would be an allocation")
)]
pub enum Run<'a> {
    /// Those of one read.
    Read(Packets<'a>),
    /// Those of several reads, and how many were used.
    Joined(&'a mut Batch, usize),
}

impl Run<'_> {
    /// Returns the lengths of all packets.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        let (read, joined) = match self {
            Self::Read(read) => (Some(read.lengths()), None),
            Self::Joined(batch, _) => (None, Some(batch.lengths())),
        };
        read.into_iter().flatten().chain(joined.into_iter().flatten())
    }

    /// Returns the next packet, to be used before the one after it.
    pub fn next_packet(&mut self) -> Option<&mut [u8]> {
        match self {
            Self::Read(read) => read.next_packet(),
            Self::Joined(batch, at) => {
                *at += 1;
                batch.datagram(*at - 1)
            }
        }
    }
}

impl PacketIo {
    /// Passes the packets that are queued to `each`: all, or those of as many reads as give `most` packets. With
    /// `join`, packets that were read one by one come together.
    ///
    /// # Errors
    /// Returns the kernel's error; packets read before it were passed on.
    pub fn receive_runs(
        &mut self,
        tun: impl AsFd,
        most: usize,
        join: bool,
        mut each: impl FnMut(&mut Run<'_>),
    ) -> io::Result<()> {
        let mut joined = join.then(|| self.joined.take().unwrap_or_else(|| Batch::new(JOINED, PACKET)));
        let received = self.receive_all(tun.as_fd(), most, joined.as_mut(), &mut each);
        if let Some(mut batch) = joined {
            pass(&mut batch, &mut each);
            self.joined = Some(batch);
        }
        received
    }

    /// Does the work of [`PacketIo::receive_runs`]; packets may be left in `joined`.
    fn receive_all(
        &mut self,
        tun: BorrowedFd<'_>,
        most: usize,
        mut joined: Option<&mut Batch>,
        each: &mut impl FnMut(&mut Run<'_>),
    ) -> io::Result<()> {
        let mut count = 0;
        while count < most {
            let Some(mut read) = self.receive(tun)? else { break };
            let found = read.lengths().count();
            count += found.max(1);
            if let Some(batch) = joined.as_deref_mut() {
                if found == 1 && read.lengths().all(|length| length <= PACKET) {
                    if let Some(packet) = read.next_packet() {
                        batch.push_parts(packet, &[]);
                    }
                    if batch.is_full() {
                        pass(batch, each);
                    }
                    continue;
                }
                pass(batch, each);
            }
            each(&mut Run::Read(read));
        }
        Ok(())
    }
}

/// Passes the packets of a batch to `each`, and empties it.
fn pass(batch: &mut Batch, each: &mut impl FnMut(&mut Run<'_>)) {
    if batch.filled() > 0 {
        each(&mut Run::Joined(batch, 0));
        batch.clear();
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
