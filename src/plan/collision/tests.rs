use super::*;
use crate::plan::{Facts, RouteStep, tests::profile, transport};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn connected(network: &str, dev: &str) -> Connected {
    Connected { network: net(network), dev: dev.to_owned(), metric: 0 }
}

/// The network of the issue: 192.0.2.0/24 with its gateway and a resolver.
fn home() -> Surroundings {
    Surroundings {
        connected: vec![connected("192.0.2.0/24", "eth0")],
        gateways: vec!["192.0.2.254".parse().unwrap()],
        resolvers: vec![("192.0.2.253".parse().unwrap(), None)],
        ..Surroundings::default()
    }
}

fn with_routes(routes: &[&str]) -> Profile {
    let mut profile = profile("203.0.113.9");
    profile.routes = routes.iter().map(|route| Route::to(net(route))).collect();
    profile
}

fn found(profile: &Profile, host: &Surroundings, platform: Platform) -> Collisions {
    let server = Some(Ipv4Addr::new(203, 0, 113, 9));
    find(&Tunnel { profile, planned: profile, platform, server, dns: None }, host)
}

/// Returns the routes and blocking routes of the plan, after the collisions are taken into account.
fn planned(profile: &Profile, host: &Surroundings, platform: Platform) -> Vec<String> {
    let collisions = found(profile, host, platform);
    let facts = Facts { server: Some("203.0.113.9".parse().unwrap()), ..Facts::default() };
    let run = std::path::Path::new("/run");
    let transport = transport(profile, platform).resolve(&facts).around(&collisions);
    let network = crate::plan::network(profile, platform, run).around(&collisions);
    let is_route =
        |step: &&Step| matches!(step, Step::Route(RouteStep { .. }) | Step::Policy(_) | Step::HostRoute(_));
    let steps = transport.steps.iter().chain(&network.steps).filter(is_route);
    steps.map(|step| step.line(platform)).collect()
}

#[test]
fn equal_and_inner_routes_collide_and_shorter_ones_do_not() {
    for platform in Platform::ALL {
        for (route, collides) in [
            ("192.0.2.0/24", true),
            ("192.0.2.128/25", true),
            ("192.0.2.7/32", true),
            ("192.0.0.0/16", false),
            ("192.0.3.0/24", false),
            ("0.0.0.0/1", false),
        ] {
            let collisions = found(&with_routes(&[route]), &home(), platform);
            assert_eq!(collisions.found.len(), usize::from(collides), "{route} {platform:?}");
            let lines = planned(&with_routes(&[route]), &home(), platform);
            assert_eq!(lines.is_empty(), collides, "{route} {platform:?}: {lines:?}");
        }
    }
}

/// A resolver that a longer route reaches by another gateway or another tunnel is not covered.
#[test]
fn resolver_behind_a_longer_route_does_not_collide() {
    let profile = with_routes(&["10.0.0.0/8"]);
    let mut host = home();
    host.resolvers.push(("10.9.9.9".parse().unwrap(), None));
    for (way, collides) in [("10.9.0.0/16", false), ("10.8.0.0/16", true), ("10.0.0.0/8", true)] {
        host.ways_to_resolvers = vec![net(way)];
        let collisions = found(&profile, &host, Platform::Linux);
        assert_eq!(!collisions.found.is_empty(), collides, "{way}");
    }
}

#[test]
fn routes_elsewhere_do_not_collide() {
    let mut profile = with_routes(&["192.0.2.0/24"]);
    profile.routes[0].table = Some(100);
    assert_eq!(found(&profile, &home(), Platform::Linux), Collisions::default());
    let mut profile = with_routes(&["192.0.2.0/24"]);
    profile.link.netns = Some("office".to_owned());
    assert_eq!(found(&profile, &home(), Platform::Linux), Collisions::default());
    let mut profile = with_routes(&["192.0.2.0/24"]);
    profile.link.rdomain = Some(3);
    assert_eq!(found(&profile, &home(), Platform::OpenBsd), Collisions::default());
    assert_eq!(found(&profile, &home(), Platform::Linux).found.len(), 1, "Linux has no routing domains");
    // A worse metric that the user has set leaves the network alone; Linux only.
    let mut profile = with_routes(&["192.0.2.0/24"]);
    profile.routes[0].metric = Some(50);
    assert_eq!(found(&profile, &home(), Platform::Linux), Collisions::default());
    assert_eq!(found(&profile, &home(), Platform::FreeBsd).found.len(), 1);
}

