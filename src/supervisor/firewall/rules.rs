//! Rules of a packet filter, as far as they matter for the packets of a tunnel. No I/O.
//!
//! `nft`, `iptables` and `pf` parse listings into this form. What they do not understand becomes
//! [`Test::Unknown`], which neither matches nor fails for certain.

use std::{net::Ipv4Addr, ops::RangeInclusive};

/// The program that owns a table, and in whose syntax a remedy is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// nft(8).
    Nft,
    /// iptables(8), with the kernel's nftables or its older tables.
    Iptables,
    /// ufw(8), which uses iptables.
    Ufw,
    /// firewalld(1), which uses nftables.
    Firewalld,
    /// pfctl(8).
    Pf,
    /// The kill switch of a tunnel of ours, in an anchor of pf.
    KillSwitch,
}

/// The direction of a packet, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// A table with its chains. pf has one table with one chain, and one for each kill switch of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub tool: Tool,
    /// Such as `inet`; empty for pf.
    pub family: String,
    pub name: String,
    pub chains: Vec<Chain>,
}

/// A chain of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub name: String,
    /// `None` for a chain that is only jumped to, and for one that does not filter.
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

/// The hook of a chain, and what becomes of a packet that no rule decides on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub direction: Direction,
    pub drops: bool,
    /// The devices of a chain of the family netdev; empty for all.
    pub devices: Vec<String>,
    /// Packets that reached the policy, where the tool counts them.
    pub counter: Option<u64>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// As the tool prints it, without the values of counters.
    pub text: String,
    /// Packets that it has matched; `None` if the rule does not count.
    pub counter: Option<u64>,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    pub action: Action,
}

/// What a rule does with a packet that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The next rule follows.
    Continue,
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// The first entry whose condition holds; if none does, the next rule follows.
    Map(Vec<(Condition, Action)>),
    /// A program or a stage outside the rules decides.
    Elsewhere,
    /// pf: passes unless a later rule blocks; with `quick` ([`Rule::conditions`] hold) at once.
    PfPass {
        quick: bool,
        keeps_state: bool,
    },
    /// pf: blocks unless a later rule passes.
    PfBlock {
        quick: bool,
    },
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub negated: bool,
    pub test: Test,
}

/// What a condition compares, and the values for which it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// Number of the protocol above IP.
    Protocol(Vec<u8>),
    Source(Vec<RangeInclusive<u32>>),
    Destination(Vec<RangeInclusive<u32>>),
    SourcePort(Vec<RangeInclusive<u16>>),
    DestinationPort(Vec<RangeInclusive<u16>>),
    /// Device of an incoming packet; a name may end in `*`.
    InputDevice(Vec<String>),
    /// Device of an outgoing packet.
    OutputDevice(Vec<String>),
    /// Device of a packet in either direction.
    Device(Vec<String>),
    Direction(Direction),
    /// State of the connection.
    State(Vec<String>),
    /// Type of the destination address, such as `local`.
    AddressType(Vec<String>),
    /// Holds for every packet of a tunnel, or for none: IPv4 and IPv6.
    Always(bool),
    Unknown,
}

/// A packet of a tunnel between this host and its server.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub direction: Direction,
    pub protocol: u8,
    pub server: Ipv4Addr,
    /// This host's address, if known.
    pub local: Option<Ipv4Addr>,
    /// TCP port of the server; `None` for GRE.
    pub port: Option<u16>,
    /// The device that leads to the server, if known.
    pub dev: Option<String>,
    /// The states that the kernel may have for its connection.
    pub states: &'static [&'static str],
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    No,
    Maybe,
    Yes,
}

pub(super) const TCP: u8 = 6;
pub(super) const GRE: u8 = 47;

