//! The raw GRE socket of all calls, with an impaired path in each direction.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{
    deadline::{Deadline, earliest},
    demo::impairment::{ImpairedPath, ImpairmentConfig, ImpairmentCounters},
    os::batch::Batch,
    pptp::gre,
};

/// Packets per batch.
const BATCH: usize = 64;

/// Largest datagram received; a larger one is truncated, and the flow then drops it by its length.
const DATAGRAM: usize = 2048;

/// Receive buffer of the socket in bytes.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// A GRE packet and the address of the other host. An incoming packet still has its IP header.
type Packet = (Ipv4Addr, Vec<u8>);

/// The socket and both directions of the path.
pub(super) struct GreSocket {
    socket: Socket,
    batch: Batch,
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
        let protocol = Protocol::from(i32::from(gre::IP_PROTOCOL));
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&SocketAddrV4::new(address, 0).into())?;
        Ok(Self {
            socket,
            batch: Batch::new(BATCH, DATAGRAM),
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

    /// Reads from the socket and sends the packets into the inbound path.
    pub fn receive(&mut self, now: Instant) {
        // An error of an unconnected socket cannot be attributed to a packet.
        if self.batch.receive(&self.socket).is_err() {
            return;
        }
        for datagram in self.batch.datagrams() {
            let Some(source) = datagram.get(12..16).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()) else {
                continue;
            };
            self.inbound.send(now, (Ipv4Addr::from(source), datagram.to_vec()));
        }
    }

    /// Returns the next packet that has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<Packet> {
        self.inbound.arrive(now)
    }

    /// Sends a packet to a client through the outbound path.
    pub fn send(&mut self, now: Instant, to: Ipv4Addr, packet: &[u8]) {
        if self.blocked {
            return;
        }
        if self.outbound.is_clear() {
            self.transmit(to, packet);
        } else {
            self.outbound.send(now, (to, packet.to_vec()));
            self.depart(now);
        }
    }

    /// Transmits the packets that have arrived from the outbound path.
    pub fn depart(&mut self, now: Instant) {
        while let Some((to, packet)) = self.outbound.arrive(now) {
            self.transmit(to, &packet);
        }
    }

    /// Returns the counters of both paths, inbound first, and of packets refused by the kernel.
    pub fn counters(&self) -> (ImpairmentCounters, ImpairmentCounters, u64) {
        (self.inbound.counters(), self.outbound.counters(), self.refused)
    }

    fn transmit(&mut self, to: Ipv4Addr, packet: &[u8]) {
        let to = SockAddr::from(SocketAddrV4::new(to, 0));
        if self.socket.send_to(packet, &to).is_err() {
            self.refused += 1;
        }
    }
}
