//! Rules are found in listings of these firewalls. Those of iptables, ufw and plain rules are output of the tools, with
//! their own default rules. For firewalld and Docker, nft(8) has listed chains as those programs make them. The
//! listings of pf follow the format of pfctl(8), and were not recorded.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    reading::is_roomy,
    rules::{Packet, Table},
    verdict::told,
    walk::{culprit, passes, suspects},
    *,
};
use crate::engine::verdict::HOST_FORBIDS;
use crate::failure::{Failure, FailureKind, Phase};

const PLAIN: &str = include_str!("listings/plain.nft");
const UFW: &str = include_str!("listings/ufw.nft");
const FIREWALLD: &str = include_str!("listings/firewalld.nft");
const DOCKER: &str = include_str!("listings/docker.nft");
const IPTABLES: &str = include_str!("listings/iptables.nft");
const LEGACY: &str = include_str!("listings/iptables-legacy.txt");
const OPENBSD: &str = include_str!("listings/openbsd.pf");
const FREEBSD: &str = include_str!("listings/freebsd.pf");

fn path() -> DialPath {
    DialPath {
        server: "192.0.2.1:1723".parse().unwrap(),
        local: Some(Ipv4Addr::new(192, 0, 2, 2)),
        dev: Some("em0".to_owned()),
        options: transport::Options::default(),
        call_id: 77,
    }
}

fn packet(traffic: Traffic) -> Packet {
    words::packet(traffic, &path(), false)
}

/// Returns table, chain and rule of each suspect; a question mark if it is not certain.
fn names(tables: &[Table], packet: &Packet) -> Vec<String> {
    let name = |suspect: &walk::Suspect| {
        let chain = &tables[suspect.table].chains[suspect.chain];
        let rule = suspect.rule.map_or("policy", |rule| &chain.rules[rule].text);
        let doubt = if suspect.is_sure { "" } else { "?" };
        format!("{} {} {rule}{doubt}", tables[suspect.table].name, chain.name)
    };
    suspects(tables, packet).iter().map(name).collect()
}

fn remedies(tables: &[Table], traffic: Traffic) -> String {
    let found = suspects(tables, &packet(traffic));
    let culprit = walk::Culprit { suspect: found[0].clone(), counted: None };
    words::explanation(tables, &culprit, traffic, path().server).unwrap().remedies.join("; ")
}

#[test]
fn plain_rules_are_found_with_their_conditions() {
    let tables = nft::parse(PLAIN);
    assert_eq!(
        names(&tables, &packet(Traffic::GreOut)),
        ["f out meta l4proto gre counter drop comment \"x; }\""]
    );
    // `tcp dport 1000-2000 goto z`, and z accepts every protocol but GRE.
    assert!(passes(&tables, &packet(Traffic::TcpOut)));
    // A server in 10.0.0.0/8 is rejected by a rule for both protocols.
    let server = Packet { server: Ipv4Addr::new(10, 1, 2, 3), ..packet(Traffic::TcpOut) };
    assert_eq!(
        names(&tables, &server),
        ["f out ip daddr 10.0.0.0/8 ip protocol { tcp, gre } counter reject with icmpx admin-prohibited"]
    );
    // The chain on the hook ingress is for lo.
    let on_lo = Packet { dev: Some("lo".to_owned()), ..packet(Traffic::GreIn) };
    assert_eq!(names(&tables, &on_lo), ["nd in ip protocol gre drop"]);
    // Incoming: the jump into z is only for that network; everything else of IPv4 is accepted.
    assert!(passes(&tables, &packet(Traffic::GreIn)));
    let server = Packet { server: Ipv4Addr::new(10, 1, 2, 3), ..packet(Traffic::GreIn) };
    assert_eq!(names(&tables, &server), ["f z ip protocol gre reject with icmp port-unreachable"]);
}

