//! Failures of `up`: each with its exit status and message, within the profile's timeout, and nothing left
//! behind. `doctor --dial` says the same.

use std::{path::Path, process::Command};

use crate::{
    broken::{Broken, Row, assert_agrees, assert_words},
    client::{Client, Finished, Profile, Running},
    host_state::Snapshot,
    lab::Lab,
    peer::{self, PeerFault},
    runner::Case,
    sessions::MPPE128,
};

pub const CASES: &[Case] = &[
    ("failures::usage", usage),
    ("failures::profile", profile),
    ("failures::not_root", not_root),
    // The name and the way to the server.
    ("failures::name_not_resolved", |lab| {
        already(lab, at("nowhere.lab.test"), 10, &["nowhere.lab.test", "192.0.2.1 over eth0", "NXDOMAIN"]);
    }),
    ("failures::resolver_is_dead", |lab| {
        let dead = Broken::Resolvers("nameserver 198.51.100.31\n");
        let words = &["vpn.lab.test", "nameserver 198.51.100.31 over eth0 does not answer"];
        Row::new(dead, at("vpn.lab.test").set("timeouts.resolve", "\"1s\""), 10, words).check(lab);
    }),
    ("failures::resolver_refuses", |lab| {
        let absent = Broken::Resolvers("nameserver 127.0.0.1\n");
        let words = &[
            "vpn.lab.test",
            "nameserver 127.0.0.1 over lo refuses the query",
            "does the resolver of this host run",
        ];
        Row::new(absent, at("vpn.lab.test"), 10, words).check(lab);
    }),
    ("failures::connection_refused", |lab| {
        let done = already(lab, at("198.51.100.32"), 11, &["refused", "no PPTP server on this port"]);
        assert!(!done.text.contains("firewall"), "{}", done.text);
    }),
    ("failures::connect_timeout", |lab| {
        let words = &["TCP", "198.51.100.31", "on this host or on the path"];
        Row::new(Broken::Already, at("198.51.100.31"), 12, words).waits("timeouts.connect", 12, 1).check(lab);
    }),
    ("failures::no_route", |lab| drop(already(lab, at("100.64.0.1"), 25, &["no route"]))),
    ("failures::route_to_the_own_network", |lab| {
        let profile = at(MPPE128).set("routes", "[\"192.0.2.0/24\"]");
        let words = &["192.0.2.0/24 would take over 192.0.2.0/24 on eth0", "192.0.2.1", "renumber"];
        already(lab, profile, 30, words);
    }),
    ("failures::route_of_another_tunnel", |lab| {
        let other = Broken::Other("routes", "[\"10.99.0.0/16\"]");
        Row::new(other, at(MPPE128), 30, &["10.99.0.0/16", "other"]).check(lab);
    }),
    ("failures::unit_of_another_tunnel", |lab| {
        let other = Broken::Other("unit", "9");
        Row::new(other, at(MPPE128).set("unit", "9"), 22, &["tun9", "other"]).check(lab);
    }),
    // The host's own firewall.
    ("failures::own_firewall_rejects_tcp", |lab| {
        let reset = Broken::OwnOutput("ip daddr 198.51.100.10 tcp dport 1723 counter reject with tcp reset");
        let words = &["refused", "by this host's own firewall: table inet own, chain out, rule `ip daddr"];
        Row::new(reset, at(MPPE128), 11, words).at_once().check(lab);
    }),
    ("failures::own_firewall_drops_tcp", |lab| {
        let drop = Broken::OwnOutput("ip daddr 198.51.100.10 tcp dport 1723 counter drop");
        let words = &["own firewall drops packets to it: table inet own, chain out", "tcp dport 1723 accept"];
        Row::new(drop, at(MPPE128), 12, words).at_once().check(lab);
    }),
    ("failures::own_firewall_drops_gre", |lab| {
        let drop = Broken::OwnOutput("ip protocol gre counter drop");
        let words = &[
            "this host refuses to send it",
            "dropped by table inet own, chain out, rule `ip protocol gre counter drop`, whose counter moved",
            "nft insert rule inet own out ip daddr 198.51.100.10 ip protocol gre accept",
        ];
        Row::new(drop, at(MPPE128), 17, words).at_once().check(lab);
    }),
    ("failures::own_firewall_drops_gre_uncounted", |lab| {
        let drop = Broken::OwnOutput("ip daddr 198.51.100.0/24 meta l4proto != { tcp, icmp } drop");
        let words = &["this host refuses to send it", "dropped probably by table inet own, chain out"];
        Row::new(drop, at(MPPE128), 17, words).at_once().check(lab);
    }),
    ("failures::own_stateful_firewall_drops_gre", |lab| {
        let drop = Broken::OwnInput("ip protocol gre counter drop");
        let words = &[
            "no GRE packet came",
            "own firewall drops it: table inet own, chain in, rule `ip protocol gre counter drop`, whose counter",
            "conntrack = \"helper\"",
            "nft insert rule inet own in ip saddr 198.51.100.10 ip protocol gre accept",
        ];
        Row::new(drop, at(MPPE128), 17, words).waits("timeouts.gre", 3, 3).check(lab);
    }),
    ("failures::own_stateful_policy_drops_gre", |lab| {
        let policy = Broken::OwnInput("counter");
        let words = &["probably table inet own, chain in, policy drop", "conntrack = \"helper\""];
        Row::new(policy, at(MPPE128), 17, words).waits("timeouts.gre", 2, 1).check(lab);
    }),
    // The control connection.
    ("failures::server_silent", |lab| {
        at_peer(PeerFault::Silent, 13, &["PPTP", "hung server"]).waits("timeouts.control", 12, 1).check(lab);
    }),
    ("failures::server_hangs_up", |lab| {
        at_peer(PeerFault::HangsUp, 14, &["closed", "before any reply"]).check(lab);
    }),
    ("failures::other_service_is_recognised", |lab| {
        at_peer(PeerFault::SpeaksHttp, 14, &["HTTP/1.1 400 Bad Request", "web server", "captive portal"])
            .check(lab);
    }),
    ("failures::tls_is_recognised", |lab| {
        at_peer(PeerFault::SpeaksTls, 14, &["a TLS server answers", "15 03 01"]).check(lab);
    }),
    ("failures::control_refused", |lab| {
        // Result 4: the requester is not authorized (RFC 2637 §2.2).
        at_peer(PeerFault::RefusesControl(4), 14, &["refused", "authori"]).check(lab);
    }),
    // The call.
    ("failures::call_refused_busy", |lab| {
        at_peer(PeerFault::RefusesCall(4, 0, 17), 15, &["refused", "busy"]).check(lab);
    }),
    ("failures::call_refused_by_policy", |lab| {
        at_peer(PeerFault::RefusesCall(7, 0, 0), 15, &["refused", "prohibited"]).check(lab);
    }),
    ("failures::call_ignored", |lab| {
        at_peer(PeerFault::IgnoresCall, 16, &["call"]).waits("timeouts.call", 2, 1).check(lab);
    }),
    ("failures::ppp_daemon_does_not_start", |lab| {
        let words = &[
            "closed the call",
            "before it sent any PPP",
            "its PPP daemon failed to start",
            "nothing to change",
        ];
        already(lab, at("198.51.100.20"), 26, words);
    }),
    // GRE.
    ("failures::call_without_gre", |lab| {
        at_peer(PeerFault::NoGre, 17, &["GRE", "47"]).waits("timeouts.gre", 12, 1).check(lab);
    }),
    ("failures::gre_filtered_on_the_way", |lab| {
        let words = &["GRE", "47", "own firewall does not drop it", "PPTP passthrough"];
        Row::new(Broken::Already, at("198.51.100.30"), 17, words).waits("timeouts.gre", 2, 1).check(lab);
    }),
    ("failures::gre_filtered_from_the_server", |lab| {
        let drop = Broken::OnTheWay("ip saddr 198.51.100.10 ip protocol gre drop");
        let words = &["no GRE packet came", "own firewall does not drop it", "PPTP passthrough"];
        Row::new(drop, at(MPPE128), 17, words).waits("timeouts.gre", 2, 1).check(lab);
    }),
    ("failures::gre_filtered_towards_the_server", |lab| {
        let drop = Broken::OnTheWay("ip daddr 198.51.100.10 ip protocol gre drop");
        let words = &["GRE", "does not hear", "acknowledges none", "outbound", "on the path to the server"];
        // pppd repeats its request every 3 s.
        Row::new(drop, at(MPPE128), 17, words).waits("timeouts.lcp", 8, 6).check(lab);
    }),
    ("failures::gre_blocked_towards_the_server", |lab| {
        let words = &["GRE", "does not hear", "acknowledges none", "outbound"];
        at_peer(PeerFault::NeverHears, 17, words).waits("timeouts.lcp", 8, 3).check(lab);
    }),
    // PPP.
    ("failures::lcp_never_agrees", |lab| {
        // Long enough to receive the peer's packets even on a stalled machine: no packets at all is another
        // failure.
        at_peer(PeerFault::NeverAgrees, 18, &["LCP", "did not agree on a link"])
            .waits("timeouts.lcp", 8, 3)
            .check(lab);
    }),
    ("failures::wrong_password_mschapv2", |lab| wrong_password(lab, at(MPPE128), &["691"])),
    ("failures::wrong_password_mschapv1", |lab| {
        wrong_password(lab, at("198.51.100.14").set("auth", "[\"mschap\"]"), &["691"]);
    }),
    ("failures::wrong_password_chap", |lab| {
        wrong_password(
            lab,
            clear("198.51.100.13", "chap"),
            &["authentication failed", "check user, domain and password"],
        );
    }),
    ("failures::wrong_password_pap", |lab| {
        wrong_password(
            lab,
            clear("198.51.100.12", "pap"),
            &["authentication failed", "check user, domain and password"],
        );
    }),
    ("failures::no_common_authentication", |lab| {
        // The server requires PAP and the profile MS-CHAPv2: the password must not be sent.
        let words = &["the server offers PAP only", "both auth = [\"pap\"] and mppe = \"off\"", "in clear"];
        already(lab, at("198.51.100.12"), 19, words);
    }),
    ("failures::encryption_not_offered", |lab| {
        already(lab, at("198.51.100.11"), 20, &["encryption", "no MPPE at all", "its administrator"]);
    }),
    ("failures::mppe_option_rejected", |lab| {
        // This pppd speaks CCP, for other compressions.
        let words = &["encryption", "probably has no MPPE", "its administrator", "mppe = \"off\""];
        already(lab, at("198.51.100.17"), 20, words);
    }),
    ("failures::encryption_too_weak", |lab| {
        already(lab, at("198.51.100.15"), 20, &["encryption", "mppe = \"require-40\""]);
    }),
    ("failures::encryption_demanded_by_the_server", |lab| {
        already(lab, at(MPPE128).set("mppe", "\"off\""), 20, &["encryption"]);
    }),
    ("failures::no_address", |lab| {
        // The server rejects the negotiation of an address: `up` fails without waiting for the timeout.
        already(lab, at("198.51.100.18").set("timeouts.network", "\"10m\""), 21, &["address"]);
    }),
    // The host.
    ("failures::no_tun_device", no_tun_device),
    ("failures::link_step", link_step),
];

