//! Tests that each check can fail. A check that finds no fault in a broken capture, or no difference in a
//! changed host, would make all other cases worthless.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    capture::{CLIENT, check_capture},
    client,
    host_state::Snapshot,
    lab::Lab,
    peer::ADDRESS,
    runner::Case,
    traffic,
};

pub const CASES: &[Case] = &[
    ("self_test::clean_capture_passes", clean_capture_passes),
    ("self_test::broken_capture_fails", broken_capture_fails),
    ("self_test::changed_host_is_detected", changed_host_is_detected),
    ("self_test::inside_is_unreachable_without_tunnel", inside_is_unreachable_without_tunnel),
];

fn clean_capture_passes(lab: &Lab) {
    let report = check_capture(&pcap(
        lab,
        &[sccrq(), gre(1, &lcp()), gre(2, &lcp()), gre(3, &[0x00, 0xfd, 0x90, 1, 2, 3])],
    ));
    report.assert_clean();
    assert_eq!((report.control, report.data, report.encrypted, report.clear), (1, 3, 1, 0));
    let clear =
        check_capture(&pcap(lab, &[sccrq(), gre(1, &[&[0x00, 0x21][..], &ipv4(17, &udp())].concat())]));
    assert_eq!(clear.clear, 1, "a packet in clear is not counted");
    // A query for a name from ports that tshark knows as those of HCrt and Manolito.
    for port in [47_000_u16, 41_170] {
        let query = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x04host\x06inside\x04test\0\0\x01\0\x01";
        let header = [&port.to_be_bytes()[..], &[0, 53, 0, 8 + query.len() as u8, 0, 0]].concat();
        let datagram = ipv4(17, &[&header[..], query].concat());
        check_capture(&pcap(lab, &[sccrq(), gre(1, &[&[0x00, 0x21][..], &datagram].concat())]))
            .assert_clean();
    }
}

fn broken_capture_fails(lab: &Lab) {
    let mut long_option = lcp();
    long_option[9] = 200;
    let mut wrong_length = gre(2, &lcp());
    wrong_length[20 + 5] += 4;
    let mut wrong_cookie = SCCRQ.to_vec();
    wrong_cookie[4] ^= 0xff;
    let mut wrong_checksum = gre(1, &lcp());
    wrong_checksum[10] ^= 1;
    let mut with_checksum_flag = gre(1, &lcp());
    with_checksum_flag[20] |= 0x80;
    let no_control = check_capture(&pcap(lab, &[gre(1, &lcp())]));
    assert_eq!(no_control.control, 0, "control messages in a capture without any");
    for (packets, fault) in [
        // Found by tshark: an LCP option longer than its packet, a truncated control message, and so on.
        (vec![sccrq(), gre(1, &long_option)], "frame 2: Magic Number (option length = 200"),
        (vec![tcp(&SCCRQ[..40])], "frame 1: malformed (raw:ip:tcp:pptp"),
        (vec![tcp(&wrong_cookie)], "frame 1: Incorrect Magic Cookie"),
        (vec![sccrq(), wrong_checksum], "frame 2: Bad checksum"),
        // Found by `check_capture`.
        (vec![sccrq(), gre(1, &lcp()), wrong_length], "frame 3: payload length 18"),
        (vec![sccrq(), gre(1, &lcp()), gre(3, &lcp())], "frame 3: sequence 3 after Some(1)"),
        (vec![sccrq(), gre(1, &lcp()), gre(1, &lcp())], "frame 3: sequence 1 after Some(1)"),
        (vec![sccrq(), with_checksum_flag], "frame 2: flags 0xb001"),
    ] {
        let report = check_capture(&pcap(lab, &packets));
        assert!(
            report.faults.iter().any(|found| found.starts_with(fault)),
            "{fault:?} is not reported: {:?}",
            report.faults
        );
    }
}

