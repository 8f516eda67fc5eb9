//! The rules of Linux's policy routing (ip-rule(8)) as plain data: which packets are routed by which table.
//! The rule with the lowest priority comes first.
//!
//! Owns the data and its display. `netlink` sends the requests; `plan` decides which rules a tunnel needs.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::routes::MAIN_TABLE;

/// One rule. A packet must match all selectors that are not `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// Priority; the lowest comes first.
    pub priority: u32,
    /// Inverts the match of the selectors.
    #[serde(default)]
    pub not: bool,
    /// Firewall mark of the packet, all 32 bits.
    #[serde(default)]
    pub mark: Option<u32>,
    /// Destination prefix of the packet.
    #[serde(default)]
    pub to: Option<IpNet>,
    /// IP protocol number of the packet.
    #[serde(default)]
    pub ip_protocol: Option<u8>,
    /// Destination port of the packet.
    #[serde(default)]
    pub port: Option<u16>,
    /// Only packets that this host sends itself (`iif lo`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_this_host: bool,
    /// Ignores routes of the table with a prefix length up to this one.
    #[serde(default)]
    pub suppress_prefix: Option<u32>,
    /// The table to look up.
    pub table: u32,
    /// The program that added the rule (`FRA_PROTOCOL`); [`super::routes::PROTOCOL`] for this one.
    pub protocol: u8,
    /// Has other attributes, so that it cannot be a rule of this program.
    #[serde(default, rename = "beyond")]
    pub unrestorable: bool,
}

impl Rule {
    /// Returns a rule of this program that leads all packets to a table.
    #[must_use]
    pub const fn for_all(ipv6: bool, priority: u32, table: u32) -> Self {
        Self {
            ipv6,
            priority,
            not: false,
            mark: None,
            to: None,
            ip_protocol: None,
            port: None,
            of_this_host: false,
            suppress_prefix: None,
            table,
            protocol: super::routes::PROTOCOL,
            unrestorable: false,
        }
    }

    /// Returns whether the table is none of those that every Linux host has: local, main and default.
    #[must_use]
    pub const fn has_own_table(&self) -> bool {
        !matches!(self.table, 255 | MAIN_TABLE | 253)
    }

    /// Returns whether this program added the rule.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.protocol == super::routes::PROTOCOL
    }

    /// Returns whether the rule selects a packet with this destination and mark. The packet's protocol and
    /// port are unknown, so selectors for them do not match.
    #[must_use]
    pub fn matches(&self, to: std::net::IpAddr, mark: u32) -> bool {
        let selected = self.mark.is_none_or(|wanted| wanted == mark)
            && self.to.is_none_or(|prefix| prefix.contains(&to))
            && self.ip_protocol.is_none()
            && self.port.is_none();
        self.ipv6 == to.is_ipv6() && !self.unrestorable && selected != self.not
    }
}

impl fmt::Display for Rule {
    /// Writes the arguments of `ip rule add`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priority {}", self.priority)?;
        if self.not {
            f.write_str(" not")?;
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some(mark) = self.mark {
            write!(f, " fwmark {mark:#x}")?;
        }
        if self.of_this_host {
            f.write_str(" iif lo")?;
        }
        if let Some(number) = self.ip_protocol {
            write!(f, " ipproto {}", protocol_name(number))?;
        }
        if let Some(port) = self.port {
            write!(f, " dport {port}")?;
        }
        match self.table {
            MAIN_TABLE => f.write_str(" lookup main")?,
            table => write!(f, " lookup {table}")?,
        }
        if let Some(length) = self.suppress_prefix {
            write!(f, " suppress_prefixlength {length}")?;
        }
        Ok(())
    }
}

/// Returns the name of an IP protocol that rules are made for, or the number.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    match number {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        47 => "gre".to_owned(),
        other => other.to_string(),
    }
}
