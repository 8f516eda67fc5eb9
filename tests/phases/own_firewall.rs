//! The client's own firewall drops packets of the tunnel: `up` names the rule, and `conntrack = "helper"` helps
//! where it can. The rules are the kernel's nftables.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::{
    faulty_server, working_server,
    world::{download, in_world, text, timeouts},
};
use pptpctl::testing::demo::config::Fault;

/// Rules of a host that accepts only what it knows.
const STATEFUL: &str = "table inet host {\n chain in {\n type filter hook input priority filter; policy drop\n\
    ct state established,related accept\n iif lo accept\n RULE\n }\n}\n";

fn load(rules: &str) {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{rules}");
}

fn output(rule: &str) -> String {
    format!(
        "table inet host {{\n chain out {{\n type filter hook output priority filter; policy accept\n {rule}\n }}\n}}\n"
    )
}

#[test]
fn dropped_outgoing_gre_is_reported_with_its_rule() {
    in_world(working_server(), |world| {
        world.profile("");
        load(&output("ip protocol gre counter drop"));
        let words = [
            "GRE, IP protocol 47, is filtered: this host refuses to send it",
            "dropped by table inet host, chain out, rule `ip protocol gre counter drop`, whose counter moved by 1",
            "to let it pass: nft insert rule inet host out ip daddr 192.0.2.1 ip protocol gre accept",
        ];
        world.assert_up_fails(17, "lcp", &words, 1.0);
        // Its advice helps.
        world.shell("nft insert rule inet host out ip daddr 192.0.2.1 ip protocol gre accept");
        let before = world.state();
        world.up();
        world.down(&before);
    });
}

#[test]
fn rule_without_a_counter_is_only_probable() {
    in_world(working_server(), |world| {
        world.profile("");
        load(&output("ct state new ip daddr 192.0.2.0/24 meta l4proto != tcp drop"));
        let words = [
            "dropped probably by table inet host, chain out",
            "ip protocol gre accept",
            "EPERM can also come from a cgroup program (",
            "or a full connection tracking table (",
        ];
        world.assert_up_fails(17, "lcp", &words, 1.0);
    });
}

#[test]
fn stateful_drop_of_incoming_gre_is_reported() {
    in_world(working_server(), |world| {
        world.profile(&timeouts(&[("gre", "6s")]));
        load(&STATEFUL.replace("RULE", "ip protocol gre counter drop"));
        let words = [
            "no GRE packet came within 6 s",
            "this host's own firewall drops it: table inet host, chain in, rule `ip protocol gre counter drop`, whose counter moved by",
            "conntrack = \"helper\" in the profile",
            "nft insert rule inet host in ip saddr 192.0.2.1 ip protocol gre accept",
        ];
        world.assert_up_fails(17, "lcp", &words, 7.0);
    });
}

#[test]
fn conntrack_helper_opens_stateful_rules() {
    in_world(working_server(), |world| {
        let limits = timeouts(&[("gre", "1s")]);
        world.profile(&limits);
        load(&STATEFUL.replace("RULE", ""));
        let words =
            ["probably table inet host, chain in, policy drop", "conntrack = \"helper\" in the profile"];
        world.assert_up_fails(17, "lcp", &words, 3.0);
        world.profile(&format!("{limits}conntrack = \"helper\"\nserver = [\"192.0.2.1:9\", \"192.0.2.1\"]"));
        let before = world.state();
        // A dial of `doctor` changes nothing on this host, so the rules drop its packets.
        let doctor = world.run(&["doctor", "vpn", "--dial"]);
        let said = text(&doctor.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(doctor.status.success() && said.contains("warning gre "), "{said}");
        assert!(said.contains("its table is not loaded now: only `up` loads it"), "{said}");
        world.up();
        let table = world.shell("nft list table ip pptpctl_vpn");
        assert!(table.contains("ip daddr 192.0.2.1 tcp dport { 9, 1723 } ct helper set \"pptp\""), "{table}");
        download(world.server_config.office, 100_000);
        world.down(&before);
        world.up();
        let (supervisor, engine) = (world.pid("supervisor_pid"), world.pid("engine_pid"));
        world.shell(&format!("kill -9 {supervisor}"));
        let gone =
            format!("! kill -0 {supervisor} 2>&- && ! kill -0 {engine} 2>&- && echo gone || echo alive");
        world.wait_for(|| world.shell(&gone) == "gone\n");
        let recovered = world.run(&["recover"]);
        assert!(recovered.status.success(), "{}", text(&recovered.stderr));
        world.assert_state(&before);
        // It is also gone after a failure.
        world.profile(&format!("{limits}conntrack = \"helper\"\nserver = \"192.0.2.1:9\""));
        world.assert_up_fails(11, "connect", &["no PPTP server on this port"], 1.0);
    });
}

#[test]
fn rules_that_let_gre_pass_are_not_blamed() {
    in_world(faulty_server(Fault::DropGre), |world| {
        world.profile(&timeouts(&[("gre", "1s")]));
        load(&STATEFUL.replace("RULE", "ip protocol gre accept"));
        let words = ["this host's own firewall does not drop it", "PPTP passthrough"];
        world.assert_up_fails(17, "lcp", &words, 3.0);
    });
}

#[test]
fn rejected_tcp_is_not_taken_for_a_missing_server() {
    in_world(working_server(), |world| {
        world.profile("");
        for reject in ["reject with tcp reset", "reject"] {
            load(&output(&format!("tcp dport 1723 counter {reject}")));
            let named = format!("rule `tcp dport 1723 counter {reject}");
            let words = [
                "connection refused: 192.0.2.1:1723, by this host's own firewall: table inet host, chain out, ",
                named.as_str(),
                "nft insert rule inet host out ip daddr 192.0.2.1 tcp dport 1723 accept",
            ];
            world.assert_up_fails(11, "connect", &words, 1.0);
            world.shell("nft delete table inet host");
        }
        load(&output("tcp dport 1723 counter reject with icmpx type admin-prohibited"));
        world.assert_up_fails(25, "connect", &["no route to the server", "this host's own firewall"], 1.0);
    });
}

#[test]
fn dropped_tcp_is_reported_at_once() {
    in_world(working_server(), |world| {
        world.profile("");
        load(&output("tcp dport 1723 counter drop"));
        let words = [
            "no answer from 192.0.2.1:1723; this host's own firewall drops packets to it: table inet host, chain out, rule `",
        ];
        world.assert_up_fails(12, "connect", &words, 1.0);
        world.shell("nft delete table inet host");
        // The server's answers.
        world.profile(&timeouts(&[("connect", "4s")]));
        load(
            "table inet host {\n chain in {\n type filter hook input priority filter; policy accept\n tcp sport 1723 counter drop\n }\n}\n",
        );
        let words = [
            "this host's own firewall drops its answers: table inet host, chain in, rule `tcp sport 1723 counter drop`",
        ];
        world.assert_up_fails(12, "connect", &words, 5.0);
    });
}
