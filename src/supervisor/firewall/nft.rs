//! Parses the listing of nft(8), as `nft -t list ruleset` prints it.
//!
//! The text rather than JSON: one run yields both the structure and each rule as the administrator wrote it, and
//! some distributions build nft without JSON. With `-t` the elements of named sets, which can be many, are left
//! out.

use super::{
    nft_rule,
    rules::{Base, Chain, Direction, Table, Tool},
};

/// Parses a listing. Lines that are not understood are skipped, which leaves out at most a rule.
pub(super) fn parse(listing: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut lines = statements(listing).into_iter();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["table", family, name, "{"] = words[..] {
            let (family, name) = (family.to_owned(), name.to_owned());
            let mut table = Table { tool: Tool::Nft, family, name, chains: chains(&block(&mut lines)) };
            table.tool = tool(&table);
            tables.push(table);
        }
    }
    tables
}

/// Returns the lines up to the brace that closes the current block.
fn block(lines: &mut impl Iterator<Item = String>) -> Vec<String> {
    let mut depth = 0_usize;
    let mut inside = Vec::new();
    for line in lines {
        if line == "}" {
            let Some(left) = depth.checked_sub(1) else { break };
            depth = left;
        } else if line.ends_with('{') {
            depth += 1;
        }
        inside.push(line);
    }
    inside
}

fn chains(inside: &[String]) -> Vec<Chain> {
    let mut lines = inside.iter().cloned();
    let mut named: Vec<(String, u64)> = Vec::new();
    let mut chains: Vec<(String, Vec<String>)> = Vec::new();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["chain", name, "{"] => chains.push((name.to_owned(), block(&mut lines))),
            ["counter", name, "{"] => {
                let value = block(&mut lines).iter().find_map(|line| {
                    let mut words = line.split_whitespace().skip_while(|word| *word != "packets");
                    words.nth(1)?.parse().ok()
                });
                named.extend(value.map(|value| (name.to_owned(), value)));
            }
            [.., "{"] => drop(block(&mut lines)),
            _ => {}
        }
    }
    chains.into_iter().map(|(name, lines)| chain(name, &lines, &named)).collect()
}

fn chain(name: String, lines: &[String], counters: &[(String, u64)]) -> Chain {
    let mut chain = Chain { name, base: None, rules: Vec::new() };
    for line in lines {
        if line.starts_with("type ") && line.contains(" hook ") {
            chain.base = base(line);
        } else if !line.starts_with('#') && !line.starts_with("comment ") {
            chain.rules.push(nft_rule::parse(line, counters));
        }
    }
    chain
}

/// Parses `type filter hook output priority filter; policy drop;`. Address translation does not filter.
fn base(line: &str) -> Option<Base> {
    let hook = line.split_once(" hook ")?.1.split_whitespace().next()?;
    let direction = match hook {
        "ingress" | "prerouting" | "input" => Direction::In,
        "output" | "postrouting" | "egress" => Direction::Out,
        _ => return None,
    };
    let drops = line.contains("policy drop");
    // `device "eth0"`, or `devices = { "eth0", "eth1" }`: the only strings in this line.
    let devices = line.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    (!line.starts_with("type nat ")).then_some(Base { direction, drops, devices, counter: None })
}

/// Returns the program that made a table, by its names: iptables' chains on hooks have capitals.
fn tool(table: &Table) -> Tool {
    let has = |start: &str| table.chains.iter().any(|chain| chain.name.starts_with(start));
    let classic = |chain: &Chain| {
        chain.base.is_some()
            && matches!(chain.name.as_str(), "INPUT" | "OUTPUT" | "PREROUTING" | "POSTROUTING")
    };
    let iptables = table.family == "ip" && table.chains.iter().any(classic);
    match table.name.as_str() {
        "firewalld" => Tool::Firewalld,
        _ if iptables && has("ufw-") => Tool::Ufw,
        _ if iptables => Tool::Iptables,
        _ => Tool::Nft,
    }
}

/// Returns the listing's lines without indentation; a list of elements that spans lines becomes one.
fn statements(listing: &str) -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in listing.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match statements.last_mut().filter(|_| is_open) {
            Some(statement) => {
                statement.push(' ');
                statement.push_str(line);
            }
            None => statements.push(line.to_owned()),
        }
        let statement = statements.last().map_or("", String::as_str);
        // `chain x {` opens a block of statements, `{ a, b,` a list that goes on in the next line.
        is_open = statement != "}" && !statement.ends_with('{') && open_braces(statement) > 0;
    }
    statements
}

fn open_braces(text: &str) -> usize {
    let (mut depth, mut quoted) = (0_usize, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth
}
