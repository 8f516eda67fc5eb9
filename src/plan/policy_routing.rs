//! Policy routing on Linux, what stays outside the tunnel, and what keeps traffic from leaving by another way (the
//! kill switch).
//!
//! Owns the steps, their places and their words. Which of them a profile needs is `build`'s. Everything here lives
//! in the kernel's routing tables and rules: it outlives the supervisor, and a reboot takes it away.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Facts, NextHop, Platform, Symbol, Value, render};

/// The table of a tunnel, which is also the mark of its transport, is one of [`SLOTS`] numbers from here on. They
/// keep clear of the bits that packet filters of others look at (0x4000 and 0x8000 of kube-proxy, 0xff0000 of
/// Tailscale, the 51820 of wg-quick).
pub const FIRST_TABLE: u32 = 0x1723_0000;
/// How many tunnels can have a table of their own.
pub const SLOTS: u32 = 0x1000;

/// One reversible deed of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum PolicyStep {
    /// A rule: which packets look in which table.
    Rule {
        /// Which.
        rule: PolicyRule,
        /// IPv6 instead of IPv4.
        ipv6: bool,
        /// The table of this tunnel.
        table: Value<u32>,
    },
    /// A route that refuses, behind the tunnel's own to the same place: what is meant for the tunnel goes nowhere
    /// while the tunnel is away.
    Block {
        /// Where to.
        dest: IpNet,
        /// `None` is the main table.
        table: Option<Value<u32>>,
    },
    /// A prefix that the tunnel's table leaves to the tables behind it.
    Throw {
        /// Where to.
        dest: IpNet,
        /// The table of this tunnel.
        table: Value<u32>,
    },
    /// A route that keeps a prefix on the way that the kernel uses now.
    Outside {
        /// Where to.
        dest: IpNet,
        /// The way.
        way: Value<NextHop>,
    },
}

/// The rules of one tunnel, in the order in which the kernel asks them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyRule {
    /// The transport's packets, told by server, protocol and port, follow the main table. Our sockets are marked and
    /// would not need it; but the kernel asks for the way back of what the server sends (`rp_filter`) without a mark.
    Server {
        /// The address really called.
        server: Value<IpAddr>,
        /// IP protocol number: 6 or 47.
        protocol: u8,
        /// The port of the control connection.
        port: Option<u16>,
    },
    /// Questions to resolvers (port 53) are meant for the tunnel, wherever the resolver is.
    Names {
        /// IP protocol number: 6 or 17.
        protocol: u8,
    },
    /// What the main table knows better than by a default route goes there.
    Main,
    /// All but the transport looks into the tunnel's table.
    Tunnel,
}

/// The place on the host that such a step occupies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PolicyKey {
    /// One rule.
    Rule(PolicyRule, bool, Value<u32>),
    /// The last resort for a prefix in a table.
    Block(IpNet, Option<Value<u32>>),
    /// A prefix in a tunnel's table.
    Throw(IpNet, Value<u32>),
    /// A route of the main table.
    Outside(IpNet),
}

impl PolicyRule {
    /// Where a rule of this kind stands: below the main table's 32766, above whatever is made later without saying
    /// where, and on a place of its own for each tunnel, so that no two tunnels' rules are ever the same.
    #[must_use]
    pub const fn priority(&self, table: u32) -> u32 {
        let kind = match self {
            Self::Server { .. } => 0,
            Self::Names { .. } => 1,
            Self::Main => 2,
            Self::Tunnel => 3,
        };
        FIRST_PRIORITY + kind * SLOTS + table % SLOTS
    }
}

const FIRST_PRIORITY: u32 = 12_000;

impl PolicyStep {
    pub(super) fn key(&self) -> PolicyKey {
        match self {
            Self::Rule { rule, ipv6, table } => PolicyKey::Rule(rule.clone(), *ipv6, table.clone()),
            Self::Block { dest, table } => PolicyKey::Block(*dest, table.clone()),
            Self::Throw { dest, table } => PolicyKey::Throw(*dest, table.clone()),
            Self::Outside { dest, .. } => PolicyKey::Outside(*dest),
        }
    }

    /// The table of this tunnel, if the step says which it is.
    #[must_use]
    pub const fn table(&self) -> Option<u32> {
        match self {
            Self::Rule { table: Value::Known(table), .. }
            | Self::Throw { table: Value::Known(table), .. }
            | Self::Block { table: Some(Value::Known(table)), .. } => Some(*table),
            _ => None,
        }
    }

