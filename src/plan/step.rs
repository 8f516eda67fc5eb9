//! The steps themselves, and what makes two of them the same.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    NextHop, Platform, Symbol, Value,
    dns::{DnsKey, DnsStep},
    firewall::{FirewallKey, FirewallStep},
    hook::{HookKey, HookStep},
    policy_routing::{PolicyKey, PolicyStep},
    ppp_daemon::{PppKey, PppStep},
    render,
};

/// One reversible deed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Step {
    /// Opens the tun device. Undone by closing it: it goes with its last descriptor.
    OpenTun {
        /// The N of tunN; `None` takes the first free one.
        unit: Option<u32>,
    },
    /// A route to the server alone, by the way that the kernel uses now.
    HostRoute {
        /// The address really called.
        server: Value<IpAddr>,
        /// The way.
        way: Value<NextHop>,
        /// Needed only if the server is in one of these (the prefixes that will lead into the tunnel).
        within: Vec<IpNet>,
    },
    /// The largest packet of the tun device. Undone by setting what it was.
    Mtu {
        /// The device.
        tun: Value<String>,
        /// Bytes.
        mtu: Value<u16>,
    },
    /// Places the tun device in a routing domain (OpenBSD) or gives it a FIB (FreeBSD). Before it has an address: a
    /// change of the domain takes them away.
    Domain {
        /// The device.
        tun: Value<String>,
        /// The routing domain, or FIB.
        number: u32,
    },
    /// Our address, and the peer's, on the tun device.
    Address {
        /// The device.
        tun: Value<String>,
        /// Ours.
        local: Value<Ipv4Addr>,
        /// The other end; `None` when no route to it is wanted.
        peer: Option<Value<Ipv4Addr>>,
    },
    /// Our IPv6 link-local address on the tun device, from the interface identifiers of IPV6CP (RFC 5072 §5).
    Address6 {
        /// The device.
        tun: Value<String>,
        /// Ours.
        local: Value<Ipv6Addr>,
        /// The other end.
        peer: Value<Ipv6Addr>,
    },
    /// Brings the tun device up.
    Up {
        /// The device.
        tun: Value<String>,
    },
    /// Writes the supervisor's process number to `tunX.pid`.
    PidFile {
        /// The platform's run directory.
        dir: PathBuf,
        /// The device, which names the file.
        tun: Value<String>,
        /// What is written.
        pid: Value<u32>,
    },
    /// A route into the tunnel.
    Route {
        /// The device.
        tun: Value<String>,
        /// Where to.
        dest: IpNet,
        /// Lower is preferred; `None` leaves it to the platform.
        metric: Option<u32>,
        /// A routing table by number; `None` is the main one.
        table: Option<Value<u32>>,
        /// The next hop, for platforms whose routes name the peer instead of the device.
        peer: Option<Value<Ipv4Addr>>,
        /// What pf(4) and bgpd(8) know it by (OpenBSD).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Removes the default routes of the main table; each is remembered and put back.
    RemoveDefault {
        /// IPv6 instead of IPv4.
        ipv6: bool,
    },
    /// Lets GRE packets through to us: OpenBSD's `net.inet.gre.allow`.
    AllowGre,
    /// An external PPP.
    Ppp(PppStep),
    /// Policy routing and the kill switch.
    Policy(PolicyStep),
    /// The packet filter.
    Firewall(FirewallStep),
    /// The resolvers.
    Dns(DnsStep),
    /// A program of the user's own.
    Hook(HookStep),
}

/// The place on the host that a step occupies: a step with the same key takes it over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The one tun device of the tunnel.
    Tun,
    /// The host route to one address.
    HostRoute(Value<IpAddr>),
    /// The MTU of a device.
    Mtu(Value<String>),
    /// The routing domain or FIB of a device.
    Domain(Value<String>),
    /// One IPv4 address of a device: local and peer.
    Address(Value<String>, Value<Ipv4Addr>, Option<Value<Ipv4Addr>>),
    /// One IPv6 address of a device.
    Address6(Value<String>, Value<Ipv6Addr>, Value<Ipv6Addr>),
    /// Whether a device is up.
    Up(Value<String>),
    /// One file.
    File(PathBuf),
    /// One route: prefix, table, metric.
    Route(IpNet, Option<Value<u32>>, Option<u32>),
    /// The default routes of a family.
    Default(bool),
    /// `net.inet.gre.allow`.
    AllowGre,
    /// Of a [`PppStep`].
    Ppp(PppKey),
    /// Of a [`PolicyStep`].
    Policy(PolicyKey),
    /// Of a [`FirewallStep`].
    Firewall(FirewallKey),
    /// Of a [`DnsStep`].
    Dns(DnsKey),
    /// Of a [`HookStep`].
    Hook(HookKey),
}