fn at(server: &str) -> Profile {
    Profile::new("vpn", server)
}

fn clear(server: &str, auth: &str) -> Profile {
    at(server).set("auth", &format!("[{auth:?}]")).set("mppe", "\"off\"")
}

/// A row whose server is a peer with this fault.
fn at_peer(fault: PeerFault, code: i32, words: &'static [&'static str]) -> Row {
    Row::new(Broken::Peer(fault), at(peer::ADDRESS), code, words)
}

/// Checks a row whose profile or server is broken without further doing.
fn already(lab: &Lab, profile: Profile, code: i32, words: &'static [&'static str]) -> Finished {
    Row::new(Broken::Already, profile, code, words).check(lab)
}

fn wrong_password(lab: &Lab, profile: Profile, words: &'static [&'static str]) {
    // One attempt only: retries may lock the account.
    already(lab, profile.set("password.file", "\"/run/lab/secret/wrong\""), 19, words);
}

fn usage(lab: &Lab) {
    let client = Client::new(lab, &[at(MPPE128)]);
    for args in [
        &["up"][..],
        &["upp", "vpn"],
        &["up", "vpn", "--no-such-option"],
        &["down"],
        &["doctor", "vpn", "--no-such-option"],
    ] {
        assert_eq!(client.run(args).code, 2, "{args:?}");
    }
}

