//! The kill switch against the network that the host is in: routes that DHCP adds, connected networks with
//! public addresses, and the server's address. Captured on the uplink, in each mode of the default route.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use pptpctl::testing::{
    apply::Changes,
    net::transport,
    plan,
    platform::Platform,
    profile::{DefaultRoute, Leak, Profile},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    leaks::{assert_transport_passes, send},
    namespace::{Lab, SERVER, assert_none, ip, ip_lines, with_default},
    remote_network::{CapturedPacket, RemoteNetwork},
};

const MODES: [DefaultRoute; 3] = [DefaultRoute::Policy, DefaultRoute::Halves, DefaultRoute::Replace];

/// Routes and addresses that a hostile DHCP server or router can give: routes more specific than a default
/// route, with and without a gateway, also to private space (TunnelVision), and a connected network with
/// public addresses (TunnelCrack).
const ROGUE: &str = "route replace 0.0.0.0/1 via 192.0.2.1 dev up0 proto dhcp\n\
     route replace 128.0.0.0/2 via 192.0.2.1 dev up0 proto dhcp metric 7\n\
     route replace 8.8.8.8/32 via 192.0.2.1 dev up0 proto dhcp\n\
     route replace 10.42.0.0/16 via 172.20.0.1 dev up0 proto dhcp\n\
     route replace 9.9.9.0/24 dev up0 proto dhcp scope link\n\
     addr replace 1.1.1.200/24 dev up0\n\
     route replace 2001:db8:77::/48 via 2001:db8::1 dev up0 proto ra\n\
     addr replace 2001:db8:88::2/64 dev up0 nodad\n";
const ROGUE_REMOVED: &str = "route del 0.0.0.0/1 via 192.0.2.1 dev up0\n\
     route del 128.0.0.0/2 via 192.0.2.1 dev up0\n\
     route del 8.8.8.8/32 via 192.0.2.1 dev up0\n\
     route del 10.42.0.0/16 via 172.20.0.1 dev up0\n\
     route del 9.9.9.0/24 dev up0\n\
     addr del 1.1.1.200/24 dev up0\n\
     route del 2001:db8:77::/48 via 2001:db8::1 dev up0\n\
     addr del 2001:db8:88::2/64 dev up0\n";
/// Hosts on the link need no address resolution.
const NEIGHBOURS: &str = "neigh replace 9.9.9.9 lladdr 02:00:00:00:00:09 dev up0 nud permanent\n\
     neigh replace 1.1.1.1 lladdr 02:00:00:00:00:09 dev up0 nud permanent\n\
     neigh replace 192.0.2.77 lladdr 02:00:00:00:00:09 dev up0 nud permanent\n\
     neigh replace 192.168.44.1 lladdr 02:00:00:00:00:09 dev up0 nud permanent\n\
     neigh replace 2001:db8:88::1 lladdr 02:00:00:00:00:09 dev up0 nud permanent\n";

const THROUGH_ROGUE: &[&str] = &[
    "8.8.8.8:53",
    "8.8.8.8:443",
    "77.0.0.1:9",
    "130.0.0.1:9",
    "10.42.1.1:9",
    "9.9.9.9:443",
    "1.1.1.1:443",
    "192.0.2.1:80",
    "203.0.113.9:80",
    "[2001:db8:77::1]:9",
    "[2001:db8:88::1]:9",
    "[2001:db8::1]:80",
];
/// Destinations of pings: the server, the gateway, a host on the link.
const PINGED: [Ipv4Addr; 3] = [SERVER, Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(1, 1, 1, 1)];

