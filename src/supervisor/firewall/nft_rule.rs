//! Parses one rule of nft(8). What is not understood becomes [`Test::Unknown`].

use super::rules::{Action, Condition, Rule, TCP, Test, addresses, each, ports, protocol};

/// Words that begin a statement or an expression: where reading goes on after one that is not understood.
const STARTS: &[&str] = &[
    "accept",
    "comment",
    "continue",
    "counter",
    "ct",
    "drop",
    "dnat",
    "fib",
    "goto",
    "icmp",
    "icmpv6",
    "iif",
    "iifname",
    "ip",
    "ip6",
    "jump",
    "limit",
    "log",
    "masquerade",
    "meta",
    "notrack",
    "oif",
    "oifname",
    "queue",
    "redirect",
    "reject",
    "return",
    "snat",
    "tcp",
    "th",
    "udp",
];

/// Words that follow a condition, and are no part of it.
const ENDS: &[&str] = &[
    "accept", "comment", "continue", "counter", "drop", "goto", "jump", "limit", "log", "queue", "reject",
    "return",
];

/// Parses a rule; `counters` are the named counters of its table.
pub(super) fn parse(line: &str, counters: &[(String, u64)]) -> Rule {
    let mut parser = Parser { words: words(line), at: 0, conditions: Vec::new(), counter: None };
    let mut action = Action::Continue;
    while let Some(word) = parser.next() {
        if let Some(found) = parser.statement(&word, counters) {
            action = found;
        }
    }
    Rule { text: without_counts(line), counter: parser.counter, conditions: parser.conditions, action }
}

/// One word of a rule, or a list in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Plain(String),
    List(Vec<String>),
}

impl Word {
    fn text(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::List(_) => "{",
        }
    }

    fn values(&self) -> Vec<String> {
        match self {
            Self::Plain(text) => text.split(',').map(str::to_owned).collect(),
            Self::List(values) => values.clone(),
        }
    }
}

struct Parser {
    words: Vec<Word>,
    at: usize,
    conditions: Vec<Condition>,
    counter: Option<u64>,
}

/// What follows a selector such as `ip saddr`.
enum Operand {
    Values {
        negated: bool,
        values: Vec<String>,
    },
    Map(Vec<(String, Action)>),
    /// A named set, a comparison, a concatenation.
    Other,
}

