//! Destination and source of packets: the addresses of a name, `--localbind`, `--rtmark`.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    sync::mpsc,
};

use nix::sys::signal::Signal;

use crate::{peer::*, world::*};

/// The name's first two addresses have no server. The resolver process has no privileges.
#[test]
fn every_address_of_a_name_is_tried() {
    in_world("sockets::every_address_of_a_name_is_tried", || {
        let mut log = Syslog::start();
        for address in ["192.0.2.31/32", "192.0.2.32/32"] {
            output("ip", &["addr", "add", address, "dev", "lo"]);
        }
        let peer = Peer::at(9);
        let resolver_statuses = name_server(&[[192, 0, 2, 31], [192, 0, 2, 32], [192, 0, 2, 9]]);
        let mut pptp = Pptp::start(OURS, "vpn.test --nolaunchpppd --nohostroute", Pipe::Socket);
        let mut tcp = peer.accept();
        assert_eq!(kind(&message(&mut tcp).unwrap()), 1);
        log.wait_for("192.0.2.31: Call manager: no connection to 192.0.2.31:1723: Connection refused");
        log.wait_for("192.0.2.32: Call manager: no connection to 192.0.2.32:1723: Connection refused");
        let resolver = resolver_statuses.recv().unwrap();
        assert!(resolver.contains("\nNoNewPrivs:\t1\n") && !resolver.contains("\nUid:\t0"), "{resolver}");
        assert!(resolver.contains("\nCapEff:\t0000000000000000\n"), "{resolver}");
        assert!(resolver.contains("\nSeccomp:\t2\n"), "{resolver}");
        drop(peer);
        drop(tcp);
        assert_eq!(pptp.wait().code(), Some(1), "no address is left");
        no_manager();
    });
}

/// Answers any query; yields the /proc status of the resolver for each.
fn name_server(addresses: &[[u8; 4]]) -> mpsc::Receiver<String> {
    fs::write("/run/resolv.conf", "nameserver 127.0.0.1\n").unwrap();
    fs::write("/run/nsswitch.conf", "hosts: files dns\n").unwrap();
    for name in ["resolv.conf", "nsswitch.conf"] {
        let to = fs::canonicalize(format!("/etc/{name}")).unwrap().display().to_string();
        output("mount", &["--bind", &format!("/run/{name}"), &to]);
    }
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    let answers: Vec<u8> = addresses
        .iter()
        .flat_map(|address| [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4][..], address].concat())
        .collect();
    let count = u8::try_from(addresses.len()).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((size, from)) = socket.recv_from(&mut bytes) {
            let _disconnected = sender.send(status_of("pptp: resolve"));
            // The question ends with type and class after the name (RFC 1035 §4.1).
            let end = 12 + bytes[12..size].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_a = bytes[end - 3] == 1;
            let mut reply = bytes[..end].to_vec();
            reply[2..4].copy_from_slice(&[0x81, 0x80]);
            reply[6..12].copy_from_slice(&[0, if is_a { count } else { 0 }, 0, 0, 0, 0]);
            reply.extend_from_slice(if is_a { &answers } else { &[] });
            socket.send_to(&reply, from).unwrap();
        }
    });
    receiver
}

/// Returns the status of the process with this title.
fn status_of(title: &str) -> String {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(title.as_bytes()))
        })
        .map(|entry| fs::read_to_string(entry.path().join("status")).unwrap())
        .unwrap_or_else(|| "no process has that title".to_owned())
}