impl Step {
    /// The place that it occupies.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::OpenTun { .. } => Key::Tun,
            Self::HostRoute { server, .. } => Key::HostRoute(server.clone()),
            Self::Mtu { tun, .. } => Key::Mtu(tun.clone()),
            Self::Domain { tun, .. } => Key::Domain(tun.clone()),
            Self::Address { tun, local, peer } => Key::Address(tun.clone(), local.clone(), peer.clone()),
            Self::Address6 { tun, local, peer } => Key::Address6(tun.clone(), local.clone(), peer.clone()),
            Self::Up { tun } => Key::Up(tun.clone()),
            Self::PidFile { dir, tun, .. } => Key::File(pid_file(dir, tun)),
            Self::Route { dest, metric, table, .. } => Key::Route(*dest, table.clone(), *metric),
            Self::RemoveDefault { ipv6 } => Key::Default(*ipv6),
            Self::AllowGre => Key::AllowGre,
            Self::Ppp(step) => Key::Ppp(step.key()),
            Self::Policy(step) => Key::Policy(step.key()),
            Self::Firewall(step) => Key::Firewall(step.key()),
            Self::Dns(step) => Key::Dns(step.key()),
            Self::Hook(step) => Key::Hook(step.key()),
        }
    }

    /// The symbols in it that are still open.
    #[must_use]
    pub fn open(&self) -> Vec<Symbol> {
        let open = match self {
            Self::OpenTun { .. } | Self::RemoveDefault { .. } | Self::AllowGre => Vec::new(),
            Self::HostRoute { server, way, .. } => vec![server.open(), way.open()],
            Self::Mtu { tun, mtu } => vec![tun.open(), mtu.open()],
            Self::Address { tun, local, peer } => {
                vec![tun.open(), local.open(), peer.as_ref().and_then(Value::open)]
            }
            Self::Address6 { tun, local, peer } => vec![tun.open(), local.open(), peer.open()],
            Self::Up { tun } | Self::Domain { tun, .. } => vec![tun.open()],
            Self::PidFile { tun, pid, .. } => vec![tun.open(), pid.open()],
            Self::Route { tun, peer, table, .. } => {
                vec![tun.open(), peer.as_ref().and_then(Value::open), table.as_ref().and_then(Value::open)]
            }
            Self::Ppp(step) => return step.open(),
            Self::Policy(step) => return step.open(),
            Self::Firewall(step) => return step.open(),
            Self::Dns(step) => return step.open(),
            Self::Hook(step) => return step.open(),
        };
        open.into_iter().flatten().collect()
    }

    /// Whether a reboot undoes it by itself.
    #[must_use]
    pub const fn is_volatile(&self) -> bool {
        match self {
            // The kernel's tables start empty, and so does the run directory.
            Self::OpenTun { .. }
            | Self::HostRoute { .. }
            | Self::Mtu { .. }
            | Self::Domain { .. }
            | Self::Address { .. }
            | Self::Address6 { .. }
            | Self::Up { .. }
            | Self::PidFile { .. }
            | Self::Route { .. }
            | Self::AllowGre
            | Self::RemoveDefault { .. } => true,
            Self::Ppp(step) => step.is_volatile(),
            Self::Policy(step) => step.is_volatile(),
            Self::Firewall(step) => step.is_volatile(),
            Self::Dns(step) => step.is_volatile(),
            Self::Hook(step) => step.is_volatile(),
        }
    }

    /// Whether it is done to a network namespace, and goes away with it.
    #[must_use]
    pub const fn is_in_namespace(&self) -> bool {
        match self {
            Self::PidFile { .. } => false,
            Self::Ppp(step) => step.is_in_namespace(),
            Self::Policy(step) => step.is_in_namespace(),
            Self::Firewall(step) => step.is_in_namespace(),
            Self::Dns(step) => step.is_in_namespace(),
            Self::Hook(step) => step.is_in_namespace(),
            Self::OpenTun { .. }
            | Self::HostRoute { .. }
            | Self::Mtu { .. }
            | Self::Domain { .. }
            | Self::Address { .. }
            | Self::Address6 { .. }
            | Self::Up { .. }
            | Self::Route { .. }
            | Self::AllowGre
            | Self::RemoveDefault { .. } => true,
        }
    }

    /// Whether it is done to the tun device, or says which one it is.
    #[must_use]
    pub const fn is_of_device(&self) -> bool {
        match self {
            Self::HostRoute { .. } | Self::RemoveDefault { .. } | Self::AllowGre => false,
            Self::Ppp(step) => step.is_of_device(),
            Self::Policy(step) => step.is_of_device(),
            Self::Firewall(step) => step.is_of_device(),
            Self::Dns(step) => step.is_of_device(),
            Self::Hook(step) => step.is_of_device(),
            Self::OpenTun { .. }
            | Self::Mtu { .. }
            | Self::Domain { .. }
            | Self::Address { .. }
            | Self::Address6 { .. }
            | Self::Up { .. }
            | Self::PidFile { .. }
            | Self::Route { .. } => true,
        }
    }

    /// Whether packets go into the tunnel, or questions to its resolvers, because of it: what has to go for the host to
    /// work without a tunnel that is lost. (The rules of a routing table lead nowhere once the table is empty.)
    #[must_use]
    pub const fn leads_into_tunnel(&self) -> bool {
        matches!(self, Self::Route { .. } | Self::RemoveDefault { .. } | Self::Dns(_))
    }

    /// What is done, in the platform's words.
    #[must_use]
    pub fn line(&self, platform: Platform) -> String {
        render::line(self, platform)
    }

    /// What undoes it, in the platform's words; `None` when it goes away with the tun device.
    #[must_use]
    pub fn undo_line(&self, platform: Platform) -> Option<String> {
        render::undo_line(self, platform)
    }
}

/// `tunX.pid` in the run directory.
pub(super) fn pid_file(dir: &Path, tun: &Value<String>) -> PathBuf {
    dir.join(format!("{tun}.pid"))
}