    pub(super) fn open(&self) -> Vec<Symbol> {
        let open = match self {
            Self::Rule { rule: PolicyRule::Server { server, .. }, table, .. } => {
                vec![server.open(), table.open()]
            }
            Self::Rule { table, .. } | Self::Throw { table, .. } => vec![table.open()],
            Self::Block { table, .. } => vec![table.as_ref().and_then(Value::open)],
            Self::Outside { way, .. } => vec![way.open()],
        };
        open.into_iter().flatten().collect()
    }

    pub(super) fn fill(&mut self, facts: &Facts) {
        match self {
            Self::Rule { rule, table, .. } => {
                table.fill(facts.table.as_ref());
                if let PolicyRule::Server { server, .. } = rule {
                    server.fill(facts.server.as_ref());
                }
            }
            Self::Throw { table, .. } | Self::Block { table: Some(table), .. } => {
                table.fill(facts.table.as_ref());
            }
            Self::Block { table: None, .. } => {}
            Self::Outside { dest, way } => {
                let found = facts.outside.iter().find(|(prefix, _)| prefix == dest);
                way.fill(found.and_then(|(_, way)| way.as_ref()));
            }
        }
    }

    pub(super) const fn is_volatile(&self) -> bool {
        true
    }

    pub(super) const fn is_in_namespace(&self) -> bool {
        true
    }

    /// None of it leads through the device: it is there for the time when the device is not.
    pub(super) const fn is_of_device(&self) -> bool {
        false
    }

    pub(super) fn line(&self, platform: Platform) -> String {
        self.words(platform, "add")
    }

    pub(super) fn undo_line(&self, platform: Platform) -> Option<String> {
        Some(self.words(platform, if platform == Platform::Linux { "del" } else { "delete" }))
    }

    fn words(&self, platform: Platform, verb: &str) -> String {
        match (self, platform) {
            (Self::Rule { rule, ipv6, table }, _) => {
                let family = if *ipv6 { " -6" } else { "" };
                // Which place it gets follows from the table.
                let place = table.known().map(|table| format!("priority {} ", rule.priority(*table)));
                format!("ip{family} rule {verb} {}{}", place.unwrap_or_default(), rule.words(table))
            }
            (Self::Throw { dest, table }, _) => {
                format!("ip{} route {verb} throw {} table {table}", dash6(dest), render::place(dest))
            }
            (Self::Block { dest, table }, Platform::Linux) => {
                let table = table.as_ref().map_or(String::new(), |table| format!(" table {table}"));
                let place = render::place(dest);
                format!("ip{} route {verb} unreachable {place} metric {}{table}", dash6(dest), u32::MAX)
            }
            (Self::Block { dest: dest @ IpNet::V4(_), .. }, _) => {
                format!("route {verb} -net {dest} 127.0.0.1 -reject")
            }
            (Self::Block { dest: dest @ IpNet::V6(_), .. }, _) => {
                format!("route {verb} -inet6 -net {dest} ::1 -reject")
            }
            (Self::Outside { dest, way }, Platform::Linux) => {
                format!("ip{} route {verb} {dest} {}", dash6(dest), render::linux_way(way))
            }
            (Self::Outside { dest, way }, _) => {
                let family = if matches!(dest, IpNet::V6(_)) { " -inet6" } else { "" };
                format!("route {verb}{family} -net {dest} {}", render::bsd_way(way, platform))
            }
        }
    }
}

impl PolicyRule {
    fn words(&self, table: &Value<u32>) -> String {
        match self {
            Self::Server { server, protocol, port } => {
                let port = port.map_or(String::new(), |port| format!(" dport {port}"));
                let protocol = protocol_name(*protocol);
                format!("to {server} ipproto {protocol}{port} lookup main")
            }
            Self::Names { protocol } => {
                format!("ipproto {} dport 53 lookup {table}", protocol_name(*protocol))
            }
            Self::Main => "lookup main suppress_prefixlength 0".to_owned(),
            Self::Tunnel => format!("not fwmark {table} lookup {table}"),
        }
    }
}

const fn protocol_name(number: u8) -> &'static str {
    match number {
        6 => "tcp",
        17 => "udp",
        _ => "gre",
    }
}

const fn dash6(dest: &IpNet) -> &'static str {
    if matches!(dest, IpNet::V6(_)) { " -6" } else { "" }
}
