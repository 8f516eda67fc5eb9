//! Plans with programs of others: hooks, and an external PPP.

use std::net::Ipv6Addr;

use super::*;
use crate::profile::{DnsServers, PppBackend};

fn hooks(up: &[&str], down: &[&str]) -> Profile {
    let mut profile = router();
    let words = |argv: &[&str]| argv.iter().map(|word| (*word).to_owned()).collect();
    (profile.hooks.up, profile.hooks.down) = (words(up), words(down));
    profile
}

fn hook_step(profile: &Profile, facts: &Facts) -> HookStep {
    let steps = network_plan(profile, Platform::Linux).resolve(facts).steps;
    let found = steps.into_iter().find_map(|step| match step {
        Step::Hook(step) => Some(step),
        _ => None,
    });
    found.expect("no hook in the plan")
}

/// The up hook runs when everything else is in force, the down hook before anything is undone.
#[test]
fn hooks_run_last_and_are_undone_first() {
    let up = ["/etc/vpn/up", "two words", "$HOME"];
    for platform in Platform::ALL {
        let plan = network_plan(&hooks(&up, &["/etc/vpn/down"]), platform);
        assert_eq!(plan.lines().last().unwrap(), r#"run /etc/vpn/up "two words" "$HOME""#);
        assert_eq!(plan.undo_lines().next().unwrap(), "run /etc/vpn/down");
    }
    // The ledger has the down hook before the tunnel is used.
    let down_only = network_plan(&hooks(&[], &["/etc/vpn/down"]), Platform::Linux);
    assert_eq!(down_only.lines().last().unwrap(), "remember the down hook");
    let up_only = network_plan(&hooks(&["/etc/vpn/up"], &[]), Platform::Linux);
    assert!(!up_only.undo_lines().any(|line| line.starts_with("run ")));
    let neither = network_plan(&hooks(&[], &[]), Platform::Linux);
    assert!(!neither.steps.iter().any(|step| matches!(step, Step::Hook(_))));
}

/// The variables of pppd(8) and openvpn(8) that pptpctl.toml(5) lists.
#[test]
fn hook_environment_describes_the_link() {
    let dns =
        vec!["192.0.2.53".parse().unwrap(), "192.0.2.54".parse().unwrap(), "192.0.2.55".parse().unwrap()];
    let [local, peer] = [1, 2].map(|last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last));
    let known = Facts { dns: Some(dns), ipv6: Ipv6::Open { local, peer }, ..facts() };
    let step = hook_step(&hooks(&["/etc/vpn/up"], &["/etc/vpn/down"]), &known);
    for (event, word) in [(HookEvent::Up, "up"), (HookEvent::Down, "down")] {
        let environment: std::collections::BTreeMap<_, _> = step.environment(event).into_iter().collect();
        for (names, value) in [
            ("IFNAME DEVICE PPP_IFACE dev", "tun0"),
            ("IPLOCAL PPP_LOCAL ifconfig_local", "10.99.0.2"),
            ("IPREMOTE PPP_REMOTE ifconfig_remote", "10.99.0.1"),
            ("LINKNAME PPP_IPPARAM PPTPCTL_PROFILE", "vpn"),
            ("PEERNAME PPTPCTL_SERVER", "203.0.113.9"),
            ("PPTPCTL_MTU tun_mtu", "1396"),
            ("PPTPCTL_ACTION script_type", word),
            ("DNS1", "192.0.2.53"),
            ("DNS2", "192.0.2.54"),
            ("PPTPCTL_DNS", "192.0.2.53 192.0.2.54 192.0.2.55"),
            ("LLLOCAL", "fe80::1"),
            ("LLREMOTE", "fe80::2"),
        ] {
            for name in names.split(' ') {
                assert_eq!(environment.get(name).map(String::as_str), Some(value), "{name}");
            }
        }
    }
    assert_eq!(step.argv(HookEvent::Up), ["/etc/vpn/up"]);
    assert_eq!(step.argv(HookEvent::Down), ["/etc/vpn/down"]);
}