fn profile(lab: &Lab) {
    let before = Snapshot::take();
    let fails = |profile: Profile, name: &str, words: &[&str]| {
        let client = Client::new(lab, &[profile]);
        for args in [&["up", name][..], &["doctor", "--dial", name]] {
            let done = client.run(args);
            assert_eq!(done.code, 3, "{args:?}: {}", done.text);
            assert_words(&done.text, words);
        }
        before.assert_restored(lab);
    };
    // The nearest name is suggested, and the accepted values are listed.
    fails(at(MPPE128), "vpm", &["vpn"]);
    fails(at(MPPE128).set("mppe", "\"require-129\""), "vpn", &["profiles.toml", "mppe", "require-128"]);
    fails(at(MPPE128).set("leek", "\"block\""), "vpn", &["unknown key", "`leak`"]);
}

fn not_root(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[at(MPPE128)]);
    let nobody = |args: &[&str]| {
        let pptpctl = client.command(args);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]);
        command.arg(pptpctl.get_program()).args(pptpctl.get_args());
        Running::spawn(command, format!("{} (as nobody)", args.join(" "))).finish()
    };
    let up = nobody(&["up", "vpn"]);
    assert_eq!(up.code, 4, "{}", up.text);
    assert!(up.text.contains("root"), "{}", up.text);
    assert_agrees(&nobody(&["doctor", "--json", "--dial", "vpn"]), 4, &["root"]);
    assert_eq!(nobody(&["down", "vpn"]).code, 4);
    assert_eq!(nobody(&["recover"]).code, 4);
    before.assert_restored(lab);
}