#[test]
fn localbind_binds_both_sockets_and_names_the_manager() {
    in_world("sockets::localbind_binds_both_sockets_and_names_the_manager", || {
        let _log = Syslog::start();
        output("ip", &["addr", "add", "192.0.2.8/32", "dev", "lo"]);
        let local = Ipv4Addr::new(192, 0, 2, 8);
        for program in if is_classic_installed() { vec![OURS, CLASSIC] } else { vec![OURS] } {
            let call = Peer::at(9).call(program, "--localbind 192.0.2.8", Pipe::Socket);
            assert_eq!(call.tcp.peer_addr().unwrap().ip(), local, "{program}");
            assert_eq!(sockets(), ["192.0.2.8:192.0.2.9"]);
            call.write_frame(&numbered(1, 40));
            assert_eq!(call.receive(LIMIT).unwrap().source, local, "{program}");
            call.end();
        }
        let mut pptp = Pptp::start(OURS, "192.0.2.9 --nolaunchpppd --localbind 192.0.2.77", Pipe::Socket);
        assert_eq!(pptp.wait().code(), Some(1), "the address is not local");
        no_manager();
    });
}

#[test]
fn rtmark_marks_every_packet() {
    in_world("sockets::rtmark_marks_every_packet", || {
        let _log = Syslog::start();
        output("ip", &["addr", "add", "192.0.2.8/32", "dev", "lo"]);
        for line in [
            "add table ip marks",
            "add chain ip marks out { type filter hook output priority 0; }",
            "add rule ip marks out ip saddr 192.0.2.8 ip protocol tcp meta mark 7 counter",
            "add rule ip marks out ip saddr 192.0.2.8 ip protocol gre meta mark 7 counter",
            "add rule ip marks out ip saddr 192.0.2.8 meta mark != 7 counter",
        ] {
            nft(&[line]);
        }
        let call = Peer::at(9).call(OURS, "--localbind 192.0.2.8 --rtmark 7", Pipe::Socket);
        for number in 0..10 {
            call.write_frame(&numbered(number, 40));
            call.receive(LIMIT).unwrap();
        }
        let table = nft(&["list", "table", "ip", "marks"]);
        let counted: Vec<u32> = table
            .lines()
            .filter_map(|line| line.split("counter packets ").nth(1)?.split(' ').next()?.parse().ok())
            .collect();
        let [tcp, gre, unmarked] = counted[..] else { panic!("{table}") };
        assert!(tcp >= 3 && gre == 10 && unmarked == 0, "{table}");
        call.end();
    });
}

/// The mark selects the route: the main table has none. The host route then uses the next hop of the marked
/// route, and does not follow the main table.
#[test]
fn rtmark_selects_route_by_rules() {
    in_world("sockets::rtmark_selects_route_by_rules", || {
        let _log = Syslog::start();
        let server = Server::start("");
        let ip = |line: &str| {
            let args: Vec<&str> = line.split(' ').collect();
            assert!(std::process::Command::new("ip").args(args).status().unwrap().success(), "{line}");
        };
        ip("addr flush dev eth0");
        ip("addr add 192.0.2.2/32 dev eth0");
        ip("route add 192.0.2.11 dev eth0");
        server.run("ip", &["addr", "add", "192.0.2.11/24", "dev", "wire"]);
        ip("rule add fwmark 7 lookup 100");
        ip("route add 192.0.2.1 dev eth0 table 100");
        let mut pptp = Pptp::start(OURS, "192.0.2.1 --nolaunchpppd", Pipe::Socket);
        assert_eq!(pptp.wait().code(), Some(1), "no route to the server");
        no_manager();

        let mut pptp = Pptp::start(OURS, "192.0.2.1 --nolaunchpppd --rtmark 7", Pipe::Socket);
        let mut daemon = Daemon::new(false, true);
        daemon.ping(&pptp.ppp, 3, 10);
        let host_route = || output("ip", &["route", "show", "192.0.2.1"]);
        assert!(host_route().starts_with("192.0.2.1 dev eth0"), "{}", host_route());
        ip("route add default via 192.0.2.11");
        daemon.ping(&pptp.ppp, 3, 20);
        assert!(host_route().starts_with("192.0.2.1 dev eth0"), "{}", host_route());
        pptp.signal(Signal::SIGTERM);
        pptp.wait();
        no_manager();
        assert_eq!(host_route(), "");
    });
}

#[track_caller]
fn nft(args: &[&str]) -> String {
    let done = std::process::Command::new("nft").args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}
