//! Packets of the BSDs' tun devices: the address family precedes each, four bytes in network order.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::AsFd,
};

use super::{PACKET, outcome};
use crate::os::batch::Batch;

/// Size of the address family before a packet, in bytes.
const FAMILY: usize = 4;

/// Moves the packets of one device.
pub struct PacketIo {
    buffer: Vec<u8>,
    /// Space for the packets of several reads, once it was needed.
    pub(super) joined: Option<Batch>,
    refused: u64,
}

/// The packet of one read.
pub struct Packets<'a>(Option<&'a mut [u8]>);

impl Packets<'_> {
    /// Returns the lengths of all packets.
    pub fn lengths(&self) -> impl Iterator<Item = usize> + use<> {
        self.0.as_ref().map(|packet| packet.len()).into_iter()
    }

    /// Returns the packet, once.
    pub fn next_packet(&mut self) -> Option<&mut [u8]> {
        self.0.take()
    }
}

impl PacketIo {
    /// Prepares a device.
    #[must_use]
    pub fn new(_tun: impl AsFd) -> Self {
        Self { buffer: vec![0; PACKET], joined: None, refused: 0 }
    }

    /// Reads the next packet, or returns `None` if no packet is queued.
    ///
    /// # Errors
    /// Returns the kernel's error if the device is gone.
    pub fn receive(&mut self, tun: impl AsFd) -> io::Result<Option<Packets<'_>>> {
        let mut family = [0; FAMILY];
        let mut parts = [IoSliceMut::new(&mut family), IoSliceMut::new(&mut self.buffer)];
        let size = outcome(nix::sys::uio::readv(tun, &mut parts))?;
        Ok(size.map(|size| Packets(self.buffer.get_mut(..size.saturating_sub(FAMILY)))))
    }

    /// Writes a packet to the device.
    pub fn send(&mut self, tun: impl AsFd, packet: &[u8]) {
        let version = packet.first().map_or(0, |first| first >> 4);
        let family = if version == 6 { libc::AF_INET6 } else { libc::AF_INET };
        let family = u32::try_from(family).unwrap_or(0).to_be_bytes();
        if nix::sys::uio::writev(tun, &[IoSlice::new(&family), IoSlice::new(packet)]).is_err() {
            self.refused += 1;
        }
    }

    /// Does nothing: no packet is held back.
    pub fn flush(&mut self, _tun: impl AsFd) {}

    /// Returns how many packets the kernel has not accepted.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}
