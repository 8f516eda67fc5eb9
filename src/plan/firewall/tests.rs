use super::*;
use crate::{
    plan::{Plan, Step, network},
    profile::{Nftables, PasswordSource, Pf, Server},
    secret::Secret,
};

/// Returns the manual page's router with all packet filter settings.
fn router() -> Profile {
    let host = crate::profile::Host::Name("vpn-gateway.net".to_owned());
    let server = Server { host, port: Server::PORT };
    let password = PasswordSource::Inline(Secret::from("MySecret"));
    let mut profile = Profile::new("vpn".parse().unwrap(), server, "User", password);
    profile.nftables = Some(Nftables { file: "/etc/nftables.vpn".into() });
    profile.pf = Some(Pf { anchor: "vpn".to_owned(), file: Some("/etc/pf.conf.vpn".into()) });
    profile.nat = true;
    profile
}

fn plan(profile: &Profile, platform: Platform) -> Plan {
    network(profile, platform, Path::new("/run"))
}

/// Returns the filter lines of `up --dry-run`: up, then down.
fn lines(profile: &Profile, platform: Platform) -> String {
    let plan = plan(profile, platform);
    let is_ours = |step: &&Step| matches!(step, Step::Firewall(_));
    let up = plan.steps.iter().filter(is_ours).map(|step| step.line(platform));
    let down = plan.steps.iter().rev().filter(is_ours).filter_map(|step| step.undo_line(platform));
    up.chain(["--".to_owned()]).chain(down).chain(plan.notes).collect::<Vec<_>>().join("\n")
}

fn facts() -> Facts {
    Facts {
        server: Some("203.0.113.9".parse().unwrap()),
        tun: Some("tun3".to_owned()),
        mtu: Some(1396),
        local: Some(Ipv4Addr::new(10, 99, 0, 2)),
        peer: Some(Ipv4Addr::new(10, 99, 0, 1)),
        ..Facts::default()
    }
}

