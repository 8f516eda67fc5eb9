//! The rules of Linux's policy routing (ip-rule(8)), in words that need no kernel: which packets look in which
//! table, lowest priority first.
//!
//! Owns the data and its words. How the kernel is asked is `netlink`'s; which rules a tunnel needs is `plan`'s.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::routes::MAIN_TABLE;

/// The priority of the rule that leads to the main table when nobody has changed it.
pub const MAIN_PRIORITY: u32 = 32_766;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// Lower comes first.
    pub priority: u32,
    /// The packets that do *not* match the rest.
    #[serde(default)]
    pub not: bool,
    /// Packets with this mark (all 32 bits of it).
    #[serde(default)]
    pub mark: Option<u32>,
    /// Packets to here.
    #[serde(default)]
    pub to: Option<IpNet>,
    /// Packets of this IP protocol.
    #[serde(default)]
    pub ip_protocol: Option<u8>,
    /// Packets to this port.
    #[serde(default)]
    pub port: Option<u16>,
    /// Routes of the table that are no longer than this are passed over.
    #[serde(default)]
    pub suppress_prefix: Option<u32>,
    /// The table.
    pub table: u32,
    /// Who made it (`FRA_PROTOCOL`); [`super::routes::PROTOCOL`] for ours.
    pub protocol: u8,
    /// What else the kernel said about it: it is none that this program would make.
    #[serde(default, rename = "beyond")]
    pub unrestorable: bool,
}

impl Rule {
    /// Whether this program made it.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.protocol == super::routes::PROTOCOL
    }

    /// Whether a packet with this mark to this destination is one of those that the rule is for, as far as mark and
    /// destination tell; a rule for one protocol or port is for no packet of which neither is known.
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
    /// The words of `ip rule`, without "ip rule add".
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

/// The name of an IP protocol, of those that rules are made for here.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    match number {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        47 => "gre".to_owned(),
        other => other.to_string(),
    }
}
