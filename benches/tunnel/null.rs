//! The null forwarder: tun device to raw socket and back, with nothing in between.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, OwnedFd},
};

use nix::sched::{CloneFlags, setns};
use pptpctl::testing::{
    net::{packets::PacketIo, transport, tun},
    os::{
        batch::Batch,
        wait::{self, Interest},
    },
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::{
    far_end::{far_namespace, ip},
    tunnels::{FAR, NEAR},
};

/// Hidden argument that makes this program the null forwarder.
pub const ROLE: &str = "__null";
/// Name of its tun device.
pub const UNIT: u32 = 77;
/// Bytes in front of each packet, as many as GRE and PPP have.
const HEADER: usize = 20;
/// In place of the call id, so that no other tunnel takes the packets.
const KEY: u8 = 0xee;
const BATCH: usize = 64;

/// Runs one end, `near` or `far`; the addresses of its device are `addresses`.
pub fn run(end: &str, addresses: &str) {
    let far = end == "far";
    if far {
        setns(File::open(far_namespace()).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    }
    let device = tun::open(Some(UNIT)).unwrap();
    ip(&format!("addr add {addresses} dev {}", device.name));
    ip(&format!("link set {} mtu 1400 up", device.name));
    let (own, peer) = if far { (FAR, NEAR) } else { (NEAR, FAR) };
    let gre = socket(own, peer);
    let mut packets = PacketIo::new(&device.fd);
    let (mut incoming, mut outgoing) = (Batch::new(BATCH, 2048), Batch::new(BATCH, 2048));
    loop {
        let [from_tun, from_gre] = wait::until(
            [Some((device.fd.as_fd(), Interest::Readable)), Some((gre.as_fd(), Interest::Readable))],
            None,
        )
        .unwrap();
        if from_gre && incoming.receive(&gre).is_ok() {
            for datagram in incoming.datagrams() {
                if let Some(packet) =
                    transport::strip_ip_header(datagram).and_then(|packet| packet.get(HEADER..))
                {
                    packets.send(&device.fd, packet);
                }
            }
            packets.flush(&device.fd);
        }
        let mut count = 0;
        while from_tun && count < BATCH {
            let Some(mut read) = packets.receive(&device.fd).unwrap() else { break };
            while let Some(packet) = read.next_packet() {
                if outgoing.is_full() {
                    let _congested = outgoing.send(&gre);
                }
                outgoing.push(|out| {
                    out[..HEADER].fill(KEY);
                    out.get_mut(HEADER..HEADER + packet.len())?.copy_from_slice(packet);
                    Some(0..HEADER + packet.len())
                });
                count += 1;
            }
        }
        let _congested = outgoing.send(&gre);
    }
}

fn socket(own: Ipv4Addr, peer: Ipv4Addr) -> OwnedFd {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(47))).unwrap();
    socket.set_nonblocking(true).unwrap();
    transport::set_receive_buffer(&socket);
    // Only packets of the other end: the half word at offset 6 behind the IP header.
    let filter = [
        SockFilter::new(0xb1, 0, 0, 0),
        SockFilter::new(0x48, 0, 0, 6),
        SockFilter::new(0x15, 0, 1, u32::from(u16::from_be_bytes([KEY; 2]))),
        SockFilter::new(0x06, 0, 0, u32::MAX),
        SockFilter::new(0x06, 0, 0, 0),
    ];
    socket.attach_filter(&filter).unwrap();
    socket.bind(&SocketAddrV4::new(own, 0).into()).unwrap();
    socket.connect(&SocketAddrV4::new(peer, 0).into()).unwrap();
    socket.into()
}
