//! What the facts change in a plan: networks of the host, prefixes outside the tunnel, resolvers.

use super::*;
use crate::profile::{DnsBackend, DnsServers, Leak};

fn gateway() -> NextHop {
    facts().next_hop.unwrap()
}

fn guarded(mode: DefaultRoute) -> Profile {
    Profile { leak: Leak::Block, ..client(mode) }
}

/// Only connected networks pass the kill switch: each has its own rule, and none is left with an open symbol.
#[test]
fn kill_switch_has_a_rule_for_each_connected_network() {
    let networks = ["192.168.7.0/24", "10.0.0.0/8", "fd00:7::/64", "198.51.100.0/24", "fe80::/64"];
    let connected = ConnectedNetworks::of(networks.map(|network| network.parse().unwrap()));
    for mode in [DefaultRoute::Policy, DefaultRoute::Halves, DefaultRoute::Replace] {
        let plan = transport(&guarded(mode), Platform::Linux);
        assert!(plan.open().contains(&Symbol::Connected));
        let plan = plan.resolve(&Facts { connected: Some(connected.clone()), ..facts() });
        assert_eq!(plan.open(), [], "{}", text(&plan));
        let lines: Vec<String> = plan.lines().filter(|line| line.contains("rule")).collect();
        for local in ["192.168.7.0/24", "10.0.0.0/8", "fd00:7::/64"] {
            let count = lines.iter().filter(|line| line.contains(local)).count();
            assert_eq!(count, 1, "{local}: {lines:#?}");
        }
        // A public network passes only what no unprivileged program can send, after the rules for the rest.
        let public = lines.iter().position(|line| line.contains("198.51.100.0/24")).unwrap();
        for protocol in ["icmp", "tcp", "udp", "33", "132", "136"] {
            let before = lines[..public].iter().any(|line| {
                line.contains(&format!("ipproto {protocol} "))
                    && !line.contains("port")
                    && !line.contains(" to ")
            });
            assert!(before, "{protocol}: {lines:#?}");
        }
    }
}

/// An excluded prefix keeps its next hop; one that has none, or is this host, has no route, and the user is told.
#[test]
fn excluded_prefixes_follow_the_next_hop() {
    let mut profile = client(DefaultRoute::Halves);
    let prefix: ipnet::IpNet = "198.51.100.0/24".parse().unwrap();
    profile.exclude = vec![prefix];
    let resolved = |outside| {
        transport(&profile, Platform::Linux).resolve(&Facts { outside: vec![(prefix, outside)], ..facts() })
    };
    let kept = resolved(Some(gateway()));
    assert!(kept.lines().any(|line| line == "ip route add 198.51.100.0/24 via 192.0.2.1 dev eth0"), "{kept}");
    for (outside, note) in [
        (None, Some("there is no route to 198.51.100.0/24 outside the tunnel now")),
        (Some(NextHop::ThisHost), None),
    ] {
        let plan = resolved(outside);
        assert!(!plan.lines().any(|line| line.contains("198.51.100.0/24")), "{plan}");
        assert_eq!(
            plan.notes.iter().map(String::as_str).collect::<Vec<_>>(),
            note.into_iter().collect::<Vec<_>>()
        );
    }
}

#[test]
fn server_on_this_host_needs_no_host_route() {
    let this_host = Facts { next_hop: Some(NextHop::ThisHost), ..facts() };
    let plan = transport(&client(DefaultRoute::Halves), Platform::Linux).resolve(&this_host);
    assert_eq!(plan.notes, ["the server is this host: it needs no host route"]);
}

#[test]
fn resolvers_stay_if_the_server_names_none() {
    let mut profile = router();
    profile.dns.servers = DnsServers::Peer;
    let plan = network_plan(&profile, Platform::Linux);
    assert!(plan.open().contains(&Symbol::Dns));
    let none = plan.resolve(&facts());
    assert!(!none.steps.iter().any(|step| matches!(step, Step::Dns(_))));
    assert_eq!(none.notes.last().unwrap(), "the server named no resolvers: those of this host stay");
    let named = Facts {
        dns: Some(vec!["10.42.0.53".parse().unwrap()]),
        resolver: Some(Resolver::Resolved),
        ..facts()
    };
    assert!(plan.resolve(&named).steps.iter().any(|step| matches!(step, Step::Dns(_))));
}

