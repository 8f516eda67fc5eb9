//! The raw GRE socket of all calls, with the weather before and behind it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{
    demo::impairment::{ImpairedPath, ImpairmentConfig, ImpairmentCounters},
    os::batch::Batch,
    pptp::gre,
};

/// Packets per round.
const BATCH: usize = 64;

/// The largest datagram that we take; a larger one is cut, and the flow then drops it by its length.
const DATAGRAM: usize = 2048;

/// Bytes that the kernel may hold for us while we are busy.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// A GRE packet and the host at the other end. One that comes in still has its IP header.
type Packet = (Ipv4Addr, Vec<u8>);

/// The socket and the two directions of the road.
pub(super) struct GreSocket {
    socket: Socket,
    batch: Batch,
    inbound: ImpairedPath<Packet>,
    outbound: ImpairedPath<Packet>,
    /// Nothing leaves.
    blocked: bool,
    /// Packets that our own kernel did not take.
    refused: u64,
}

impl GreSocket {
    /// A socket for every GRE packet to this address.
    ///
    /// # Errors
    /// The kernel's.
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

    /// What to wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// When a packet that is on its way has arrived, in either direction.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.inbound.next_timeout().into_iter().chain(self.outbound.next_timeout()).min()
    }

    /// Takes what the socket has; it sets out on the way in.
    pub fn receive(&mut self, now: Instant) {
        // An error of a socket that is not connected concerns no packet that we could name.
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

    /// The next packet that has arrived here.
    pub fn arrived(&mut self, now: Instant) -> Option<Packet> {
        self.inbound.arrive(now)
    }

    /// A packet sets out on the way to the client.
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

    /// Hands the kernel what has arrived at the other end of the weather.
    pub fn depart(&mut self, now: Instant) {
        while let Some((to, packet)) = self.outbound.arrive(now) {
            self.transmit(to, &packet);
        }
    }

    /// What the weather has done, inbound and outbound, and what the kernel refused.
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
