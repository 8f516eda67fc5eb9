use super::*;
use crate::{
    plan::{NextHop, Plan, Step, has_leak_filter, tests::profile, transport},
    profile::{DefaultRoute, Leak, Pf, Profile, Route},
};

fn guarded(routes: &[&str]) -> Profile {
    let mut profile = profile("203.0.113.9");
    profile.leak = Leak::Block;
    profile.pf = Some(Pf { anchor: "vpn".to_owned(), file: None });
    profile.routes = routes.iter().map(|route| Route::to(route.parse().unwrap())).collect();
    profile
}

fn everything() -> Profile {
    let mut profile = guarded(&["10.42.0.0/16"]);
    profile.default_route = Some(DefaultRoute::Auto);
    profile.exclude = vec!["192.0.2.53/32".parse().unwrap(), "2001:db8:53::/48".parse().unwrap()];
    profile
}

fn networks(networks: &[&str]) -> ConnectedNetworks {
    ConnectedNetworks::of(networks.iter().map(|network| network.parse().unwrap()))
}

fn facts(connected: &[&str]) -> Facts {
    let next_hop = NextHop::By { gateway: "192.168.1.1".parse().ok(), dev: "em0".to_owned(), source: None };
    Facts {
        server: Some("203.0.113.9".parse().unwrap()),
        next_hop: Some(next_hop),
        connected: Some(networks(connected)),
        ..Facts::default()
    }
}

fn filter(plan: &Plan) -> &LeakFilterStep {
    let found = plan.steps.iter().find_map(|step| match step {
        Step::LeakFilter(filter) => Some(filter),
        _ => None,
    });
    found.unwrap()
}

fn resolved(profile: &Profile, facts: &Facts) -> LeakFilterStep {
    filter(&transport(profile, Platform::OpenBsd).resolve(facts)).clone()
}