/// A host without tun support, simulated by an empty /dev/net for this process.
fn no_tun_device(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[at(MPPE128)]);
    let without_tun = |args: &[&str]| {
        let pptpctl = client.command(args);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount -t tmpfs -o ro none /dev/net && exec \"$@\"", "sh"]);
        command.arg(pptpctl.get_program()).args(pptpctl.get_args());
        Running::spawn(command, format!("{} (without /dev/net/tun)", args.join(" "))).finish()
    };
    let done = without_tun(&["up", "vpn"]);
    assert_eq!(done.code, 22, "{}", done.text);
    assert!(done.text.contains("/dev/net/tun"), "{}", done.text);
    assert_agrees(&without_tun(&["doctor", "--json", "--dial", "vpn"]), 22, &["/dev/net/tun"]);
    before.assert_restored(lab);
}

/// If a directory has the name of the pid file, `up` fails, undoes the earlier steps and leaves the
/// directory.
fn link_step(lab: &Lab) {
    let obstacle = Path::new("/run/tun9.pid");
    std::fs::create_dir(obstacle).unwrap();
    Row::new(Broken::Already, at(MPPE128).set("unit", "9"), 23, &["tun9"])
        .unseen("a dial ends before addresses are used and performs no step, so it would find nothing")
        .check(lab);
    assert!(obstacle.is_dir(), "the foreign directory was removed");
    std::fs::remove_dir(obstacle).unwrap();
}
