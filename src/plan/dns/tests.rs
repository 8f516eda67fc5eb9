use super::*;
use crate::{
    plan::{Plan, Step, network},
    profile::{DefaultRoute, Host, PasswordSource, Route, Server},
    secret::Secret,
};

#[test]
fn programs_follow_the_resolver_service() {
    let profile = with_dns();
    let line = |platform: Platform, resolver| {
        let facts = Facts { resolver, ..facts() };
        let plan = plan(&profile, platform).resolve(&facts);
        let step = plan.steps.iter().find(|step| matches!(step, Step::Dns(_))).unwrap();
        format!("{}\n{}", step.line(platform), step.undo_line(platform).unwrap())
    };
    insta::assert_snapshot!(line(Platform::Linux, Some(Resolver::Resolved)), @r"
    resolvectl dns tun3 10.99.0.53 10.99.0.54; resolvectl domain tun3 ~. corp.example; resolvectl default-route tun3 yes
    resolvectl revert tun3
    ");
    insta::assert_snapshot!(line(Platform::Linux, Some(Resolver::Resolvconf)), @r"
    resolvconf -a tun3.pptpctl -m 0 -x (nameserver 10.99.0.53 10.99.0.54, search corp.example)
    resolvconf -d tun3.pptpctl
    ");
    insta::assert_snapshot!(line(Platform::Linux, Some(Resolver::File)), @r"
    write nameserver 10.99.0.53 10.99.0.54, search corp.example to /etc/resolv.conf (saved, restored on down)
    restore /etc/resolv.conf as it was
    ");
    insta::assert_snapshot!(line(Platform::FreeBsd, None), @r"
    resolvconf -a tun3.pptpctl -m 0 -x (nameserver 10.99.0.53 10.99.0.54, search corp.example)
    resolvconf -d tun3.pptpctl
    ");
    assert_eq!(line(Platform::FreeBsd, None), line(Platform::NetBsd, None));
    insta::assert_snapshot!(line(Platform::OpenBsd, None), @r"
    route nameserver tun3 10.99.0.53 10.99.0.54
    route nameserver tun3
    ");
}

#[test]
fn plan_without_facts_names_all_resolvers() {
    let plan = plan(&with_dns(), Platform::Linux);
    assert!(plan.open().contains(&Symbol::Dns) && plan.open().contains(&Symbol::Resolver));
    let last = plan.lines().last().unwrap();
    assert_eq!(
        last,
        "ask <dns> for all names, search corp.example, by systemd-resolved, resolvconf or /etc/resolv.conf, whatever this host has"
    );
}

#[test]
fn split_dns_requires_a_capable_resolver() {
    let mut profile = with_dns();
    profile.dns.domains = vec!["corp.example".into(), "lab.example".into()];
    let facts = Facts { resolver: Some(Resolver::Resolved), ..facts() };
    let plan = plan(&profile, Platform::Linux).resolve(&facts);
    assert_eq!(
        plan.lines().last().unwrap(),
        "resolvectl dns tun3 10.99.0.53 10.99.0.54; resolvectl domain tun3 ~lab.example corp.example; resolvectl default-route tun3 no"
    );
    let servers = facts.dns.unwrap();
    assert_eq!(split_dns_refusal(Resolver::Resolved, &profile.dns.domains, &servers), None);
    assert_eq!(split_dns_refusal(Resolver::File, &[], &servers), None);
    let refusal = split_dns_refusal(Resolver::File, &profile.dns.domains, &servers).unwrap();
    assert!(
        refusal.contains("/etc/resolv.conf can't") && refusal.contains("server=/corp.example/10.99.0.53"),
        "{refusal}"
    );
    let refusal = split_dns_refusal(Resolver::Resolvd, &profile.dns.domains, &servers).unwrap();
    assert!(refusal.contains("force accept bogus forwarder { corp.example }"), "{refusal}");
}

#[test]
fn peer_without_resolvers_changes_nothing() {
    let facts = Facts { dns: Some(Vec::new()), resolver: Some(Resolver::File), ..facts() };
    let plan = plan(&with_dns(), Platform::Linux).resolve(&facts);
    assert!(!plan.steps.iter().any(|step| matches!(step, Step::Dns(_))));
    assert_eq!(plan.notes, ["the server named no resolvers: those of this host stay"]);
    assert!(plan.open().is_empty());
}

#[test]
fn unrouted_resolver_gives_a_note() {
    let mut profile = with_dns();
    profile.default_route = None;
    profile.routes = vec![Route::to("10.99.0.53/32".parse().unwrap())];
    let servers = facts().dns.unwrap();
    let notes = dns_notes(&profile, None, &servers);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].contains("10.99.0.54") && notes[0].contains("routes = [\"10.99.0.54/32\"]"),
        "{notes:?}"
    );
    profile.peer_routes = true;
    assert!(dns_notes(&profile, None, &servers).is_empty());
    profile.peer_routes = false;
    for mode in [DefaultRoute::Auto, DefaultRoute::Policy, DefaultRoute::Halves, DefaultRoute::Replace] {
        profile.default_route = Some(mode);
        assert!(dns_notes(&profile, None, &servers).is_empty(), "all traffic uses the tunnel: {mode:?}");
    }
    let notes = dns_notes(&with_dns(), Some(Resolver::Resolvd), &servers);
    assert!(notes[0].contains("search corp.example"), "{notes:?}");
}

#[test]
fn namespace_has_its_own_resolv_conf() {
    let mut profile = with_dns();
    profile.link.netns = Some("inner".into());
    let plan = plan(&profile, Platform::Linux).resolve(&facts());
    assert!(plan.lines().last().unwrap().contains("to /etc/netns/inner/resolv.conf"), "{plan}");
}

#[test]
fn step_round_trips_through_json() {
    for resolver in
        [Resolver::Resolved, Resolver::Resolvconf, Resolver::Resolvd, Resolver::Unwind, Resolver::File]
    {
        for plan in [
            plan(&with_dns(), Platform::Linux).resolve(&Facts { resolver: Some(resolver), ..facts() }),
            plan(&with_dns(), Platform::Linux),
        ] {
            let step = plan.steps.last().unwrap();
            let text = serde_json::to_string(step).unwrap();
            assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), *step, "{text}");
        }
    }
}

fn plan(profile: &Profile, platform: Platform) -> Plan {
    network(profile, platform, std::path::Path::new("/run"))
}

fn with_dns() -> Profile {
    let server = Server { host: Host::Name("vpn.example.net".into()), port: Server::PORT };
    let password = PasswordSource::Inline(Secret::from("x"));
    let mut profile = Profile::new("vpn".parse().unwrap(), server, "user", password);
    profile.default_route = Some(DefaultRoute::Halves);
    profile.dns.servers = DnsServers::Peer;
    profile.dns.search = vec!["corp.example".into()];
    profile
}

fn facts() -> Facts {
    Facts {
        tun: Some("tun3".into()),
        mtu: Some(1400),
        local: Some("10.99.0.2".parse().unwrap()),
        peer: Some("10.99.0.1".parse().unwrap()),
        pid: Some(1),
        dns: Some(vec!["10.99.0.53".parse().unwrap(), "10.99.0.54".parse().unwrap()]),
        ..Facts::default()
    }
}
