//! Steps of policy routing on Linux, of excluded prefixes, and of the kill switch.
//!
//! Owns the steps, their keys and their text. `kill_switch` decides which of them a profile needs. All of
//! them are routes and rules in the kernel: they outlive the supervisor and disappear on reboot.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Facts, NextHop, Symbol, Value,
    kind::{Key, StepKind, StepTraits},
    notation::{bsd_next_hop, dash_6, dash_inet6, delete, linux_next_hop, route_destination},
};
use crate::platform::Platform;

/// The first of the [`SLOTS`] numbers for tables of tunnels, which are also the marks of their transports.
/// They avoid the marks of other programs (0x4000 and 0x8000 of kube-proxy, 0xff0000 of Tailscale, 51820 of
/// wg-quick).
pub const FIRST_TABLE: u32 = 0x1723_0000;
/// The largest number of tunnels that can have a table.
pub const SLOTS: u32 = 0x1000;

/// One step of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum PolicyStep {
    /// A rule that selects the routing table for some packets.
    Rule {
        /// The kind of rule.
        rule: PolicyRule,
        /// IPv6 instead of IPv4.
        ipv6: bool,
        /// The tunnel's routing table.
        table: Value<u32>,
    },
    /// A blocking route, behind the tunnel's route to the same prefix: rejects packets for the tunnel while
    /// that route is absent.
    Block {
        /// The destination prefix.
        dest: IpNet,
        /// The routing table; `None` is the main table.
        table: Option<Value<u32>>,
    },
    /// A prefix that the tunnel's table leaves to the rules that follow.
    Throw {
        /// The destination prefix.
        dest: IpNet,
        /// The tunnel's routing table.
        table: Value<u32>,
    },
    /// A route that keeps a prefix on the next hop that the kernel uses now.
    Outside {
        /// The destination prefix.
        dest: IpNet,
        /// The next hop.
        way: Value<NextHop>,
    },
}

/// The rules of one tunnel, in the order in which the kernel evaluates them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyRule {
    /// Sends the transport's packets, identified by server, protocol and port, to the main table. The marked
    /// sockets do not need it, but the kernel's reverse path check (`rp_filter`) of the server's packets uses
    /// no mark.
    Server {
        /// The server address that is dialled.
        server: Value<IpAddr>,
        /// IP protocol number: 6 or 47.
        protocol: u8,
        /// The port of the control connection; `None` matches any.
        port: Option<u16>,
    },
    /// Sends DNS queries (port 53) to the tunnel's table, wherever the resolver is.
    Names {
        /// IP protocol number: 6 or 17.
        protocol: u8,
    },
    /// Sends packets to DHCP servers to the main table, unless only a default route leads there: a lease can
    /// be renewed.
    Dhcp,
    /// Sends packets for a connected network in local address space to the main table, unless only a default
    /// route leads there. With the kill switch these rules replace [`PolicyRule::Main`].
    Connected {
        /// The network. A plan with an open value gets one rule for each network of the facts.
        dest: Value<IpNet>,
    },
    /// Sends packets of this protocol to the tunnel's table, so that none is left for
    /// [`PolicyRule::Answered`].
    Carried {
        /// IP protocol number.
        protocol: u8,
    },
    /// Sends the rest of the packets for a connected network in other than local address space to the main
    /// table. With `rp_filter` the kernel answers an ARP request only if a packet without protocol to the
    /// sender would leave by the same interface; without an answer the gateway could not send us anything.
    Answered {
        /// The network. A plan with an open value gets one rule for each network of the facts.
        dest: Value<IpNet>,
    },
    /// Sends packets to the main table if it has a more specific route for them than a default route.
    Main,
    /// Sends everything but the transport's packets to the tunnel's table.
    Tunnel,
}

impl PolicyRule {
    /// Returns the priority of a rule of this kind. It is less than the main table's 32766 and greater than
    /// that of rules added later without a priority, and differs between tunnels, so that no two tunnels have
    /// the same rule.
    #[must_use]
    pub const fn priority(&self, table: u32) -> u32 {
        let kind = match self {
            Self::Server { .. } | Self::Dhcp => 0,
            Self::Names { .. } => 1,
            Self::Connected { .. } | Self::Main => 2,
            Self::Carried { .. } => 3,
            Self::Answered { .. } => 4,
            Self::Tunnel => 5,
        };
        FIRST_PRIORITY + kind * SLOTS + table % SLOTS
    }

    /// Returns the priority of such a rule of version 0.1.0, if that version had it: a ledger of that version is
    /// undone by this one. No rule of another tunnel has this priority and the same words.
    #[must_use]
    pub const fn priority_in_0_1_0(&self, table: u32) -> Option<u32> {
        let kind = match self {
            Self::Server { .. } => 0,
            Self::Names { .. } => 1,
            Self::Main => 2,
            Self::Tunnel => 3,
            Self::Dhcp | Self::Connected { .. } | Self::Carried { .. } | Self::Answered { .. } => {
                return None;
            }
        };
        Some(12_000 + kind * SLOTS + table % SLOTS)
    }
}