impl Parser {
    fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at)?.clone();
        self.at += 1;
        Some(word)
    }

    fn peek(&self) -> &str {
        self.words.get(self.at).map_or("", Word::text)
    }

    fn next_text(&mut self) -> String {
        self.next().map(|word| word.text().to_owned()).unwrap_or_default()
    }

    fn add(&mut self, test: Test) {
        self.conditions.push(test.holds());
    }

    /// Parses what begins with this word; returns the action if it is a verdict.
    fn statement(&mut self, word: &Word, counters: &[(String, u64)]) -> Option<Action> {
        match word.text() {
            "accept" => return Some(Action::Accept),
            "drop" => return Some(Action::Drop),
            "return" => return Some(Action::Return),
            "continue" => return Some(Action::Continue),
            "jump" => return Some(Action::Jump(self.next_text())),
            "goto" => return Some(Action::Goto(self.next_text())),
            "reject" => {
                self.skip_to(&["comment"]);
                return Some(Action::Drop);
            }
            "queue" => {
                self.skip_to(&["comment"]);
                return Some(Action::Elsewhere);
            }
            // Only the first packet of a connection sees them, and it then passes.
            "dnat" | "snat" | "masquerade" | "redirect" => {
                self.skip_to(&["comment"]);
                return Some(Action::Accept);
            }
            "comment" => drop(self.next()),
            "notrack" => {}
            "log" => self.log(),
            "counter" => self.counter(counters),
            "limit" => {
                self.skip_to(STARTS);
                self.add(Test::Unknown);
            }
            "ip" => return self.ip(),
            "meta" => return self.meta(),
            "ct" => return self.ct(),
            "fib" => return self.fib(),
            "tcp" | "udp" | "th" => return self.port(word.text()),
            "iif" | "iifname" | "oif" | "oifname" => return self.device(word.text()),
            "ip6" | "icmpv6" => {
                self.skip_to(STARTS);
                self.add(Test::Always(false));
            }
            "icmp" | "igmp" | "esp" | "ah" | "sctp" | "dccp" | "udplite" | "comp" => {
                self.skip_to(STARTS);
                self.add(Test::Protocol(vec![255]));
            }
            _ => {
                self.skip_to(STARTS);
                self.add(Test::Unknown);
            }
        }
        None
    }

    /// Skips words up to one of these; returns whether a value was set rather than compared.
    fn skip_to(&mut self, stops: &[&str]) -> bool {
        let mut sets = false;
        while self.at < self.words.len() && !stops.contains(&self.peek()) {
            sets |= self.peek() == "set";
            self.at += 1;
        }
        sets
    }

    fn log(&mut self) {
        while matches!(self.peek(), "prefix" | "level" | "group" | "snaplen" | "queue-threshold" | "flags") {
            self.at += 2;
        }
    }

    fn counter(&mut self, counters: &[(String, u64)]) {
        match self.peek() {
            "packets" => {
                self.at += 1;
                self.counter = self.next_text().parse().ok();
                self.at += 2;
            }
            "name" => {
                self.at += 1;
                let name = self.next_text();
                let name = name.trim_matches('"');
                self.counter = counters.iter().find(|(known, _)| known == name).map(|(_, count)| *count);
            }
            _ => {}
        }
    }

    /// Adds the condition of a selector, or returns the action of a verdict map.
    fn select(&mut self, test: impl Fn(&[String]) -> Test) -> Option<Action> {
        match self.operand() {
            Operand::Values { negated, values } => {
                let test = test(&values);
                self.conditions.push(Condition { negated, test });
                None
            }
            Operand::Map(entries) => {
                let entry = |(key, action): (String, Action)| (test(&[key]).holds(), action);
                Some(Action::Map(entries.into_iter().map(entry).collect()))
            }
            Operand::Other => {
                self.add(Test::Unknown);
                None
            }
        }
    }

    fn operand(&mut self) -> Operand {
        let negated = self.peek() == "!=";
        match self.peek() {
            "!=" | "==" => self.at += 1,
            "vmap" => {
                self.at += 1;
                return match self.next() {
                    Some(Word::List(entries)) => {
                        Operand::Map(entries.iter().filter_map(|entry| map_entry(entry)).collect())
                    }
                    _ => Operand::Map(vec![(String::new(), Action::Elsewhere)]),
                };
            }
            "<" | ">" | "<=" | ">=" => {
                self.at += 2;
                return Operand::Other;
            }
            "." | "&" | "|" | "^" | "and" | "or" => {
                // A concatenation of selectors ends with its values.
                while self.at < self.words.len() && !ENDS.contains(&self.peek()) {
                    self.at += 1;
                    if matches!(self.words.get(self.at - 1), Some(Word::List(_))) {
                        break;
                    }
                }
                return Operand::Other;
            }
            _ => {}
        }
        match self.next() {
            Some(Word::Plain(text)) if text.starts_with('@') => Operand::Other,
            Some(_) if matches!(self.peek(), "." | "/") => {
                self.skip_to(STARTS);
                Operand::Other
            }
            Some(word) => Operand::Values { negated, values: word.values() },
            None => Operand::Other,
        }
    }

    fn ip(&mut self) -> Option<Action> {
        let field = self.next_text();
        match field.as_str() {
            "saddr" => self.select(|values| each(values, addresses, Test::Source)),
            "daddr" => self.select(|values| each(values, addresses, Test::Destination)),
            "protocol" => self.select(protocols),
            "version" => self.select(|values| Test::Always(values.iter().any(|value| value == "4"))),
            _ => self.other(),
        }
    }

    fn meta(&mut self) -> Option<Action> {
        let field = self.next_text();
        match field.as_str() {
            "l4proto" => self.select(protocols),
            "nfproto" => self.select(|values| Test::Always(values.iter().any(|value| value == "ipv4"))),
            "protocol" => self.select(|values| Test::Always(values.iter().any(|value| value == "ip"))),
            "iif" | "iifname" | "oif" | "oifname" => self.device(&field),
            _ => self.other(),
        }
    }

    fn ct(&mut self) -> Option<Action> {
        match self.next_text().as_str() {
            "state" => self.select(|values| Test::State(values.to_vec())),
            // The addresses of a tunnel's packets are not translated.
            "status" => self.select(|values| match values {
                [one] if matches!(one.as_str(), "dnat" | "snat") => Test::Always(false),
                _ => Test::Unknown,
            }),
            _ => self.other(),
        }
    }

    /// Parses `fib daddr . iif type local`: the flags, the result, its value.
    fn fib(&mut self) -> Option<Action> {
        let mut flags = vec![self.next_text()];
        while self.peek() == "." {
            self.at += 1;
            flags.push(self.next_text());
        }
        let result = self.next_text();
        let known = result == "type" && flags == ["daddr"];
        self.select(|values| if known { Test::AddressType(values.to_vec()) } else { Test::Unknown })
    }

    fn port(&mut self, of: &str) -> Option<Action> {
        let number = match of {
            "tcp" => Some(TCP),
            "udp" => Some(17),
            _ => None,
        };
        let field = self.next_text();
        let parse = |text: &str| ports(text, '-');
        let action = match field.as_str() {
            "sport" => self.select(|values| each(values, parse, Test::SourcePort)),
            "dport" => self.select(|values| each(values, parse, Test::DestinationPort)),
            _ => self.other(),
        };
        if let Some(number) = number {
            self.add(Test::Protocol(vec![number]));
        }
        action
    }

    fn device(&mut self, which: &str) -> Option<Action> {
        let incoming = which.starts_with('i');
        self.select(|values| {
            let names = values.iter().map(|name| name.trim_matches('"').to_owned()).collect();
            if incoming { Test::InputDevice(names) } else { Test::OutputDevice(names) }
        })
    }

    /// Skips an expression whose meaning does not matter, or is not known.
    fn other(&mut self) -> Option<Action> {
        if !self.skip_to(STARTS) {
            self.add(Test::Unknown);
        }
        None
    }
}

