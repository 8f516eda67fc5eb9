use super::*;
use crate::{
    plan::{Connected, collisions, tests::profile},
    profile::{DefaultRoute, Leak, OnCollision, Profile, Route},
};

fn home() -> Surroundings {
    Surroundings {
        connected: vec![Connected {
            network: "192.0.2.0/24".parse().unwrap(),
            dev: "eth0".into(),
            metric: 0,
        }],
        gateways: vec!["192.0.2.254".parse().unwrap()],
        next_hops: vec!["192.0.2.253".parse().unwrap()],
        addresses: vec!["192.0.2.2".parse().unwrap(), "198.51.100.7".parse().unwrap()],
        resolvers: vec![("198.51.100.53".parse().unwrap(), None)],
        ..Surroundings::default()
    }
}

fn check(profile: &Profile, local: &str, dns: &[&str], routes: &[&str]) -> Assigned {
    let dns: Vec<Ipv4Addr> = dns.iter().map(|text| text.parse().unwrap()).collect();
    let mut profile = profile.clone();
    profile.routes = routes.iter().map(|text| Route::to(text.parse().unwrap())).collect();
    let profile = &profile;
    let server = Some(Ipv4Addr::new(203, 0, 113, 9));
    let tunnel = Tunnel { profile, planned: profile, platform: Platform::Linux, server, dns: Some(&dns) };
    assigned(&tunnel, &home(), local.parse().unwrap(), &collisions(&tunnel, &home()))
}

#[test]
fn address_that_the_host_needs_is_refused() {
    let profile = profile("203.0.113.9");
    for (local, words) in [
        ("203.0.113.9", Some("the server's own address")),
        ("192.0.2.254", Some("a gateway of this host")),
        ("198.51.100.53", Some("a resolver of this host")),
        ("192.0.2.253", Some("a next hop of this host's routes")),
        ("192.0.2.2", Some("has it already")),
        ("198.51.100.7", Some("has it already")),
        ("192.0.2.0", Some("stands for all hosts of 192.0.2.0/24 on eth0")),
        ("192.0.2.255", Some("stands for all hosts")),
        ("192.0.2.77", None),
        ("10.77.0.100", None),
    ] {
        let result = check(&profile, local, &[], &[]);
        let refusal = result.refusal.as_deref();
        assert_eq!(refusal.is_some(), words.is_some(), "{local}: {refusal:?}");
        assert!(refusal.unwrap_or_default().contains(words.unwrap_or_default()), "{refusal:?}");
        assert_eq!(!result.notes.is_empty(), local.starts_with("192.0.2."), "{local}: {:?}", result.notes);
    }
    let mut apart = profile;
    apart.link.netns = Some("office".to_owned());
    assert_eq!(check(&apart, "192.0.2.254", &[], &[]), Assigned::default());
}

#[test]
fn address_in_a_network_of_two_hosts_is_accepted() {
    let profile = profile("203.0.113.9");
    let tunnel =
        Tunnel { profile: &profile, planned: &profile, platform: Platform::Linux, server: None, dns: None };
    let mut host = home();
    host.connected[0].network = "192.0.2.76/31".parse().unwrap();
    let local = "192.0.2.77".parse().unwrap();
    assert_eq!(assigned(&tunnel, &host, local, &Collisions::default()).refusal, None);
}

#[test]
fn peer_that_the_host_needs_gets_no_route() {
    let mut profile = profile("203.0.113.9");
    let taken = |profile: &Profile, peer: &str| {
        let server = Some(Ipv4Addr::new(203, 0, 113, 9));
        let tunnel = Tunnel { profile, planned: profile, platform: Platform::Linux, server, dns: None };
        peer_is_taken(&tunnel, &home(), peer.parse().unwrap())
    };
    for peer in ["203.0.113.9", "192.0.2.254", "192.0.2.77", "198.51.100.53", "198.51.100.7"] {
        assert!(taken(&profile, peer), "{peer}");
    }
    assert!(!taken(&profile, "10.77.0.1"));
    profile.link.netns = Some("office".to_owned());
    assert!(!taken(&profile, "192.0.2.254"));
}

#[test]
fn resolver_on_a_connected_network_is_not_asked() {
    let mut profile = profile("203.0.113.9");
    profile.dns.servers = DnsServers::Peer;
    let two = ["192.0.2.53", "10.42.0.53"];
    let result = check(&profile, "10.77.0.100", &two, &[]);
    assert_eq!(result.not_asked, ["192.0.2.53".parse::<IpAddr>().unwrap()]);
    assert!(
        result.notes.len() == 1 && result.notes[0].contains("192.0.2.0/24 on eth0"),
        "{:?}",
        result.notes
    );
    // A longer route leads to it through the tunnel, unless it is left out.
    assert_eq!(check(&profile, "10.77.0.100", &two, &["192.0.2.53/32"]).not_asked.len(), 1);
    profile.collision = OnCollision::Tunnel;
    assert_eq!(check(&profile, "10.77.0.100", &two, &["192.0.2.53/32"]).not_asked.len(), 0);
    // The kill switch sends all queries through the tunnel.
    let mut blocking = profile.clone();
    blocking.default_route = Some(DefaultRoute::Auto);
    blocking.leak = Leak::Block;
    assert_eq!(check(&blocking, "10.77.0.100", &two, &[]).not_asked.len(), 0);
    let mut fixed = profile;
    fixed.dns.servers = DnsServers::Fixed(vec!["192.0.2.53".parse().unwrap()]);
    let result = check(&fixed, "10.77.0.100", &[], &[]);
    assert!(result.not_asked.is_empty() && result.notes[0].contains("asked there"), "{:?}", result.notes);
    let result = check(&fixed, "10.77.0.100", &[], &["192.0.2.0/24"]);
    assert_eq!(result.not_asked.len(), 1);
}