#[test]
fn ufw_drops_unknown_incoming_gre_only() {
    let tables = nft::parse(UFW);
    assert!(passes(&tables, &packet(Traffic::GreOut)) && passes(&tables, &packet(Traffic::TcpOut)));
    assert_eq!(names(&tables, &packet(Traffic::GreIn)), ["filter INPUT policy"]);
    assert_eq!(remedies(&tables, Traffic::GreIn), "to let it pass: ufw allow proto gre from 192.0.2.1");
    // With a helper its state would be one of these.
    for states in [&["related"], &["established"]] {
        assert!(passes(&tables, &Packet { states, ..packet(Traffic::GreIn) }));
    }
    assert!(passes(&tables, &packet(Traffic::TcpIn)));
}

#[test]
fn firewalld_rejects_at_the_end_of_its_input_chain() {
    let tables = nft::parse(FIREWALLD);
    assert_eq!(
        names(&tables, &packet(Traffic::GreIn)),
        ["firewalld filter_INPUT reject with icmpx admin-prohibited"]
    );
    assert_eq!(
        remedies(&tables, Traffic::GreIn),
        "to let it pass: firewall-cmd --add-rich-rule='rule family=\"ipv4\" source address=\"192.0.2.1\" protocol value=\"gre\" accept'"
    );
    assert!(passes(&tables, &packet(Traffic::GreOut)), "the policy is for eth0");
    let through = Packet { dev: Some("eth0".to_owned()), ..packet(Traffic::GreOut) };
    assert_eq!(
        names(&tables, &through),
        ["firewalld filter_OUT_block_post meta l4proto gre reject with icmpx admin-prohibited"]
    );
}

#[test]
fn docker_is_not_blamed() {
    let tables = nft::parse(DOCKER);
    assert!(tables.len() >= 3 && tables.iter().any(|table| table.name == "raw"));
    for traffic in [Traffic::TcpOut, Traffic::TcpIn, Traffic::GreOut, Traffic::GreIn] {
        assert!(passes(&tables, &packet(traffic)), "{traffic:?}");
    }
}

#[test]
fn iptables_rules_are_found_in_both_kernels() {
    let tables = nft::parse(IPTABLES);
    let gre = "filter OUTPUT meta l4proto gre ip daddr 192.0.2.0/24 counter drop";
    assert_eq!(names(&tables, &packet(Traffic::GreOut)), [gre]);
    assert_eq!(
        names(&tables, &packet(Traffic::TcpOut)),
        ["filter OUTPUT tcp dport 1723 counter reject with tcp reset"]
    );
    // `fib daddr type local return` ends the chain: the policy decides.
    assert_eq!(names(&tables, &packet(Traffic::GreIn)), ["filter INPUT policy"]);
    assert_eq!(
        remedies(&tables, Traffic::GreOut),
        "to let it pass: iptables -I OUTPUT -d 192.0.2.1 -p gre -j ACCEPT"
    );

    let tables = iptables::parse(LEGACY);
    assert_eq!(
        names(&tables, &packet(Traffic::GreOut)),
        ["filter vpn -A vpn -j DROP"],
        "by a jump, not by the user's number in another rule"
    );
    assert_eq!(
        names(&tables, &packet(Traffic::TcpOut)),
        ["filter OUTPUT -A OUTPUT -p tcp -m tcp --dport 1723 -j REJECT --reject-with tcp-reset"]
    );
    assert_eq!(names(&tables, &packet(Traffic::GreIn)), ["filter INPUT policy"]);
    assert_eq!(
        remedies(&tables, Traffic::TcpOut),
        "to let it pass: iptables -I OUTPUT -d 192.0.2.1 -p tcp --dport 1723 -j ACCEPT"
    );
    assert_eq!(tables[0].chains.iter().find(|chain| chain.name == "vpn").unwrap().rules[1].counter, Some(3));
}

