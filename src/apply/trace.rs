//! How packets to a destination are routed while a tunnel is up, and why: the kernel's answer, the rule and
//! route behind it, and the steps of this tunnel that cause it.
//!
//! Only reads: the ledger of a profile and the kernel's tables. The kernel's answer is decisive; the rule and
//! route are found as the kernel does (fib_rules, longest prefix, lowest metric), and omitted if they
//! contradict the answer.

use std::{cmp::Reverse, net::IpAddr};

use super::{
    ApplyError, Directories, Host,
    ledger::{self, Entry},
};
use crate::{
    net::{
        routes::{Filter, Kind, MAIN_TABLE, Route, RouteTo},
        rules::Rule,
    },
    plan::{DomainStep, HostRouteStep, PolicyRule, PolicyStep, RouteStep, Step, Value},
    platform::Platform,
};

/// Linux's table of this host's own addresses.
const LOCAL_TABLE: u32 = 255;

/// Where packets to a destination go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Into the tunnel.
    Tunnel,
    /// By another route, outside the tunnel.
    Outside,
    /// Dropped by the kill switch.
    Blocked,
    /// Dropped, as there is no route.
    Nowhere,
    /// To this host itself.
    Here,
}

impl Disposition {
    /// Returns its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Outside => "outside",
            Self::Blocked => "blocked",
            Self::Nowhere => "nowhere",
            Self::Here => "here",
        }
    }
}

/// The route of packets to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The destination.
    pub to: IpAddr,
    /// Where the packets go.
    pub disposition: Disposition,
    /// The outgoing device.
    pub dev: Option<String>,
    /// The gateway.
    pub via: Option<IpAddr>,
    /// The matching route.
    pub route: Option<String>,
    /// The rule that selected the route's table, unless that is the main table.
    pub rule: Option<String>,
    /// Explanation for the user.
    pub why: &'static str,
}

/// The routing-related steps of a tunnel in force.
#[derive(Clone, Debug)]
pub struct AppliedRouting {
    device: Option<String>,
    entries: Vec<Entry>,
}

impl AppliedRouting {
    /// Reads the ledger of a profile; `None` if there is none.
    #[must_use]
    pub fn of(places: &Directories, profile: &str) -> Option<Self> {
        let record = ledger::peek(&places.ledger(profile))?;
        let device = record.device.map(|device| device.name);
        Some(Self { device, entries: record.entries })
    }