#[test]
fn covered_resolver_collides_unless_it_is_of_the_tunnel() {
    let mut host = home();
    host.resolvers.push(("10.9.9.9".parse().unwrap(), None));
    let profile = with_routes(&["10.0.0.0/8"]);
    let with = Obstacle::Resolver("10.9.9.9".parse().unwrap());
    assert_eq!(
        found(&profile, &host, Platform::Linux).found,
        [Collision { route: net("10.0.0.0/8"), with, cuts_lan: false }]
    );
    let mut own = profile.clone();
    own.dns.servers = crate::profile::DnsServers::Fixed(vec!["10.9.9.9".parse().unwrap()]);
    own.dns.domains = vec!["example.net".to_owned()];
    assert_eq!(found(&own, &host, Platform::Linux), Collisions::default());
    // The resolvers of the tunnel take its place, unless they are for some names only or there are none.
    let mut peer = profile.clone();
    peer.dns.servers = crate::profile::DnsServers::Peer;
    assert_eq!(found(&peer, &host, Platform::Linux), Collisions::default());
    let tunnel =
        |profile, dns| Tunnel { profile, planned: profile, platform: Platform::Linux, server: None, dns };
    assert_eq!(find(&tunnel(&peer, Some(&[])), &host).found.len(), 1);
    peer.dns.domains = vec!["example.net".to_owned()];
    assert_eq!(found(&peer, &host, Platform::Linux).found.len(), 1);
    let mut excluded = profile.clone();
    excluded.exclude = vec![net("10.9.9.9/32")];
    assert_eq!(found(&excluded, &host, Platform::Linux), Collisions::default());
    let mut default = profile;
    default.default_route = Some(crate::profile::DefaultRoute::Auto);
    assert_eq!(found(&default, &host, Platform::Linux), Collisions::default());
    // A route that covers a resolver on the link of a smaller network.
    let wide = with_routes(&["192.0.0.0/16"]);
    assert_eq!(found(&wide, &home(), Platform::Linux), Collisions::default());
}

/// The kill switch leaves only networks of private space outside: of a public one the network is cut off, not the
/// route.
#[test]
fn kill_switch_with_a_default_route_cuts_a_public_network() {
    let mut profile = with_routes(&["192.0.2.0/24"]);
    profile.collision = OnCollision::KeepLan;
    let ask = |profile: &Profile, platform| {
        let collisions = found(profile, &home(), platform);
        let warning = collisions.warnings().join("; ");
        (collisions.unreachable().len(), warning)
    };
    let (count, warning) = ask(&profile, Platform::Linux);
    assert!(count == 1 && warning.starts_with("192.0.2.0/24 is not reached through the tunnel"), "{warning}");
    profile.leak = crate::profile::Leak::Block;
    assert_eq!(
        ask(&profile, Platform::Linux).0,
        1,
        "without a default route nothing leads it into the tunnel"
    );
    profile.default_route = Some(crate::profile::DefaultRoute::Auto);
    let (count, warning) = ask(&profile, Platform::Linux);
    assert!(count == 0 && warning.contains("on eth0, a network of this host, is not reached"), "{warning}");
    let refused = found(&profile, &home(), Platform::Linux);
    assert!(refused.ways_out()[0].ends_with("eth0 reaches it no longer"), "{:?}", refused.ways_out());
    assert_eq!(ask(&profile, Platform::FreeBsd).0, 1, "there the network's route is more specific");
    let mut host = home();
    host.connected[0].network = net("192.168.1.0/24");
    profile.routes[0].prefix = net("192.168.1.0/24");
    assert_eq!(
        found(&profile, &host, Platform::Linux).unreachable().len(),
        1,
        "private space passes outside"
    );
}

#[test]
fn tunnel_takes_a_part_but_not_gateway_resolver_and_server() {
    let mut profile = with_routes(&["192.0.2.128/25", "192.0.2.254/32", "192.0.2.0/24"]);
    profile.collision = OnCollision::Tunnel;
    let collisions = found(&profile, &home(), Platform::Linux);
    assert_eq!(collisions.unreachable(), [net("192.0.2.254/32"), net("192.0.2.0/24")]);
    assert_eq!(
        planned(&profile, &home(), Platform::Linux),
        [
            "ip route add 192.0.2.254/32 dev eth0",
            "ip route add 192.0.2.253/32 dev eth0",
            "ip route add 192.0.2.128/25 dev tunX",
        ]
    );
}

