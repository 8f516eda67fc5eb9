//! Detects other programs that hold a default route: by policy rules (wg-quick, an exit node of Tailscale), or by
//! two halves in the main table (OpenVPN), and says what this means for the tunnel.

use super::{ApplyError, Changes, Host};
use crate::{
    net::{
        routes::{Filter, Kind, MAIN_TABLE, Route},
        rules::Rule,
    },
    plan::{RouteStep, Step},
};

/// The priority of the kernel's rule for the main table.
const MAIN_PRIORITY: u32 = 32_766;

/// What leads all packets into another tunnel.
#[derive(Clone, Debug)]
enum Rival {
    /// A rule of another program.
    Rule(Rule),
    /// A route to one half of all addresses in the main table.
    Half(Route),
}

impl Changes {
    /// Returns a warning for each rule of another program that leads all packets to a table with a default
    /// route, and for a default route of another program in two halves, if this tunnel has a default route too.
    ///
    /// # Errors
    /// Returns an error if the kernel could not be queried.
    pub fn rival_default_routes(&mut self) -> Result<Vec<String>, ApplyError> {
        let own_defaults: Vec<u8> = self
            .ledger
            .record()
            .entries
            .iter()
            .filter_map(|entry| match &entry.step {
                Step::Route(RouteStep { dest, .. }) => Some(dest.prefix_len()).filter(|length| *length <= 2),
                _ => None,
            })
            .collect();
        if own_defaults.is_empty() || self.host.named_netns().is_some() {
            return Ok(Vec::new());
        }
        let own = self.device_name().map(str::to_owned);
        let rules = self.host.rules(false).map_err(ApplyError::observing)?;
        let rivals = rivals(&mut self.host, &rules, own.as_deref())?;
        let warning = |rival: &Rival| match rival {
            Rival::Rule(rule) => warning(rule, &rules),
            Rival::Half(route) => warning_of_half(route, own_defaults.contains(&route.dest.prefix_len())),
        };
        Ok(rivals.iter().map(warning).collect())
    }
}

impl Host {
    /// Returns what leads all packets into another tunnel, for a profile with a default route that is not up.
    ///
    /// # Errors
    /// Returns an error if the kernel could not be queried.
    pub fn rival_default_routes(&mut self) -> Result<Vec<String>, ApplyError> {
        let words = |rival: &Rival| match rival {
            Rival::Rule(rule) => {
                format!(
                    "its rule {} leads all packets to the default route of table {}",
                    rule.priority, rule.table
                )
            }
            Rival::Half(route) => format!("its route \"{route}\" is half a default route"),
        };
        let rules = self.rules(false).map_err(ApplyError::observing)?;
        Ok(rivals(self, &rules, None)?.iter().map(words).collect())
    }
}

/// Returns what leads all packets elsewhere, by these rules or by half a default route; `own` is the device of this tunnel.
fn rivals(host: &mut Host, rules: &[Rule], own: Option<&str>) -> Result<Vec<Rival>, ApplyError> {
    let mut found = Vec::new();
    for rule in rules {
        if leads_everything_away(rule) {
            let filter = Filter { ipv6: false, table: Some(rule.table), dest: None };
            let routes = host.routes(&filter).map_err(ApplyError::observing)?;
            if routes.iter().any(|route| route.kind == Kind::Unicast && route.dest.prefix_len() <= 1) {
                found.push(Rival::Rule(rule.clone()));
            }
        }
    }
    let filter = Filter { ipv6: false, table: Some(MAIN_TABLE), dest: None };
    let routes = host.routes(&filter).map_err(ApplyError::observing)?;
    // One of the two is enough for a warning.
    found.extend(routes.into_iter().find(|route| is_foreign_half(route, own)).map(Rival::Half));
    Ok(found)
}

/// Returns whether a route of another program is one half of a default route, which takes precedence over a whole
/// one.
fn is_foreign_half(route: &Route, own: Option<&str>) -> bool {
    route.dest.prefix_len() == 1
        && route.kind == Kind::Unicast
        && !route.is_ours()
        && own.is_none_or(|own| !route.leaves_by(own))
}

