//! The raw GRE socket of all calls, with an impaired path in each direction.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    net::{Ipv4Addr, SocketAddrV4},
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use socket2::Socket;

#[cfg(target_os = "linux")]
use crate::net::bpf;
use crate::{
    deadline::{Deadline, earliest},
    demo::impairment::{ImpairedPath, ImpairmentConfig, ImpairmentCounters},
    net::transport::{self, Options},
    os::batch::Batch,
};

/// Packets per batch.
const BATCH: usize = 64;

/// Largest datagram received; a larger one is truncated, and the flow then drops it by its length.
const DATAGRAM: usize = 2048;

/// Most hosts with a socket for packets to them; as many as there are connections.
const SENDERS: usize = 64;

/// A GRE packet and the address of the other host. An incoming packet still has its IP header.
type Packet = (Ipv4Addr, Vec<u8>);

/// The socket and both directions of the path.
pub(super) struct GreSocket {
    socket: Socket,
    batch: Batch,
    address: Ipv4Addr,
    /// Packets that wait for [`GreSocket::flush`], all to one host.
    outgoing: Batch,
    outgoing_to: Ipv4Addr,
    /// Connected sockets that receive nothing, for batches to one host.
    senders: BTreeMap<Ipv4Addr, Socket>,
    inbound: ImpairedPath<Packet>,
    outbound: ImpairedPath<Packet>,
    /// Drop all outgoing packets.
    blocked: bool,
    /// Packets that the kernel did not accept for sending.
    refused: u64,
}

impl GreSocket {
    /// Opens a socket for all GRE packets to this address.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn open(
        address: Ipv4Addr,
        inbound: ImpairmentConfig,
        outbound: ImpairmentConfig,
        blocked: bool,
    ) -> io::Result<Self> {
        let socket = transport::raw_gre(&Options { local: Some(address), mark: 0 })?;
        transport::set_receive_buffer(&socket);
        Ok(Self {
            socket,
            batch: Batch::new(BATCH, DATAGRAM),
            address,
            outgoing: Batch::new(BATCH, DATAGRAM),
            outgoing_to: Ipv4Addr::UNSPECIFIED,
            senders: BTreeMap::new(),
            inbound: ImpairedPath::new(inbound),
            outbound: ImpairedPath::new(outbound),
            blocked,
            refused: 0,
        })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Returns when the next packet in transit arrives, in either direction.
    pub fn next_timeout(&self) -> Option<Deadline> {
        earliest([self.inbound.next_timeout(), self.outbound.next_timeout()])
    }

    /// Reads from the socket. Packets of a clear path are then in [`GreSocket::received`]; others go into the inbound
    /// path.
    pub fn receive(&mut self, now: Instant) {
        // An error of an unconnected socket cannot be attributed to a packet.
        if self.batch.receive(&self.socket).is_err() || self.inbound.is_clear() {
            return;
        }
        for (source, datagram) in self.batch.datagrams().filter_map(with_source) {
            self.inbound.send(now, (source, datagram.to_vec()));
        }
        self.batch.clear();
    }

    /// Returns the packets of the last [`GreSocket::receive`], with the sender's address and the IP header.
    pub fn received(&mut self) -> impl Iterator<Item = (Ipv4Addr, &mut [u8])> {
        self.batch.datagrams().filter_map(with_source)
    }

    /// Returns the next packet that has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<Packet> {
        self.inbound.arrive(now)
    }

    /// Sends a packet to a client through the outbound path: `write` fills a buffer and returns the packet's range
    /// in it, or `None`. Returns whether there was a packet.
    pub fn send(
        &mut self,
        now: Instant,
        to: Ipv4Addr,
        write: impl FnOnce(&mut [u8]) -> Option<Range<usize>>,
    ) -> bool {
        if self.outbound.is_clear() && !self.blocked {
            return self.batch_to(to).push(write);
        }
        let mut buffer = [0; DATAGRAM];
        let Some(packet) = write(&mut buffer).and_then(|range| buffer.get(range)) else { return false };
        if !self.blocked {
            self.outbound.send(now, (to, packet.to_vec()));
            self.depart(now);
        }
        true
    }

    /// Transmits the packets that have arrived from the outbound path.
    pub fn depart(&mut self, now: Instant) {
        while let Some((to, packet)) = self.outbound.arrive(now) {
            self.batch_to(to).push_parts(&packet, &[]);
        }
    }

    /// Returns the counters of both paths, inbound first, and of packets refused by the kernel.
    pub fn counters(&self) -> (ImpairmentCounters, ImpairmentCounters, u64) {
        (self.inbound.counters(), self.outbound.counters(), self.refused)
    }

    /// Sends the packets that wait.
    pub fn flush(&mut self) {
        let waiting = self.outgoing.filled();
        if waiting == 0 {
            return;
        }
        if self.senders.len() >= SENDERS && !self.senders.contains_key(&self.outgoing_to) {
            self.senders.clear();
        }
        let sent = match self.senders.entry(self.outgoing_to) {
            Entry::Occupied(socket) => self.outgoing.send(socket.get()),
            Entry::Vacant(place) => connected(self.address, self.outgoing_to)
                .and_then(|socket| self.outgoing.send(place.insert(socket))),
        };
        let sent = sent.and_then(|sent| u64::try_from(waiting - sent).map_err(io::Error::other));
        self.refused += sent.unwrap_or(1);
    }

    /// Returns the batch of packets to this host, with space for one.
    fn batch_to(&mut self, to: Ipv4Addr) -> &mut Batch {
        if self.outgoing.is_full() || self.outgoing_to != to {
            self.flush();
            self.outgoing_to = to;
        }
        &mut self.outgoing
    }
}

/// Returns a socket that only sends: on Linux a filter drops what it would receive, elsewhere its buffer fills.
fn connected(address: Ipv4Addr, to: Ipv4Addr) -> io::Result<Socket> {
    let socket = transport::raw_gre(&Options { local: Some(address), mark: 0 })?;
    #[cfg(target_os = "linux")]
    bpf::receive_nothing(&socket)?;
    socket.connect(&SocketAddrV4::new(to, 0).into())?;
    Ok(socket)
}

/// Returns a datagram with the address of its sender.
fn with_source(datagram: &mut [u8]) -> Option<(Ipv4Addr, &mut [u8])> {
    let source = <[u8; 4]>::try_from(datagram.get(12..16)?).ok()?;
    Some((Ipv4Addr::from(source), datagram))
}
