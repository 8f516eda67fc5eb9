//! The steps, and the keys that identify the object on the host that each of them changes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    NextHop, Symbol, Value,
    dns::{DnsKey, DnsStep},
    firewall::{FirewallKey, FirewallStep},
    hook::{HookKey, HookStep},
    policy_routing::{PolicyKey, PolicyStep},
    ppp_daemon::{PppKey, PppStep},
};

/// One reversible change to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Step {
    /// Opens the tun device. Undone by closing it: the kernel removes it with its last descriptor.
    OpenTun {
        /// The N of tunN; `None` selects the first free one.
        unit: Option<u32>,
    },
    /// A route to the server alone, through the next hop that the kernel uses now.
    HostRoute {
        /// The server address that is dialled.
        server: Value<IpAddr>,
        /// The next hop.
        way: Value<NextHop>,
        /// The prefixes that will lead into the tunnel: the step is needed only if the server is in one.
        within: Vec<IpNet>,
    },
    /// The MTU of the tun device. Undone by restoring the previous value.
    Mtu {
        /// The tun device.
        tun: Value<String>,
        /// In bytes.
        mtu: Value<u16>,
    },
    /// The routing domain (OpenBSD) or FIB (FreeBSD) of the tun device. Set before the addresses, which a
    /// change of the domain removes.
    Domain {
        /// The tun device.
        tun: Value<String>,
        /// The routing domain, or FIB.
        number: u32,
    },
    /// The local and the peer's IPv4 address on the tun device.
    Address {
        /// The tun device.
        tun: Value<String>,
        /// The local address.
        local: Value<Ipv4Addr>,
        /// The peer's address; `None` if there must be no route to it.
        peer: Option<Value<Ipv4Addr>>,
    },
    /// The IPv6 link-local addresses on the tun device, from the interface identifiers of IPV6CP (RFC 5072
    /// §5).
    Address6 {
        /// The tun device.
        tun: Value<String>,
        /// The local address.
        local: Value<Ipv6Addr>,
        /// The peer's address.
        peer: Value<Ipv6Addr>,
    },
    /// Brings the tun device up.
    Up {
        /// The tun device.
        tun: Value<String>,
    },
    /// Writes the supervisor's process ID to `tunX.pid`.
    PidFile {
        /// The platform's run directory.
        dir: PathBuf,
        /// The tun device, after which the file is named.
        tun: Value<String>,
        /// The process ID.
        pid: Value<u32>,
    },
    /// A route into the tunnel.
    Route {
        /// The tun device.
        tun: Value<String>,
        /// The destination prefix.
        dest: IpNet,
        /// Lower is preferred; `None` leaves it to the platform.
        metric: Option<u32>,
        /// Number of the routing table; `None` is the main table.
        table: Option<Value<u32>>,
        /// The next hop, for platforms whose routes name the peer instead of the device.
        peer: Option<Value<Ipv4Addr>>,
        /// The label by which pf(4) and bgpd(8) refer to it (OpenBSD).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Removes the default routes of the main table. Undone by restoring each of them.
    RemoveDefault {
        /// IPv6 instead of IPv4.
        ipv6: bool,
    },
    /// Makes the kernel deliver GRE packets to sockets: OpenBSD's `net.inet.gre.allow`.
    AllowGre,
    /// A step of an external PPP.
    Ppp(PppStep),
    /// A step of policy routing or of the kill switch.
    Policy(PolicyStep),
    /// Rules of the packet filter.
    Firewall(FirewallStep),
    /// The host's resolvers.
    Dns(DnsStep),
    /// The user's programs.
    Hook(HookStep),
}

/// Identifies the object on the host that a step changes; steps with the same key replace each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The tunnel's tun device.
    Tun,
    /// The host route to one address.
    HostRoute(Value<IpAddr>),
    /// The MTU of a device.
    Mtu(Value<String>),
    /// The routing domain or FIB of a device.
    Domain(Value<String>),
    /// One IPv4 address: device, local, peer.
    Address(Value<String>, Value<Ipv4Addr>, Option<Value<Ipv4Addr>>),
    /// One IPv6 address: device, local, peer.
    Address6(Value<String>, Value<Ipv6Addr>, Value<Ipv6Addr>),
    /// The up flag of a device.
    Up(Value<String>),
    /// One file, by its path.
    File(PathBuf),
    /// One route: prefix, table, metric.
    Route(IpNet, Option<Value<u32>>, Option<u32>),
    /// The default routes of a family; `true` for IPv6.
    Default(bool),
    /// `net.inet.gre.allow`.
    AllowGre,
    /// The key of a [`PppStep`].
    Ppp(PppKey),
    /// The key of a [`PolicyStep`].
    Policy(PolicyKey),
    /// The key of a [`FirewallStep`].
    Firewall(FirewallKey),
    /// The key of a [`DnsStep`].
    Dns(DnsKey),
    /// The key of a [`HookStep`].
    Hook(HookKey),
}

/// Properties of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTraits {
    /// A reboot undoes it.
    pub volatile: bool,
    /// It changes a network namespace and disappears with it.
    pub in_namespace: bool,
    /// It changes the tun device or names it.
    pub of_device: bool,
    /// It directs packets or DNS queries into the tunnel, and must be undone for the host to work while the
    /// tunnel is lost. (The rules for a table have no effect once it is empty.)
    pub leads_into_tunnel: bool,
}

impl Step {
    /// Returns the key of the object that the step changes.
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

    /// Returns the symbols that are still open in the step.
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

    /// Returns the properties that decide when the step is undone, and when it is gone by itself.
    #[must_use]
    pub const fn traits(&self) -> StepTraits {
        let of_host =
            StepTraits { volatile: true, in_namespace: true, of_device: false, leads_into_tunnel: false };
        let of_device = StepTraits { of_device: true, ..of_host };
        match self {
            Self::OpenTun { .. }
            | Self::Mtu { .. }
            | Self::Domain { .. }
            | Self::Address { .. }
            | Self::Address6 { .. }
            | Self::Up { .. }
            | Self::Ppp(PppStep::Does { .. }) => of_device,
            // The run directory is shared by all namespaces, and empty after boot.
            Self::PidFile { .. } => StepTraits { in_namespace: false, ..of_device },
            Self::Ppp(PppStep::Start { .. }) => StepTraits { in_namespace: false, ..of_host },
            Self::Route { .. } => StepTraits { leads_into_tunnel: true, ..of_device },
            Self::RemoveDefault { .. } => StepTraits { leads_into_tunnel: true, ..of_host },
            // Rules and filters must stay in force while a lost device is replaced.
            Self::HostRoute { .. } | Self::AllowGre | Self::Policy(_) | Self::Firewall(_) => of_host,
            // resolv.conf(5) and the files of resolvconf(8) in /etc survive a reboot.
            Self::Dns(step) if step.is_in_files() => {
                StepTraits { volatile: false, in_namespace: false, of_device: false, leads_into_tunnel: true }
            }
            Self::Dns(_) => StepTraits { leads_into_tunnel: true, ..of_device },
            // The effects of a hook may survive a reboot; only the down hook can undo them.
            Self::Hook(_) => StepTraits { volatile: false, ..of_device },
        }
    }
}

/// Returns the path of `tunX.pid` in the run directory.
pub(super) fn pid_file(dir: &Path, tun: &Value<String>) -> PathBuf {
    dir.join(format!("{tun}.pid"))
}
