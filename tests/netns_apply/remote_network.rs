//! The network beyond the uplink: a namespace with the gateway and the server, and a packet socket that
//! captures.

use std::{
    io::Read,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::{SERVER, enter_new_namespace, ip};

/// ETH_P_ALL in network byte order (packet(7)).
const ETH_P_ALL: i32 = 0x0003_u16.to_be() as i32;
/// A timeout far longer than a packet takes through a veth pair.
const CAPTURE_TIMEOUT: Duration = Duration::from_secs(20);
/// The first port for end markers. Each marker has another port, so that a late one is not taken for the
/// next.
const FIRST_MARKER_PORT: u16 = 20_000;

/// One packet captured on the uplink: its destination, IP protocol and destination port (0 for GRE and ICMP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedPacket {
    pub to: IpAddr,
    pub protocol: u8,
    pub port: u16,
}

/// The gateway's private addresses. Their networks pass the kill switch, those of its public addresses,
/// 192.0.2.1 and 2001:db8::1, do not.
const PRIVATE_GATEWAY: [&str; 2] = ["172.20.0.1", "fd00:20::1"];

/// The client's addresses.
const CLIENT: [&str; 3] = ["192.0.2.2", "172.20.0.2", "fd00:20::2"];

/// The far end of `up0`.
pub struct RemoteNetwork {
    socket: Socket,
    marker_port: u16,
    gre_sender: Option<Sender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl RemoteNetwork {
    /// Moves the far end of `up0` to a new namespace, gives it the gateway's addresses, and gives `up0` one
    /// in each of the gateway's private networks.
    pub fn of_up0() -> Self {
        let client_netns = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
        let (ready, is_ready): (_, Receiver<(String, Socket)>) = mpsc::channel();
        let (gre_sender, gre_packets): (_, Receiver<Vec<u8>>) = mpsc::channel();
        let (moved, is_moved) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            enter_new_namespace();
            let remote_netns = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ETH_P_ALL))).unwrap();
            ready.send((remote_netns, socket)).unwrap();
            is_moved.recv().unwrap();
            for line in [
                "link set up0-far up",
                "addr add 192.0.2.1/24 dev up0-far",
                "addr add 203.0.113.9/32 dev lo",
                "-6 addr add 2001:db8::1/64 dev up0-far nodad",
                "addr add 172.20.0.1/24 dev up0-far",
                "-6 addr add fd00:20::1/64 dev up0-far nodad",
            ] {
                ip(&line.split(' ').collect::<Vec<_>>());
            }
            ready.send((String::new(), Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap())).unwrap();
            let gre = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(47))).unwrap();
            gre.bind(&SocketAddr::new(IpAddr::V4(SERVER), 0).into()).unwrap();
            // As a gateway does, whose packets have other sources.
            std::fs::write("/proc/sys/net/ipv4/conf/all/arp_announce", "2").unwrap();
            // Each order is a GRE packet for the server to send to the client.
            for packet in gre_packets {
                ip(&["neigh", "flush", "dev", "up0-far"]);
                let to = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 0);
                gre.send_to(&packet, &to.into()).unwrap();
            }
        });
        let (remote_netns, socket) = is_ready.recv().unwrap();
        assert_ne!(client_netns, remote_netns);
        ip(&["link", "set", "up0-far", "netns", &remote_netns]);
        moved.send(()).unwrap();
        is_ready.recv().expect("the remote network has no addresses");
        ip(&["addr", "add", "172.20.0.2/24", "dev", "up0"]);
        ip(&["addr", "add", "fd00:20::2/64", "dev", "up0", "nodad"]);
        crate::namespace::settle();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self { socket, marker_port: FIRST_MARKER_PORT, gre_sender: Some(gre_sender), thread: Some(thread) }
    }

    /// Makes the server send this GRE packet, for which the gateway has to resolve the client's link address.
    pub fn send_gre(&self, packet: &[u8]) {
        self.gre_sender.as_ref().unwrap().send(packet.to_vec()).unwrap();
    }

    /// Captures on the uplink until an end marker of each family, which is never blocked, and all of
    /// `expected` have arrived. The expected packets may come after the markers, as some wait for address
    /// resolution.
    pub fn capture_until_markers(&mut self, expected: &[CapturedPacket]) -> Vec<CapturedPacket> {
        self.marker_port += 1;
        // One marker of each family, as each resolves the gateway's link address separately.
        let to: [SocketAddr; 2] =
            PRIVATE_GATEWAY.map(|to| (to.parse::<IpAddr>().unwrap(), self.marker_port).into());
        let mut missing = to.map(|to| CapturedPacket { to: to.ip(), protocol: 17, port: to.port() }).to_vec();
        missing.extend(expected);
        let deadline = Instant::now() + CAPTURE_TIMEOUT;
        let mut captured = Vec::new();
        let mut bytes = [0; 2048];
        while Instant::now() < deadline {
            // Repeated, as a marker may be lost during address resolution.
            for to in to {
                let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
                UdpSocket::bind(any).unwrap().send_to(b"clear", to).unwrap();
            }
            while let Ok(size) = self.socket.read(&mut bytes) {
                let Some(packet) = parse_packet(&bytes[..size]) else { continue };
                missing.retain(|missing| *missing != packet);
                if !(FIRST_MARKER_PORT..=self.marker_port).contains(&packet.port) {
                    captured.push(packet);
                }
                if missing.is_empty() {
                    return captured;
                }
            }
        }
        panic!("not captured: {missing:?}; captured: {captured:?}");
    }
}

impl Drop for RemoteNetwork {
    fn drop(&mut self) {
        self.gre_sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the thread of the remote network has panicked");
        }
    }
}

/// Parses a packet from the client; `None` for other protocols (ARP, ICMPv6, IGMP), for ICMP other than echo
/// requests, and for packets to the client.
fn parse_packet(packet: &[u8]) -> Option<CapturedPacket> {
    let (to, protocol, rest): (IpAddr, u8, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 15) * 4;
            let to: [u8; 4] = packet.get(16..20)?.try_into().unwrap();
            (to.into(), *packet.get(9)?, packet.get(header..)?)
        }
        6 => {
            let to: [u8; 16] = packet.get(24..40)?.try_into().unwrap();
            (to.into(), *packet.get(6)?, packet.get(40..)?)
        }
        _ => return None,
    };
    let is_echo_request = protocol == 1 && rest.first() == Some(&8);
    if !matches!(protocol, 6 | 17 | 47) && !is_echo_request {
        return None;
    }
    if CLIENT.iter().any(|client| client.parse::<IpAddr>() == Ok(to)) {
        return None;
    }
    let port = match protocol {
        1 | 47 => 0,
        _ => u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]),
    };
    Some(CapturedPacket { to, protocol, port })
}
