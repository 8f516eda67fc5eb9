//! Parses the output of `iptables-legacy-save -c`.

use super::rules::{
    Action, Base, Chain, Condition, Direction, Rule, Table, Test, Tool, addresses, each, ports, protocol,
};

/// Parses a listing. Lines that are not understood are skipped.
pub(super) fn parse(listing: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in listing.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('*') {
            let (family, name) = ("ip".to_owned(), name.to_owned());
            tables.push(Table { tool: Tool::Iptables, family, name, chains: Vec::new() });
        }
        let Some(table) = tables.last_mut() else { continue };
        if let Some(words) = line.strip_prefix(':') {
            table.chains.extend(chain(&table.name, words));
        } else if let Some((name, rule)) = rule(line)
            && let Some(chain) = table.chains.iter_mut().find(|chain| chain.name == name)
        {
            chain.rules.push(rule);
        }
    }
    for table in &mut tables {
        if table.chains.iter().any(|chain| chain.name.starts_with("ufw-")) {
            table.tool = Tool::Ufw;
        }
    }
    tables
}

/// Parses `OUTPUT DROP [3:180]`.
fn chain(table: &str, words: &str) -> Option<Chain> {
    let mut words = words.split_whitespace();
    let (name, policy) = (words.next()?, words.next()?);
    let counter = words.next().and_then(count);
    let direction = match name {
        "INPUT" | "PREROUTING" => Some(Direction::In),
        "OUTPUT" | "POSTROUTING" => Some(Direction::Out),
        _ => None,
    };
    let base = direction.filter(|_| table != "nat").map(|direction| Base {
        direction,
        drops: policy == "DROP",
        devices: Vec::new(),
        counter,
    });
    Some(Chain { name: name.to_owned(), base, rules: Vec::new() })
}

/// Parses `[3:180] -A OUTPUT -p gre -j DROP` into the chain's name and the rule.
fn rule(line: &str) -> Option<(String, Rule)> {
    let (counts, text) = if line.starts_with('[') { line.split_once(' ')? } else { ("", line) };
    let mut words = words(text).into_iter().peekable();
    if words.next()? != "-A" {
        return None;
    }
    let chain = words.next()?;
    let mut rule = Rule {
        text: text.to_owned(),
        counter: count(counts),
        conditions: Vec::new(),
        action: Action::Continue,
    };
    let mut negated = false;
    while let Some(option) = words.next() {
        if option == "!" {
            negated = true;
            continue;
        }
        // The arguments end where the next option begins.
        let mut values = Vec::new();
        while let Some(value) = words.next_if(|word| word != "!" && !is_option(word)) {
            values.push(value);
        }
        apply(&option, &values, negated, &mut rule);
        negated = false;
    }
    Some((chain, rule))
}

fn apply(option: &str, values: &[String], negated: bool, rule: &mut Rule) {
    let first = values.first().map_or("", String::as_str);
    let list: Vec<String> = first.split(',').map(str::to_owned).collect();
    let parse_port = |text: &str| ports(text, ':');
    let test = match option {
        "-j" | "-g" => {
            rule.action = match first {
                "ACCEPT" => Action::Accept,
                "DROP" | "REJECT" => Action::Drop,
                "RETURN" => Action::Return,
                "NFQUEUE" | "QUEUE" => Action::Elsewhere,
                // Targets of extensions have capitals, as a rule; none of these ends the chain.
                "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "CT" | "TCPMSS" | "TOS" | "DSCP" | "TTL" | "SET"
                | "CLASSIFY" | "NOTRACK" | "AUDIT" | "TRACE" | "CHECKSUM" | "HMARK" => Action::Continue,
                chain if option == "-g" => Action::Goto(chain.to_owned()),
                chain => Action::Jump(chain.to_owned()),
            };
            return;
        }
        // These change nothing, or belong to the target.
        "-m" | "--comment" | "--reject-with" => return,
        option
            if option.starts_with("--log-")
                || option.starts_with("--set-")
                || option.starts_with("--nflog-") =>
        {
            return;
        }
        "-p" if first == "all" => Test::Always(true),
        "-p" => Test::Protocol(vec![protocol(first)]),
        "-s" => each(&list, addresses, Test::Source),
        "-d" => each(&list, addresses, Test::Destination),
        "-i" => Test::InputDevice(list),
        "-o" => Test::OutputDevice(list),
        "--sport" | "--sports" => each(&list, parse_port, Test::SourcePort),
        "--dport" | "--dports" => each(&list, parse_port, Test::DestinationPort),
        "--ctstate" | "--state" => Test::State(list.iter().map(|state| state.to_lowercase()).collect()),
        "--dst-type" => Test::AddressType(list.iter().map(|kind| kind.to_lowercase()).collect()),
        _ => Test::Unknown,
    };
    rule.conditions.push(Condition { negated, test });
}

fn is_option(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c == '-' || c.is_ascii_alphabetic()))
}

/// Parses the packets of `[3:180]`.
fn count(text: &str) -> Option<u64> {
    text.strip_prefix('[')?.split_once(':')?.0.parse().ok()
}

/// Splits a line into words; quotes keep a text together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (String::new(), false);
    for c in line.chars().chain([' ']) {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    words
}
