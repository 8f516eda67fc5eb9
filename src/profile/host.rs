//! What a tunnel does to the host, as the profile says it: routes, resolvers, firewall, hooks, place.
//!
//! Pure data; which steps follow from it on which platform is `plan`'s to decide.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

/// `mtu` of the tunnel device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mtu {
    /// `"auto"`: what the path to the server leaves after the headers, and never more than the peer's MRU.
    #[default]
    Auto,
    /// So many bytes, 576 to 1500 (at least 1280 with IPv6).
    Bytes(u16),
}

/// One entry of `routes`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Where to; host bits are zero.
    pub prefix: IpNet,
    /// `metric`; `None` leaves it to the platform.
    pub metric: Option<u32>,
    /// `table`: a Linux routing table by number; `None` is the main one.
    pub table: Option<u32>,
    /// `label`: the route's label (OpenBSD), instead of the one of `link.rtlabel`.
    pub label: Option<String>,
}

impl Route {
    /// A route with nothing but a prefix.
    #[must_use]
    pub fn to(prefix: IpNet) -> Self {
        Self { prefix: prefix.trunc(), metric: None, table: None, label: None }
    }
}

/// How `default` sends everything through the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultRoute {
    /// `auto`: what suits the platform best. This is also what `true` means.
    Auto,
    /// `policy`: our own packets are marked, the rest follows a table of our own (Linux).
    Policy,
    /// `halves`: 0/1 and 128/1 beside a host route to the server; the old default stays.
    Halves,
    /// `replace`: the old default is saved, replaced and restored.
    Replace,
}

impl DefaultRoute {
    /// The name in profiles.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Policy => "policy",
            Self::Halves => "halves",
            Self::Replace => "replace",
        }
    }
}

/// `leak`: the kill switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leak {
    /// `allow`: while the tunnel is away, traffic goes where it went before.
    #[default]
    Allow,
    /// `block`: from `up` to `down` nothing that is meant for the tunnel leaves in clear.
    Block,
}

/// `dns`: whose resolvers are used while the tunnel is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Which resolvers.
    pub servers: DnsServers,
    /// `dns.domains`: only names below these go to them (split DNS); empty means all names.
    pub domains: Vec<String>,
    /// `dns.search`: domains appended to short names.
    pub search: Vec<String>,
    /// `dns.backend`: how the host is told.
    pub backend: DnsBackend,
}

impl Dns {
    /// Whether the host's resolvers are changed at all.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.servers != DnsServers::None
    }

    /// The resolvers that are set when the peer has named these.
    #[must_use]
    pub fn servers_of(&self, peer: &[Ipv4Addr]) -> Vec<IpAddr> {
        match &self.servers {
            DnsServers::None => Vec::new(),
            DnsServers::Peer => peer.iter().copied().map(IpAddr::V4).collect(),
            DnsServers::Fixed(servers) => servers.clone(),
        }
    }
}

/// The resolvers of [`Dns`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DnsServers {
    /// `"none"`: the host's resolvers are left alone.
    #[default]
    None,
    /// `"peer"`: those that IPCP brings (RFC 1877).
    Peer,
    /// `dns.servers`: these, at least one.
    Fixed(Vec<IpAddr>),
}

/// `dns.backend`: what tells the host about resolvers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsBackend {
    /// `auto`: the first that is found.
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
    /// `pf.anchor`.
    pub anchor: String,
    /// `pf.file`: its rules, an absolute path.
    pub file: PathBuf,
}

/// `nftables`: a rules file on Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nftables {
    /// `nftables.file`, an absolute path.
    pub file: PathBuf,
}

/// `mss`: clamping of the TCP maximum segment size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mss {
    /// `"off"`.
    Off,
    /// `"auto"`: to the tunnel's MTU less the headers.
    #[default]
    Auto,
    /// That, and at most so many bytes over IPv4, 20 less over IPv6.
    Bytes(u16),
}

/// `hooks`: argument vectors, never a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// `hooks.up`: run when the tunnel carries packets; empty for none.
    pub up: Vec<String>,
    /// `hooks.down`: run before it is taken away; empty for none.
    pub down: Vec<String>,
    /// `hooks.timeout`: how long each may run.
    pub timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { up: Vec::new(), down: Vec::new(), timeout: Duration::from_secs(30) }
    }
}

/// `link`: the part of the host that the tunnel device lives in; the transport stays outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkPlace {
    /// `link.netns`: a named network namespace (Linux).
    pub netns: Option<String>,
    /// `link.rdomain`: a routing domain (OpenBSD).
    pub rdomain: Option<u32>,
    /// `link.fib`: a routing table number (FreeBSD).
    pub fib: Option<u32>,
    /// `link.rtlabel`: the label of every route that is made into the tunnel (OpenBSD).
    pub rtlabel: Option<String>,
    /// `link.gre-allow`: OpenBSD's `net.inet.gre.allow` is set while the tunnel is there.
    pub gre_allow: bool,
}