/// Resolvers of the profile are those of the hook, whatever the peer names; without any, the list is empty.
#[test]
fn hook_gets_the_resolvers_in_use() {
    let mut profile = hooks(&["/etc/vpn/up"], &[]);
    let named = Facts { dns: Some(vec!["192.0.2.53".parse().unwrap()]), ..facts() };
    let of = |profile: &Profile, facts: &Facts| {
        let environment = hook_step(profile, facts).environment(HookEvent::Up);
        let found = |wanted: &str| {
            environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        };
        (found("DNS1"), found("PPTPCTL_DNS"), found("LLLOCAL"))
    };
    assert_eq!(of(&profile, &facts()), (None, Some(String::new()), None));
    assert_eq!(of(&profile, &named).0.as_deref(), Some("192.0.2.53"));
    profile.dns.servers = DnsServers::Fixed(vec!["198.51.100.53".parse().unwrap()]);
    assert_eq!(of(&profile, &named).0.as_deref(), Some("198.51.100.53"));
}

#[cfg(feature = "pppd")]
#[test]
fn dry_run_with_pppd() {
    let mut profile = client(DefaultRoute::Halves);
    profile.ppp.backend = PppBackend::Pppd;
    let [transport, network] = both(&profile, Platform::Linux);
    insta::assert_snapshot!(transport, @"
    start pppd once the call is up, for pppX
    ip route add <server> via <gateway>
    ");
    insta::assert_snapshot!(network, @"
    pppd itself runs: ip address add <local> peer <peer> dev pppX; ip link set pppX up; writes its pid to /run/pppX.pid
    ip link set pppX mtu <mtu>
    nft add table inet pptpctl_vpn: MSS for MTU <mtu> (vpn_if=pppX vpn_local=<local> vpn_peer=<peer> vpn_server=<server>)
    ip route add 0.0.0.0/1 dev pppX
    ip route add 128.0.0.0/1 dev pppX
    ");
    let plan = super::super::transport(&profile, Platform::Linux);
    assert_eq!(plan.undo_lines().last().unwrap(), "end pppd, which removes its device");
    // What the daemon has done is not undone by us.
    let network = network_plan(&profile, Platform::Linux);
    assert!(!network.undo_lines().any(|line| line.contains("address") || line.contains("pid")));
    assert!(network.resolve(&Facts { tun: Some("ppp0".to_owned()), ..facts() }).open().is_empty());
}

/// pppd and ppp add a route to the peer's address; if that is the server's, the tunnel would lead into itself.
#[cfg(feature = "pppd")]
#[test]
fn external_ppp_always_has_a_host_route_to_the_server() {
    for (backend, platform, device) in
        [(PppBackend::Pppd, Platform::Linux, "ppp7"), (PppBackend::Ppp, Platform::FreeBsd, "tun7")]
    {
        let mut profile = router();
        profile.unit = Some(7);
        profile.ppp.backend = backend;
        let plan = super::super::transport(&profile, platform).resolve(&facts());
        let routes = plan.steps.iter().filter(|step| matches!(step, Step::HostRoute(_))).count();
        assert_eq!(routes, 1, "{plan}");
        let daemon = Daemon::of(&profile).unwrap();
        let start = format!("start {} once the call is up, for {device}", daemon.name());
        assert_eq!(plan.lines().next().unwrap(), start);
        let network = network_plan(&profile, platform);
        assert!(network.lines().next().unwrap().contains(&format!("{} itself runs: ", daemon.name())));
        assert!(network.lines().next().unwrap().ends_with(&format!("{device}.pid")));
        for step in plan.steps.into_iter().chain(network.steps) {
            let text = serde_json::to_string(&step).unwrap();
            assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step, "{text}");
        }
    }
    assert_eq!(Daemon::of(&router()), None);
    assert_eq!(link_name("vpn"), "pptpctl-vpn");
}
