//! What becomes known while a tunnel comes up, and how it enters a plan.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Plan, PolicyStep, Resolver, Step, Symbol, Value, default_route};

/// What is known so far. Everything starts unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The server's address that is called.
    pub server: Option<IpAddr>,
    /// How the kernel reaches it.
    pub next_hop: Option<NextHop>,
    /// The tun device's name.
    pub tun: Option<String>,
    /// The MTU that path and peer allow, in bytes.
    pub mtu: Option<u16>,
    /// Our address in the tunnel.
    pub local: Option<Ipv4Addr>,
    /// The peer's address in the tunnel.
    pub peer: Option<Ipv4Addr>,
    /// What came of IPV6CP.
    pub ipv6: Ipv6,
    /// The supervisor's process number.
    pub pid: Option<u32>,
    /// The resolvers that the peer named; none when it named none.
    pub dns: Option<Vec<IpAddr>>,
    /// What is in charge of this host's resolvers.
    pub resolver: Option<Resolver>,
    /// Why a default route can't be replaced on this host.
    pub keep_default: KeepDefault,
    /// A routing table that nobody else has, and a mark of the same number.
    pub table: Option<u32>,
    /// How the kernel reaches each prefix that stays outside, without the tunnel; `None` when it does not.
    pub outside: Vec<(IpNet, Option<NextHop>)>,
    /// Whether this host forwards IPv4 packets; `None` where that is not known.
    pub forwarding: Option<bool>,
}

/// What came of IPV6CP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6 {
    /// Not known yet.
    #[default]
    Unknown,
    /// The peer does not speak it, or not yet: the IPv6 steps are left out.
    Absent,
    /// It is open, with these link-local addresses.
    Open {
        /// Ours.
        local: Ipv6Addr,
        /// The peer's.
        peer: Ipv6Addr,
    },
}

impl Ipv6 {
    /// From the interface identifiers of IPV6CP (RFC 5072 §5: fe80::/64 and the identifier).
    #[must_use]
    pub fn from_identifiers(local: u64, peer: u64) -> Self {
        let address = |identifier: u64| Ipv6Addr::from_bits((0xfe80_u128 << 112) | u128::from(identifier));
        Self::Open { local: address(local), peer: address(peer) }
    }
}

/// Why the default routes of a family can't be taken away and put back exactly; `None` when they can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeepDefault {
    /// IPv4.
    pub ipv4: Option<String>,
    /// IPv6.
    pub ipv6: Option<String>,
}

impl KeepDefault {
    /// The reason for one family.
    #[must_use]
    pub const fn of(&self, ipv6: bool) -> Option<&String> {
        if ipv6 { self.ipv6.as_ref() } else { self.ipv4.as_ref() }
    }
}

/// How the kernel reaches the server now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHop {
    /// By a gateway, or directly on a link.
    By {
        /// The gateway; `None` when the server is on the link.
        gateway: Option<IpAddr>,
        /// The device.
        dev: String,
        /// The source address that packets have now.
        source: Option<IpAddr>,
    },
    /// The server is this host: no route can send it astray.
    ThisHost,
}

impl NextHop {
    /// Whether packets take the same path: the same gateway and device, whatever address they carry.
    #[must_use]
    pub fn is_same_path(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ThisHost, Self::ThisHost) => true,
            (Self::By { gateway, dev, .. }, Self::By { gateway: other_gateway, dev: other_dev, .. }) => {
                gateway == other_gateway && dev == other_dev
            }
            _ => false,
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By { gateway: Some(gateway), dev, .. } => write!(f, "{gateway} dev {dev}"),
            Self::By { gateway: None, dev, .. } => f.write_str(dev),
            Self::ThisHost => f.write_str("lo"),
        }
    }
}

/// [`Plan::resolve`].
pub(super) fn resolve(plan: &Plan, facts: &Facts) -> Plan {
    let mut resolved = Plan { steps: Vec::with_capacity(plan.steps.len()), ..plan.clone() };
    for step in &plan.steps {
        let mut step = step.clone();
        fill(&mut step, facts);
        adapt(step, facts, &mut resolved);
    }
    resolved
}

fn fill(step: &mut Step, facts: &Facts) {
    match step {
        Step::OpenTun { .. } | Step::RemoveDefault { .. } | Step::AllowGre => {}
        Step::HostRoute { server, way, .. } => {
            server.fill(facts.server.as_ref());
            way.fill(facts.next_hop.as_ref());
        }
        Step::Mtu { tun, mtu } => {
            tun.fill(facts.tun.as_ref());
            mtu.fill(facts.mtu.as_ref());
        }
        Step::Address { tun, local, peer } => {
            tun.fill(facts.tun.as_ref());
            local.fill(facts.local.as_ref());
            if let Some(peer) = peer {
                peer.fill(facts.peer.as_ref());
            }
        }
        Step::Address6 { tun, local, peer } => {
            tun.fill(facts.tun.as_ref());
            if let Ipv6::Open { local: ours, peer: theirs } = &facts.ipv6 {
                local.fill(Some(ours));
                peer.fill(Some(theirs));
            }
        }
        Step::Up { tun } | Step::Domain { tun, .. } => tun.fill(facts.tun.as_ref()),
        Step::PidFile { tun, pid, .. } => {
            tun.fill(facts.tun.as_ref());
            pid.fill(facts.pid.as_ref());
        }
        Step::Route { tun, peer, table, .. } => {
            tun.fill(facts.tun.as_ref());
            if let Some(table) = table {
                table.fill(facts.table.as_ref());
            }
            if let Some(peer) = peer {
                peer.fill(facts.peer.as_ref());
            }
        }
        Step::Ppp(step) => step.fill(facts),
        Step::Policy(step) => step.fill(facts),
        Step::Firewall(step) => step.fill(facts),
        Step::Dns(step) => step.fill(facts),
        Step::Hook(step) => step.fill(facts),
    }
}