fn protocols(values: &[String]) -> Test {
    Test::Protocol(values.iter().map(|value| protocol(value)).collect())
}

/// Parses `established : accept` of a verdict map.
fn map_entry(entry: &str) -> Option<(String, Action)> {
    let (key, verdict) = entry.rsplit_once(" : ")?;
    let (verb, target) = verdict.trim().split_once(' ').unwrap_or((verdict.trim(), ""));
    let action = match verb {
        "accept" => Action::Accept,
        "drop" => Action::Drop,
        "return" => Action::Return,
        "continue" => Action::Continue,
        "jump" => Action::Jump(target.to_owned()),
        "goto" => Action::Goto(target.to_owned()),
        _ => Action::Elsewhere,
    };
    Some((key.trim().to_owned(), action))
}

/// Splits a rule into words. Quotes keep a text together; braces enclose a list.
fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut list: Option<Vec<String>> = None;
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars().chain([' ']) {
        match c {
            '"' => {
                quoted = !quoted;
                word.push(c);
            }
            _ if quoted => word.push(c),
            '{' if list.is_none() => list = Some(Vec::new()),
            ',' | '}' if list.is_some() => {
                let element = std::mem::take(&mut word).trim().to_owned();
                if let Some(list) = list.as_mut().filter(|_| !element.is_empty()) {
                    list.push(element);
                }
                if c == '}' {
                    words.extend(list.take().map(Word::List));
                }
            }
            _ if list.is_some() => word.push(c),
            c if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(Word::Plain(std::mem::take(&mut word)));
                }
            }
            _ => word.push(c),
        }
    }
    words
}

/// Returns the rule without `packets 1 bytes 60`, and without a gap that iptables' rules have.
fn without_counts(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut kept: Vec<&str> = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        kept.push(word);
        let counts = words.get(at + 1..at + 5);
        at += if *word == "counter" && matches!(counts, Some(["packets", _, "bytes", _])) { 5 } else { 1 };
    }
    kept.join(" ")
}
