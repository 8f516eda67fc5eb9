mod facts;
mod programs;

use std::net::Ipv4Addr;

use super::*;
use crate::{
    profile::{DefaultRoute, Mtu, PasswordSource, Profile, Route, Server},
    secret::Secret,
};

/// Returns the manual page's router: one network behind the tunnel, a fixed unit, a fixed MTU.
fn router() -> Profile {
    let mut profile = profile("vpn-gateway.net");
    profile.unit = Some(0);
    profile.mtu = Mtu::Bytes(1400);
    profile.routes = vec![Route::to("10.42.0.0/16".parse().unwrap())];
    profile
}

/// Returns the manual page's stand-alone client.
fn client(mode: DefaultRoute) -> Profile {
    Profile { default_route: Some(mode), ..profile("vpn-gateway.net") }
}

#[test]
fn dry_run_of_router() {
    let [transport, network] = both(&router(), Platform::Linux);
    insta::assert_snapshot!(transport, @"
    open tun0
    ip route add <server> via <gateway> (only if <server> is in 10.42.0.0/16)
    ");
    insta::assert_snapshot!(network, @"
    ip link set tun0 mtu 1400
    ip address add <local> peer <peer> dev tun0
    ip link set tun0 up
    write <pid> to /run/tun0.pid
    ip route add 10.42.0.0/16 dev tun0
    ");
}

#[test]
fn dry_run_of_client() {
    let [transport, network] = both(&client(DefaultRoute::Replace), Platform::Linux);
    insta::assert_snapshot!(transport, @"
    open the first free tun device (tunX)
    ip route add <server> via <gateway>
    ");
    insta::assert_snapshot!(network, @"
    ip link set tunX mtu <mtu>
    ip address add <local> peer <peer> dev tunX
    ip link set tunX up
    write <pid> to /run/tunX.pid
    ip route del default (saved, restored on down)
    ip route add default dev tunX
    ");
    let undo: Vec<String> =
        network_plan(&client(DefaultRoute::Replace), Platform::Linux).undo_lines().collect();
    insta::assert_snapshot!(undo.join("\n"), @"
    ip route del default dev tunX
    restore the default route as it was
    remove /run/tunX.pid
    ip link set tunX down
    ip address del <local> peer <peer> dev tunX
    ");
}

#[test]
fn dry_run_of_client_on_openbsd() {
    let [transport, network] = both(&client(DefaultRoute::Halves), Platform::OpenBsd);
    insta::assert_snapshot!(transport, @"
    open the first free tun device (tunX)
    route add -host <server> <gateway>
    ");
    insta::assert_snapshot!(network, @"
    ifconfig tunX mtu <mtu>
    ifconfig tunX inet <local> <peer> netmask 255.255.255.255
    ifconfig tunX up
    write <pid> to /var/run/tunX.pid
    route add -net 0.0.0.0/1 <peer>
    route add -net 128.0.0.0/1 <peer>
    ");
}

#[test]
fn ipv6_steps_depend_on_server() {
    let mut profile = client(DefaultRoute::Halves);
    profile.ppp.ipv6 = true;
    profile.routes =
        vec![Route { metric: Some(50), table: Some(7000), ..Route::to("2001:db8:42::/48".parse().unwrap()) }];
    let plan = network_plan(&profile, Platform::Linux);
    insta::assert_snapshot!(text(&plan), @"
    ip link set tunX mtu <mtu>
    ip address add <local> peer <peer> dev tunX
    ip -6 address add <local6> peer <peer6>/64 dev tunX
    ip link set tunX up
    write <pid> to /run/tunX.pid
    ip -6 route add 2001:db8:42::/48 dev tunX metric 50 table 7000
    ip route add 0.0.0.0/1 dev tunX
    ip route add 128.0.0.0/1 dev tunX
    ip -6 route add ::/1 dev tunX
    ip -6 route add 8000::/1 dev tunX
    ");
    // The server does not support IPv6.
    let resolved = plan.resolve(&facts());
    insta::assert_snapshot!(text(&resolved), @"
    ip link set tun3 mtu 1396
    ip address add 10.99.0.2 peer 10.99.0.1 dev tun3
    ip link set tun3 up
    write 4711 to /run/tun3.pid
    ip route add 0.0.0.0/1 dev tun3
    ip route add 128.0.0.0/1 dev tun3
    note: the server does not speak IPv6: the IPv6 addresses and routes are left out
    ");
    assert!(resolved.open().is_empty());
    // The server supports it.
    let ipv6 = Ipv6::from_identifiers(0x0200_00ff_fe00_0001, 1);
    let resolved = plan.resolve(&Facts { ipv6, ..facts() });
    assert!(text(&resolved).contains("ip -6 address add fe80::200:ff:fe00:1 peer fe80::1/64 dev tun3"));
    assert!(resolved.open().is_empty() && resolved.notes.is_empty());
}

#[test]
fn host_route_is_planned_only_when_needed() {
    let host_route =
        |profile: &Profile, facts: &Facts| transport(profile, Platform::Linux).resolve(facts).lines().nth(1);
    let elsewhere = host_route(&router(), &facts());
    assert_eq!(elsewhere, None, "203.0.113.9 is not in 10.42.0.0/16");

    let inside = Facts { server: Some("10.42.0.7".parse().unwrap()), ..facts() };
    assert_eq!(
        host_route(&router(), &inside).as_deref(),
        Some("ip route add 10.42.0.7 via 192.0.2.1 dev eth0")
    );
    let by_default = host_route(&client(DefaultRoute::Replace), &facts());
    assert_eq!(by_default.as_deref(), Some("ip route add 203.0.113.9 via 192.0.2.1 dev eth0"));

    let on_link_hop = Some(NextHop::By { gateway: None, dev: "eth0".to_owned(), source: None });
    let on_link = host_route(&client(DefaultRoute::Halves), &Facts { next_hop: on_link_hop, ..facts() });
    assert_eq!(on_link.as_deref(), Some("ip route add 203.0.113.9 dev eth0"));

    let this_host = Facts { next_hop: Some(NextHop::ThisHost), ..facts() };
    assert_eq!(host_route(&client(DefaultRoute::Halves), &this_host), None);

    // With a literal address the decision needs no fact.
    let mut literal = profile("203.0.113.9");
    literal.routes = router().routes;
    assert_eq!(transport(&literal, Platform::Linux).steps.len(), 1);
    literal.routes.push(Route::to("203.0.113.0/24".parse().unwrap()));
    assert_eq!(
        transport(&literal, Platform::Linux).lines().nth(1).as_deref(),
        Some("ip route add 203.0.113.9 via <gateway>")
    );
}

#[test]
fn kept_default_route_becomes_halves() {
    let plan = network_plan(&client(DefaultRoute::Replace), Platform::Linux);
    let keep_default =
        KeepDefault { ipv4: Some("the route \"default\" has a lifetime".to_owned()), ipv6: None };
    let resolved = plan.resolve(&Facts { keep_default, ..facts() });
    insta::assert_snapshot!(text(&resolved), @r#"
    ip link set tun3 mtu 1396
    ip address add 10.99.0.2 peer 10.99.0.1 dev tun3
    ip link set tun3 up
    write 4711 to /run/tun3.pid
    ip route add 0.0.0.0/1 dev tun3
    ip route add 128.0.0.0/1 dev tun3
    note: the route "default" has a lifetime: it stays, and the tunnel's default route is added as two halves
    "#);
}

#[test]
fn peer_with_server_address_gets_no_route() {
    let peer = Some(Ipv4Addr::new(203, 0, 113, 9));
    let resolved =
        network_plan(&client(DefaultRoute::Halves), Platform::Linux).resolve(&Facts { peer, ..facts() });
    assert_eq!(resolved.lines().nth(1).as_deref(), Some("ip address add 10.99.0.2/32 dev tun3"));
    assert_eq!(resolved.notes.len(), 1);
}

#[test]
fn peer_with_address_of_a_neighbour_gets_no_route() {
    for platform in Platform::ALL {
        let plan = network_plan(&client(DefaultRoute::Halves), platform);
        let resolved = plan.resolve(&Facts { peer_is_taken: true, ..facts() });
        let address = resolved.lines().nth(1).unwrap();
        assert!(!address.contains("10.99.0.1"), "{address}");
        assert!(resolved.notes.iter().any(|note| note.contains("10.99.0.1")), "{:?}", resolved.notes);
    }
}

#[test]
fn peer_with_our_own_address_gets_no_route() {
    let peer = facts().local;
    let resolved =
        network_plan(&client(DefaultRoute::Halves), Platform::Linux).resolve(&Facts { peer, ..facts() });
    assert_eq!(resolved.lines().nth(1).as_deref(), Some("ip address add 10.99.0.2/32 dev tun3"));
    assert!(resolved.notes[0].contains("both ends"), "{:?}", resolved.notes);
}

#[test]
fn mtu_is_lowered_to_path_limit() {
    let resolved = network_plan(&router(), Platform::Linux).resolve(&facts());
    assert_eq!(resolved.lines().next().as_deref(), Some("ip link set tun0 mtu 1396"));
    assert_eq!(resolved.notes, ["mtu 1400 lowered to the 1396 that path and peer allow"]);
    let mtu = Some(1436);
    let resolved = network_plan(&router(), Platform::Linux).resolve(&Facts { mtu, ..facts() });
    assert_eq!(resolved.lines().next().as_deref(), Some("ip link set tun0 mtu 1400"));
}

#[test]
fn facts_can_be_resolved_one_by_one() {
    let plan = network_plan(&client(DefaultRoute::Replace), Platform::Linux);
    assert_eq!(plan.open(), [Symbol::Tun, Symbol::Mtu, Symbol::Local, Symbol::Peer, Symbol::Pid]);
    let all = facts();
    let half = Facts { tun: all.tun.clone(), pid: all.pid, ..Facts::default() };
    let step = plan.resolve(&half);
    assert_eq!(step.open(), [Symbol::Mtu, Symbol::Local, Symbol::Peer]);
    assert_eq!(step.resolve(&all), plan.resolve(&all));
}

#[test]
fn ipv6_routes_without_ipv6_give_a_note() {
    let mut profile = router();
    profile.routes.push(Route::to("2001:db8:42::/48".parse().unwrap()));
    let plan = network_plan(&profile, Platform::Linux);
    assert_eq!(plan.notes, ["ppp.ipv6 is off: the IPv6 routes are left out"]);
    assert_eq!(plan.steps.len(), 5);
}

#[test]
fn steps_round_trip_through_json() {
    let mut profile = client(DefaultRoute::Replace);
    profile.ppp.ipv6 = true;
    for platform in [Platform::Linux, Platform::OpenBsd] {
        for plan in [transport(&profile, platform), network_plan(&profile, platform)] {
            for plan in [plan.resolve(&Facts { ipv6: Ipv6::from_identifiers(2, 1), ..facts() }), plan] {
                for step in plan.steps {
                    let text = serde_json::to_string(&step).unwrap();
                    assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step, "{text}");
                }
            }
        }
    }
}

pub(super) fn profile(server: &str) -> Profile {
    let host = match server.parse() {
        Ok(address) => crate::profile::Host::Address(address),
        Err(_) => crate::profile::Host::Name(server.to_owned()),
    };
    let server = Server { host, port: Server::PORT };
    Profile::new("vpn".parse().unwrap(), server, "User", PasswordSource::Inline(Secret::from("MySecret")))
}

fn facts() -> Facts {
    Facts {
        server: Some("203.0.113.9".parse().unwrap()),
        next_hop: Some(NextHop::By {
            gateway: Some("192.0.2.1".parse().unwrap()),
            dev: "eth0".to_owned(),
            source: Some("192.0.2.2".parse().unwrap()),
        }),
        tun: Some("tun3".to_owned()),
        mtu: Some(1396),
        local: Some(Ipv4Addr::new(10, 99, 0, 2)),
        peer: Some(Ipv4Addr::new(10, 99, 0, 1)),
        peer_is_taken: false,
        ipv6: Ipv6::Absent,
        pid: Some(4711),
        keep_default: KeepDefault::default(),
        table: Some(FIRST_TABLE + 9),
        outside: Vec::new(),
        connected: None,
        forwarding: None,
        dns: Some(Vec::new()),
        resolver: None,
    }
}

fn network_plan(profile: &Profile, platform: Platform) -> Plan {
    network(profile, platform, std::path::Path::new(platform.run_dir()))
}

fn both(profile: &Profile, platform: Platform) -> [String; 2] {
    [text(&transport(profile, platform)), text(&network_plan(profile, platform))]
}

/// Returns the lines of a plan without indentation.
fn text(plan: &Plan) -> String {
    plan.to_string().lines().map(str::trim_start).collect::<Vec<_>>().join("\n")
}

#[test]
fn tables_and_metrics_follow_platform_syntax() {
    let mut profile = router();
    let mut wanted = Route::to("10.43.0.0/16".parse().unwrap());
    (wanted.table, wanted.metric) = (Some(5), Some(12));
    profile.routes = vec![wanted];
    let words = |platform| {
        let plan = network_plan(&profile, platform);
        let both = [plan.lines().last(), plan.undo_lines().next()];
        both.map(Option::unwrap)
    };
    assert_eq!(
        words(Platform::OpenBsd),
        [
            "route -T 5 add -net 10.43.0.0/16 <peer> -priority 12",
            "route -T 5 delete -net 10.43.0.0/16 <peer> -priority 12"
        ]
    );
    assert_eq!(
        words(Platform::FreeBsd),
        ["route add -net 10.43.0.0/16 <peer> -fib 5", "route delete -net 10.43.0.0/16 <peer> -fib 5"]
    );
    assert_eq!(
        words(Platform::NetBsd),
        ["route add -net 10.43.0.0/16 <peer>", "route delete -net 10.43.0.0/16 <peer>"]
    );
}

#[test]
fn gre_sysctl_is_set_on_openbsd_when_configured() {
    let mut profile = router();
    let sets_sysctl = |profile: &Profile, platform| {
        transport(profile, platform).steps.contains(&Step::AllowGre(AllowGreStep {}))
    };
    assert!(Platform::ALL.into_iter().all(|platform| !sets_sysctl(&profile, platform)));
    profile.link.gre_allow = true;
    for platform in Platform::ALL {
        assert_eq!(sets_sysctl(&profile, platform), platform == Platform::OpenBsd);
    }
    let plan = transport(&profile, Platform::OpenBsd);
    assert!(plan.lines().any(|line| line == "sysctl net.inet.gre.allow=1"));
}

#[test]
fn tunnel_is_placed_in_its_own_routing_table() {
    let mut profile = client(DefaultRoute::Replace);
    (profile.link.rdomain, profile.link.fib) = (Some(3), Some(4));
    let mut own = Route::to("10.43.0.0/16".parse().unwrap());
    own.table = Some(5);
    profile.routes = vec![Route::to("10.42.0.0/16".parse().unwrap()), own];
    let words = |platform, pattern: &str| -> Vec<String> {
        let plan = network_plan(&profile, platform);
        plan.lines().chain(plan.undo_lines()).filter(|line| line.contains(pattern)).collect()
    };
    let plan = network_plan(&profile, Platform::OpenBsd);
    assert_eq!(
        plan.lines().next().unwrap(),
        "ifconfig tunX rdomain 3",
        "the domain must be set first: a change of it removes addresses"
    );
    assert_eq!(
        words(Platform::OpenBsd, "route "),
        [
            "route -T 3 add -net 10.42.0.0/16 <peer>",
            "route -T 5 add -net 10.43.0.0/16 <peer>",
            "route -T 3 add -net 0.0.0.0/1 <peer>",
            "route -T 3 add -net 128.0.0.0/1 <peer>",
            "route -T 3 delete -net 128.0.0.0/1 <peer>",
            "route -T 3 delete -net 0.0.0.0/1 <peer>",
            "route -T 5 delete -net 10.43.0.0/16 <peer>",
            "route -T 3 delete -net 10.42.0.0/16 <peer>",
        ]
    );
    assert_eq!(network_plan(&profile, Platform::FreeBsd).lines().next().unwrap(), "ifconfig tunX fib 4");
    assert_eq!(words(Platform::FreeBsd, " -fib 4").len(), 6);
    // The default routes of the main table do not conflict and stay.
    for platform in [Platform::OpenBsd, Platform::FreeBsd] {
        let steps = network_plan(&profile, platform).steps;
        assert!(!steps.iter().any(|step| matches!(step, Step::RemoveDefault(_))));
    }
    for platform in [Platform::Linux, Platform::NetBsd] {
        let steps = network_plan(&profile, platform).steps;
        assert!(!steps.iter().any(|step| matches!(step, Step::Domain(_))), "{platform:?}");
        assert!(steps.iter().any(|step| matches!(step, Step::RemoveDefault(_))), "{platform:?}");
    }
    for step in plan.steps {
        let text = serde_json::to_string(&step).unwrap();
        assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step, "{text}");
    }
}

#[test]
fn route_labels_apply_to_openbsd_only() {
    let mut profile = client(DefaultRoute::Replace);
    profile.ppp.ipv6 = true;
    profile.link.rtlabel = Some("vpn".to_owned());
    let mut own = Route::to("10.43.0.0/16".parse().unwrap());
    (own.metric, own.label) = (Some(12), Some("branch".to_owned()));
    profile.routes =
        vec![Route::to("10.42.0.0/16".parse().unwrap()), own, Route::to("2001:db8::/32".parse().unwrap())];
    let words = |plan: &Plan| -> Vec<String> {
        let lines = plan.lines().filter(|line| line.starts_with("route ") && !line.contains("delete"));
        lines.collect()
    };
    let plan = network_plan(&profile, Platform::OpenBsd);
    assert_eq!(
        words(&plan),
        [
            "route add -net 10.42.0.0/16 <peer> -label vpn",
            "route add -net 10.43.0.0/16 <peer> -priority 12 -label branch",
            "route add -inet6 -net 2001:db8::/32 -link -iface tunX -label vpn",
            "route add default <peer> -label vpn",
            "route add -inet6 default -link -iface tunX -label vpn",
        ]
    );
    assert!(plan.undo_lines().all(|line| !line.contains("-label")), "a deletion needs no label");
    // Offered routes, and the halves that replace a default route that stays, have the label too.
    let offered = ["10.44.0.0/16".parse().unwrap()];
    let (server, peer) = (Ipv4Addr::new(203, 0, 113, 9), Ipv4Addr::new(10, 99, 0, 1));
    let with = with_offered_routes(&profile, Platform::OpenBsd, server, peer, &offered);
    let keep_default = KeepDefault { ipv4: Some("it is odd".to_owned()), ipv6: None };
    let plan = network_plan(&with, Platform::OpenBsd).resolve(&Facts { keep_default, ..facts() });
    for dest in ["10.44.0.0/16", "0.0.0.0/1", "128.0.0.0/1"] {
        let wanted = format!("route add -net {dest} 10.99.0.1 -label vpn");
        assert!(words(&plan).contains(&wanted), "{wanted}: {:?}", words(&plan));
    }
    // The host route to the server has no label.
    assert!(transport(&profile, Platform::OpenBsd).lines().all(|line| !line.contains("-label")));
    for platform in [Platform::Linux, Platform::FreeBsd, Platform::NetBsd] {
        assert!(network_plan(&profile, platform).lines().all(|line| !line.contains("label")), "{platform:?}");
    }
    for step in plan.steps {
        let text = serde_json::to_string(&step).unwrap();
        assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step, "{text}");
    }
}
