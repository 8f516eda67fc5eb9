//! Parses the output of `pfctl -vsr`: each rule, then lines in brackets with its counters.

use super::rules::{
    Action, Base, Chain, Condition, Direction, Rule, Table, Test, Tool, addresses, ports, protocol,
};
use crate::plan::LEAK_LABEL;

/// Parses the listing of an anchor that has the kill switch of a tunnel. `None` if it is not ours.
pub(super) fn parse_kill_switch(anchor: &str, listing: &str) -> Option<Table> {
    let is_ours = listing.contains(&format!("label \"{LEAK_LABEL}\""));
    let table = Table { tool: Tool::KillSwitch, name: anchor.to_owned(), ..parse(listing) };
    is_ours.then_some(table)
}

/// Parses a listing into one table with one chain.
pub(super) fn parse(listing: &str) -> Table {
    let mut rules: Vec<Rule> = Vec::new();
    for line in listing.lines().map(str::trim) {
        if let Some(counters) = line.strip_prefix("[ Evaluations:") {
            if let Some(rule) = rules.last_mut() {
                let mut words = counters.split_whitespace().skip_while(|word| *word != "Packets:");
                rule.counter = words.nth(1).and_then(|count| count.parse().ok());
            }
        } else if !line.is_empty() && !line.starts_with('[') {
            rules.push(rule(line));
        }
    }
    let base = Some(Base { direction: Direction::Out, drops: false, devices: Vec::new(), counter: None });
    let chain = Chain { name: "main ruleset".to_owned(), base, rules };
    Table { tool: Tool::Pf, family: String::new(), name: "pf".to_owned(), chains: vec![chain] }
}

fn rule(line: &str) -> Rule {
    let spaced = line.replace('{', " { ").replace('}', " } ");
    // With -vv the number of the rule comes first.
    let mut words = spaced.split_whitespace().skip_while(|word| word.starts_with('@')).peekable();
    let mut conditions = Vec::new();
    let mut quick = false;
    let mut keeps_state = true;
    let verb = words.next().unwrap_or_default();
    while let Some(word) = words.next() {
        let test = match word {
            "in" => Test::Direction(Direction::In),
            "out" => Test::Direction(Direction::Out),
            "quick" => {
                quick = true;
                continue;
            }
            "inet" => Test::Always(true),
            "inet6" => Test::Always(false),
            "no" => {
                keeps_state &= words.next_if_eq(&"state").is_none();
                continue;
            }
            "on" if matches!(words.clone().find(|word| *word != "!"), Some("rdomain")) => {
                // The routing domain of a packet is not known here.
                while words.next().is_some_and(|word| word != "rdomain") {}
                let _number = words.next();
                Test::Unknown
            }
            "on" => {
                let negated = words.next_if_eq(&"!").is_some();
                let test = Test::Device(vec![words.next().unwrap_or_default().to_owned()]);
                conditions.push(Condition { negated, test });
                continue;
            }
            "proto" => Test::Protocol(vec![words.next().map_or(255, protocol)]),
            "from" | "to" => {
                conditions.extend(end(word == "from", &mut words));
                continue;
            }
            // Defaults, or options about packets that match.
            "drop" | "return" | "return-rst" | "return-icmp" | "log" | "all" | "keep" | "modulate"
            | "synproxy" | "state" | "set" | "scrub" | "allow-opts" | "once" => continue,
            "flags" | "label" | "queue" | "rtable" | "tag" => {
                let _value = words.next();
                continue;
            }
            option if option.starts_with("return-") || option.starts_with('(') => {
                // A list in parentheses, as after `keep state`, may have several words.
                let is_open = |word: &str| word.contains('(') && !word.contains(')');
                if is_open(option) {
                    while words.next().is_some_and(|word| !word.ends_with(')')) {}
                }
                continue;
            }
            _ => Test::Unknown,
        };
        conditions.push(test.holds());
    }
    let action = match verb {
        "block" => Action::PfBlock { quick },
        "pass" => Action::PfPass { quick, keeps_state },
        "anchor" => {
            conditions.retain(|condition| condition.test != Test::Unknown);
            Action::Elsewhere
        }
        _ => Action::Continue,
    };
    Rule { text: line.to_owned(), counter: None, conditions, action }
}

/// Parses what follows `from` or `to`: an address, and a port.
fn end<'a>(
    is_source: bool,
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> Vec<Condition> {
    let mut conditions = Vec::new();
    if words.peek() != Some(&"port") {
        let negated = words.next_if_eq(&"!").is_some();
        let word = words.next().unwrap_or_default();
        // A range from one address to another; only its ends are printed.
        let is_range = words.next_if_eq(&"-").is_some();
        if is_range {
            let _last = words.next();
        }
        // `(em0:network)` and `<table>` stand for addresses that the listing does not have.
        let is_name = word.starts_with(['(', '<']);
        if is_range {
            conditions.push(Test::Unknown.holds());
        } else if word != "any" {
            let test = match addresses(word) {
                Some(range) if is_source => Test::Source(vec![range]),
                Some(range) => Test::Destination(vec![range]),
                None if word.contains(':') && !is_name => Test::Always(false),
                None => Test::Unknown,
            };
            conditions.push(Condition { negated, test });
        }
    }
    if words.next_if_eq(&"port").is_some() {
        // `port = 22`, `port 1:1024`, `port > 1023`, `port 2 >< 9`; a service has its name.
        let operator = words.next_if(|word| matches!(*word, "=" | "!=" | "<" | ">" | "<=" | ">="));
        let value = words.next().unwrap_or_default();
        let value = if value == "pptp" { "1723" } else { value };
        let odd = words.next_if(|word| matches!(*word, "><" | "<>")).is_some();
        if odd {
            let _upper = words.next();
        }
        let test = match ports(value, ':').filter(|_| !odd && matches!(operator, None | Some("=" | "!="))) {
            Some(range) if is_source => Test::SourcePort(vec![range]),
            Some(range) => Test::DestinationPort(vec![range]),
            None if odd || operator.is_some_and(|operator| !matches!(operator, "=" | "!=")) => Test::Unknown,
            // A service other than PPTP.
            None => Test::Always(false),
        };
        conditions.push(Condition { negated: operator == Some("!="), test });
    }
    conditions
}
