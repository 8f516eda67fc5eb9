//! Null forwarders: tun device to raw socket and back, with nothing in between.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    ifaddrs::getifaddrs,
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns},
};
use pptpctl::testing::{
    net::{packets::PacketIo, transport, tun},
    os::{
        batch::Batch,
        wait::{self, Interest},
    },
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::uring::Uring;
use crate::{
    far_end::{far_namespace, ip},
    packet_ring::{PacketRing, Unit},
    tunnels::{FAR, NEAR},
};

/// Hidden argument that makes this program a null forwarder.
pub const ROLE: &str = "__null";
/// Bytes in front of each packet, as many as GRE and PPP have.
const HEADER: usize = 20;
const BATCH: usize = 64;

/// A null forwarder.
pub struct Forwarder {
    pub name: &'static str,
    /// Whether it runs unless `--paths` names it.
    pub by_default: bool,
    /// Number of its tun device.
    pub unit: u8,
    /// In place of the call id, so that no other tunnel takes the packets.
    key: u8,
    receive: Receive,
}

/// How the packets of the other end are received.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Receive {
    /// From the raw socket, with recvmmsg(2).
    Raw,
    /// From a ring of a packet socket.
    Ring(Unit),
    /// From the raw socket, through io_uring(7).
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Uring,
}

/// All of them.
pub const ALL: &[Forwarder] = &[
    Forwarder { name: "null", by_default: true, unit: 77, key: 0xee, receive: Receive::Raw },
    experiment("null-ring", 76, Receive::Ring(Unit::Block)),
    experiment("null-frames", 75, Receive::Ring(Unit::Frame)),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    experiment("null-uring", 74, Receive::Uring),
];

const fn experiment(name: &'static str, unit: u8, receive: Receive) -> Forwarder {
    Forwarder { name, by_default: false, unit, key: 0xa0 + unit, receive }
}

impl Forwarder {
    /// Returns the addresses of its devices: the near end's, and the far end's.
    pub fn addresses(&self) -> [Ipv4Addr; 2] {
        [2, 1].map(|end| Ipv4Addr::new(10, 80, self.key, end))
    }

    /// Returns the arguments for one end, `near` or `far`; those before the end are of both.
    pub fn arguments<'a>(&self, end: &'a str) -> [&'a str; 3] {
        [ROLE, self.name, end]
    }
}

/// Runs one end of a forwarder.
pub fn run(name: &str, end: &str) {
    let forwarder = ALL.iter().find(|forwarder| forwarder.name == name).unwrap();
    let far = end == "far";
    if far {
        setns(File::open(far_namespace()).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    }
    let device = tun::open(Some(u32::from(forwarder.unit))).unwrap();
    let [near_address, far_address] = forwarder.addresses();
    let (own, peer) = if far { (far_address, near_address) } else { (near_address, far_address) };
    ip(&format!("addr add {own} peer {peer} dev {}", device.name));
    ip(&format!("link set {} mtu 1400 up", device.name));
    let (own, peer) = if far { (FAR, NEAR) } else { (NEAR, FAR) };
    let gre = socket(own, peer, forwarder);
    match forwarder.receive {
        Receive::Raw => {
            let incoming = RawSocket { socket: gre.as_fd(), batch: Batch::new(BATCH, 2048) };
            forward(&device, &gre, forwarder.key, incoming);
        }
        Receive::Ring(unit) => {
            let key = u16::from_be_bytes([forwarder.key; 2]);
            let incoming = PacketRing::new(index_of(own), peer, key, unit).unwrap();
            forward(&device, &gre, forwarder.key, incoming);
        }
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        Receive::Uring => {
            let incoming = Uring::new(gre.as_fd(), device.fd.as_fd()).unwrap();
            forward(&device, &gre, forwarder.key, incoming);
        }
    }
}

/// The packets of the other end.
trait Incoming {
    /// Waits until there is something to read from the device or here, and returns which.
    fn wait(&mut self, device: BorrowedFd<'_>) -> [bool; 2];

    /// Passes waiting packets to `each`, with their IP header; about [`BATCH`] at most.
    fn receive(&mut self, each: impl FnMut(&mut [u8]));
}

fn poll(device: BorrowedFd<'_>, incoming: BorrowedFd<'_>) -> [bool; 2] {
    wait::until([device, incoming].map(|fd| Some((fd, Interest::Readable))), None).unwrap()
}

struct RawSocket<'a> {
    socket: BorrowedFd<'a>,
    batch: Batch,
}

impl Incoming for RawSocket<'_> {
    fn wait(&mut self, device: BorrowedFd<'_>) -> [bool; 2] {
        poll(device, self.socket)
    }

    fn receive(&mut self, each: impl FnMut(&mut [u8])) {
        if self.batch.receive(self.socket).is_ok() {
            self.batch.datagrams().for_each(each);
        }
    }
}

