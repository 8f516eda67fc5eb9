//! What a kernel's routing table holds, in words that every platform shares.
//!
//! Owns the data: a [`Route`] as complete as it takes to put one back after it was removed, an interface
//! [`Address`], the answer to "which way to this host" ([`RouteTo`]), and the [`Error`] of a kernel that said
//! no. Does not own the sockets: `netlink` speaks to Linux, `bsd` to the BSDs.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// The `rtm_protocol` of every route that this program makes on Linux: how `ip route` and a later run tell
/// ours from others. The kernel leaves 0x50 to 0xff free for programs like this; 112 is in nobody's rt_protos.
pub const PROTOCOL: u8 = 112;

/// Linux's main routing table.
pub const MAIN_TABLE: u32 = 254;

/// The metric that Linux writes down for an IPv6 route that was added without one.
pub const IPV6_DEFAULT_METRIC: u32 = 1024;

/// One route, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub dest: IpNet,
    /// Table number ([`MAIN_TABLE`] for the usual one).
    pub table: u32,
    /// Lower is preferred; 0 is none.
    pub metric: u32,
    /// Type of service that it is limited to; 0 is any.
    #[serde(default)]
    pub tos: u8,
    /// Whether packets go somewhere or are refused.
    pub kind: Kind,
    /// Linux's `rtm_scope`, by number.
    #[serde(default)]
    pub scope: u8,
    /// Who made it (`rtm_protocol`); [`PROTOCOL`] for ours.
    pub protocol: u8,
    /// One next hop, or several for a multipath route, or none when the packets go nowhere.
    pub hops: Vec<Hop>,
    /// Preferred source address.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// Route metrics in the sense of RTAX_*: number and value (mtu is 2, advmss is 8).
    #[serde(default)]
    pub metrics: Vec<(u16, u32)>,
    /// IPv6 router preference (RFC 4191), when it is not medium.
    #[serde(default)]
    pub preference: Option<u8>,
    /// Source and destination realm.
    #[serde(default)]
    pub realm: Option<(u16, u16)>,
    /// What pf(4) and bgpd(8) know it by (OpenBSD).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What else the kernel said about it that this program could not put back: in words. Empty in the
    /// ordinary case; a route with anything here must not be removed.
    #[serde(default, rename = "beyond")]
    pub unrestorable: Vec<String>,
}

impl Route {
    /// A route of ours into a device: no gateway, main table.
    #[must_use]
    pub fn through(dest: IpNet, dev: &str) -> Self {
        Self {
            dest: dest.trunc(),
            table: MAIN_TABLE,
            metric: default_metric(&dest, None),
            tos: 0,
            kind: Kind::Unicast,
            // Scope link for an IPv4 route without a gateway, as ip(8) writes it; IPv6 knows no scopes.
            scope: if matches!(dest, IpNet::V4(_)) { 253 } else { 0 },
            protocol: PROTOCOL,
            hops: vec![Hop { via: None, dev: Some(dev.to_owned()), onlink: false, weight: 0 }],
            source: None,
            metrics: Vec::new(),
            preference: None,
            realm: None,
            label: None,
            unrestorable: Vec::new(),
        }
    }

    /// Whether this program made it.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL
    }

    /// Whether both occupy the same place in the kernel's table: prefix, table, metric and type of service.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        self.dest == other.dest
            && self.table == other.table
            && self.metric == other.metric
            && self.tos == other.tos
    }

    /// Whether packets take the same way: the same hops, whoever made the route.
    #[must_use]
    pub fn same_way(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.hops.len() == other.hops.len()
            && self.hops.iter().zip(&other.hops).all(|(a, b)| a.via == b.via && a.dev == b.dev)
    }

    /// Whether one of its hops leaves by this device.
    #[must_use]
    pub fn leaves_by(&self, dev: &str) -> bool {
        self.hops.iter().any(|hop| hop.dev.as_deref() == Some(dev))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != Kind::Unicast {
            write!(f, "{} ", self.kind)?;
        }
        match self.dest.prefix_len() {
            0 => f.write_str("default")?,
            _ => self.dest.fmt(f)?,
        }
        for hop in &self.hops {
            if self.hops.len() > 1 {
                write!(f, " nexthop")?;
            }
            write!(f, "{hop}")?;
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        if let Some(label) = &self.label {
            write!(f, " label {label}")?;
        }
        Ok(())
    }
}

/// One next hop of a [`Route`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The gateway; `None` when the destination is on the link itself.
    #[serde(default)]
    pub via: Option<IpAddr>,
    /// The device, by name.
    #[serde(default)]
    pub dev: Option<String>,
    /// The gateway is taken to be on the link though no address says so.
    #[serde(default)]
    pub onlink: bool,
    /// Share among several hops, less one (`rtnh_hops`); 0 for a single hop.
    #[serde(default)]
    pub weight: u8,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        if self.onlink {
            f.write_str(" onlink")?;
        }
        Ok(())
    }
}