impl Match {
    fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    fn negate(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

impl Test {
    pub(super) const fn holds(self) -> Condition {
        Condition { negated: false, test: self }
    }
}

impl Condition {
    pub(super) fn matches(&self, packet: &Packet) -> Match {
        let found = self.test.matches(packet);
        if self.negated { found.negate() } else { found }
    }
}

impl Rule {
    /// Returns whether all conditions hold.
    pub(super) fn matches(&self, packet: &Packet) -> Match {
        self.conditions.iter().map(|condition| condition.matches(packet)).min().unwrap_or(Match::Yes)
    }
}

impl Test {
    fn matches(&self, packet: &Packet) -> Match {
        let incoming = packet.direction == Direction::In;
        let (from, to) =
            if incoming { (Some(packet.server), packet.local) } else { (packet.local, Some(packet.server)) };
        let address = |ranges: &[RangeInclusive<u32>], address: Option<Ipv4Addr>| match address {
            Some(address) => Match::of(ranges.iter().any(|range| range.contains(&address.to_bits()))),
            // A range of all addresses holds for an unknown one, too.
            None if ranges.contains(&(0..=u32::MAX)) => Match::Yes,
            None => Match::Maybe,
        };
        // The port of this host is not known, and GRE has none.
        let port = |ranges: &[RangeInclusive<u16>], of_server: bool| match packet.port.filter(|_| of_server) {
            Some(port) => Match::of(ranges.iter().any(|range| range.contains(&port))),
            None => Match::Maybe,
        };
        let device = |names: &[String]| match &packet.dev {
            Some(dev) => Match::of(names.iter().any(|name| is_device(name, dev))),
            None if names.iter().all(|name| name == "lo" || name == "lo0") => Match::No,
            None => Match::Maybe,
        };
        match self {
            Self::Protocol(numbers) => Match::of(numbers.contains(&packet.protocol)),
            Self::Source(ranges) => address(ranges, from),
            Self::Destination(ranges) => address(ranges, to),
            Self::SourcePort(ranges) => port(ranges, incoming),
            Self::DestinationPort(ranges) => port(ranges, !incoming),
            Self::InputDevice(names) => {
                if incoming {
                    device(names)
                } else {
                    Match::No
                }
            }
            Self::OutputDevice(names) => {
                if incoming {
                    Match::No
                } else {
                    device(names)
                }
            }
            Self::Device(names) => device(names),
            Self::Direction(direction) => Match::of(*direction == packet.direction),
            Self::State(names) => {
                let matching = packet.states.iter().filter(|state| names.iter().any(|name| name == *state));
                match matching.count() {
                    0 => Match::No,
                    all if all == packet.states.len() => Match::Yes,
                    _ => Match::Maybe,
                }
            }
            Self::AddressType(names) => {
                Match::of(names.iter().any(|name| name == if incoming { "local" } else { "unicast" }))
            }
            Self::Always(holds) => Match::of(*holds),
            Self::Unknown => Match::Maybe,
        }
    }
}

fn is_device(pattern: &str, dev: &str) -> bool {
    match pattern.strip_suffix(['*', '+']) {
        Some(start) => dev.starts_with(start),
        None => dev == pattern,
    }
}

/// Parses an address, a prefix, a prefix with a netmask, or a range of addresses.
pub(super) fn addresses(text: &str) -> Option<RangeInclusive<u32>> {
    if let Some((first, last)) = text.split_once('-') {
        return Some(first.parse::<Ipv4Addr>().ok()?.to_bits()..=last.parse::<Ipv4Addr>().ok()?.to_bits());
    }
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let mask = match length.parse::<Ipv4Addr>() {
        Ok(mask) => mask.to_bits(),
        Err(_) => u32::MAX.checked_shl(32_u32.checked_sub(length.parse().ok()?)?).unwrap_or(0),
    };
    let first = address.parse::<Ipv4Addr>().ok()?.to_bits() & mask;
    Some(first..=first | !mask)
}

/// Parses a port, or a range of ports with this separator.
pub(super) fn ports(text: &str, separator: char) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once(separator).unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// Returns the number of a protocol. 255 stands for those that no packet of a tunnel has.
pub(super) fn protocol(text: &str) -> u8 {
    match text {
        "tcp" => TCP,
        "gre" => GRE,
        number => number.parse().unwrap_or(255),
    }
}

/// Parses all values of a list; `Unknown` if one is not understood.
pub(super) fn each<T>(
    values: &[String],
    parse: impl Fn(&str) -> Option<T>,
    test: impl FnOnce(Vec<T>) -> Test,
) -> Test {
    values.iter().map(|value| parse(value)).collect::<Option<Vec<T>>>().map_or(Test::Unknown, test)
}