#[test]
fn routes_by_dhcp_lead_nowhere_with_kill_switch() {
    for mode in MODES {
        Lab::run(|lab| {
            let name = mode.name();
            let (mut remote, profile) = prepare(lab, mode);
            let before = lab.state();
            // The captures detect each of these packets.
            ip_lines(ROGUE);
            assert_outside(&mut remote, THROUGH_ROGUE, &PINGED);
            ip_lines(ROGUE_REMOVED);
            lab.assert_state(&before, name);

            let mut session = lab.session("vpn");
            lab.bring_up(&mut session, &profile).unwrap();
            let transport = mark(&mut session, &profile);
            ip_lines(ROGUE);
            assert!(networks_changed(&mut session), "{name}");
            set_again(&mut session, &profile);
            assert_blocked(&mut remote, &format!("{name}, up"));
            assert_outside(&mut remote, &["172.20.0.1:80", "192.0.2.1:67", "198.18.0.1:443"], &[]);
            assert_transport_passes(&mut remote, transport, name);
            ip_lines(ROGUE_REMOVED);
            assert_none(session.undo_all_and_close());
            lab.assert_state(&before, &format!("{name}, down"));

            // The routes are there before `up`, and the supervisor is killed.
            ip_lines(ROGUE);
            let rogue = lab.state();
            let mut session = lab.session("vpn");
            lab.bring_up(&mut session, &profile).unwrap();
            assert_blocked(&mut remote, &format!("{name}, up again"));
            let device = session.tun().unwrap().name.clone();
            ip(&["link", "set", &device, "down"]);
            assert_blocked(&mut remote, &format!("{name}, device down"));
            drop(session);
            lab.wait_until_gone(&device);
            assert_blocked(&mut remote, &format!("{name}, killed"));
            assert_transport_passes(&mut remote, transport, name);
            lab.recover();
            lab.assert_state(&rogue, &format!("{name}, recovered"));
        });
    }
}

/// The host moves between networks while the tunnel is up.
#[test]
fn kill_switch_follows_local_networks() {
    for mode in MODES {
        Lab::run(|lab| {
            let name = mode.name();
            let (mut remote, profile) = prepare(lab, mode);
            let before = lab.state();
            let mut session = lab.session("vpn");
            lab.bring_up(&mut session, &profile).unwrap();
            assert!(!networks_changed(&mut session));
            let up = lab.state();

            // A private network: it is blocked until the rules are set again.
            ip(&["addr", "add", "192.168.44.2/24", "dev", "up0"]);
            assert!(is_blocked(&mut remote, "192.168.44.1:80"), "{name}");
            assert!(networks_changed(&mut session), "{name}");
            set_again(&mut session, &profile);
            assert!(!networks_changed(&mut session), "{name}");
            assert_outside(&mut remote, &["192.168.44.1:80"], &[]);
            // DHCP gives public addresses in its place, and a gateway there.
            ip(&["addr", "del", "192.168.44.2/24", "dev", "up0"]);
            ip(&["addr", "add", "1.1.1.200/24", "dev", "up0"]);
            ip(&["route", "add", "default", "via", "1.1.1.1", "dev", "up0", "proto", "dhcp", "metric", "9"]);
            assert!(networks_changed(&mut session), "{name}");
            set_again(&mut session, &profile);
            assert!(is_blocked(&mut remote, "192.168.44.1:80"), "{name}");
            assert_blocked(&mut remote, name);
            // The server is reached through the gateway of the public network, by nothing but TCP 1723 and GRE.
            let route_to = |more: &str| {
                let words = format!("route get 203.0.113.9 {more}");
                ip(&words.trim().split(' ').collect::<Vec<_>>())
            };
            let control = route_to("ipproto tcp dport 1723");
            assert!(control.contains("via 1.1.1.1 dev up0"), "{name}: {control}");
            assert_transport_leaves(&mut remote, SERVER, mark(&mut session, &profile));
            for other in ["ipproto icmp", "ipproto tcp dport 80", "ipproto udp dport 1723"] {
                assert!(route_to(other).contains("dev tun0"), "{name} {other}: {}", route_to(other));
            }
            ip(&["route", "del", "default", "via", "1.1.1.1", "dev", "up0"]);
            ip(&["addr", "del", "1.1.1.200/24", "dev", "up0"]);
            set_again(&mut session, &profile);
            lab.assert_state(&up, name);
            assert_none(session.undo_all_and_close());
            lab.assert_state(&before, name);
        });
    }
}

/// The server is a neighbour in a network with public addresses.
#[test]
fn server_on_public_link_passes_as_transport_only() {
    const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
    for mode in MODES {
        Lab::run(|lab| {
            let (mut remote, profile) = prepare(lab, mode);
            let before = lab.state();
            assert_outside(&mut remote, &["192.0.2.77:80"], &[NEIGHBOUR]);
            let mut session = lab.session("vpn");
            lab.bring_up_to(&mut session, &profile, NEIGHBOUR).unwrap();
            assert_transport_leaves(&mut remote, NEIGHBOUR, mark(&mut session, &profile));
            ping(NEIGHBOUR);
            assert!(is_blocked(&mut remote, "192.0.2.77:80"), "{}", mode.name());
            assert_none(session.undo_all_and_close());
            lab.assert_state(&before, mode.name());
        });
    }
}