/// What a route does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Sends them on.
    Unicast,
    /// Hands them to this host.
    Local,
    /// Drops them silently.
    Blackhole,
    /// Answers that the host is unreachable.
    Unreachable,
    /// Answers that it is prohibited.
    Prohibit,
    /// Goes on to the next table.
    Throw,
    /// Some other `rtm_type`, by number.
    Other(u8),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unicast => f.write_str("unicast"),
            Self::Local => f.write_str("local"),
            Self::Blackhole => f.write_str("blackhole"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Prohibit => f.write_str("prohibit"),
            Self::Throw => f.write_str("throw"),
            Self::Other(number) => write!(f, "type-{number}"),
        }
    }
}

/// The kernel's answer to "which way to this host".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTo {
    /// The gateway; `None` when the host is on the link.
    pub gateway: Option<IpAddr>,
    /// The device.
    pub dev: String,
    /// The source address that packets get.
    pub source: Option<IpAddr>,
    /// The path MTU that the route knows of, in bytes.
    pub mtu: Option<u32>,
    /// The address is one of this host's own.
    pub local: bool,
}

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Our own.
    pub local: IpAddr,
    /// The other end of a point-to-point link.
    #[serde(default)]
    pub peer: Option<IpAddr>,
    /// Prefix length, of the peer's side where there is one.
    pub prefix: u8,
}

/// What is known about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
}

/// How a route is put into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// Only if nothing has its key.
    New,
    /// In the place of what has its key.
    Replace,
    /// Behind what has its key.
    Append,
}

/// Which routes to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// Only this table; `None` lists all.
    pub table: Option<u32>,
    /// Only routes to exactly this prefix.
    pub dest: Option<IpNet>,
}

impl Filter {
    /// The routes to exactly this prefix in one table.
    #[must_use]
    pub fn to(dest: IpNet, table: u32) -> Self {
        Self { ipv6: matches!(dest, IpNet::V6(_)), table: Some(table), dest: Some(dest.trunc()) }
    }

    /// The default routes of the main table.
    #[must_use]
    pub fn defaults(ipv6: bool) -> Self {
        Self::to(default_prefix(ipv6), MAIN_TABLE)
    }
}

/// 0.0.0.0/0 or ::/0.
#[must_use]
pub fn default_prefix(ipv6: bool) -> IpNet {
    if ipv6 { IpNet::V6(ipnet::Ipv6Net::default()) } else { IpNet::V4(ipnet::Ipv4Net::default()) }
}

/// The metric that the kernel will list for a route that is added with this one.
#[must_use]
pub fn default_metric(dest: &IpNet, metric: Option<u32>) -> u32 {
    if cfg!(target_os = "openbsd") {
        // The priority of a static route (RTP_STATIC).
        return metric.unwrap_or(8);
    }
    if cfg!(any(target_os = "freebsd", target_os = "netbsd")) {
        // There routes have none.
        return 0;
    }
    match (dest, metric) {
        (IpNet::V6(_), None | Some(0)) => IPV6_DEFAULT_METRIC,
        (IpNet::V4(_), None) => 0,
        (_, Some(metric)) => metric,
    }
}

/// The kernel refused, or could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {}", words(*.errno, .detail.as_deref()))]
pub struct Error {
    /// What was asked for: "add route 10.0.0.0/8 dev tun0".
    pub what: String,
    /// The kernel's number for the refusal; `None` when the exchange itself went wrong.
    pub errno: Option<Errno>,
    /// The kernel's own words (extended acknowledgement), or ours.
    pub detail: Option<String>,
}

impl Error {
    /// A refusal by number.
    #[must_use]
    pub fn errno(what: impl Into<String>, errno: Errno) -> Self {
        Self { what: what.into(), errno: Some(errno), detail: None }
    }

    /// Something that the kernel did not say itself.
    #[must_use]
    pub fn other(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), errno: None, detail: Some(detail.into()) }
    }

    /// Whether what was to be removed is not there: no such route, device, address or file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(
            self.errno,
            Some(Errno::ESRCH | Errno::ENODEV | Errno::ENOENT | Errno::EADDRNOTAVAIL | Errno::ENXIO)
        )
    }

    /// Whether what was to be added is there already.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.errno == Some(Errno::EEXIST)
    }

    /// Whether the caller lacks the right (CAP_NET_ADMIN).
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self.errno, Some(Errno::EPERM | Errno::EACCES))
    }

    /// Whether there is no way to the place.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self.errno, Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH))
    }
}

fn words(errno: Option<Errno>, detail: Option<&str>) -> String {
    match (errno, detail) {
        (Some(errno), Some(detail)) => format!("{} ({detail}, {errno:?})", errno.desc()),
        (Some(errno), None) => format!("{} ({errno:?})", errno.desc()),
        (None, Some(detail)) => detail.to_owned(),
        (None, None) => "failed".to_owned(),
    }
}
