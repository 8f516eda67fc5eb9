//! Which way packets go while a tunnel is there, and why: the kernel's own answer, the rule and the route behind it,
//! and what this tunnel has to do with that.
//!
//! Reads only: the ledger of a profile and the kernel's tables. The kernel says which way; rule and route are looked
//! for as it does it (fib_rules, longest prefix, lowest metric), and are left unsaid when that comes out elsewhere.

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
    plan::{Platform, PolicyStep, Step, Value},
};

/// Linux's table of this host's own addresses.
const LOCAL_TABLE: u32 = 255;

/// Where packets to one destination go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Into the tunnel.
    Tunnel,
    /// Some other way.
    Outside,
    /// Nowhere: the kill switch keeps them.
    Blocked,
    /// Nowhere: there is no way.
    Nowhere,
    /// To this host itself.
    Here,
}

impl Disposition {
    /// The word for it.
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

/// The way of packets to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The destination.
    pub to: IpAddr,
    /// Where they go.
    pub disposition: Disposition,
    /// The device that they leave by.
    pub dev: Option<String>,
    /// The gateway.
    pub via: Option<IpAddr>,
    /// The route that decides.
    pub route: Option<String>,
    /// The rule that leads to its table, if it is not that of the main table.
    pub rule: Option<String>,
    /// Why, for a person.
    pub why: &'static str,
}

/// What a tunnel has done to the ways of this host.
#[derive(Clone, Debug)]
pub struct AppliedRouting {
    device: Option<String>,
    entries: Vec<Entry>,
}

impl AppliedRouting {
    /// Reads the ledger of a profile; `None` when there is none.
    #[must_use]
    pub fn of(places: &Directories, profile: &str) -> Option<Self> {
        let record = ledger::peek(&places.ledger(profile))?;
        let device = record.device.map(|device| device.name);
        Some(Self { device, entries: record.entries })
    }

    /// The tunnel's device.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// The steps that have to do with the way of packets, in the platform's words, in the order in which they were
    /// performed.
    pub fn lines(&self, platform: Platform) -> impl Iterator<Item = String> + '_ {
        let routing = self.entries.iter().filter(|entry| {
            matches!(
                entry.step,
                Step::HostRoute { .. } | Step::Route { .. } | Step::RemoveDefault { .. } | Step::Policy(_)
            )
        });
        routing.map(move |entry| entry.step.line(platform))
    }

    /// Where packets to `to` go that have no mark and are not of the tunnel itself. With a routing table of its own
    /// (routing domain, FIB): those of whoever uses that one.
    ///
    /// # Errors
    /// When the kernel could not be asked.
    pub fn trace(&self, host: &mut dyn Host, to: IpAddr) -> Result<Trace, ApplyError> {
        let domain = self.domain();
        let asked = match domain {
            Some(table) => host.route_to_in(to, table),
            None => host.route_to(to, None),
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
            decide(host, to, domain.unwrap_or(MAIN_TABLE))?
        };
        let agreed = decided.filter(|(_, route)| agrees(answer.as_ref(), route));
        let (goes, why) = self.judge(answer.as_ref(), agreed.as_ref().map(|(_, route)| route), to);
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

    fn judge(
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
                "meant for the tunnel, which is away or does not carry it (leak = \"block\")",
            ),
            None => (Disposition::Nowhere, "the kernel has no way there"),
        }
    }

    /// The routing table that the device was placed in.
    fn domain(&self) -> Option<u32> {
        self.entries.iter().find_map(|entry| match entry.step {
            Step::Domain { number, .. } => Some(number),
            _ => None,
        })
    }

    fn is_server(&self, to: IpAddr) -> bool {
        self.entries.iter().any(
            |entry| matches!(&entry.step, Step::HostRoute { server: Value::Known(server), .. } if *server == to),
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

    /// Whether the tunnel has a route for everything: of its own table, or as halves or quarters of the main one.
    fn has_default(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(&entry.step, Step::Route { dest, .. } if dest.prefix_len() <= 2))
    }
}

/// The rule and the route that the kernel comes to; `table` is where it begins if it knows no rules.
fn decide(host: &mut dyn Host, to: IpAddr, table: u32) -> Result<Option<(Option<Rule>, Route)>, ApplyError> {
    let ipv6 = to.is_ipv6();
    let rules = host.rules(ipv6).map_err(ApplyError::observing)?;
    let selected: Vec<(Option<Rule>, u32)> = if rules.is_empty() {
        vec![(None, table)]
    } else {
        let for_it = rules.into_iter().filter(|rule| rule.matches(to, 0) && rule.table != LOCAL_TABLE);
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