#[test]
fn last_rule_of_pf_decides() {
    let openbsd = [pf::parse(OPENBSD)];
    let drop = "pf main ruleset block drop out quick on em0 inet proto gre from any to 192.0.2.0/24";
    assert_eq!(names(&openbsd, &packet(Traffic::GreOut)), [drop]);
    // The rule for a user is one that may match.
    assert_eq!(
        names(&openbsd, &packet(Traffic::TcpOut)),
        ["pf main ruleset block return out log proto tcp all user = 55?"]
    );
    assert!(passes(&openbsd, &packet(Traffic::TcpIn)));
    let other = Packet { dev: Some("em1".to_owned()), ..packet(Traffic::GreOut) };
    assert!(passes(&openbsd, &other) && passes(&openbsd, &Packet { direction: Direction::In, ..other }));

    let freebsd = [pf::parse(FREEBSD)];
    for traffic in [Traffic::TcpOut, Traffic::TcpIn, Traffic::GreOut] {
        assert!(passes(&freebsd, &packet(traffic)), "{traffic:?}");
    }
    // `no state` lets the answers run into the first rule.
    assert_eq!(names(&freebsd, &packet(Traffic::GreIn)), ["pf main ruleset block drop log all"]);
    assert_eq!(
        remedies(&freebsd, Traffic::GreIn),
        "to let it pass, in /etc/pf.conf before all rules: pass in quick proto gre from 192.0.2.1"
    );
    assert_eq!(openbsd[0].chains[0].rules[0].counter, Some(37));
}

/// As pfctl(8) of FreeBSD lists the anchor of a tunnel to 192.0.2.1.
const KILL_SWITCH: &str = include_str!("listings/leak.pf");

/// The kill switch of another tunnel is not the firewall of this host, and does not drop the packets of its own tunnel.
#[test]
fn kill_switch_of_another_tunnel_is_named_as_such() {
    let main = pf::parse("anchor \"vpn/leak\" all\nblock drop in all\npass out all flags S/SA keep state\n");
    let tables = |listing: &str| vec![main.clone(), pf::parse_kill_switch("vpn/leak", listing).unwrap()];
    let own = tables(KILL_SWITCH);
    for traffic in [Traffic::GreOut, Traffic::TcpOut, Traffic::GreIn, Traffic::TcpIn] {
        assert_eq!(names(&own, &packet(traffic)), [""; 0], "{traffic:?}");
    }
    let other = Packet { server: Ipv4Addr::new(198, 51, 100, 7), ..packet(Traffic::GreOut) };
    let later = tables(&KILL_SWITCH.replace("Packets: 2 ", "Packets: 3 "));
    let found = culprit(&suspects(&later, &other), &own, &later, None).unwrap();
    let found = words::explanation(&later, &found, Traffic::GreOut, path().server).unwrap();
    assert!(found.is_kill_switch && found.certain, "{found:?}");
    let failure =
        Failure::new(Phase::Lcp, FailureKind::GreFiltered, "this host refuses to send it".to_owned());
    let failure = told(failure, Traffic::GreOut, Finding::Blocked(found), &path(), true);
    assert!(
        !failure.detail.contains("firewall") && !failure.detail.contains("pf.conf"),
        "{}",
        failure.detail
    );
    let wanted = "; dropped by the kill switch of another tunnel of this host (leak = \"block\"), pf anchor vpn/leak, rule `block drop out";
    assert!(failure.detail.contains(wanted), "{}", failure.detail);
    assert!(failure.hints.concat().contains("`pptpctl recover`"), "{:?}", failure.hints);
    assert!(pf::parse_kill_switch("vpn/leak", "block drop out quick all\n").is_none(), "not ours");
}

/// Returns what is said about GRE to the server with these rules and counters in two readings.
fn compared(first: &str, second: &str, traffic: Traffic, after: Option<Duration>) -> Option<String> {
    let (first, second) = (nft::parse(first), nft::parse(second));
    let found = suspects(&second, &packet(traffic));
    let culprit = culprit(&found, &first, &second, after)?;
    Some(words::explanation(&second, &culprit, traffic, path().server).unwrap().to_string())
}

fn output_chain(rules: &[&str], policy: &str) -> String {
    let rules = rules.join("\n\t\t");
    format!(
        "table inet f {{\n\tchain out {{\n\t\ttype filter hook output priority filter; policy {policy};\n\t\t{rules}\n\t}}\n\
         \tchain in {{\n\t\ttype filter hook input priority filter; policy {policy};\n\t\t{rules}\n\t}}\n}}\n"
    )
}

