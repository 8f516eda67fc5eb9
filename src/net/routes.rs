//! Platform-independent types for the entries of a kernel's routing table.
//!
//! Owns the data: a [`Route`], complete enough to restore one that was removed; an interface [`Address`]; the
//! result of a route lookup ([`RouteTo`]); and the [`Error`] of a request that the kernel refused. The
//! sockets belong to `netlink` (Linux) and `bsd`.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::platform::Platform;

/// The `rtm_protocol` of every route that this program adds on Linux, by which `ip route` and a later run
/// recognize it. The kernel does not interpret numbers from RTPROT_STATIC (4); neither linux/rtnetlink.h nor
/// iproute2's rt_protos assigns 112.
pub const PROTOCOL: u8 = 112;

/// Linux's main routing table.
pub const MAIN_TABLE: u32 = 254;

/// The metric that Linux stores for an IPv6 route that was added without one.
const IPV6_DEFAULT_METRIC: u32 = 1024;

/// One route, as listed by the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination prefix, without host bits.
    pub dest: IpNet,
    /// Table number; [`MAIN_TABLE`] by default.
    pub table: u32,
    /// Metric: lower is preferred, 0 is none. On OpenBSD, the route's priority.
    pub metric: u32,
    /// Type of service that packets must have; 0 is any.
    #[serde(default)]
    pub tos: u8,
    /// Whether packets are forwarded, delivered or refused.
    pub kind: Kind,
    /// Linux's `rtm_scope`, by number.
    #[serde(default)]
    pub scope: u8,
    /// The program that added it (`rtm_protocol`); [`PROTOCOL`] for this one.
    pub protocol: u8,
    /// One next hop, several for a multipath route, or none if packets are not forwarded.
    pub hops: Vec<Hop>,
    /// Preferred source address.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// Route metrics (RTAX_*): number and value (MTU is 2, advertised MSS is 8).
    #[serde(default)]
    pub metrics: Vec<(u16, u32)>,
    /// IPv6 router preference (RFC 4191); `None` for medium.
    #[serde(default)]
    pub preference: Option<u8>,
    /// Source and destination realm.
    #[serde(default)]
    pub realm: Option<(u16, u16)>,
    /// Route label, which pf(4) and bgpd(8) match (OpenBSD).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Attributes that this program cannot restore, in words. Usually empty; a route with an entry must not
    /// be removed.
    #[serde(default, rename = "beyond")]
    pub unrestorable: Vec<String>,
}

impl Route {
    /// Returns a route of this program through a device: no gateway, main table.
    #[must_use]
    pub fn through(dest: IpNet, dev: &str) -> Self {
        Self {
            dest: dest.trunc(),
            table: MAIN_TABLE,
            metric: default_metric(&dest, None),
            tos: 0,
            kind: Kind::Unicast,
            // RT_SCOPE_LINK for an IPv4 route without a gateway, as ip(8) sets it; IPv6 routes have no scope.
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

    /// Returns whether this program added the route.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL
    }

    /// Returns whether both have the same key: prefix, table, metric and type of service.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        self.dest == other.dest
            && self.table == other.table
            && self.metric == other.metric
            && self.tos == other.tos
    }

    /// Returns whether both have the same kind and next hops.
    #[must_use]
    pub fn same_next_hops(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.hops.len() == other.hops.len()
            && self.hops.iter().zip(&other.hops).all(|(a, b)| a.via == b.via && a.dev == b.dev)
    }

    /// Returns whether this route of the kernel is one that pptpctl has added as `made`.
    #[must_use]
    pub fn is_ours_as(&self, made: &Self) -> bool {
        self.is_ours() && self.same_key(made) && self.same_next_hops(made)
    }

    /// Returns whether one of the next hops uses this device.
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
    /// The gateway; `None` if the destination is on-link.
    #[serde(default)]
    pub via: Option<IpAddr>,
    /// Name of the device.
    #[serde(default)]
    pub dev: Option<String>,
    /// The gateway is on-link although no address of the interface covers it (RTNH_F_ONLINK).
    #[serde(default)]
    pub onlink: bool,
    /// Weight among several next hops, minus 1 (`rtnh_hops`); 0 for a single one.
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
    /// Forwards them.
    Unicast,
    /// Delivers them to this host.
    Local,
    /// Drops them silently.
    Blackhole,
    /// Rejects them with ICMP "host unreachable".
    Unreachable,
    /// Rejects them with ICMP "administratively prohibited".
    Prohibit,
    /// Continues the lookup in the next table.
    Throw,
    /// Another `rtm_type`, by number.
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

/// The result of a route lookup for one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTo {
    /// The gateway; `None` if the host is on-link.
    pub gateway: Option<IpAddr>,
    /// Name of the outgoing device.
    pub dev: String,
    /// The source address of packets to the host.
    pub source: Option<IpAddr>,
    /// The route's MTU in bytes, if it has one.
    pub mtu: Option<u32>,
    /// The address belongs to this host.
    pub local: bool,
}

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// This host's address.
    pub local: IpAddr,
    /// The other end of a point-to-point link.
    #[serde(default)]
    pub peer: Option<IpAddr>,
    /// Prefix length; of the peer's address if there is a peer.
    pub prefix: u8,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// MTU, in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
}