#[test]
fn kill_switch_does_not_refuse_the_connected_network() {
    let mut profile = with_routes(&["192.0.2.0/24", "10.42.0.0/16"]);
    profile.leak = Leak::Block;
    profile.collision = OnCollision::KeepLan;
    let linux = planned(&profile, &home(), Platform::Linux);
    assert_eq!(linux.iter().filter(|line| line.contains("192.0.2.0/24")).count(), 1, "{linux:?}");
    assert!(
        linux[0].contains("unreachable 192.0.2.0/24") && linux[0].contains("metric 4294967295"),
        "{linux:?}"
    );
    // The BSDs have no metric that would put a blocking route behind the network.
    for platform in [Platform::OpenBsd, Platform::FreeBsd, Platform::NetBsd] {
        let lines = planned(&profile, &home(), platform);
        assert!(!lines.iter().any(|line| line.contains("192.0.2.")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("10.42.128.0/17")), "{lines:?}");
    }
    // A host of the network: blocked with the whole network, which the connected route precedes.
    let mut inner = with_routes(&["192.0.2.7/32"]);
    inner.leak = Leak::Block;
    let lines = planned(&inner, &home(), Platform::Linux);
    assert!(lines.len() == 1 && lines[0].contains("unreachable 192.0.2.0/24"), "{lines:?}");
}

#[test]
fn half_of_a_route_that_is_a_connected_network_is_left_out() {
    let mut profile = with_routes(&["192.0.2.0/23"]);
    profile.leak = Leak::Block;
    assert_eq!(found(&profile, &home(), Platform::FreeBsd).found, []);
    let lines = planned(&profile, &home(), Platform::FreeBsd);
    assert!(!lines.iter().any(|line| line.contains("192.0.2.0/24")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("192.0.3.0/24")), "{lines:?}");
}

#[test]
fn resolver_stays_outside_of_a_route() {
    let mut host = home();
    let way = NextHop::By { gateway: Some("192.0.2.254".parse().unwrap()), dev: "eth0".into(), source: None };
    host.resolvers = vec![("10.9.9.9".parse().unwrap(), Some(way))];
    let mut profile = with_routes(&["10.0.0.0/8"]);
    profile.leak = Leak::Block;
    let lines = planned(&profile, &host, Platform::Linux);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("unreachable 10.0.0.0/8") && lines[1].contains("10.9.9.9/32 via 192.0.2.254"),
        "{lines:?}"
    );
    // The same without the kill switch, if the profile prefers the tunnel.
    profile.leak = Leak::Allow;
    profile.collision = OnCollision::Tunnel;
    assert_eq!(
        planned(&profile, &host, Platform::Linux),
        ["ip route add 10.9.9.9/32 via 192.0.2.254 dev eth0", "ip route add 10.0.0.0/8 dev tunX"]
    );
}

#[test]
fn offered_routes_that_collide_are_left_out() {
    let profile = with_routes(&["10.42.0.0/16"]);
    let mut with = profile.clone();
    with.routes.push(Route { metric: Some(1_000_000), ..Route::to(net("192.0.2.0/24")) });
    let tunnel =
        Tunnel { profile: &profile, planned: &with, platform: Platform::Linux, server: None, dns: None };
    assert_eq!(find(&tunnel, &home()).unreachable(), [net("192.0.2.0/24")]);
}

#[test]
fn route_of_another_tunnel_names_its_profile() {
    let mut host = home();
    let other = |metric| TunnelRoute { profile: "office".to_owned(), dest: net("10.42.0.0/16"), metric };
    host.tunnels = vec![other(None)];
    let collisions = found(&with_routes(&["10.42.0.0/16"]), &host, Platform::Linux);
    assert!(collisions.summary().contains("the tunnel office"), "{}", collisions.summary());
    host.tunnels = vec![other(Some(9))];
    assert_eq!(found(&with_routes(&["10.42.0.0/16"]), &host, Platform::Linux), Collisions::default());
}

#[test]
fn excluded_route_is_left_out_silently() {
    let mut profile = with_routes(&["192.0.2.128/25"]);
    profile.exclude = vec![net("192.0.2.0/24")];
    assert_eq!(found(&profile, &home(), Platform::Linux).found, []);
    assert!(!planned(&profile, &home(), Platform::Linux).iter().any(|line| line.contains("tunX")));
}