/// Adds the step, or what the facts make of it.
fn adapt(step: Step, facts: &Facts, plan: &mut Plan) {
    match step {
        Step::HostRoute { way: Value::Known(NextHop::ThisHost), .. } => {
            note(plan, "the server is this host: it needs no host route".to_owned());
        }
        Step::HostRoute { server: Value::Known(server), ref within, .. }
            if !within.iter().any(|prefix| prefix.contains(&server)) => {}
        Step::Mtu { tun, mtu: Value::Known(mtu) } => {
            let allowed = facts.mtu.filter(|allowed| *allowed < mtu);
            if let Some(allowed) = allowed {
                note(plan, format!("mtu {mtu} lowered to the {allowed} that path and peer allow"));
            }
            plan.steps.push(Step::Mtu { tun, mtu: Value::Known(allowed.unwrap_or(mtu)) });
        }
        // A server that gives its own public address as its address in the tunnel: the kernel's route to the
        // peer would send the tunnel into itself.
        Step::Address { tun, local, peer: Some(Value::Known(peer)) }
            if facts.server == Some(IpAddr::V4(peer)) =>
        {
            note(
                plan,
                format!("the peer's address {peer} is the server's own: no route to it in the tunnel"),
            );
            plan.steps.push(Step::Address { tun, local, peer: None });
        }
        Step::Address6 { .. } | Step::RemoveDefault { ipv6: true } if facts.ipv6 == Ipv6::Absent => {
            note(plan, NO_IPV6.to_owned());
        }
        Step::Route { dest: IpNet::V6(_), .. } if facts.ipv6 == Ipv6::Absent => {
            note(plan, NO_IPV6.to_owned());
        }
        Step::RemoveDefault { ipv6 } if facts.keep_default.of(ipv6).is_some() => {
            let reason = facts.keep_default.of(ipv6).map_or("", String::as_str);
            note(plan, format!("{reason}: it stays, and two halves go through the tunnel instead"));
        }
        Step::Route { tun, dest, metric, table: None, peer, label }
            if dest.prefix_len() == 0 && facts.keep_default.of(matches!(dest, IpNet::V6(_))).is_some() =>
        {
            for half in default_route::halves(matches!(dest, IpNet::V6(_))) {
                let (tun, peer, label) = (tun.clone(), peer.clone(), label.clone());
                let half = Step::Route { tun, dest: half, metric, table: None, peer, label };
                if !plan.steps.contains(&half) {
                    plan.steps.push(half);
                }
            }
        }
        Step::Policy(PolicyStep::Outside { way: Value::Known(NextHop::ThisHost), .. }) => {}
        Step::Policy(PolicyStep::Outside { dest, way: Value::Open(_) })
            if facts.outside.iter().any(|(prefix, way)| *prefix == dest && way.is_none()) =>
        {
            note(plan, format!("there is no way to {dest} outside the tunnel now"));
        }
        // Asked for twice: the halves behind a default route that had to stay, and those of the kill switch.
        Step::Route { .. } if plan.steps.contains(&step) => {}
        Step::Firewall(step) => {
            if let Some(text) = step.note(facts) {
                note(plan, text);
            }
            plan.steps.push(Step::Firewall(step));
        }
        Step::Dns(ref dns) if dns.servers.known().is_some_and(Vec::is_empty) => {
            note(plan, "the server named no resolvers: those of this host stay".to_owned());
        }
        step => plan.steps.push(step),
    }
}

const NO_IPV6: &str = "the server does not speak IPv6: the IPv6 addresses and routes are left out";

fn note(plan: &mut Plan, text: String) {
    if !plan.notes.contains(&text) {
        plan.notes.push(text);
    }
}

impl Facts {
    /// Whether the fact behind a symbol is known.
    #[must_use]
    pub const fn has(&self, symbol: Symbol) -> bool {
        match symbol {
            Symbol::Server => self.server.is_some(),
            Symbol::Gateway => self.next_hop.is_some(),
            Symbol::Tun | Symbol::Ppp => self.tun.is_some(),
            Symbol::Mtu => self.mtu.is_some(),
            Symbol::Local => self.local.is_some(),
            Symbol::Peer => self.peer.is_some(),
            Symbol::Local6 | Symbol::Peer6 => matches!(self.ipv6, Ipv6::Open { .. }),
            Symbol::Pid => self.pid.is_some(),
            Symbol::Table => self.table.is_some(),
            Symbol::Dns => self.dns.is_some(),
            Symbol::Resolver => self.resolver.is_some(),
        }
    }
}