/// After the rules of Tailscale (5210 to 5270).
const FIRST_PRIORITY: u32 = 7_000;

impl StepKind for PolicyStep {
    fn key(&self) -> Key {
        match self {
            Self::Rule { .. } => Key::of("rule", self),
            Self::Block { .. } => Key::of("block", self),
            Self::Throw { .. } => Key::of("throw", self),
            Self::Outside { dest, .. } => Key::of("outside", dest),
        }
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        match self {
            Self::Rule { rule, table, .. } => {
                let address = match rule {
                    PolicyRule::Server { server, .. } => server.fill(&facts.server),
                    // `resolve` fills it in: there may be several.
                    PolicyRule::Connected { dest } | PolicyRule::Answered { dest } => dest.open(),
                    PolicyRule::Names { .. }
                    | PolicyRule::Dhcp
                    | PolicyRule::Carried { .. }
                    | PolicyRule::Main
                    | PolicyRule::Tunnel => None,
                };
                vec![address, table.fill(&facts.table)]
            }
            Self::Throw { table, .. } => vec![table.fill(&facts.table)],
            Self::Block { table, .. } => {
                vec![table.as_mut().and_then(|table| table.fill(&facts.table))]
            }
            Self::Outside { dest, way } => {
                let found = facts.outside.iter().find(|(prefix, _)| prefix == dest);
                vec![way.fill(found.and_then(|(_, way)| way.as_ref()))]
            }
        }
    }

    fn line(&self, platform: Platform) -> String {
        self.words(platform, "add")
    }

    fn undo_line(&self, platform: Platform) -> Option<String> {
        Some(self.words(platform, delete(platform)))
    }

    fn traits(&self) -> StepTraits {
        // Rules must stay in force while a lost device is replaced.
        let is_shared = matches!(self, Self::Outside { .. });
        StepTraits { is_routing: true, is_shared, ..StepTraits::OF_HOST }
    }
}

impl PolicyStep {
    /// Returns the tunnel's routing table, if the step contains its number.
    #[must_use]
    pub const fn table(&self) -> Option<u32> {
        match self {
            Self::Rule { table: Value::Known(table), .. }
            | Self::Throw { table: Value::Known(table), .. }
            | Self::Block { table: Some(Value::Known(table)), .. } => Some(*table),
            _ => None,
        }
    }

    fn words(&self, platform: Platform, verb: &str) -> String {
        match (self, platform) {
            (Self::Rule { rule, ipv6, table }, _) => {
                let family = if *ipv6 { " -6" } else { "" };
                // The priority is derived from the table.
                let place = table.known().map(|table| format!("priority {} ", rule.priority(*table)));
                format!("ip{family} rule {verb} {}{}", place.unwrap_or_default(), rule.words(table))
            }
            (Self::Throw { dest, table }, _) => {
                format!("ip{} route {verb} throw {} table {table}", dash_6(dest), route_destination(dest))
            }
            (Self::Block { dest, table }, Platform::Linux) => {
                let table = table.as_ref().map_or(String::new(), |table| format!(" table {table}"));
                let place = route_destination(dest);
                format!("ip{} route {verb} unreachable {place} metric {}{table}", dash_6(dest), u32::MAX)
            }
            (Self::Block { dest, .. }, _) => {
                let lo = if matches!(dest, IpNet::V6(_)) { "::1" } else { "127.0.0.1" };
                format!("route {verb}{} -net {dest} {lo} -reject", dash_inet6(dest))
            }
            (Self::Outside { dest, way }, Platform::Linux) => {
                format!("ip{} route {verb} {dest} {}", dash_6(dest), linux_next_hop(way))
            }
            (Self::Outside { dest, way }, _) => {
                format!("route {verb}{} -net {dest} {}", dash_inet6(dest), bsd_next_hop(way, platform))
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
            Self::Dhcp => "ipproto udp dport 67 lookup main suppress_prefixlength 0".to_owned(),
            Self::Carried { protocol } => {
                format!("ipproto {} lookup {table}", protocol_name(*protocol))
            }
            Self::Connected { dest } | Self::Answered { dest } => {
                format!("to {dest} lookup main suppress_prefixlength 0")
            }
            Self::Main => "lookup main suppress_prefixlength 0".to_owned(),
            Self::Tunnel => format!("not fwmark {table} lookup {table}"),
        }
    }
}

fn protocol_name(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        47 => "gre".to_owned(),
        other => other.to_string(),
    }
}