fn changed_host_is_detected(lab: &Lab) {
    let before = Snapshot::take();
    before.assert_restored(lab);
    let ip = |args: &str| {
        assert!(Command::new("ip").args(args.split(' ')).status().unwrap().success(), "ip {args}")
    };
    let nft = |args: &str| {
        assert!(Command::new("nft").args(args.split(' ')).status().unwrap().success(), "nft {args}")
    };
    let run = |tool: &dyn Fn(&str), change: &str, undo: &str| {
        tool(change);
        assert!(!before.differences(&Snapshot::take()).is_empty(), "{change} is not detected");
        tool(undo);
        before.assert_restored(lab);
    };
    run(&ip, "route add 10.98.0.0/16 via 192.0.2.1", "route del 10.98.0.0/16");
    run(&ip, "route add 10.98.0.0/16 via 192.0.2.1 table 77", "route del 10.98.0.0/16 table 77");
    run(&ip, "-6 route add fd00:98::/64 via fd00:192::1", "-6 route del fd00:98::/64");
    run(&ip, "rule add pref 77 from 192.0.2.77 lookup 99", "rule del pref 77");
    run(&ip, "address add 192.0.2.77/32 dev eth0", "address del 192.0.2.77/32 dev eth0");
    run(&ip, "link set eth0 mtu 1400", "link set eth0 mtu 1500");
    run(&ip, "tuntap add tun77 mode tun", "tuntap del tun77 mode tun");
    run(&nft, "add table ip ours", "delete table ip ours");
    for path in ["/run/pptpctl.pid", "/run/tun0.pid", "/var/lib/ours", "/etc/resolv.conf.ours"] {
        fs::write(path, "1\n").unwrap();
        assert!(!before.differences(&Snapshot::take()).is_empty(), "{path} is not detected");
        fs::remove_file(path).unwrap();
    }
    let large = "/var/lib/ours.large";
    fs::write(large, [b'a'; 8192]).unwrap();
    let with_large = Snapshot::take();
    fs::write(large, [&[b'b'; 1][..], &[b'a'; 8191]].concat()).unwrap();
    assert!(with_large.differences(&Snapshot::take()).contains(large), "one byte of {large} is not detected");
    fs::remove_file(large).unwrap();
    let resolvers = fs::read("/etc/resolv.conf").unwrap();
    fs::write("/etc/resolv.conf", "nameserver 10.99.0.53\n").unwrap();
    assert!(before.differences(&Snapshot::take()).contains("10.99.0.53"), "resolv.conf is not detected");
    fs::write("/etc/resolv.conf", resolvers).unwrap();
    before.assert_restored(lab);

    let sleeper = lab.binary().with_file_name("sleeper");
    fs::copy("/bin/sleep", &sleeper).unwrap();
    let mut command = Command::new(sleeper);
    command.arg("60");
    let process = client::Running::spawn(command, "that stays".to_owned());
    assert_eq!(client::processes(lab), [process.pid()], "a process of the client is not detected");
}

fn inside_is_unreachable_without_tunnel(_: &Lab) {
    for address in [traffic::INSIDE, traffic::INSIDE_DNS, traffic::INTERNET] {
        assert!(
            traffic::ping(address, std::time::Duration::from_secs(1)).is_none(),
            "{address} answers without a tunnel"
        );
    }
}

fn pcap(lab: &Lab, packets: &[Vec<u8>]) -> PathBuf {
    let le = u32::to_le_bytes;
    // Magic, version 2.4, zone, accuracy, snap length, link type 101: raw IP.
    let mut file = [&le(0xa1b2_c3d4)[..], &[2, 0, 4, 0], &le(0), &le(0), &le(65535), &le(101)].concat();
    for (at, packet) in packets.iter().enumerate() {
        let length = le(packet.len() as u32);
        file.extend_from_slice(&[&le(at as u32)[..], &le(0), &length, &length, packet].concat());
    }
    let path = lab.case_dir().join("made.pcap");
    fs::write(&path, file).unwrap();
    path
}

fn address(text: &str) -> [u8; 4] {
    text.parse::<std::net::Ipv4Addr>().unwrap().octets()
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = ((20 + payload.len()) as u16).to_be_bytes();
    let start = [0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, protocol, 0, 0];
    let mut header = [&start[..], &address(CLIENT), &address(ADDRESS)].concat();
    let checksum = internet_checksum(&header);
    header[10..12].copy_from_slice(&checksum);
    [&header, payload].concat()
}

fn gre(sequence: u32, payload: &[u8]) -> Vec<u8> {
    let header = [0x30, 0x01, 0x88, 0x0b, 0, payload.len() as u8, 0x12, 0x34];
    ipv4(47, &[&header[..], &sequence.to_be_bytes(), payload].concat())
}

/// Returns an LCP Configure-Request with a magic number, with address, control and protocol fields (FF 03
/// C021).
fn lcp() -> Vec<u8> {
    vec![0xff, 3, 0xc0, 0x21, 1, 1, 0, 10, 5, 6, 1, 2, 3, 4]
}

fn udp() -> Vec<u8> {
    vec![0, 9, 0, 9, 0, 8, 0, 0]
}

/// A Start-Control-Connection-Request (RFC 2637 §2.1): version 1.0, framing and bearer capabilities,
/// channels, firmware, empty names.
const SCCRQ: [u8; 156] = {
    let mut message = [0; 156];
    let start =
        [0, 156, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0, 1, 0, 1];
    let mut at = 0;
    while at < start.len() {
        message[at] = start[at];
        at += 1;
    }
    message
};

fn sccrq() -> Vec<u8> {
    tcp(&SCCRQ)
}

fn tcp(message: &[u8]) -> Vec<u8> {
    // Ports 40000 and 1723, sequence, acknowledgement, header of five words, PSH and ACK, window, checksum,
    // urgent pointer.
    let mut segment =
        vec![0x9c, 0x40, 0x06, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0];
    segment.extend_from_slice(message);
    let length = (segment.len() as u16).to_be_bytes();
    let checksum =
        internet_checksum(&[&address(CLIENT)[..], &address(ADDRESS), &[0, 6], &length, &segment].concat());
    segment[16..18].copy_from_slice(&checksum);
    ipv4(6, &segment)
}

/// Returns the Internet checksum (RFC 1071) of an even number of bytes.
fn internet_checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