#[test]
fn rule_is_named_only_if_its_counter_moved() {
    let counting = |count: u64| {
        output_chain(&[&format!("ip protocol gre counter packets {count} bytes 0 drop")], "accept")
    };
    let said = compared(&counting(4), &counting(6), Traffic::GreOut, None);
    let named = "table inet f, chain out, rule `ip protocol gre counter drop`, whose counter moved by 2";
    assert_eq!(said.as_deref(), Some(named));
    // A packet was refused, but not by this rule.
    assert_eq!(compared(&counting(4), &counting(4), Traffic::GreOut, None), None);
    let silent = output_chain(&["meta l4proto gre drop"], "accept");
    let probable = Some("probably table inet f, chain out");
    assert_eq!(compared(&silent, &silent, Traffic::GreOut, None).as_deref(), probable);
    // Of two, the one that counted nothing is none.
    let both = output_chain(
        &["ip protocol gre limit rate 5/second counter packets 4 bytes 0 drop", "ip protocol gre drop"],
        "accept",
    );
    assert_eq!(compared(&both, &both, Traffic::GreOut, None).as_deref(), probable);
    let policy = output_chain(&["tcp dport 22 accept"], "drop");
    let said = compared(&policy, &policy, Traffic::GreOut, None);
    assert_eq!(said.as_deref(), Some("probably table inet f, chain out, policy drop"));
    // Rules that were replaced in between cannot be compared.
    let other = output_chain(&["ip protocol gre counter packets 9 bytes 0 drop comment \"new\""], "accept");
    assert_eq!(compared(&counting(4), &other, Traffic::GreOut, None), None);
}

/// As print_rule() of OpenBSD's and FreeBSD's pfctl(8) writes them.
#[test]
fn options_and_names_of_pf_do_not_hide_a_rule() {
    let suspects = |rule: &str| names(&[pf::parse(&format!("{rule}\n"))], &packet(Traffic::GreIn)).len();
    for blocks in [
        "block drop in quick from (em0:network) to any",
        "block drop in quick inet from <bad:3> to (em0:0)",
        "block drop in quick on rdomain 0 proto gre all",
        "block return-icmp(port-unr, port-unr) in log (all, to pflog1) quick on em0 proto gre all",
        "block drop in quick inet proto gre from 192.0.2.0 - 192.0.2.9 to any",
        "block drop in quick proto gre all allow-opts label \"no gre\"",
    ] {
        assert_eq!(suspects(blocks), 1, "{blocks}");
    }
    for other in [
        "block drop in quick inet6 from fe80::/10 to any",
        "block drop in quick from fe80::1 to any",
        "block drop in quick on em9 proto gre all",
        "block drop out quick proto gre all",
    ] {
        assert_eq!(suspects(other), 0, "{other}");
    }
    let passes_gre = |rule: &str| {
        let tables = [pf::parse(&format!("block drop all\n{rule}\n"))];
        names(&tables, &packet(Traffic::GreIn)).is_empty()
    };
    for rule in [
        "pass in quick proto gre all keep state (max 100, source-track rule, tcp.established 60)",
        "pass in quick proto gre all set ( prio 5, tos 0x10 ) scrub (no-df max-mss 1440)",
        "pass in log (all) quick proto gre all allow-opts label \"gre\" once",
    ] {
        assert!(passes_gre(rule), "{rule}");
    }
}

#[test]
fn incoming_rule_needs_packets_in_the_meantime() {
    let counting = |count: u64| {
        output_chain(&[&format!("ip protocol gre counter packets {count} bytes 0 drop")], "accept")
    };
    let ask = |first: u64, second: u64, seconds| {
        compared(&counting(first), &counting(second), Traffic::GreIn, Some(Duration::from_secs(seconds)))
    };
    assert!(ask(0, 3, 9).unwrap().ends_with("whose counter moved by 3"));
    assert_eq!(ask(3, 3, 9), None, "the server repeats its packets: none arrives");
    assert_eq!(ask(3, 3, 1).as_deref(), Some("probably table inet f, chain in"), "too early to tell");
    assert_eq!(ask(0, 0, 1), None);
    // A rule for all packets may have counted others.
    let any = |count: u64| output_chain(&[&format!("counter packets {count} bytes 0 drop")], "accept");
    let said = compared(&any(3), &any(9), Traffic::GreIn, Some(Duration::from_secs(9)));
    assert_eq!(said.as_deref(), Some("probably table inet f, chain in"));
    // A rule that only may match is not named without a counter.
    let doubtful = output_chain(&["meta mark 0x1 drop"], "accept");
    assert_eq!(compared(&doubtful, &doubtful, Traffic::GreIn, Some(Duration::from_secs(9))), None);
}

