//! Packets of Linux's tun device, combined where the kernel supports that.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd},
};

use nix::errno::Errno;

use super::{PACKET, outcome};
use crate::{
    net::offload::{Coalescer, HEADER, LARGEST, Offloads, Segments, Split, VirtioHeader, split},
    os::{batch::Batch, tun},
};

/// Moves the packets of one device.
pub struct PacketIo {
    has_header: bool,
    /// For one read: the header, if there is one, and the packet.
    buffer: Vec<u8>,
    /// Space for the packets of several reads, once it was needed.
    pub(super) joined: Option<Batch>,
    /// `None` if the kernel accepts no combined packets.
    coalescer: Option<Coalescer>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    refused: u64,
    /// The kernel refused a combined packet of this kind.
    unsupported: Option<Split>,
}

impl PacketIo {
    /// Prepares a device: asks for combined packets, as far as this kernel has them.
    #[must_use]
    pub fn new(tun: impl AsFd) -> Self {
        let fd = tun.as_fd();
        let has_header = tun::has_header(fd);
        let offloads = match has_header {
            // UDP needs Linux 6.2.
            true if tun::accept_combined(fd, true).is_ok() => Offloads { tcp: true, udp: true },
            true if tun::accept_combined(fd, false).is_ok() => Offloads { tcp: true, udp: false },
            _ => Offloads::default(),
        };
        tracing::debug!("the tun device combines packets: TCP {}, UDP {}", offloads.tcp, offloads.udp);
        let combines = offloads != Offloads::default();
        Self {
            has_header,
            buffer: vec![0; HEADER + if combines { LARGEST } else { PACKET }],
            joined: None,
            coalescer: combines.then(|| Coalescer::new(offloads)),
            counters: Counters::default(),
        }
    }

    /// Reads once, and returns the packets, or `None` if no packet is queued.
    ///
    /// # Errors
    /// Returns the kernel's error if the device is gone.
    pub fn receive(&mut self, tun: impl AsFd) -> io::Result<Option<Segments<'_>>> {
        let Some(size) = outcome(nix::unistd::read(tun, &mut self.buffer))? else { return Ok(None) };
        let read = self.buffer.get_mut(..size).unwrap_or_default();
        let parts = if self.has_header {
            read.split_first_chunk_mut()
                .and_then(|(head, packet)| Some((VirtioHeader::decode(head)?, packet)))
        } else {
            Some((VirtioHeader::PLAIN, read))
        };
        // A packet that contradicts its header is dropped.
        let packets = parts.and_then(|(header, packet)| split(&header, packet));
        Ok(Some(packets.unwrap_or_default()))
    }

    /// Takes a packet for the device, which is written at the latest by [`PacketIo::flush`].
    pub fn send(&mut self, tun: impl AsFd, packet: &[u8]) {
        let Self { has_header, coalescer, counters, .. } = self;
        match coalescer {
            Some(coalescer) => {
                let to = |head: &[u8], packet: &[u8]| write(tun.as_fd(), head, packet);
                coalescer.push(packet, &mut |header, packet| counters.write(header, packet, to));
            }
            None => {
                let head = VirtioHeader::PLAIN.encode();
                let head = if *has_header { head.as_slice() } else { &[] };
                if let Err(_refused) = write(tun.as_fd(), head, packet) {
                    counters.refused += 1;
                }
            }
        }
        self.note_unsupported();
    }

    /// Writes all packets that were held back.
    pub fn flush(&mut self, tun: impl AsFd) {
        let Self { coalescer, counters, .. } = self;
        if let Some(coalescer) = coalescer {
            let to = |head: &[u8], packet: &[u8]| write(tun.as_fd(), head, packet);
            coalescer.flush(&mut |header, packet| counters.write(header, packet, to));
        }
        self.note_unsupported();
    }

    /// Returns how many packets the kernel has not accepted.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.counters.refused
    }

    /// Stops combining packets of a kind that the kernel refuses.
    fn note_unsupported(&mut self) {
        if let (Some(split), Some(coalescer)) = (self.counters.unsupported.take(), &mut self.coalescer) {
            tracing::info!("the kernel refuses combined packets ({split:?}): they are written one by one");
            coalescer.disable(split);
        }
    }
}

