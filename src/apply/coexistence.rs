//! Detects other programs that hold a default route by policy rules (wg-quick, an exit node of Tailscale), and
//! says what this means for the tunnel.

use super::{ApplyError, Changes};
use crate::{
    net::{
        routes::{Filter, Kind},
        rules::Rule,
    },
    plan::{RouteStep, Step},
};

/// The priority of the kernel's rule for the main table.
const MAIN_PRIORITY: u32 = 32_766;

impl Changes {
    /// Returns a warning for each rule of another program that leads all packets to a table with a default
    /// route, if this tunnel has a default route too.
    ///
    /// # Errors
    /// Returns an error if the kernel could not be queried.
    pub fn rival_default_routes(&mut self) -> Result<Vec<String>, ApplyError> {
        let has_default = self.ledger.record().entries.iter().any(
            |entry| matches!(&entry.step, Step::Route(RouteStep { dest, .. }) if dest.prefix_len() <= 2),
        );
        if !has_default || self.host.named_netns().is_some() {
            return Ok(Vec::new());
        }
        let rules = self.host.rules(false).map_err(ApplyError::observing)?;
        let mut warnings = Vec::new();
        for rule in rules.iter().filter(|rule| leads_everything_away(rule)) {
            let filter = Filter { ipv6: false, table: Some(rule.table), dest: None };
            let routes = self.host.routes(&filter).map_err(ApplyError::observing)?;
            if routes.iter().any(|route| route.kind == Kind::Unicast && route.dest.prefix_len() <= 1) {
                warnings.push(warning(rule, &rules));
            }
        }
        Ok(warnings)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::routes::MAIN_TABLE;

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