/// Returns whether a rule of another program selects all packets, except those with one mark, for a table of
/// its own, before the main table.
fn leads_everything_away(rule: &Rule) -> bool {
    !rule.is_ours()
        && !rule.unrestorable
        && rule.priority < MAIN_PRIORITY
        && rule.has_own_table()
        && (rule.mark.is_none() || rule.not)
        && rule.to.is_none()
        && rule.ip_protocol.is_none()
        && rule.port.is_none()
}

fn warning(rule: &Rule, rules: &[Rule]) -> String {
    let (priority, table) = (rule.priority, rule.table);
    let first = rules.iter().filter(|rule| rule.is_ours()).map(|rule| rule.priority).min();
    let who = format!("another program has a default route too: its rule {priority} leads to table {table}");
    match first {
        Some(own) if own < priority => {
            format!("{who}. The tunnel's rules come first: packets of that program, too, use this tunnel")
        }
        Some(_) => format!(
            "{who}, before the tunnel's rules: packets do not enter this tunnel, and its own may leave by that route. \
             Take the other VPN down, or bring it up first"
        ),
        None => format!(
            "{who}. In this mode each of the two may send its own packets into the other: use \
             default.mode = \"policy\", or put the other VPN's server into `exclude`"
        ),
    }
}

/// `has_halves` tells whether the tunnel's own default route consists of halves, too.
fn warning_of_half(route: &Route, has_halves: bool) -> String {
    let who = format!("another program has a default route too: \"{route}\", half of all addresses");
    if has_halves {
        format!(
            "{who}. This tunnel has the same halves, and the kernel decides between them by the metric: take the other \
             VPN down, or list the networks of this tunnel in routes = […]"
        )
    } else {
        format!(
            "{who}, which the kernel prefers to a whole one: packets do not enter this tunnel. Take the other VPN down, \
             or list the networks of this tunnel in routes = […]"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_other_programs_are_recognised() {
        let mut foreign = Route::through("128.0.0.0/1".parse().unwrap(), "tun5");
        foreign.protocol = 3;
        assert!(is_foreign_half(&foreign, Some("tun0")) && is_foreign_half(&foreign, None));
        assert!(!is_foreign_half(&foreign, Some("tun5")), "the tunnel's own");
        let ours = Route::through("0.0.0.0/1".parse().unwrap(), "tun0");
        let whole = Route { dest: "0.0.0.0/0".parse().unwrap(), ..foreign.clone() };
        let blocking = Route { kind: Kind::Unreachable, ..foreign.clone() };
        for other in [ours, whole, blocking] {
            assert!(!is_foreign_half(&other, None), "{other}");
        }
        assert!(warning_of_half(&foreign, false).contains("do not enter this tunnel"));
        assert!(warning_of_half(&foreign, true).contains("by the metric"));
    }

    fn rule(priority: u32, table: u32, protocol: u8) -> Rule {
        Rule { protocol, ..Rule::for_all(false, priority, table) }
    }

    #[test]
    fn rules_of_full_tunnels_are_recognised() {
        let wg_quick = Rule { not: true, mark: Some(51_820), ..rule(32_765, 51_820, 0) };
        assert!(leads_everything_away(&wg_quick));
        assert!(leads_everything_away(&rule(5_270, 52, 0)), "Tailscale");
        let suppressed = Rule { suppress_prefix: Some(0), ..rule(32_764, MAIN_TABLE, 0) };
        let marked = Rule { mark: Some(7), ..rule(5_210, 52, 0) };
        let by_source = Rule { unrestorable: true, ..rule(1_000, 100, 4) };
        let ours = Rule { not: true, mark: Some(9), ..rule(30_000, 9, crate::net::routes::PROTOCOL) };
        for other in [suppressed, marked, by_source, ours, rule(0, 255, 2), rule(32_767, 253, 2)] {
            assert!(!leads_everything_away(&other), "{other}");
        }
    }

    #[test]
    fn warning_depends_on_the_order_of_rules() {
        let ours = rule(7_000, 9, crate::net::routes::PROTOCOL);
        let (earlier, later) = (rule(5_270, 52, 0), rule(32_765, 51_820, 0));
        assert!(warning(&earlier, std::slice::from_ref(&ours)).contains("do not enter"));
        assert!(warning(&later, std::slice::from_ref(&ours)).contains("come first"));
        assert!(warning(&later, &[]).contains("policy"));
    }
}