#[test]
fn named_counters_verdict_maps_and_long_lists_are_read() {
    let text = "table inet f {\n\tcounter dropped {\n\t\tpackets 7 bytes 9\n\t}\n\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 1.1.1.1,\n\t\t\t     2.2.2.2 }\n\t}\n\
        \tchain out {\n\t\ttype filter hook output priority filter; policy accept;\n\
        \t\tip daddr { 10.0.0.1, 10.0.0.2,\n\t\t\t   192.0.2.0/28 } meta l4proto vmap { tcp : accept, gre : goto z }\n\t}\n\
        \tchain z {\n\t\tct state vmap { invalid : accept, established : accept, new : jump y }\n\t\taccept\n\t}\n\
        \tchain y {\n\t\tcounter name \"dropped\" drop\n\t}\n}\n";
    let tables = nft::parse(text);
    assert_eq!(names(&tables, &packet(Traffic::GreOut)), ["f y counter name \"dropped\" drop"]);
    assert_eq!(tables[0].chains[2].rules[0].counter, Some(7));
    assert!(passes(&tables, &packet(Traffic::TcpOut)));
}

fn explanation(certain: bool) -> Explanation {
    Explanation {
        rule: "table inet f, chain in".to_owned(),
        certain,
        is_lasting: true,
        remedies: vec!["to let it pass: …".to_owned()],
        helper_would_help: true,
        is_kill_switch: false,
    }
}

#[test]
fn failure_tells_the_rule_and_offers_the_helper() {
    let path = path();
    let ask = |failure, traffic, finding, offers| told(failure, traffic, finding, &path, offers);
    let silent = || Failure::new(Phase::Lcp, FailureKind::GreFiltered, "no GRE packet came within 10 s");
    let failure = ask(silent(), Traffic::GreIn, Finding::Blocked(explanation(true)), true);
    assert!(
        failure.detail.ends_with("; this host's own firewall drops it: table inet f, chain in"),
        "{failure}"
    );
    assert!(failure.hints[0].starts_with("conntrack = \"helper\"") && failure.hints.len() == 2);
    let failure = ask(silent(), Traffic::GreIn, Finding::Blocked(explanation(true)), false);
    assert_eq!(failure.hints, ["to let it pass: …"]);
    let failure = ask(silent(), Traffic::GreIn, Finding::Clear, true);
    assert!(failure.detail.ends_with("does not drop it (its rules were read)"), "{failure}");
    assert!(failure.hints[0].contains("on the path") && failure.hints[1].contains("tunnel to 192.0.2.1?"));
    assert_eq!(ask(silent(), Traffic::GreIn, Finding::Unknown(String::new()), true), silent());
    let forbidden = Failure::new(Phase::Connect, FailureKind::NoRoute, format!("EPERM; {HOST_FORBIDS}"));
    let failure = ask(forbidden, Traffic::TcpOut, Finding::Clear, true);
    assert!(failure.hints[0].contains("cgroup program"), "{failure:?}");
    let refused = Failure::new(Phase::Connect, FailureKind::ConnectionRefused, "192.0.2.1:1723");
    let failure = ask(refused.clone(), Traffic::TcpOut, Finding::Blocked(explanation(true)), true);
    let words =
        "connect: connection refused: 192.0.2.1:1723, by this host's own firewall: table inet f, chain in";
    assert_eq!(failure.to_string(), words);
    assert_eq!(ask(refused.clone(), Traffic::TcpOut, Finding::Clear, true), refused);
}

