//! Packets of a host that is not the server, on the path or with a forged source address: they end no tunnel for
//! good, and nothing passes in clear meanwhile.
//!
//! The packets leave a raw socket in the client's network namespace, with the server's source address. A forger on the
//! path reads call id and sequence number from the server's packets; one off the path tries all call ids.

#![expect(clippy::indexing_slicing, reason = "packets whose length the kernel has checked, and JSON")]

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, OwnedFd},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use pptpctl::testing::{
    demo::config::ServerConfig,
    ppp::mppe::{Demand, Policy},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    working_server,
    world::{Running, World, download, in_world},
};

const GRE: u8 = 47;
const LCP: [u8; 4] = [0xff, 0x03, 0xc0, 0x21];
const CHAP: [u8; 4] = [0xff, 0x03, 0xc2, 0x23];
const CCP: [u8; 4] = [0xff, 0x03, 0x80, 0xfd];
const IPCP: [u8; 4] = [0xff, 0x03, 0x80, 0x21];
const COMPRESSED: [u8; 4] = [0xff, 0x03, 0x00, 0xfd];

/// A forger of GRE packets from the server to the client.
struct Forger {
    server: Ipv4Addr,
    client: Ipv4Addr,
    /// Receives a copy of each GRE packet to this host.
    tap: Socket,
    raw: Socket,
}

impl Forger {
    fn new(config: &ServerConfig) -> Self {
        let tap = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(i32::from(GRE)))).unwrap();
        tap.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // IPPROTO_RAW: the packets contain their IP header.
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        Self { server: config.address, client: config.client, tap, raw }
    }

    /// Returns call id and sequence number of a data packet that the server sends now.
    fn overhear(&self, world: &World) -> (u16, u32) {
        let mut packet = [0; 2048];
        self.tap.set_nonblocking(true).unwrap();
        while (&self.tap).read(&mut packet).is_ok() {}
        self.tap.set_nonblocking(false).unwrap();
        download(world.server_config.office, 100);
        for _ in 0..1000 {
            let size = (&self.tap).read(&mut packet).expect("no GRE packet of the server");
            let gre = &packet[usize::from(packet[0] & 0x0f) * 4..size];
            if let [flags, _, _, _, _, _, call @ ..] = gre
                && flags & 0x10 != 0
                && let Some((call, rest)) = call.split_first_chunk()
                && let Some((sequence, _)) = rest.split_first_chunk()
            {
                return (u16::from_be_bytes(*call), u32::from_be_bytes(*sequence));
            }
        }
        panic!("the server sends no data");
    }

    /// Sends a PPP frame in the name of the server.
    fn send(&self, call: u16, sequence: u32, frame: &[u8]) {
        let mut gre = vec![0x30, 0x01, 0x88, 0x0b];
        gre.extend(u16::try_from(frame.len()).unwrap().to_be_bytes());
        gre.extend(call.to_be_bytes());
        gre.extend(sequence.to_be_bytes());
        gre.extend(frame);
        let [high, low] = u16::try_from(20 + gre.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, GRE, 0, 0];
        packet.extend(self.server.octets());
        packet.extend(self.client.octets());
        packet.extend(gre);
        let to = SocketAddrV4::new(self.client, 0).into();
        // The kernel's queue may be full.
        while self.raw.send_to(&packet, &to).is_err() {
            thread::yield_now();
        }
    }

    /// Sends these frames in the name of the server, shortly before it uses their numbers itself.
    fn inject(&self, world: &World, frames: &[Vec<u8>]) {
        let (call, sequence) = self.overhear(world);
        for (frame, ahead) in frames.iter().zip(40..) {
            self.send(call, sequence.wrapping_add(ahead), frame);
        }
    }
}

/// A capture of the wire, and packets that are sent into the tunnel meanwhile.
struct Witness {
    wire: OwnedFd,
    pings: Running,
}

impl Witness {
    fn start(world: &World) -> Self {
        let every = SockProtocol::EthAll;
        let wire = socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_NONBLOCK, every).unwrap();
        setsockopt(&wire, sockopt::RcvBufForce, &(64 << 20)).unwrap();
        let mut ping = Command::new("ping");
        ping.args(["-q", "-i", "0.005", &world.server_config.office.to_string()]);
        let pings = world.spawn(ping.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        Self { wire, pings }
    }