fn prepare(lab: &Lab, mode: DefaultRoute) -> (RemoteNetwork, Profile) {
    lab.one_uplink();
    for dev in ["all", "up0"] {
        // Strict reverse-path filtering.
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{dev}/rp_filter"), "1").unwrap();
    }
    let remote = RemoteNetwork::of_up0();
    ip_lines(NEIGHBOURS);
    let mut profile = with_default(mode);
    profile.leak = Leak::Block;
    profile.exclude = vec!["198.18.0.0/15".parse().unwrap()];
    (remote, profile)
}

/// Performs the transport plan with the facts of now, as the supervisor does after a change of the network.
fn set_again(session: &mut Changes, profile: &Profile) {
    let mut facts = session.facts(SERVER, None).unwrap();
    facts.outside = session.next_hops_outside(&profile.exclude);
    session.perform(&plan::transport(profile, Platform::Linux).resolve(&facts)).unwrap();
}

fn networks_changed(session: &mut Changes) -> bool {
    let next_hop = session.next_hop(SERVER, None).unwrap();
    session.networks_changed(Some(&next_hop))
}

fn mark(session: &mut Changes, profile: &Profile) -> Option<u32> {
    let facts = session.facts(SERVER, None).unwrap();
    plan::transport(profile, Platform::Linux).resolve(&facts).mark()
}

/// Checks that the control connection and GRE to this server leave by the uplink.
fn assert_transport_leaves(remote: &mut RemoteNetwork, server: Ipv4Addr, mark: Option<u32>) {
    let options = transport::Options { local: None, mark: mark.unwrap() };
    let gre = Socket::from(transport::gre_socket(server, &options).unwrap());
    let tcp = Socket::from(transport::tcp_socket(&options).unwrap());
    gre.send(b"out").unwrap();
    transport::start_connect(&tcp, SocketAddrV4::new(server, 1723)).unwrap();
    let to = IpAddr::V4(server);
    let expected = [(47, 0), (6, 1723)].map(|(protocol, port)| CapturedPacket { to, protocol, port });
    remote.capture_until_markers(&expected);
}

/// Checks that each of these packets is captured on the uplink.
fn assert_outside(remote: &mut RemoteNetwork, destinations: &[&str], pinged: &[Ipv4Addr]) {
    let mut expected: Vec<CapturedPacket> = destinations.iter().map(|to| datagram(to)).collect();
    expected.extend(pinged.iter().map(|to| echo(*to)));
    destinations.iter().for_each(|to| send(to.parse().unwrap()));
    pinged.iter().for_each(|to| ping(*to));
    remote.capture_until_markers(&expected);
}

/// Checks that no packet leaves for the destinations that hostile routes lead to, nor a ping.
#[track_caller]
fn assert_blocked(remote: &mut RemoteNetwork, when: &str) {
    THROUGH_ROGUE.iter().for_each(|to| send(to.parse().unwrap()));
    PINGED.into_iter().for_each(ping);
    let captured = remote.capture_until_markers(&[]);
    assert_eq!(captured, [], "{when}");
}

fn is_blocked(remote: &mut RemoteNetwork, to: &str) -> bool {
    send(to.parse().unwrap());
    remote.capture_until_markers(&[]).is_empty()
}

fn datagram(to: &str) -> CapturedPacket {
    let to: SocketAddr = to.parse().unwrap();
    CapturedPacket { to: to.ip(), protocol: 17, port: to.port() }
}

fn echo(to: Ipv4Addr) -> CapturedPacket {
    CapturedPacket { to: IpAddr::V4(to), protocol: 1, port: 0 }
}

/// Sends an echo request; errors are ignored, as the kernel may refuse it.
fn ping(to: Ipv4Addr) {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    let request = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let _refused = socket.send_to(&request, &SocketAddr::new(IpAddr::V4(to), 0).into());
}