/// FreeBSD's and OpenBSD's pfctl(8) have loaded this text.
#[test]
fn rules_block_all_but_the_tunnel_and_local_networks() {
    let facts = facts(&["192.168.1.0/24", "198.51.100.0/24", "fd00:1::/64", "fe80::/64", "2001:db8::/64"]);
    let mut profile = everything();
    let before_the_device = resolved(&profile, &facts);
    assert!(!before_the_device.text().unwrap().contains(" on ! "), "no device passes yet");
    let facts = Facts { tun: Some("tun0".to_owned()), ..facts };
    insta::assert_snapshot!(resolved(&profile, &facts).text().unwrap(), @r#"
    table <pptpctl_guarded> { 0.0.0.0/1, 10.42.0.0/16, 128.0.0.0/1, ::/1, 8000::/1, !127.0.0.0/8, !192.0.2.53/32, !192.168.1.0/24, !::1/128, !2001:db8:53::/48, !fd00:1::/64, !fe80::/10, !ff02::/16 }
    table <pptpctl_exclude> { 192.0.2.53/32, 2001:db8:53::/48 }
    pass quick on lo all
    pass out quick inet proto tcp from any to 203.0.113.9 port { 1723 } flags any keep state
    pass out quick inet proto gre from any to 203.0.113.9 keep state
    pass in quick inet proto gre from 203.0.113.9 to any keep state
    pass out quick inet proto udp from any port 68 to { 192.168.1.0/24, 198.51.100.0/24, 255.255.255.255 } port 67 keep state
    pass quick inet6 proto icmp6 all icmp6-type { routersol, neighbrsol, neighbradv } keep state
    block drop out quick on ! tun0 proto { tcp, udp } from any to ! <pptpctl_exclude> port 53 label "pptpctl-leak"
    block drop out quick on ! tun0 from any to <pptpctl_guarded> label "pptpctl-leak"
    block drop in quick on ! tun0 from <pptpctl_guarded> to any label "pptpctl-leak"
    "#);
    profile.exclude.clear();
    profile.default_route = None;
    insta::assert_snapshot!(resolved(&profile, &facts).text().unwrap(), @r#"
    table <pptpctl_guarded> { 10.42.0.0/16, !127.0.0.0/8, !192.168.1.0/24, !::1/128, !fd00:1::/64, !fe80::/10, !ff02::/16 }
    pass quick on lo all
    pass out quick inet proto tcp from any to 203.0.113.9 port { 1723 } flags any keep state
    pass out quick inet proto gre from any to 203.0.113.9 keep state
    pass in quick inet proto gre from 203.0.113.9 to any keep state
    pass out quick inet proto udp from any port 68 to { 192.168.1.0/24, 198.51.100.0/24, 255.255.255.255 } port 67 keep state
    block drop out quick on ! tun0 from any to <pptpctl_guarded> label "pptpctl-leak"
    block drop in quick on ! tun0 from <pptpctl_guarded> to any label "pptpctl-leak"
    "#);
}

#[test]
fn rules_wait_for_server_and_networks() {
    let mut profile = everything();
    profile.servers = super::super::tests::profile("vpn-gateway.net").servers;
    for platform in [Platform::FreeBsd, Platform::OpenBsd] {
        let plan = transport(&profile, platform);
        assert!(filter(&plan).text().is_none());
        assert!(plan.open().contains(&Symbol::Server) && plan.open().contains(&Symbol::Connected));
        let plan = plan.resolve(&facts(&[]));
        assert!(filter(&plan).text().is_some() && !plan.open().contains(&Symbol::Tun), "{plan}");
    }
}

#[test]
fn dry_run_shows_the_anchor() {
    let lines = |profile: &Profile, platform| {
        let plan = transport(profile, platform);
        let place = plan.steps.iter().position(|step| matches!(step, Step::LeakFilter(_))).unwrap();
        let tun = plan.steps.iter().position(|step| matches!(step, Step::OpenTun(_))).unwrap();
        assert!(place < tun, "before the first packet");
        let step = &plan.steps[place];
        [vec![step.line(platform), step.undo_line(platform).unwrap()], plan.notes].concat().join("\n")
    };
    let freebsd = lines(&everything(), Platform::FreeBsd);
    assert_eq!(freebsd, lines(&everything(), Platform::OpenBsd));
    insta::assert_snapshot!(freebsd, @"
    pfctl -a vpn/leak -f -: block on ! tunX 0.0.0.0/1, 10.42.0.0/16, 128.0.0.0/1, ::/1, 8000::/1, and DNS; not TCP port 1723 and GRE of 203.0.113.9, <connected>, 192.0.2.53/32, 2001:db8:53::/48
    pfctl -a vpn/leak -F all
    ");
    // A single address can't be guarded by routes, but by pf.
    insta::assert_snapshot!(lines(&guarded(&["10.42.0.7/32"]), Platform::OpenBsd), @"
    pfctl -a vpn/leak -f -: block on ! tunX 10.42.0.7/32; not TCP port 1723 and GRE of 203.0.113.9, <connected>
    pfctl -a vpn/leak -F all
    ");
    let many: Vec<String> = (0..20).map(|third| format!("10.42.{third}.0/24")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(
        lines(&guarded(&many), Platform::FreeBsd).contains("10.42.7.0/24 and 12 more; not TCP port 1723")
    );
}

/// Without an anchor, and where there is no pf, nothing is loaded, and `up` says so with the remedy.
#[test]
fn without_an_anchor_up_says_that_routes_alone_block() {
    let has = |profile: &Profile, platform| {
        let plan = transport(profile, platform);
        let has_step = plan.steps.iter().any(|step| matches!(step, Step::LeakFilter(_)));
        assert_eq!(has_step, has_leak_filter(profile, platform));
        let notes = plan.notes.join("\n");
        assert_eq!(
            notes.contains("lead past the tunnel"),
            platform != Platform::Linux && !has_step,
            "{notes}"
        );
        (has_step, notes)
    };
    let profile = everything();
    for (platform, wanted) in [
        (Platform::FreeBsd, true),
        (Platform::OpenBsd, true),
        (Platform::NetBsd, false),
        (Platform::Linux, false),
    ] {
        assert_eq!(has(&profile, platform).0, wanted, "{platform:?}");
    }
    assert!(has(&profile, Platform::NetBsd).1.contains("block them with npf"));
    let without = Profile { pf: None, ..profile.clone() };
    assert!(has(&without, Platform::OpenBsd).1.contains("pf = { anchor = \"vpn\" } in the profile"));
    let open = Profile { leak: Leak::Allow, ..profile };
    assert!(
        !transport(&open, Platform::OpenBsd).steps.iter().any(|step| matches!(step, Step::LeakFilter(_)))
    );
}

/// The longest prefix decides, in the rules and in what is said about a connection.
#[test]
fn connections_are_blocked_as_the_rules_do() {
    let mut step = resolved(&everything(), &facts(&["192.168.1.0/24", "10.0.0.0/8", "198.51.100.0/24"]));
    step.outside = vec!["10.42.0.1/32".parse().unwrap()];
    let blocks = |address: &str, protocol, port| step.blocks(address.parse().unwrap(), protocol, port);
    for (address, protocol, port, wanted) in [
        ("203.0.113.9", "tcp", Some(1723), false),
        ("203.0.113.9", "gre", None, false),
        ("203.0.113.9", "tcp", Some(443), true),
        ("203.0.113.9", "icmp", Some(8), true),
        ("203.0.113.8", "gre", None, true),
        ("93.184.216.34", "tcp", Some(443), true),
        ("198.51.100.7", "udp", Some(123), true),
        ("198.51.100.7", "udp", Some(67), false),
        ("93.184.216.34", "udp", Some(67), true),
        ("192.168.1.7", "tcp", Some(22), false),
        ("192.168.1.1", "udp", Some(53), true),
        ("192.0.2.53", "udp", Some(53), false),
        ("192.0.2.53", "tcp", Some(443), false),
        ("192.0.2.54", "tcp", Some(443), true),
        ("10.9.9.9", "tcp", Some(443), false),
        ("10.42.9.9", "tcp", Some(443), true),
        ("10.42.0.1", "tcp", Some(443), false),
        ("127.0.0.1", "udp", Some(53), false),
        ("2001:db8::7", "tcp", Some(443), true),
        ("2001:db8:53::7", "tcp", Some(53), false),
        ("fe80::7", "icmp6", None, false),
        ("ff02::1:2", "udp", Some(547), false),
    ] {
        assert_eq!(blocks(address, protocol, port), wanted, "{address} {protocol} {port:?}");
    }
}

/// A prefix that is also that of a connected network passes, and is in the table once.
#[test]
fn connected_network_of_the_same_prefix_passes() {
    let step = resolved(&guarded(&["192.168.1.0/24", "10.42.0.0/16"]), &facts(&["192.168.1.0/24"]));
    let text = step.text().unwrap();
    assert!(text.contains("{ 10.42.0.0/16, ") && text.contains("!192.168.1.0/24"), "{text}");
    assert!(!text.contains(" 192.168.1.0/24, 10.42"), "{text}");
    assert!(!text.contains("port 53"), "{text}");
}

#[test]
fn step_round_trips_through_the_ledger() {
    for step in [
        Step::LeakFilter(resolved(&everything(), &facts(&["192.168.1.0/24"]))),
        Step::LeakFilter(filter(&transport(&everything(), Platform::FreeBsd)).clone()),
    ] {
        let text = serde_json::to_string(&step).unwrap();
        assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step, "{text}");
        assert!(step.is_of_kill_switch() && !step.traits().of_device && !step.traits().only_while_up);
    }
}
