//! Turns a profile and the facts of a link into ordered, reversible steps, without I/O.
//!
//! Owns the [`Plan`], its [`Step`]s, their text (`up --dry-run` prints the plan that `up` performs) and the
//! decision which steps a profile needs. A plan is made before any fact is known and holds a symbol such as
//! `<server>` for each missing one; [`Plan::resolve`] fills in the [`Facts`] as they arrive. Performing steps
//! and storing the host's prior state belong to `apply`.
//!
//! A profile needs two plans. [`transport`] is performed before anything is sent: the tun device, and a host
//! route to the server through the current next hop, so that a later default or split route cannot send the
//! tunnel into itself. [`network`] is performed when the link is up.

mod assigned;
mod build;
mod collision;
mod collision_text;
mod default_route;
mod device;
mod dns;
mod external_ppp;
mod facts;
mod firewall;
mod gre_sysctl;
mod hook;
mod kill_switch;
mod kind;
mod leak_filter;
mod local_space;
mod notation;
mod pause;
mod pause_plan;
mod peer_routes;
mod policy_routing;
mod ppp_daemon;
mod resolve;
mod resolver;
mod route;
mod step;
mod symbol;
mod taken_traffic;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::platform::Platform;

#[cfg(target_os = "linux")]
pub use self::hook::HOOK_VARIABLES;
pub use self::{
    assigned::{assigned, peer_is_taken},
    build::{network, transport},
    collision::{Collisions, Connected, Obstacle, Surroundings, Tunnel, TunnelRoute, find as collisions},
    device::{Address6Step, AddressStep, DomainStep, MtuStep, OpenTunStep, PidFileStep, UpStep},
    dns::{DnsStep, MAX_SERVERS, dns_notes, split_dns_refusal},
    facts::{Facts, Ipv6, KeepDefault, NextHop},
    firewall::{Clamp, FirewallStep, Macros, PfRules, nft_removal, nft_text},
    gre_sysctl::AllowGreStep,
    hook::{HookEvent, HookStep},
    kill_switch::{has_leak_filter, kill_switch_stays},
    kind::Key,
    leak_filter::{LEAK_LABEL, LeakFilterStep, is_leak_anchor},
    local_space::{ConnectedNetworks, LINK_LOCAL_IPV6},
    pause::{LONGEST as LONGEST_PAUSE, PORTS as PAUSE_PORTS, PauseStep},
    pause_plan::{pause, pause_refusal},
    peer_routes::with_offered_routes,
    policy_routing::{FIRST_TABLE, PolicyRule, PolicyStep, SLOTS},
    ppp_daemon::{Daemon, PppStep, link_name},
    resolver::{RESOLV_CONF, Resolver},
    route::{HostRouteStep, RemoveDefaultStep, RouteStep},
    step::Step,
    symbol::{Symbol, Value},
    taken_traffic::{MainRoute, taken_traffic, taken_traffic_remedy},
};

/// The phase of a connection in which a plan is performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Before anything is sent to the server.
    Transport,
    /// When the link is up.
    Network,
    /// While the kill switch is paused.
    Pause,
}

/// Ordered, reversible steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The system that the plan is for.
    pub platform: Platform,
    /// The phase in which it is performed.
    pub part: Part,
    /// The steps in the order in which they are performed; they are undone from the last to the first.
    pub steps: Vec<Step>,
    /// Remarks for the user on the decisions behind this plan, one sentence each.
    pub notes: Vec<String>,
}

/// Returns a line of a plan as it reads for a tunnel in a named network namespace (Linux).
#[must_use]
pub fn line_in_netns(netns: &str, line: &str) -> String {
    if let Some(rest) = line.strip_prefix("ip ") {
        format!("ip -n {netns} {rest}")
    } else if line.starts_with("nft ") {
        format!("ip netns exec {netns} {line}")
    } else if line.starts_with("open ") || line.starts_with("close ") {
        format!("{line} in network namespace {netns}")
    } else {
        line.to_owned()
    }
}

impl Plan {
    /// Returns the plan with every symbol replaced whose fact is known. Drops steps that turn out to be
    /// unneeded, and adds notes on the decisions.
    #[must_use]
    pub fn resolve(&self, facts: &Facts) -> Self {
        resolve::resolve(self, facts)
    }

    /// Returns the symbols that are still open, each once. A plan can be performed when there are none.
    #[must_use]
    pub fn open(&self) -> Vec<Symbol> {
        let mut open: Vec<Symbol> = self.steps.iter().flat_map(Step::open).collect();
        open.sort_unstable();
        open.dedup();
        open
    }

    /// Returns the mark that the transport's sockets must have; `None` if they need none.
    #[must_use]
    pub fn mark(&self) -> Option<u32> {
        self.steps.iter().find_map(|step| match step {
            Step::Policy(PolicyStep::Rule {
                rule: PolicyRule::Tunnel, table: Value::Known(table), ..
            }) => Some(*table),
            _ => None,
        })
    }

    /// Returns one line per step, in order, in the platform's syntax.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.steps.iter().map(|step| step.line(self.platform))
    }

    /// Returns one line per step that has to be undone, in the order of undoing.
    pub fn undo_lines(&self) -> impl Iterator<Item = String> + '_ {
        self.steps.iter().rev().filter_map(|step| step.undo_line(self.platform))
    }

    /// Returns the undo lines that apply while the tunnel is lost, with `retry.keep-routes = false`.
    pub fn withdraw_lines(&self) -> impl Iterator<Item = String> + '_ {
        let steps = self.steps.iter().rev().filter(|step| step.traits().only_while_up);
        steps.filter_map(|step| step.undo_line(self.platform))
    }
}

impl fmt::Display for Plan {
    /// Writes one line per step, then the notes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "  {line}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        Ok(())
    }
}