impl Incoming for PacketRing {
    fn wait(&mut self, device: BorrowedFd<'_>) -> [bool; 2] {
        poll(device, self.as_fd())
    }

    fn receive(&mut self, each: impl FnMut(&mut [u8])) {
        PacketRing::receive(self, BATCH, each);
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Incoming for Uring {
    fn wait(&mut self, _device: BorrowedFd<'_>) -> [bool; 2] {
        [Uring::wait(self).unwrap(), true]
    }

    fn receive(&mut self, each: impl FnMut(&mut [u8])) {
        Uring::receive(self, each);
    }
}

fn forward(device: &tun::Tun, gre: &OwnedFd, key: u8, mut incoming: impl Incoming) {
    let mut packets = PacketIo::new(&device.fd);
    let mut outgoing = Batch::new(BATCH, 2048);
    loop {
        let [from_tun, from_gre] = incoming.wait(device.fd.as_fd());
        if from_gre {
            incoming.receive(|datagram| {
                if let Some(packet) =
                    transport::strip_ip_header(datagram).and_then(|packet| packet.get(HEADER..))
                {
                    packets.send(&device.fd, packet);
                }
            });
            packets.flush(&device.fd);
        }
        let mut count = 0;
        while from_tun && count < BATCH {
            let Some(mut read) = packets.receive(&device.fd).unwrap() else { break };
            while let Some(packet) = read.next_packet() {
                if outgoing.is_full() {
                    let _congested = outgoing.send(gre);
                }
                outgoing.push(|out| {
                    out[..HEADER].fill(key);
                    out.get_mut(HEADER..HEADER + packet.len())?.copy_from_slice(packet);
                    Some(0..HEADER + packet.len())
                });
                count += 1;
            }
        }
        let _congested = outgoing.send(gre);
    }
}

/// Returns the raw socket, which is connected to the other end.
fn socket(own: Ipv4Addr, peer: Ipv4Addr, forwarder: &Forwarder) -> OwnedFd {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(47))).unwrap();
    socket.set_nonblocking(true).unwrap();
    let nothing = SockFilter::new(0x06, 0, 0, 0);
    let filter = if let Receive::Ring(_) = forwarder.receive {
        // It sends only. What the ring has copied reaches it too, and is dropped; without it the kernel would answer each
        // packet with ICMP "protocol unreachable".
        &[nothing][..]
    } else {
        transport::set_receive_buffer(&socket);
        // Only packets of the other end: the half word at offset 6 behind the IP header.
        &[
            SockFilter::new(0xb1, 0, 0, 0),
            SockFilter::new(0x48, 0, 0, 6),
            SockFilter::new(0x15, 0, 1, u32::from(u16::from_be_bytes([forwarder.key; 2]))),
            SockFilter::new(0x06, 0, 0, u32::MAX),
            nothing,
        ]
    };
    socket.attach_filter(filter).unwrap();
    socket.bind(&SocketAddrV4::new(own, 0).into()).unwrap();
    socket.connect(&SocketAddrV4::new(peer, 0).into()).unwrap();
    socket.into()
}

/// Returns the index of the device that has this address.
fn index_of(address: Ipv4Addr) -> u32 {
    let has_it = |found: &nix::ifaddrs::InterfaceAddress| {
        found.address.as_ref().and_then(|found| Some(found.as_sockaddr_in()?.ip())) == Some(address)
    };
    let device = getifaddrs().unwrap().find(has_it).unwrap();
    if_nametoindex(device.interface_name.as_str()).unwrap()
}