    /// Checks that no packet to the office, and no IP packet in a PPP frame, was sent in clear.
    #[track_caller]
    fn assert_nothing_in_clear(self, name: &str, config: &ServerConfig) {
        drop(self.pings);
        let (mut sealed, mut buffer) = (0, [0; 2048]);
        let eth0 = nix::net::if_::if_nametoindex("eth0").unwrap();
        while let Ok((size, from)) = recvfrom::<LinkAddr>(self.wire.as_raw_fd(), &mut buffer) {
            if from.is_none_or(|from| u32::try_from(from.ifindex()).unwrap() != eth0) {
                continue;
            }
            let packet = &buffer[..size];
            if packet.first() != Some(&0x45) || size < 36 || packet[12..16] != config.client.octets() {
                continue;
            }
            assert_ne!(packet[16..20], config.office.octets(), "{name}: a packet left past the tunnel");
            if packet[9] != GRE || packet[20] & 0x10 == 0 {
                continue;
            }
            let frame = &packet[if packet[21] & 0x80 == 0 { 32 } else { 36 }..];
            let frame = frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame);
            let frame = frame.strip_prefix(&[0]).unwrap_or(frame);
            assert!(!matches!(frame.first(), Some(0x21 | 0x57)), "{name}: in clear: {frame:02x?}");
            sealed += usize::from(frame.first() == Some(&0xfd));
        }
        assert!(sealed > 0, "{name}: the capture has no packet of the tunnel");
    }
}

fn frame(protocol: [u8; 4], code: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + data.len()).unwrap().to_be_bytes();
    [&protocol[..], &[code, 0x77], &length, data].concat()
}

/// Junk that looks like encrypted packets, with counts `step` apart.
fn junk(count: u16, step: u16) -> Vec<Vec<u8>> {
    (1..=count)
        .map(|number| {
            let [high, low] = (number.wrapping_mul(step) & 0x0fff).to_be_bytes();
            [&COMPRESSED[..], &[0x90 | high, low], &[0xa5; 60]].concat()
        })
        .collect()
}

fn chap_challenge() -> Vec<u8> {
    frame(CHAP, 1, &[&[16][..], &[7; 16], b"gate"].concat())
}

/// The forged packets by kind, and whether they must end the link, or may.
fn attacks() -> Vec<(&'static str, bool, Vec<Vec<u8>>)> {
    let failure = b"E=691 R=0 C=00112233445566778899AABBCCDDEEFF V=3 M=no";
    let success = b"S=0123456789ABCDEF0123456789ABCDEF01234567 M=welcome";
    let windows = [1, 2, 3, 4, 0, 0x3c, 0xcd, 0x74, 0, 0, 2, 0xe6];
    vec![
        ("CCP Terminate-Request", true, vec![frame(CCP, 5, b"")]),
        ("Protocol-Reject of CCP", true, vec![frame(LCP, 8, &[0x80, 0xfd, 1, 1, 0, 4])]),
        ("Protocol-Reject of LCP", true, vec![frame(LCP, 8, &[0xc0, 0x21, 1, 1, 0, 4])]),
        ("Protocol-Reject of data", false, vec![frame(LCP, 8, &[0x00, 0xfd, 0x90, 0]); 4]),
        ("LCP request without authentication", false, vec![frame(LCP, 1, &[5, 6, 1, 2, 3, 4])]),
        ("LCP request for PAP", false, vec![frame(LCP, 1, &[3, 4, 0xc0, 0x23, 5, 6, 1, 2, 3, 4])]),
        ("LCP Terminate-Request", true, vec![frame(LCP, 5, b"go away")]),
        ("LCP Terminate-Request of Windows", true, vec![frame(LCP, 5, &windows)]),
        ("IPCP Terminate-Request", true, vec![frame(IPCP, 5, b"")]),
        ("CCP without MPPE", false, vec![frame(CCP, 1, &[])]),
        ("junk", false, junk(16, 1)),
        ("junk far ahead", false, junk(40, 1000)),
        ("CHAP challenge, Failure", true, vec![chap_challenge(), frame(CHAP, 4, failure)]),
        ("CHAP challenge, wrong Success", true, vec![chap_challenge(), frame(CHAP, 3, success)]),
    ]
}

