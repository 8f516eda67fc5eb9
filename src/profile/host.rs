//! The host settings of a profile: routes, resolvers, firewall, hooks, namespace.
//!
//! Pure data; `plan` derives the steps for each platform.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

/// `mtu` of the tunnel device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mtu {
    /// `"auto"`: the MTU of the path to the server less the headers, and at most the peer's MRU.
    Auto,
    /// In bytes, 576 to 1500 (at least 1280 with IPv6).
    Bytes(u16),
}

/// One entry of `routes`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The destination; its host bits are zero.
    pub prefix: IpNet,
    /// `metric`; `None` leaves it to the platform.
    pub metric: Option<u32>,
    /// `table`: number of the routing table; `None` is the main table.
    pub table: Option<u32>,
    /// `label`: the route's label (OpenBSD), instead of `link.rtlabel`.
    pub label: Option<String>,
}

impl Route {
    /// Returns a route with only a prefix.
    #[must_use]
    pub fn to(prefix: IpNet) -> Self {
        Self { prefix: prefix.trunc(), metric: None, table: None, label: None }
    }
}

/// The mode in which `default` sends all traffic through the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultRoute {
    /// `auto`: the best mode of the platform. `default = true` means the same.
    Auto,
    /// `policy`: the transport's packets are marked, all others use the tunnel's routing table (Linux).
    Policy,
    /// `halves`: 0/1 and 128/1 beside a host route to the server; the previous default route stays.
    Halves,
    /// `replace`: the previous default route is saved, replaced and restored.
    Replace,
}

/// `leak`: the kill switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leak {
    /// `allow`: while the tunnel is lost, traffic takes the path it had without the tunnel.
    #[default]
    Allow,
    /// `block`: from `up` to `down`, no traffic for the tunnel leaves in clear.
    Block,
}

/// `collision`: what happens to a route into the tunnel that has the addresses of a network to which this host
/// is connected, or that covers a resolver of this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCollision {
    /// `refuse`: `up` fails. On a tunnel that was up already the same as `KeepLan`.
    #[default]
    Refuse,
    /// `keep-lan`: the route is left out as long as the host is connected to that network.
    KeepLan,
    /// `tunnel`: a route to a part of such a network leads into the tunnel; the network's gateway, the host's
    /// resolvers and the server stay outside.
    Tunnel,
}

/// `dns`: the resolvers that are used while the tunnel is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// `dns.servers`: the source of the resolvers.
    pub servers: DnsServers,
    /// `dns.domains`: the domains whose names they resolve (split DNS); empty means all names.
    pub domains: Vec<String>,
    /// `dns.search`: domains appended to short names.
    pub search: Vec<String>,
    /// `dns.backend`: the service that is configured.
    pub backend: DnsBackend,
}

impl Dns {
    /// Returns whether the host's resolvers are changed.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.servers != DnsServers::None
    }

    /// Returns the resolvers to set, given those that the peer named.
    #[must_use]
    pub fn servers_of(&self, peer: &[Ipv4Addr]) -> Vec<IpAddr> {
        match &self.servers {
            DnsServers::None => Vec::new(),
            DnsServers::Peer => peer.iter().copied().map(IpAddr::V4).collect(),
            DnsServers::Fixed(servers) => servers.clone(),
        }
    }
}

/// The source of the resolvers of [`Dns`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DnsServers {
    /// `"none"`: the host's resolvers are left alone.
    #[default]
    None,
    /// `"peer"`: those that the peer sends in IPCP (RFC 1877).
    Peer,
    /// A list in `dns.servers`: at least one.
    Fixed(Vec<IpAddr>),
}

/// `dns.backend`: the service that sets the host's resolvers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsBackend {
    /// `auto`: the first service that is found.
    #[default]
    Auto,
    /// `resolved`: systemd-resolved, by resolvectl(1).
    Resolved,
    /// `resolvconf`: resolvconf(8) or openresolv.
    Resolvconf,
    /// `resolvd`: OpenBSD's resolvd(8), by route(8) nameserver.
    Resolvd,
    /// `unwind`: OpenBSD's unwind(8).
    Unwind,
    /// `file`: /etc/resolv.conf itself.
    File,
}

/// `pf`: an anchor of pf(4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pf {
    /// `pf.anchor`: its name.
    pub anchor: String,
    /// `pf.file`: the absolute path of its rules, which are in force while the tunnel is up.
    pub file: Option<PathBuf>,
}

/// `nftables`: a rules file on Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nftables {
    /// `nftables.file`: its absolute path.
    pub file: PathBuf,
}

/// `conntrack`: help for a stateful firewall of this host (Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conntrack {
    /// `off`: none.
    #[default]
    Off,
    /// `helper`: the kernel's helper for PPTP follows the control connection, so that rules know the call's GRE.
    Helper,
}

/// `hooks`: argument vectors, never run by a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// `hooks.up`: run when the tunnel is up; empty for none.
    pub up: Vec<String>,
    /// `hooks.down`: run before the tunnel is taken down; empty for none.
    pub down: Vec<String>,
    /// `hooks.timeout`: the time limit of each program.
    pub timeout: Duration,
}

impl Hooks {
    /// Returns the longest time that one program may take; zero without programs.
    #[must_use]
    pub fn longest(&self) -> Duration {
        if self.up.is_empty() && self.down.is_empty() { Duration::ZERO } else { self.timeout }
    }
}

/// `link`: the namespace or routing table of the tunnel device; the transport stays outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// `link.manage`: whether this program sets up more than the device; otherwise another program does.
    pub manage: bool,
    /// `link.netns`: a named network namespace (Linux).
    pub netns: Option<String>,
    /// `link.rdomain`: a routing domain (OpenBSD).
    pub rdomain: Option<u32>,
    /// `link.fib`: a routing table number (FreeBSD).
    pub fib: Option<u32>,
    /// `link.rtlabel`: the label of every route into the tunnel (OpenBSD).
    pub rtlabel: Option<String>,
    /// `link.gre-allow`: whether OpenBSD's `net.inet.gre.allow` is set for the tunnel.
    pub gre_allow: bool,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self { manage: true, netns: None, rdomain: None, fib: None, rtlabel: None, gre_allow: false }
    }
}