/// What an interface has carried since it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets and bytes received.
    pub received: (u64, u64),
    /// Packets and bytes sent.
    pub sent: (u64, u64),
    /// Packets that were to be sent and were not.
    pub dropped: u64,
    /// Packets received with an error.
    pub errors: u64,
}

/// How a route is inserted into its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// Only if no route has its key.
    New,
    /// In place of the route with its key.
    Replace,
    /// After the routes with its key.
    Append,
}

/// Which routes to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// Only this table; `None` for all.
    pub table: Option<u32>,
    /// Only routes to exactly this prefix.
    pub dest: Option<IpNet>,
}

impl Filter {
    /// Selects the routes to exactly this prefix in one table.
    #[must_use]
    pub fn to(dest: IpNet, table: u32) -> Self {
        Self { ipv6: matches!(dest, IpNet::V6(_)), table: Some(table), dest: Some(dest.trunc()) }
    }

    /// Selects the default routes of the main table.
    #[must_use]
    pub fn defaults(ipv6: bool) -> Self {
        Self::to(default_prefix(ipv6), MAIN_TABLE)
    }
}

/// Returns 0.0.0.0/0 or ::/0.
#[must_use]
pub fn default_prefix(ipv6: bool) -> IpNet {
    if ipv6 { IpNet::V6(ipnet::Ipv6Net::default()) } else { IpNet::V4(ipnet::Ipv4Net::default()) }
}

/// Returns the metric that this platform's kernel lists for a route that was added with the given one.
#[must_use]
pub fn default_metric(dest: &IpNet, metric: Option<u32>) -> u32 {
    metric_on(Platform::host(), dest, metric)
}

const fn metric_on(platform: Platform, dest: &IpNet, metric: Option<u32>) -> u32 {
    match (platform, dest, metric) {
        // The priority of a static route (RTP_STATIC).
        (Platform::OpenBsd, _, None) => 8,
        // Routes have no metric.
        (Platform::FreeBsd | Platform::NetBsd, ..) => 0,
        (Platform::Linux, IpNet::V6(_), None | Some(0)) => IPV6_DEFAULT_METRIC,
        (Platform::Linux, IpNet::V4(_), None) => 0,
        (Platform::Linux | Platform::OpenBsd, _, Some(metric)) => metric,
    }
}

/// A request that the kernel refused or did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {}", error_text(*.errno, .detail.as_deref()))]
pub struct Error {
    /// The request, such as "add route 10.0.0.0/8 dev tun0".
    pub what: String,
    /// The kernel's error number; `None` if the exchange itself failed.
    pub errno: Option<Errno>,
    /// The text of the kernel's extended acknowledgement, or this program's.
    pub detail: Option<String>,
}

impl Error {
    /// Returns an error with the kernel's error number.
    #[must_use]
    pub fn errno(what: impl Into<String>, errno: Errno) -> Self {
        Self { what: what.into(), errno: Some(errno), detail: None }
    }

    /// Returns an error that this program detected.
    #[must_use]
    pub fn other(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), errno: None, detail: Some(detail.into()) }
    }

    /// Returns whether the object does not exist: no such route, device, address or file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(
            self.errno,
            Some(Errno::ESRCH | Errno::ENODEV | Errno::ENOENT | Errno::EADDRNOTAVAIL | Errno::ENXIO)
        )
    }

    /// Returns whether the object to be added already exists.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.errno == Some(Errno::EEXIST)
    }

    /// Returns whether this process lacks the privilege (CAP_NET_ADMIN on Linux).
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self.errno, Some(Errno::EPERM | Errno::EACCES))
    }

    /// Returns whether there is no route to the destination.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self.errno, Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH))
    }
}

fn error_text(errno: Option<Errno>, detail: Option<&str>) -> String {
    match (errno, detail) {
        (Some(errno), Some(detail)) => format!("{} ({detail}, {errno:?})", errno.desc()),
        (Some(errno), None) => format!("{} ({errno:?})", errno.desc()),
        (None, Some(detail)) => detail.to_owned(),
        (None, None) => "failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A route that is looked up with another metric is not found, and stays for ever.
    #[test]
    fn metric_is_that_of_each_kernel() {
        let [v4, v6] = ["192.0.2.1/32", "2001:db8::/32"].map(|dest| dest.parse().unwrap());
        let metrics =
            |platform, dest| [None, Some(0), Some(9)].map(|metric| metric_on(platform, dest, metric));
        assert_eq!(metrics(Platform::Linux, &v4), [0, 0, 9]);
        assert_eq!(metrics(Platform::Linux, &v6), [1024, 1024, 9]);
        assert_eq!(metrics(Platform::OpenBsd, &v4), [8, 0, 9]);
        assert_eq!(metrics(Platform::FreeBsd, &v6), [0; 3]);
        assert_eq!(metrics(Platform::NetBsd, &v4), [0; 3]);
        assert_eq!(Route::through(v4, "tun0").metric, default_metric(&v4, None));
    }
}