#[track_caller]
fn status(world: &World) -> serde_json::Value {
    serde_json::from_slice(&world.run(&["status", "vpn", "--json"]).stdout).unwrap_or_default()
}

/// Waits until the tunnel, with whatever connection, carries packets again under the same supervisor.
#[track_caller]
fn assert_recovers(world: &World, name: &str, ends_link: bool, before: &serde_json::Value) {
    // A refusal of the credentials ends a link after three seconds.
    let limit = Duration::from_secs(if ends_link { 20 } else { 2 });
    let began = Instant::now();
    let log = || std::fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap_or_default();
    world.wait_for(|| {
        let now = status(world);
        assert_eq!(now["supervisor_pid"], before["supervisor_pid"], "{name} ended the tunnel\n{}", log());
        let settled = now["engine_pid"] != before["engine_pid"] || began.elapsed() > limit;
        now["state"] == "up" && settled
    });
    download(world.server_config.office, 10_000);
    let now = status(world);
    assert_eq!(now["supervisor_pid"], before["supervisor_pid"], "{name} ended the tunnel\n{}", log());
    assert_eq!(now["mppe"], "MPPE-128 stateless", "{name}");
    if now["engine_pid"] != before["engine_pid"] {
        let warnings = now["warnings"].to_string();
        assert!(warnings.contains("by packets that any host can send in the server's name"), "{name}: {now}");
    }
}

/// One world for all attacks of an encryption policy: the tunnel lives through all of them.
fn assert_survives_attacks(policy: &'static str, demand: Demand) {
    let mppe = Policy { demand, ..working_server().mppe };
    in_world(ServerConfig { mppe, ..working_server() }, move |world| {
        world.profile(&format!(
            "mppe = \"{policy}\"\nauth = [\"mschapv2\", \"pap\"]\nretry = {{ first = \"100ms\", max = \"200ms\" }}"
        ));
        let state = world.state();
        world.up();
        let forger = Forger::new(&world.server_config);
        for (name, ends_link, frames) in attacks() {
            let before = status(world);
            let witness = Witness::start(world);
            forger.inject(world, &frames);
            assert_recovers(world, name, ends_link, &before);
            witness.assert_nothing_in_clear(name, &world.server_config);
            let ended = status(world)["engine_pid"] != before["engine_pid"];
            assert!(ended || !ends_link, "{name}: the link has not ended");
        }
        world.down(&state);
    });
}

#[test]
fn forged_packets_end_no_tunnel_for_good() {
    assert_survives_attacks("require-128", Demand::Require);
}

#[test]
fn forged_packets_do_not_strip_optional_encryption() {
    assert_survives_attacks("allow", Demand::Allow);
}

/// The kernel drops them but for one in 64, which are counted.
#[test]
fn flood_of_other_call_ids_is_counted_and_reported() {
    in_world(working_server(), |world| {
        world.profile("");
        let state = world.state();
        world.up();
        let before = status(world);
        let forger = Forger::new(&world.server_config);
        let (own, _) = forger.overhear(world);
        for call in (0..=u16::MAX).filter(|call| *call != own) {
            forger.send(call, 5000, &frame(CCP, 5, b""));
        }
        download(world.server_config.office, 10_000);
        let after = world.status_with_counters();
        assert_eq!(after["engine_pid"], before["engine_pid"]);
        let counted = after["counters"]["gre.rx_wrong_call"].as_u64().unwrap();
        assert!((400..2500).contains(&counted), "{counted} of about 1024");
        let log = std::fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
        assert_eq!(log.matches("another host probably tries all call ids").count(), 1, "{log}");
        world.down(&state);
    });
}

/// An address is easier to forge than a place on the path: one packet for each call id.
#[test]
fn forger_off_the_path_does_not_end_the_tunnel() {
    in_world(working_server(), |world| {
        world.profile("retry = { first = \"100ms\", max = \"200ms\" }");
        let state = world.state();
        world.up();
        let before = status(world);
        let witness = Witness::start(world);
        let forger = Forger::new(&world.server_config);
        for call in 0..=u16::MAX {
            forger.send(call, 5000, &frame(CCP, 5, b""));
        }
        assert_recovers(world, "one packet for each call id", true, &before);
        assert_ne!(status(world)["engine_pid"], before["engine_pid"], "no forged packet has arrived");
        witness.assert_nothing_in_clear("off the path", &world.server_config);
        world.down(&state);
    });
}