    /// Returns the tunnel's device.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// Returns the steps that affect routing, in the platform's notation, in the order they were performed.
    pub fn lines(&self, platform: Platform) -> impl Iterator<Item = String> + '_ {
        let routing = self.entries.iter().filter(|entry| entry.step.traits().is_routing);
        routing.map(move |entry| entry.step.line(platform))
    }

    /// Returns where packets to `to` go that have no mark and are not the tunnel's own transport. If the
    /// tunnel has a routing table (routing domain, FIB), the result is for programs that use that table.
    ///
    /// # Errors
    /// Returns an error if the kernel could not be queried.
    pub fn trace(&self, host: &mut Host, to: IpAddr) -> Result<Trace, ApplyError> {
        let domain = self.domain();
        let asked = match domain {
            Some(table) => host.route_to_in(to, table),
            None => host.route_of_ping(to),
        };
        let answer = match asked {
            Err(error) if error.errno.is_none() || error.is_permission() => {
                return Err(ApplyError::observing(error));
            }
            answer => answer.ok(),
        };
        let decided = if answer.as_ref().is_some_and(|way| way.local) {
            None
        } else {
            select_route(host, to, domain.unwrap_or(MAIN_TABLE), |rule| self.is_for_arp(rule))?
        };
        let agreed = decided.filter(|(_, route)| agrees(answer.as_ref(), route));
        let (goes, why) = self.explain(answer.as_ref(), agreed.as_ref().map(|(_, route)| route), to);
        let rule = agreed.as_ref().and_then(|(rule, route)| {
            rule.as_ref().filter(|_| route.table != MAIN_TABLE).map(ToString::to_string)
        });
        Ok(Trace {
            to,
            disposition: goes,
            dev: answer.as_ref().map(|way| way.dev.clone()),
            via: answer.as_ref().and_then(|way| way.gateway),
            route: agreed.map(|(_, route)| route.to_string()),
            rule,
            why,
        })
    }

    fn explain(
        &self,
        answer: Option<&RouteTo>,
        route: Option<&Route>,
        to: IpAddr,
    ) -> (Disposition, &'static str) {
        match answer {
            Some(way) if way.local => (Disposition::Here, "an address of this host"),
            Some(way) if self.device.as_ref() == Some(&way.dev) => {
                (Disposition::Tunnel, "a route of the tunnel")
            }
            Some(_) if self.is_server(to) => {
                (Disposition::Outside, "the server's own address: the tunnel's packets go this way")
            }
            Some(_) if self.is_excluded(to) => (Disposition::Outside, "excluded by the profile"),
            Some(_) if self.has_default() => {
                (Disposition::Outside, "this host has a route that is more specific than the tunnel's")
            }
            Some(_) => (Disposition::Outside, "no route of the tunnel leads there"),
            None if route.is_some_and(|route| route.is_ours() && route.kind == Kind::Unreachable) => (
                Disposition::Blocked,
                "for the tunnel, which is down or does not carry it (leak = \"block\")",
            ),
            None => (Disposition::Nowhere, "the kernel has no route there"),
        }
    }

    /// Returns the routing table that the device was moved to.
    fn domain(&self) -> Option<u32> {
        self.entries.iter().find_map(|entry| match entry.step {
            Step::Domain(DomainStep { number, .. }) => Some(number),
            _ => None,
        })
    }

    /// Returns whether a rule of this tunnel applies only to packets without protocol.
    fn is_for_arp(&self, rule: &Rule) -> bool {
        rule.is_ours() && self.entries.iter().any(|entry| {
            matches!(
                &entry.step,
                Step::Policy(PolicyStep::Rule { rule: PolicyRule::Answered { dest: Value::Known(dest) }, .. })
                    if rule.to == Some(*dest)
            )
        })
    }

    fn is_server(&self, to: IpAddr) -> bool {
        self.entries.iter().any(
            |entry| matches!(&entry.step, Step::HostRoute(HostRouteStep { server: Value::Known(server), .. }) if *server == to),
        )
    }

    fn is_excluded(&self, to: IpAddr) -> bool {
        self.entries.iter().any(|entry| match &entry.step {
            Step::Policy(PolicyStep::Outside { dest, .. } | PolicyStep::Throw { dest, .. }) => {
                dest.contains(&to)
            }
            _ => false,
        })
    }

    /// Returns whether the tunnel has a default route: in its own table, or as halves or quarters in the main
    /// one.
    fn has_default(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(&entry.step, Step::Route(RouteStep { dest, .. }) if dest.prefix_len() <= 2))
    }
}

/// Returns the rule and route that the kernel selects, without the rules for which `is_skipped` holds;
/// `table` is searched if the kernel has no rules.
fn select_route(
    host: &mut Host,
    to: IpAddr,
    table: u32,
    is_skipped: impl Fn(&Rule) -> bool,
) -> Result<Option<(Option<Rule>, Route)>, ApplyError> {
    let ipv6 = to.is_ipv6();
    let rules = host.rules(ipv6).map_err(ApplyError::observing)?;
    let selected: Vec<(Option<Rule>, u32)> = if rules.is_empty() {
        vec![(None, table)]
    } else {
        let for_it = rules
            .into_iter()
            .filter(|rule| rule.matches(to, 0) && rule.table != LOCAL_TABLE && !is_skipped(rule));
        for_it.map(|rule| (Some(rule.clone()), rule.table)).collect()
    };
    for (rule, table) in selected {
        let filter = Filter { ipv6, table: Some(table), dest: None };
        let routes = host.routes(&filter).map_err(ApplyError::observing)?;
        let fits = routes.into_iter().filter(|route| route.tos == 0 && route.dest.contains(&to));
        let Some(best) = fits.min_by_key(|route| (Reverse(route.dest.prefix_len()), route.metric)) else {
            continue;
        };
        let suppressed = rule.as_ref().and_then(|rule| rule.suppress_prefix);
        if suppressed.is_some_and(|longest| u32::from(best.dest.prefix_len()) <= longest)
            || best.kind == Kind::Throw
        {
            continue;
        }
        return Ok(Some((rule, best)));
    }
    Ok(None)
}

fn agrees(answer: Option<&RouteTo>, route: &Route) -> bool {
    match answer {
        Some(way) => route.kind == Kind::Unicast && route.leaves_by(&way.dev),
        None => route.kind != Kind::Unicast,
    }
}

#[cfg(test)]
mod tests;