#[test]
fn helper_is_for_the_dialled_address_and_the_ports_of_the_profile() {
    let mut profile = router();
    let helpers = |profile: &Profile, platform| {
        let plan = crate::plan::transport(profile, platform);
        let steps = plan.steps.into_iter().filter(|step| matches!(step, Step::Firewall(_)));
        (steps.collect::<Vec<_>>(), plan.notes)
    };
    assert!(helpers(&profile, Platform::Linux).0.is_empty());
    profile.conntrack = Conntrack::Helper;
    profile.servers.extend(
        ["a", "b"].map(|name| Server { host: crate::profile::Host::Name(name.to_owned()), port: 99 }),
    );
    let (steps, notes) = helpers(&profile, Platform::Linux);
    let [Step::Firewall(step)] = &steps[..] else { unreachable!("{steps:?}") };
    assert!(notes.is_empty() && nft_text(step).is_none(), "the address is not known yet");
    assert_eq!(
        step.line(Platform::Linux),
        "nft add table ip pptpctl_vpn: ct helper \"pptp\" for TCP to <server> port 99, 1723"
    );
    let mut step = step.clone();
    step.fill(&facts());
    insta::assert_snapshot!(nft_text(&step).unwrap().replace('\t', "  "), @r#"
    table ip pptpctl_vpn
    delete table ip pptpctl_vpn
    table ip pptpctl_vpn {
      ct helper pptp {
        type "pptp" protocol tcp;
      }
      chain output {
        type filter hook output priority -150; policy accept;
        ip daddr 203.0.113.9 tcp dport { 99, 1723 } ct helper set "pptp"
      }
    }
    "#);
    let (steps, notes) = helpers(&profile, Platform::OpenBsd);
    assert_eq!(notes, ["conntrack exists on Linux only: it is left out on the BSDs"]);
    assert!(steps.is_empty());
}

#[test]
fn dry_run_on_each_platform() {
    insta::assert_snapshot!(lines(&router(), Platform::Linux), @r#"
    nft add table inet pptpctl_vpn: masquerade forwarded packets, include "/etc/nftables.vpn" (vpn_if=tunX vpn_local=<local> vpn_peer=<peer> vpn_server=<server>)
    --
    nft delete table inet pptpctl_vpn
    pf exists on the BSDs only: the anchor is left out on Linux
    "#);
    insta::assert_snapshot!(lines(&router(), Platform::FreeBsd), @"
    pfctl -a pptpctl/vpn -D vpn_if=tunX -D vpn_local=<local> -D vpn_peer=<peer> -D vpn_server=<server> -f -: nat on $vpn_if inet from ! ($vpn_if) to any -> ($vpn_if)
    pfctl -a vpn -D vpn_if=tunX -D vpn_local=<local> -D vpn_peer=<peer> -D vpn_server=<server> -f /etc/pf.conf.vpn
    --
    pfctl -a vpn -F all; the states of tunX and <local> are killed
    pfctl -a pptpctl/vpn -F all; the states of tunX and <local> are killed
    nftables exists on Linux only: its file is left out on the BSDs
    ");
    insta::assert_snapshot!(lines(&router(), Platform::OpenBsd), @"
    pfctl -a pptpctl/vpn -D vpn_if=tunX -D vpn_local=<local> -D vpn_peer=<peer> -D vpn_server=<server> -f -: match out on $vpn_if inet from ! ($vpn_if) to any nat-to ($vpn_if)
    pfctl -a vpn -D vpn_if=tunX -D vpn_local=<local> -D vpn_peer=<peer> -D vpn_server=<server> -f /etc/pf.conf.vpn
    --
    pfctl -a vpn -F all; the states of tunX and <local> are killed
    pfctl -a pptpctl/vpn -F all; the states of tunX and <local> are killed
    nftables exists on Linux only: its file is left out on the BSDs
    ");
    insta::assert_snapshot!(lines(&router(), Platform::NetBsd), @"
    pfctl -a pptpctl/vpn -D vpn_if=tunX -D vpn_local=<local> -D vpn_peer=<peer> -D vpn_server=<server> -f -: nat on $vpn_if inet from ! ($vpn_if) to any -> ($vpn_if)
    pfctl -a vpn -D vpn_if=tunX -D vpn_local=<local> -D vpn_peer=<peer> -D vpn_server=<server> -f /etc/pf.conf.vpn
    --
    pfctl -a vpn -F all; the states of tunX and <local> are killed
    pfctl -a pptpctl/vpn -F all; the states of tunX and <local> are killed
    nftables exists on Linux only: its file is left out on the BSDs
    ");
}

#[test]
fn rules_are_loaded_before_device_is_up() {
    for platform in [Platform::Linux, Platform::FreeBsd, Platform::OpenBsd, Platform::NetBsd] {
        let plan = plan(&router(), platform);
        let place = |wanted: fn(&Step) -> bool| plan.steps.iter().position(wanted).unwrap();
        assert!(place(|step| matches!(step, Step::Firewall(_))) < place(|step| matches!(step, Step::Up(_))));
    }
}

#[test]
fn profile_without_rules_has_no_step() {
    let mut profile = router();
    (profile.pf, profile.nftables, profile.nat) = (None, None, false);
    for platform in [Platform::Linux, Platform::FreeBsd, Platform::OpenBsd, Platform::NetBsd] {
        assert_eq!(lines(&profile, platform), "--");
    }
}

#[test]
fn nft_text_contains_nat_mss_and_include() {
    let text = |profile: &Profile| {
        let plan = plan(profile, Platform::Linux).resolve(&facts());
        assert!(plan.steps.iter().all(|step| !matches!(step, Step::Firewall(_)) || step.open().is_empty()));
        plan.steps.iter().find_map(|step| match step {
            Step::Firewall(step) => nft_text(step),
            _ => None,
        })
    };
    insta::assert_snapshot!(text(&router()).unwrap(), @r#"
    define vpn_if = "tun3"
    define vpn_local = 10.99.0.2
    define vpn_peer = 10.99.0.1
    define vpn_server = 203.0.113.9
    table inet pptpctl_vpn
    delete table inet pptpctl_vpn
    table inet pptpctl_vpn {
    	chain pptpctl_nat {
    		type nat hook postrouting priority 100; policy accept;
    		oifname $vpn_if ip saddr != $vpn_local masquerade
    	}
    	include "/etc/nftables.vpn"
    }
    "#);
    // With pppd, the builtin PPP does not clamp: nft does, in both directions and both IP versions.
    let mut profile = Profile { nat: false, nftables: None, ..router() };
    assert_eq!(text(&profile), None);
    profile.ppp.backend = PppBackend::Pppd;
    insta::assert_snapshot!(text(&profile).unwrap(), @r#"
    define vpn_if = "tun3"
    define vpn_local = 10.99.0.2
    define vpn_peer = 10.99.0.1
    define vpn_server = 203.0.113.9
    table inet pptpctl_vpn
    delete table inet pptpctl_vpn
    table inet pptpctl_vpn {
    	chain pptpctl_mss {
    		type filter hook forward priority -150; policy accept;
    		oifname $vpn_if meta nfproto ipv4 tcp flags & (fin | syn | rst) == syn tcp option maxseg size set 1356
    		oifname $vpn_if meta nfproto ipv6 tcp flags & (fin | syn | rst) == syn tcp option maxseg size set 1336
    		iifname $vpn_if meta nfproto ipv4 tcp flags & (fin | syn | rst) == syn tcp option maxseg size set 1356
    		iifname $vpn_if meta nfproto ipv6 tcp flags & (fin | syn | rst) == syn tcp option maxseg size set 1336
    	}
    }
    "#);
    profile.mss = Mss::Bytes(1200);
    assert!(
        text(&profile)
            .unwrap()
            .contains("nfproto ipv6 tcp flags & (fin | syn | rst) == syn tcp option maxseg size set 1180")
    );
    profile.mss = Mss::Off;
    assert_eq!(text(&profile), None);
    // No text while a fact is missing.
    let (steps, _) = steps(&router(), Platform::Linux, &Value::Open(Symbol::Tun));
    assert_eq!(nft_text(&steps[0]), None);
    assert_eq!(
        Step::Firewall(steps[0].clone()).open(),
        [Symbol::Tun, Symbol::Local, Symbol::Peer, Symbol::Server]
    );
}

#[test]
fn nat_without_forwarding_gives_a_note() {
    for (platform, key) in
        [(Platform::Linux, "net.ipv4.ip_forward=1"), (Platform::OpenBsd, "net.inet.ip.forwarding=1")]
    {
        let notes = |profile: &Profile, forwarding| {
            plan(profile, platform).resolve(&Facts { forwarding, ..facts() }).notes.join("\n")
        };
        assert!(notes(&router(), Some(false)).contains(key));
        assert!(!notes(&router(), Some(true)).contains(key) && !notes(&router(), None).contains(key));
        assert!(!notes(&Profile { nat: false, ..router() }, Some(false)).contains(key));
    }
}

#[test]
fn steps_round_trip_through_json() {
    for platform in [Platform::Linux, Platform::FreeBsd, Platform::OpenBsd] {
        for plan in [plan(&router(), platform), plan(&router(), platform).resolve(&facts())] {
            for step in plan.steps.iter().filter(|step| matches!(step, Step::Firewall(_))) {
                let text = serde_json::to_string(step).unwrap();
                assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), *step, "{text}");
            }
        }
    }
}

/// Checks each line against the subset of pf.conf(5)'s grammar that the generated text and the example use,
/// and each macro against those that are defined.
#[test]
fn pf_rules_match_pf_grammar() {
    let example = include_str!("../../../contrib/examples/pf.conf.vpn");
    let texts = [
        ("example", example),
        ("nat", PfRules::Nat.text().unwrap()),
        ("nat-to", PfRules::NatTo.text().unwrap()),
    ];
    for (name, text) in texts {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            assert!(is_pf_rule(line), "{name}: {line}");
        }
    }
    for wrong in [
        "blok in all",
        "pass in on $nowhere all",
        "nat on $vpn_if -> ($vpn_if)",
        "pass in from any",
        "match out on $vpn_if all nat-to",
    ] {
        assert!(!is_pf_rule(wrong), "{wrong}");
    }
}

fn is_pf_rule(line: &str) -> bool {
    let line = line.replace("! ", "!");
    let mut words = line.split_whitespace().peekable();
    let action = words.next().unwrap_or_default();
    let mut optional = |these: &[&str]| words.next_if(|word| these.contains(word)).is_some();
    match action {
        "block" | "pass" | "match" => {
            optional(&["in", "out"]);
            optional(&["quick"]);
        }
        "nat" => {}
        _ => return false,
    }
    if optional(&["on"]) && words.next() != Some("$vpn_if") {
        return false;
    }
    words.next_if(|word| matches!(*word, "inet" | "inet6"));
    if words.next_if_eq(&"proto").is_some() && !matches!(words.next(), Some("tcp" | "udp" | "icmp")) {
        return false;
    }
    if words.next_if_eq(&"all").is_none() {
        for word in ["from", "to"] {
            if words.next() != Some(word) || !words.next().is_some_and(is_pf_host) {
                return false;
            }
            if words.next_if_eq(&"port").is_some()
                && words.next().is_none_or(|port| port.parse::<u16>().is_err())
            {
                return false;
            }
        }
    }
    match (action, words.next(), words.next(), words.next()) {
        ("nat", Some("->"), Some(to), None) | ("match", Some("nat-to"), Some(to), None) => is_pf_host(to),
        ("nat", ..) => false,
        (_, None, ..)
        | (_, Some("keep"), Some("state"), None)
        | (_, Some("icmp-type"), Some("echoreq"), None) => true,
        _ => false,
    }
}

fn is_pf_host(word: &str) -> bool {
    let word = word.strip_prefix('!').unwrap_or(word);
    matches!(word, "any" | "($vpn_if)" | "$vpn_local" | "$vpn_peer" | "$vpn_server")
}

/// With `retry.keep-routes = false` the filter of a lost tunnel is removed after the device is down, and loaded
/// before it is up.
#[test]
fn filter_is_loaded_before_the_device_is_up() {
    for platform in Platform::ALL {
        let mut profile = router();
        profile.ppp.ipv6 = true;
        let network = plan(&profile, platform);
        let position = |wanted: fn(&Step) -> bool| network.steps.iter().position(wanted).unwrap();
        let filter = position(|step| matches!(step, Step::Firewall(_)));
        let up = position(|step| matches!(step, Step::Up(_)));
        let address = position(|step| matches!(step, Step::Address6(_)));
        assert!(address < filter && filter < up, "{platform:?}");
        for (at, step) in network.steps.iter().enumerate() {
            let stays = matches!(step, Step::Mtu(_) | Step::Address(_) | Step::PidFile(_));
            assert_eq!(step.traits().only_while_up, !stays, "{platform:?}: step {at}");
        }
    }
}
