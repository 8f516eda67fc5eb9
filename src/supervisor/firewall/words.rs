//! Describes a rule that drops packets: its table and chain, and the rule that lets the packets pass. No I/O.

use std::net::SocketAddrV4;

use super::{
    Explanation, Traffic,
    rules::{Chain, Direction, Packet, Rule, Table, Tool},
    walk::Culprit,
};

/// The longest rule that is quoted, in characters.
const MAX_RULE: usize = 160;

/// Describes the culprit and the rule that would help. `None` if it is not in the listing.
pub(super) fn explanation(
    tables: &[Table],
    culprit: &Culprit,
    traffic: Traffic,
    server: SocketAddrV4,
) -> Option<Explanation> {
    let suspect = &culprit.suspect;
    let table = tables.get(suspect.table)?;
    let (base, chain) = (table.chains.get(suspect.base)?, table.chains.get(suspect.chain)?);
    let rule = suspect.rule.and_then(|at| chain.rules.get(at));
    let place = match table.tool {
        Tool::Pf => "pf's main ruleset".to_owned(),
        Tool::KillSwitch => {
            format!(
                "the kill switch of another tunnel of this host (leak = \"block\"), pf anchor {}",
                table.name
            )
        }
        _ => format!("table {} {}, chain {}", table.family, table.name, chain.name),
    };
    let rule = match (culprit.counted, rule) {
        (Some(moved), Some(rule)) => {
            format!("{place}, rule `{}`, whose counter moved by {moved}", quoted(rule))
        }
        (Some(moved), None) => format!("{place}, policy drop, whose counter moved by {moved}"),
        (None, Some(_)) => place,
        (None, None) => format!("{place}, policy drop"),
    };
    Some(Explanation {
        rule,
        certain: culprit.counted.is_some(),
        is_lasting: true,
        remedies: vec![remedy(table, base, chain, traffic, server)],
        helper_would_help: false,
        is_kill_switch: table.tool == Tool::KillSwitch,
    })
}

fn quoted(rule: &Rule) -> String {
    let cut: String = rule.text.chars().take(MAX_RULE).collect();
    if cut.len() < rule.text.len() { cut + "…" } else { cut }
}

/// Returns the command that lets the packets pass, in the syntax of the tool that has the rule.
fn remedy(table: &Table, base: &Chain, chain: &Chain, traffic: Traffic, server: SocketAddrV4) -> String {
    let (ip, port) = (server.ip(), server.port());
    let out = traffic.direction() == Direction::Out;
    let gre = traffic.is_gre();
    let end = if out { "daddr" } else { "saddr" };
    let line = match (table.tool, gre) {
        (Tool::Nft, true) => {
            format!(
                "nft insert rule {} {} {} ip {end} {ip} ip protocol gre accept",
                table.family, table.name, base.name
            )
        }
        (Tool::Nft, false) => {
            let port_end = if out { "dport" } else { "sport" };
            format!(
                "nft insert rule {} {} {} ip {end} {ip} tcp {port_end} {port} accept",
                table.family, table.name, base.name
            )
        }
        (Tool::Iptables, _) => {
            let which = if table.name == "filter" { String::new() } else { format!("-t {} ", table.name) };
            let (flag, port_flag) = if out { ("-d", "--dport") } else { ("-s", "--sport") };
            let what = if gre { "-p gre".to_owned() } else { format!("-p tcp {port_flag} {port}") };
            format!("iptables {which}-I {} {flag} {ip} {what} -j ACCEPT", base.name)
        }
        (Tool::Ufw, true) if out => format!("ufw allow out proto gre to {ip}"),
        (Tool::Ufw, true) => format!("ufw allow proto gre from {ip}"),
        (Tool::Ufw, false) if out => format!("ufw allow out proto tcp to {ip} port {port}"),
        (Tool::Ufw, false) => format!("ufw allow proto tcp from {ip} port {port}"),
        (Tool::Firewalld, _) => {
            let policy = chain
                .name
                .strip_prefix("filter_OUT_policy_")
                .or_else(|| chain.name.strip_prefix("filter_OUT_"));
            let to = match policy.filter(|_| out) {
                Some(policy) => {
                    let policy = ["_pre", "_post", "_deny", "_allow", "_log"]
                        .iter()
                        .find_map(|end| policy.strip_suffix(end))
                        .unwrap_or(policy);
                    format!("--policy={policy} ")
                }
                None if out => "--policy=POLICY ".to_owned(),
                None => String::new(),
            };
            let (end, port_kind) = if out { ("destination", "port") } else { ("source", "source-port") };
            let what = if gre {
                "protocol value=\"gre\"".to_owned()
            } else {
                format!("{port_kind} port=\"{port}\" protocol=\"tcp\"")
            };
            format!(
                "firewall-cmd {to}--add-rich-rule='rule family=\"ipv4\" {end} address=\"{ip}\" {what} accept'"
            )
        }
        (Tool::KillSwitch, _) => {
            return "`pptpctl down` of that tunnel opens it, or `pptpctl recover` if its supervisor has ended; or add \
                    the server to its `exclude`"
                .to_owned();
        }
        (Tool::Pf, true) if out => format!("pass out quick proto gre to {ip}"),
        (Tool::Pf, true) => format!("pass in quick proto gre from {ip}"),
        (Tool::Pf, false) => format!("pass out quick proto tcp to {ip} port {port}"),
    };
    match table.tool {
        Tool::Pf => format!("to let it pass, in /etc/pf.conf before all rules: {line}"),
        _ => format!("to let it pass: {line}"),
    }
}

/// Returns the packets of this traffic.
pub(super) fn packet(traffic: Traffic, path: &super::DialPath, helper: bool) -> Packet {
    let gre = traffic.is_gre();
    Packet {
        direction: traffic.direction(),
        protocol: if gre { super::rules::GRE } else { super::rules::TCP },
        server: *path.server.ip(),
        local: path.local,
        port: (!gre).then(|| path.server.port()),
        dev: path.dev.clone(),
        states: match traffic {
            Traffic::TcpIn => &["established"],
            // Without a helper the kernel does not track that both directions of a call belong together: their GRE
            // keys differ (nf_conntrack_proto_gre.c).
            Traffic::GreIn if helper => &["new", "related", "established"],
            _ => &["new"],
        },
    }
}