impl Counters {
    /// Writes a packet, or the packets that it combines if the kernel accepts them only so. Some releases of
    /// August 2024 (6.6.44, 6.1.103 and others) accept the offload, and refuse every combined packet.
    fn write(
        &mut self,
        header: &VirtioHeader,
        packet: &mut [u8],
        mut to: impl FnMut(&[u8], &[u8]) -> nix::Result<usize>,
    ) {
        let Err(error) = to(&header.encode(), packet) else { return };
        if error != Errno::EINVAL || header.split == Split::None {
            self.refused += header.packets(packet.len());
            return;
        }
        self.unsupported = Some(header.split);
        let Some(mut packets) = split(header, packet) else { return };
        while let Some(packet) = packets.next_packet() {
            if let Err(_refused) = to(&VirtioHeader::PLAIN.encode(), packet) {
                self.refused += 1;
            }
        }
    }
}

fn write(tun: BorrowedFd<'_>, head: &[u8], packet: &[u8]) -> nix::Result<usize> {
    nix::sys::uio::writev(tun, &[IoSlice::new(head), IoSlice::new(packet)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::offload::tests::{Sample, combined};

    /// Returns what the device gets of a run of packets whose combination it answers with `error`.
    fn refused_with(error: Errno, run: &[Vec<u8>]) -> (Vec<Vec<u8>>, Counters) {
        let (mut counters, mut written) = (Counters::default(), Vec::new());
        for (header, mut packet) in combined(run) {
            counters.write(&header, &mut packet, |head, packet| {
                if head != VirtioHeader::PLAIN.encode() {
                    return Err(error);
                }
                written.push(packet.to_vec());
                Ok(head.len() + packet.len())
            });
        }
        (written, counters)
    }

    #[test]
    fn refused_combination_is_written_singly() {
        let run = Sample::TcpV4.run(5, 1000);
        let (written, counters) = refused_with(Errno::EINVAL, &run);
        assert_eq!(written, run);
        assert_eq!((counters.refused, counters.unsupported), (0, Some(Split::TcpV4)));
    }

    #[test]
    fn other_errors_count_every_packet() {
        let (written, counters) = refused_with(Errno::EIO, &Sample::UdpV6.run(5, 1000));
        assert!(written.is_empty());
        assert_eq!((counters.refused, counters.unsupported), (5, None));
    }

    #[test]
    fn lengths_are_known_before_the_packets() {
        let socket = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (near, far) = (socket(), socket());
        far.connect(near.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        let mut packets = PacketIo::new(&near);
        let run = [Sample::TcpV4.run(2, 100), Sample::UdpV6.run(70, 50)].concat();
        for (join, most, expected) in
            [(true, 64, vec![64]), (true, 100, vec![64, 8]), (false, 3, vec![1, 1, 1])]
        {
            let sent = expected.iter().sum::<usize>();
            for packet in &run[..sent] {
                far.send(packet).unwrap();
            }
            let (mut found, mut counts) = (Vec::new(), Vec::new());
            packets
                .receive_runs(&near, most, join, |run| {
                    let lengths: Vec<usize> = run.lengths().collect();
                    let begin = found.len();
                    while let Some(packet) = run.next_packet() {
                        found.push(packet.to_vec());
                    }
                    counts.push(lengths.len());
                    assert_eq!(found[begin..].iter().map(Vec::len).collect::<Vec<_>>(), lengths);
                })
                .unwrap();
            assert_eq!((&found[..], counts), (&run[..sent], expected));
        }
        assert_eq!(Segments::default().lengths().count(), 0);
    }

    #[test]
    fn descriptor_without_a_header_transfers_packets_as_they_are() {
        let (near, far) = std::os::unix::net::UnixDatagram::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut packets = PacketIo::new(&near);
        let run = Sample::TcpV4.run(3, 100);
        for packet in &run {
            packets.send(&near, packet);
            let mut read = [0; 2048];
            let size = far.recv(&mut read).unwrap();
            assert_eq!(read[..size], packet[..]);
        }
        assert!(packets.receive(&near).unwrap().is_none(), "nothing is queued");
        far.send(&run[0]).unwrap();
        let mut read = packets.receive(&near).unwrap().unwrap();
        assert_eq!(read.next_packet().unwrap(), run[0]);
        assert!(read.next_packet().is_none());
    }
}