#[test]
fn refusal_names_both_networks_and_the_ways_out() {
    let collisions = found(&with_routes(&["192.0.2.128/25"]), &home(), Platform::Linux);
    insta::assert_snapshot!(collisions.summary(), @"the route to 192.0.2.128/25 would take over part of 192.0.2.0/24 on eth0, a network of this host, with its gateway or resolver 192.0.2.254, 192.0.2.253");
    let collisions = found(&with_routes(&["192.0.2.0/24"]), &home(), Platform::Linux);
    insta::assert_snapshot!(collisions.ways_out().join("\n"), @r#"
    collision = "keep-lan" brings the tunnel up without this route; eth0 keeps 192.0.2.0/24
    for single hosts behind the tunnel: routes to them instead of 192.0.2.0/24, and collision = "tunnel"
    if eth0 is always meant: take the route out, or `exclude` a prefix that contains 192.0.2.0/24
    link.netns = "NAME" keeps the tunnel apart from this host's networks (Linux)
    or renumber one of the two networks: 192.0.2.0/24 on eth0 is usually the easier one
    "#);
    insta::assert_snapshot!(collisions.warnings().join("\n"), @"192.0.2.0/24 is not reached through the tunnel: this host is connected to 192.0.2.0/24 on eth0; the route returns when the host leaves that network");
    let many = found(
        &with_routes(&["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"]),
        &home(),
        Platform::Linux,
    );
    assert!(many.summary().ends_with("; and 1 more"), "{}", many.summary());
}

/// Each kind of collision says what is not reached and names at least one way out; a long list is cut.
#[test]
fn every_collision_has_a_sentence_and_a_way_out() {
    let with = [
        Obstacle::Network {
            network: net("10.0.0.0/8"),
            dev: "eth0".to_owned(),
            hosts: vec!["10.0.0.1".parse().unwrap()],
        },
        Obstacle::Resolver("10.0.0.53".parse().unwrap()),
        Obstacle::Tunnel("office".to_owned()),
    ];
    let found: Vec<Collision> =
        with.into_iter().map(|with| Collision { route: net("10.0.0.0/16"), with, cuts_lan: false }).collect();
    let words = [
        ("part of 10.0.0.0/8 on eth0", "connected to 10.0.0.0/8 on eth0", "exclude = [\"10.0.0.0/8\"]"),
        ("10.0.0.53, a resolver of this host", "covers 10.0.0.53", "dns.servers = [\"10.0.0.53\"]"),
        ("the tunnel office, which is up", "the tunnel office has the route", "`pptpctl down office`"),
    ];
    for (collision, (summary, warning, way)) in found.iter().zip(words) {
        assert!(collision.to_string().contains(summary), "{collision}");
        assert!(collision.warning().contains(warning), "{}", collision.warning());
        assert!(collision.warning().starts_with("10.0.0.0/16 is not reached"), "{}", collision.warning());
        let one = Collisions { found: vec![collision.clone()], ..Collisions::default() };
        assert!(one.ways_out().iter().any(|words| words.contains(way)), "{:?}", one.ways_out());
        assert_eq!(one.summary(), collision.to_string());
    }
    let many = Collisions { found: [found.clone(), found].concat(), ..Collisions::default() };
    assert!(many.summary().ends_with("; and 3 more"), "{}", many.summary());
    let ways = many.ways_out();
    assert!(ways.iter().enumerate().all(|(at, way)| !ways[..at].contains(way)), "{ways:?}");
}

/// What the host needs of a colliding network passes the kill switch by pf, too.
#[test]
fn hosts_that_stay_outside_pass_the_filter() {
    let mut profile = crate::plan::tests::profile("203.0.113.9");
    profile.leak = crate::profile::Leak::Block;
    profile.pf = Some(crate::profile::Pf { anchor: "vpn".to_owned(), file: None });
    profile.routes = vec![crate::profile::Route::to("10.42.0.0/16".parse().unwrap())];
    let plan = crate::plan::transport(&profile, crate::platform::Platform::OpenBsd);
    let way = NextHop::By { gateway: None, dev: "em0".to_owned(), source: None };
    let outside = vec![("10.42.0.1/32".parse().unwrap(), way)];
    let plan = plan.around(&Collisions { outside, ..Collisions::default() });
    let filter = plan.steps.iter().find_map(|step| match step {
        Step::LeakFilter(filter) => Some(filter.outside.clone()),
        _ => None,
    });
    assert_eq!(filter, Some(vec!["10.42.0.1/32".parse().unwrap()]));
}