#[test]
fn profile_can_force_each_resolver_service() {
    for (backend, service, name) in [
        (DnsBackend::Resolved, Resolver::Resolved, "systemd-resolved"),
        (DnsBackend::Resolvconf, Resolver::Resolvconf, "resolvconf"),
        (DnsBackend::Resolvd, Resolver::Resolvd, "resolvd"),
        (DnsBackend::Unwind, Resolver::Unwind, "unwind"),
        (DnsBackend::File, Resolver::File, "/etc/resolv.conf"),
    ] {
        assert_eq!(Resolver::forced(backend), Some(service));
        assert_eq!(service.to_string(), name);
    }
    assert_eq!(Resolver::forced(DnsBackend::Auto), None);
}

/// A new source address alone, as after a renewed lease, needs no other route.
#[test]
fn same_path_does_not_depend_on_the_source_address() {
    let by = |gateway: &str, dev: &str, source: &str| NextHop::By {
        gateway: gateway.parse().ok(),
        dev: dev.to_owned(),
        source: source.parse().ok(),
    };
    let home = by("192.0.2.1", "eth0", "192.0.2.2");
    assert!(home.is_same_path(&by("192.0.2.1", "eth0", "192.0.2.9")));
    assert!(!home.is_same_path(&by("192.0.2.7", "eth0", "192.0.2.2")));
    assert!(!home.is_same_path(&by("192.0.2.1", "wlan0", "192.0.2.2")));
    assert!(!home.is_same_path(&NextHop::ThisHost) && NextHop::ThisHost.is_same_path(&NextHop::ThisHost));
    assert_eq!(home.gateway(), "192.0.2.1".parse().ok());
    assert_eq!(NextHop::ThisHost.gateway(), None);
    for (hop, words) in
        [(home, "192.0.2.1 dev eth0"), (by("", "eth0", ""), "eth0"), (NextHop::ThisHost, "lo")]
    {
        assert_eq!(hop.to_string(), words);
    }
}

/// The kill switch of a killed supervisor can stay only if the next one needs no resolver.
#[test]
fn kill_switch_stays_only_for_servers_with_addresses() {
    let address =
        Profile { default_route: Some(DefaultRoute::Policy), leak: Leak::Block, ..profile("203.0.113.9") };
    assert!(kill_switch_stays(&address, Platform::Linux));
    assert!(!kill_switch_stays(&Profile { leak: Leak::Allow, ..address.clone() }, Platform::Linux));
    let mut names = address.clone();
    names.servers.extend(profile("vpn-gateway.net").servers);
    assert!(!kill_switch_stays(&names, Platform::Linux));
    let mut apart = address;
    apart.link.netns = Some("vpn".to_owned());
    assert!(!kill_switch_stays(&apart, Platform::Linux), "a tunnel in a namespace has no kill switch");
}

/// The BSDs have no rules: what the kill switch does not do there is said, with a remedy that exists there.
#[test]
fn limits_of_the_kill_switch_are_said_on_the_bsds() {
    for (platform, filter) in [
        (Platform::OpenBsd, "pf"),
        (Platform::FreeBsd, "pf"),
        (Platform::NetBsd, "npf"),
        (Platform::Linux, ""),
    ] {
        let notes = transport(&guarded(DefaultRoute::Policy), platform).notes;
        if platform == Platform::Linux {
            assert_eq!(notes, [""; 0]);
            continue;
        }
        for words in
            ["policy rules exist on Linux only", "port 53 with ", "connected networks, and routes that DHCP"]
        {
            assert!(notes.iter().any(|note| note.contains(words)), "{platform:?}: {notes:?}");
        }
        assert!(notes.iter().any(|note| note.contains(&format!("port 53 with {filter}"))), "{notes:?}");
    }
    // A route to a single host can't be divided into two more specific ones.
    let mut single = router();
    single.leak = Leak::Block;
    single.routes = vec![Route::to("10.42.0.7/32".parse().unwrap())];
    let notes = transport(&single, Platform::FreeBsd).notes;
    assert!(
        notes.iter().any(|note| note.contains("can't guard a single address here: 10.42.0.7/32")),
        "{notes:?}"
    );
}

#[test]
fn lines_name_the_namespace_of_the_tunnel() {
    for (line, inside) in [
        ("ip route add default dev tun0", "ip -n vpn route add default dev tun0"),
        ("nft -f /etc/vpn.nft", "ip netns exec vpn nft -f /etc/vpn.nft"),
        ("open tun0", "open tun0 in network namespace vpn"),
        ("close tun0", "close tun0 in network namespace vpn"),
        ("write 7 to /run/tun0.pid", "write 7 to /run/tun0.pid"),
    ] {
        assert_eq!(line_in_netns("vpn", line), inside);
    }
}
