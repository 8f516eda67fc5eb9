//! The kill switch, tested by capturing on the uplink: no packet for the tunnel leaves in clear before the
//! tunnel is up, while it is up, after it is lost or after the supervisor was killed; `down` and `recover`
//! lift the block.

use std::{
    cell::RefCell,
    io::Read,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use pptpctl::testing::{
    net::transport,
    plan,
    platform::Platform,
    profile::{DefaultRoute, Leak, Profile},
};
use socket2::{Domain, Socket, Type};

use crate::{
    namespace::{Lab, SERVER, assert_none, ip, profile, split, with_default},
    remote_network::{CapturedPacket, RemoteNetwork},
};

/// Destinations that a tunnel with a default route carries: remote hosts of both families, resolvers
/// anywhere, connected networks with public addresses, and the server itself.
const TUNNEL_DESTINATIONS: &[&str] = &[
    "1.1.1.1:9",
    "192.88.99.1:9",
    "10.42.1.1:9",
    "8.8.8.8:53",
    "192.0.2.1:53",
    "[2001:db8:77::1]:9",
    "[2001:db8::1]:53",
    "172.20.0.1:53",
    "[fd00:20::1]:53",
    "192.0.2.1:80",
    "[2001:db8::1]:80",
    "203.0.113.9:80",
];
/// Destinations that are never blocked.
const UNBLOCKED_DESTINATIONS: &[&str] = &[
    // DHCP, with a public address too.
    "192.0.2.1:67",
    "172.20.0.1:67",
    // Connected networks with private addresses.
    "172.20.0.1:80",
    "[fd00:20::1]:80",
    // Excluded prefixes.
    "198.18.0.1:9",
    "198.18.0.1:53",
];

#[test]
fn kill_switch_blocks_all_traffic_in_every_mode() {
    for mode in [DefaultRoute::Policy, DefaultRoute::Halves, DefaultRoute::Replace] {
        let mut profile = with_default(mode);
        profile.leak = Leak::Block;
        profile.exclude = vec!["198.18.0.0/15".parse().unwrap()];
        assert_nothing_leaks(mode.name(), &profile, TUNNEL_DESTINATIONS, UNBLOCKED_DESTINATIONS);
    }
}

#[test]
fn kill_switch_blocks_only_split_routes() {
    let mut profile = profile();
    profile.leak = Leak::Block;
    profile.ppp.ipv6 = true;
    profile.routes = vec![split("10.42.0.0/16"), split("203.0.113.0/24"), split("2001:db8:77::/48")];
    profile.exclude = vec!["10.42.7.0/24".parse().unwrap()];
    let tunnelled = ["10.42.1.1:9", "10.42.1.1:53", "203.0.113.77:9", "[2001:db8:77::1]:9"];
    let unblocked = ["1.1.1.1:9", "192.0.2.1:53", "10.42.7.1:9", "[2001:db8:78::1]:9"];
    assert_nothing_leaks("split", &profile, &tunnelled, &unblocked);
}

/// A supervisor that stops retrying (wrong password, too many attempts) leaves the kill switch in force: the
/// user did not ask for `down`.
#[test]
fn kill_switch_stays_when_supervisor_gives_up() {
    for mode in [DefaultRoute::Policy, DefaultRoute::Halves, DefaultRoute::Replace] {
        Lab::run(|lab| {
            lab.one_uplink();
            let mut remote = RemoteNetwork::of_up0();
            let before = lab.state();
            let mut profile = with_default(mode);
            profile.leak = Leak::Block;
            let mut session = lab.session("vpn");
            lab.bring_up(&mut session, &profile).unwrap();
            assert!(session.has_kill_switch());
            assert_none(session.undo_all_but_kill_switch());
            for to in TUNNEL_DESTINATIONS {
                send(to.parse().unwrap());
            }
            assert_eq!(remote.capture_until_markers(&[]), [], "{}", mode.name());
            lab.recover();
            lab.assert_state(&before, mode.name());
        });
    }
}

/// The supervisor is killed, `up` undoes what it left except the kill switch, and the next one continues that.
#[test]
fn kill_switch_stays_between_two_supervisors() {
    for mode in [DefaultRoute::Policy, DefaultRoute::Halves, DefaultRoute::Replace] {
        Lab::run(|lab| {
            lab.one_uplink();
            let mut remote = RemoteNetwork::of_up0();
            let before = lab.state();
            let mut profile = with_default(mode);
            profile.leak = Leak::Block;
            let mut session = lab.session("vpn");
            lab.bring_up(&mut session, &profile).unwrap();
            let device = session.tun().unwrap().name.clone();
            drop(session);
            lab.wait_until_gone(&device);
            let steps = || lab.recover_keeping("vpn");
            assert!(steps().kept > 0);
            // Repeating it changes nothing.
            assert_eq!(steps().steps, 0);
            let mut probe = |when: &str| {
                for to in TUNNEL_DESTINATIONS {
                    send(to.parse().unwrap());
                }
                assert_eq!(remote.capture_until_markers(&[]), [], "{}, {when}", mode.name());
            };
            probe("undone");
            let mut session = lab.session("vpn");
            assert!(session.is_continued() && session.has_kill_switch());
            probe("continued");
            lab.bring_up(&mut session, &profile).unwrap();
            assert_none(session.undo_all_but_kill_switch());
            probe("given up");
            // The profile has none any more.
            profile.leak = Leak::Allow;
            let mut session = lab.session("vpn");
            lab.bring_up(&mut session, &profile).unwrap();
            assert!(!session.has_kill_switch());
            assert_none(session.undo_all_and_close());
            lab.assert_state(&before, mode.name());
        });
    }
}

fn assert_nothing_leaks(name: &str, profile: &Profile, tunnelled: &[&str], unblocked: &[&str]) {
    Lab::run(|lab| {
        lab.one_uplink();
        for dev in ["all", "up0"] {
            // Strict reverse-path filtering.
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{dev}/rp_filter"), "1").unwrap();
        }
        let remote = RefCell::new(RemoteNetwork::of_up0());
        let before = lab.state();
        let probe = |leaks: bool, when: &str| {
            println!("{name}, {when}");
            for to in tunnelled.iter().chain(unblocked) {
                send(to.parse().unwrap());
            }
            let all_of = |to: &&str| {
                let to: SocketAddr = to.parse().unwrap();
                [17, 6].map(|protocol| CapturedPacket { to: to.ip(), protocol, port: to.port() })
            };
            let tunnelled: Vec<CapturedPacket> = tunnelled.iter().flat_map(all_of).collect();
            let mut expected: Vec<CapturedPacket> = unblocked.iter().map(|to| all_of(to)[0]).collect();
            if leaks {
                expected.extend(&tunnelled);
            }
            let captured = remote.borrow_mut().capture_until_markers(&expected);
            if !leaks {
                let leaked: Vec<&CapturedPacket> =
                    captured.iter().filter(|packet| tunnelled.contains(packet)).collect();
                assert!(leaked.is_empty(), "{name}, {when}: {leaked:?}");
            }
        };
        probe(true, "before up, when every packet must be captured");

        let mut session = lab.session("vpn");
        let facts = session.facts(SERVER, None).unwrap();
        let facts = plan::Facts { outside: session.next_hops_outside(&profile.exclude), ..facts };
        let transport = plan::transport(profile, Platform::Linux).resolve(&facts);
        session.perform(&transport).unwrap();
        probe(false, "before the first packet");

        lab.bring_up(&mut session, profile).unwrap();
        probe(false, "up");
        let device = session.tun().unwrap().name.clone();
        ip(&["link", "set", &device, "down"]);
        probe(false, "device down");
        ip(&["link", "del", &device]);
        probe(false, "device deleted");
        lab.bring_up(&mut session, profile).unwrap();
        probe(false, "up again");

        // SIGKILL closes the descriptors and does nothing else. Then a DHCP client adds a default route.
        drop(session);
        probe(false, "supervisor killed");
        ip(&["route", "add", "default", "via", "192.0.2.1", "dev", "up0", "metric", "5"]);
        probe(false, "supervisor killed, new default route");
        ip(&["route", "del", "default", "via", "192.0.2.1", "dev", "up0", "metric", "5"]);

        // A new supervisor can still reach the server, in both directions.
        assert_transport_passes(&mut remote.borrow_mut(), transport.mark(), name);

        lab.recover();
        probe(true, "recovered");
        lab.assert_state(&before, name);
    });
}

/// Sends a datagram and a SYN; errors are ignored, as the kernel may refuse either.
pub fn send(to: SocketAddr) {
    let any: SocketAddr = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap();
    let _refused = UdpSocket::bind(any).unwrap().send_to(b"meant for the tunnel", to);
    let domain = if to.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let tcp = Socket::new(domain, Type::STREAM, None).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let _refused = tcp.connect(&to.into());
}

pub fn assert_transport_passes(remote: &mut RemoteNetwork, mark: Option<u32>, name: &str) {
    let options = transport::Options { local: None, mark: mark.unwrap_or(0) };
    let gre = Socket::from(transport::gre_socket(SERVER, &options).unwrap());
    let tcp = Socket::from(transport::tcp_socket(&options).unwrap());
    gre.send(b"out").unwrap();
    transport::start_connect(&tcp, std::net::SocketAddrV4::new(SERVER, 1723)).unwrap();
    remote.capture_until_markers(&[(47, 0), (6, 1723)].map(|(protocol, port)| CapturedPacket {
        to: IpAddr::V4(SERVER),
        protocol,
        port,
    }));
    remote.send_gre(b"back");
    gre.set_nonblocking(false).unwrap();
    gre.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = [0; 100];
    let size = (&gre).read(&mut bytes).unwrap_or_else(|error| panic!("{name}: GRE of the server: {error}"));
    assert!(bytes[..size].ends_with(b"back"), "{name}");
    // No socket listens on this port: the server's RST shows that TCP works in both directions.
    let deadline = Instant::now() + Duration::from_secs(20);
    while tcp.take_error().unwrap().is_none() {
        assert!(Instant::now() < deadline, "{name}: no answer to the SYN");
        std::thread::yield_now();
    }
}
