//! Pure: a profile and the facts of a link become ordered, reversible steps.
//!
//! Owns the [`Plan`] and its [`Step`]s, the words for them (`up --dry-run` prints the very plan that `up`
//! performs), and the decision which steps a profile needs. A plan is made before anything is known and holds
//! symbols such as `<server>` where a fact is missing; [`Plan::resolve`] puts the [`Facts`] in as they come.
//! Does not own the deeds, nor what was there before them: that is `link`'s.
//!
//! A profile needs two plans. [`transport`] is performed before anything is sent: the tun device, and a host
//! route to the server by the way that the kernel uses now, so that a later default or split route can't send
//! the tunnel into itself. [`network`] is performed when the link is up.

mod build;
mod default_route;
mod dns;
mod facts;
mod firewall;
mod hook;
mod kill_switch;
mod peer_routes;
mod policy_routing;
mod ppp_daemon;
mod render;
mod step;
mod symbol;

#[cfg(test)]
mod tests;

use std::fmt;

pub use self::{
    build::{network, transport},
    dns::{DnsKey, DnsStep, MOST_SERVERS, RESOLV_CONF, Resolver, dns_notes, no_split},
    facts::{Facts, Ipv6, KeepDefault, NextHop},
    firewall::{Clamp, FirewallKey, FirewallStep, Macros, PfRules, nft_removal, nft_text},
    hook::{HookEvent, HookKey, HookStep},
    peer_routes::{OFFERED_METRIC, with_offered},
    policy_routing::{FIRST_TABLE, PolicyKey, PolicyRule, PolicyStep, SLOTS},
    ppp_daemon::{Daemon, PppKey, PppStep, link_name},
    step::{Key, Step},
    symbol::{Symbol, Value},
};

/// The systems that steps are planned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Linux, with iproute2's words.
    Linux,
    /// FreeBSD.
    FreeBsd,
    /// OpenBSD.
    OpenBsd,
    /// NetBSD.
    NetBsd,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Linux, Self::FreeBsd, Self::OpenBsd, Self::NetBsd];

    /// The one that this program was built for.
    #[must_use]
    pub const fn host() -> Self {
        if cfg!(target_os = "freebsd") {
            Self::FreeBsd
        } else if cfg!(target_os = "openbsd") {
            Self::OpenBsd
        } else if cfg!(target_os = "netbsd") {
            Self::NetBsd
        } else {
            Self::Linux
        }
    }

    /// Where pid files live.
    #[must_use]
    pub const fn run_dir(self) -> &'static str {
        match self {
            Self::Linux => "/run",
            Self::FreeBsd | Self::OpenBsd | Self::NetBsd => "/var/run",
        }
    }

    /// Where the ledger lives: it must survive a crash, and need not survive a reinstallation.
    #[must_use]
    pub const fn state_dir(self) -> &'static str {
        match self {
            Self::Linux => "/var/lib/pptpctl",
            Self::FreeBsd | Self::OpenBsd | Self::NetBsd => "/var/db/pptpctl",
        }
    }

    /// The name in `--platform`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::FreeBsd => "freebsd",
            Self::OpenBsd => "openbsd",
            Self::NetBsd => "netbsd",
        }
    }
}

/// When a plan is performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Before anything is sent to the server.
    Transport,
    /// When the link is up.
    Network,
}

/// Ordered, reversible steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For which system.
    pub platform: Platform,
    /// For which moment.
    pub part: Part,
    /// In the order in which they are performed; undone from the last to the first.
    pub steps: Vec<Step>,
    /// What a person should know about how this plan came to be: one sentence each.
    pub notes: Vec<String>,
}

/// A line of a plan for a tunnel that lives in a named network namespace (Linux).
#[must_use]
pub fn line_inside(netns: &str, line: &str) -> String {
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
    /// The same plan with every symbol replaced whose value is among the facts. Steps that turn out not to
    /// be needed are dropped; a note says what was decided on the way.
    #[must_use]
    pub fn resolve(&self, facts: &Facts) -> Self {
        facts::resolve(self, facts)
    }

    /// The symbols that are still open, each once. A plan can be performed when there are none.
    #[must_use]
    pub fn open(&self) -> Vec<Symbol> {
        let mut open: Vec<Symbol> = self.steps.iter().flat_map(Step::open).collect();
        open.sort_unstable();
        open.dedup();
        open
    }

    /// The mark that the transport's sockets must have; `None` when they need none.
    #[must_use]
    pub fn mark(&self) -> Option<u32> {
        self.steps.iter().find_map(|step| match step {
            Step::Policy(PolicyStep::Rule {
                rule: PolicyRule::Tunnel, table: Value::Known(table), ..
            }) => Some(*table),
            _ => None,
        })
    }

    /// One line per step, in the platform's own words, in order.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.steps.iter().map(|step| step.line(self.platform))
    }

    /// One line per undoing, in the order in which they are done.
    pub fn undo_lines(&self) -> impl Iterator<Item = String> + '_ {
        self.steps.iter().rev().filter_map(|step| step.undo_line(self.platform))
    }

    /// Those of them that are done when the tunnel is lost, with `retry.keep-routes = false`.
    pub fn let_go_lines(&self) -> impl Iterator<Item = String> + '_ {
        let steps = self.steps.iter().rev().filter(|step| step.leads_into_tunnel());
        steps.filter_map(|step| step.undo_line(self.platform))
    }
}

impl fmt::Display for Plan {
    /// One line per step, then the notes.
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