#[test]
fn refusal_without_a_rule_is_attributed_to_what_is_known() {
    let mut reading = Reading::of(Vec::new());
    assert!(
        not_by_a_rule(&reading, Some(2))
            .rule
            .starts_with("a cgroup program (number of those that filter what this process sends: 2)")
    );
    for programs in [None, Some(0)] {
        assert!(not_by_a_rule(&reading, programs).rule.starts_with("something that is neither a rule"));
    }
    reading.problems.push("nft is not installed".to_owned());
    let found = not_by_a_rule(&reading, Some(2));
    assert_eq!(found.to_string(), "probably a rule that could not be read (nft is not installed)");
}

#[test]
fn probable_rule_is_not_the_only_cause_that_is_told() {
    let mut reading = Reading::of(Vec::new());
    let told = other_causes(&reading, None);
    assert!(told.contains("cgroup program (`bpftool cgroup tree`)") && told.contains("(dmesg)"), "{told}");
    reading.connections = Some((17, 65_536));
    let told = other_causes(&reading, Some(0));
    assert!(told.contains("none filters what this process sends"), "{told}");
    assert!(told.contains("a full connection tracking table (17 of 65536 entries now)"), "{told}");
    assert!(other_causes(&reading, Some(2)).contains("process sends: 2)"));
}

#[test]
fn test_packet_needs_room_for_the_dial_too() {
    let table = |count| is_roomy(Some((count, 200)));
    // None is tracked; without a limit; another packet beside GRE and the test; no other.
    assert!(is_roomy(None) && is_roomy(Some((9, 0))) && table(197));
    assert!(!table(198) && !table(200) && !table(250));
}

#[test]
fn full_connection_table_is_reported() {
    let mut reading = Reading::of(Vec::new());
    assert_eq!(full(&reading), None);
    reading.connections = Some((65_535, 65_536));
    assert_eq!(full(&reading), None);
    reading.connections = Some((65_536, 65_536));
    let found = full(&reading).unwrap();
    assert!(found.rule.contains("full (65536 of 65536 entries)") && !found.is_lasting, "{found:?}");
    // The limit was lowered below what is there.
    reading.connections = Some((200, 50));
    assert_eq!(full(&reading).unwrap().remedies, ["sysctl net.netfilter.nf_conntrack_max=400"]);
}

proptest! {
    #[test]
    fn parsers_accept_arbitrary_text(text in "[ \\n\\t{}\",.@!:;a-z0-9/-]{0,300}") {
        let chain = output_chain(&[text.trim()], "drop");
        for listing in [text.as_str(), &chain] {
            for tables in [nft::parse(listing), iptables::parse(listing), vec![pf::parse(listing)]] {
                let _found = suspects(&tables, &packet(Traffic::GreIn));
            }
        }
    }

    /// Words that the parsers know, in any order: unbalanced braces and quotes, chains that jump to each other.
    #[test]
    fn parsers_accept_known_words_in_any_order(words in proptest::collection::vec(prop::sample::select(WORDS), 0..60)) {
        let text = words.join(" ");
        for tables in [nft::parse(&text), iptables::parse(&text), vec![pf::parse(&text)]] {
            for traffic in [Traffic::GreIn, Traffic::GreOut, Traffic::TcpOut] {
                let _found = suspects(&tables, &packet(traffic));
            }
        }
    }
}

const WORDS: &[&str] = &[
    "\n",
    "\n",
    "\n",
    "{",
    "}",
    "\"",
    ",",
    ":",
    "table ip filter {\n",
    "chain output {\n",
    "chain a {\n",
    "}\n",
    "type filter hook output priority 0; policy drop;\n",
    "jump a",
    "goto output",
    "ct state vmap {",
    "drop",
    "accept",
    "counter packets 1 bytes 2",
    "counter name",
    "ip saddr",
    "ip protocol gre",
    "!=",
    "@set",
    "limit rate 1/second",
    "*filter\n",
    ":OUTPUT DROP [1:2]\n",
    "[3:4] -A OUTPUT",
    "-p gre",
    "-j OUTPUT",
    "-d 192.0.2.1/33",
    "-g",
    "!",
    "block",
    "pass",
    "out quick",
    "proto gre",
    "from any to",
    "port 1 >< 2",
    "[ Evaluations: 1 Packets: 2",
    "é",
    "192.0.2.0/24",
    "65536-1",
    "return",
    "reject",
    "comment",
];
