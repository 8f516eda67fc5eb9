//! What else on this host decides about the packets that the profile wants in its tunnel: connected networks,
//! default routes and rules of other programs.

use super::{finding::Finding, server::is_tunnel};
use crate::{
    apply,
    net::{
        routes::{Kind, Route},
        rules::Rule,
    },
    profile::Profile,
    supervisor::preview::{Preview, preview},
};

/// Returns whether addresses of the profile collide with those of this host, as `up` sees it.
fn collisions(preview: &Preview) -> Finding {
    match (&preview.refusal, preview.collisions.found.as_slice()) {
        (Some(failure), _) => Finding::failure(failure),
        (None, []) => Finding::ok("collisions", "none with the networks of this host"),
        (None, _) => {
            let ways = preview.collisions.ways_out();
            let finding = Finding::warning("collisions", preview.collisions.warnings().join("; "));
            match ways.into_iter().next() {
                Some(way) => finding.next(way),
                None => finding,
            }
        }
    }
}

/// Returns whether another program wants all traffic, too.
fn default_route(routes: &[Route], rules: &[Rule], is_wanted: bool) -> Finding {
    let foreign = || routes.iter().filter(|route| !route.is_ours() && route.kind == Kind::Unicast);
    let defaults: Vec<&Route> = foreign().filter(|route| route.dest.prefix_len() == 0).collect();
    let by_tunnel = |route: &&Route| {
        // 0.0.0.0/1 and 128.0.0.0/1 hide a default route.
        route.dest.prefix_len() <= 1 && route.hops.iter().any(|hop| hop.dev.as_deref().is_some_and(is_tunnel))
    };
    let taken = foreign().find(by_tunnel).map(|route| format!("the route \"{route}\""));
    let rule = rules.iter().find(|rule| !rule.is_ours() && rule.has_own_table());
    let rule = rule.map(|rule| format!("the rule \"{rule}\" of another program"));
    match taken.or(rule).filter(|_| is_wanted) {
        Some(what) => Finding::warning(
            "default",
            format!("the profile wants all traffic, and so may another VPN: {what}"),
        )
        .next("end the other VPN first, or list the networks of the profile in routes = […]"),
        None => {
            let list: Vec<String> = defaults.iter().map(|route| route.to_string()).collect();
            let list =
                if list.is_empty() { "this host has no default route".to_owned() } else { list.join("; ") };
            Finding::ok("default", list)
        }
    }
}

/// Checks the routes of this host against those of the profile.
pub(super) fn check(profile: &Profile) -> Vec<Finding> {
    let elsewhere =
        profile.link.netns.is_some() || profile.link.rdomain.is_some() || profile.link.fib.is_some();
    if elsewhere {
        let why = "the tunnel has routes of its own (link), so those of this host do not matter";
        return vec![Finding::skipped("collisions", why), Finding::skipped("default", why)];
    }
    let read = apply::Host::system().and_then(|mut host| Ok((host.main_routes()?, host.policy_rules()?)));
    match read {
        Ok((routes, rules)) => {
            vec![
                collisions(&preview(profile)),
                default_route(&routes, &rules, profile.default_route.is_some()),
            ]
        }
        Err(error) => {
            let why = format!("the routes cannot be read: {error}");
            vec![Finding::skipped("collisions", why.clone()), Finding::skipped("default", why)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};
    use crate::net::routes::MAIN_TABLE;

    /// A route that another program has added.
    fn foreign(dest: &str, dev: &str, via: Option<&str>) -> Route {
        let mut route = Route::through(dest.parse().unwrap(), dev);
        route.protocol = 4;
        for hop in &mut route.hops {
            hop.via = via.map(|via| via.parse().unwrap());
        }
        route
    }

    fn rule(table: u32, protocol: u8) -> Rule {
        Rule { protocol, ..Rule::for_all(false, 5270, table) }
    }

    #[test]
    fn collision_that_up_refuses_stops_it() {
        use crate::failure::{Failure, FailureKind, Phase};
        assert_eq!(collisions(&Preview::default()).severity, Severity::Ok);
        let failure = Failure::new(Phase::Routes, FailureKind::Collision, "10.0.0.0/8").hint("exclude");
        let found = collisions(&Preview { refusal: Some(failure), ..Preview::default() });
        assert_eq!((found.subject, found.severity), ("collisions", Severity::Failure));
        assert_eq!(found.next.as_deref(), Some("exclude"));
    }

    #[test]
    fn another_vpn_with_the_default_route_is_reported() {
        let lan = foreign("0.0.0.0/0", "eth0", Some("192.168.1.1"));
        let only = [lan.clone()];
        assert_eq!(default_route(&only, &[rule(MAIN_TABLE, 2)], true).severity, Severity::Ok);
        let halves = [lan.clone(), foreign("128.0.0.0/1", "tun0", None)];
        assert_eq!(default_route(&halves, &[], true).severity, Severity::Warning);
        assert_eq!(default_route(&halves, &[], false).severity, Severity::Ok);
        let tailscale = default_route(&only, &[rule(52, 2)], true);
        assert!(
            tailscale.evidence.contains("table 52") || tailscale.evidence.contains("lookup 52"),
            "{tailscale:?}"
        );
        let ours = rule(0x1723_0001, crate::net::routes::PROTOCOL);
        assert_eq!(default_route(&only, &[ours], true).severity, Severity::Ok);
        assert!(default_route(&[], &[], true).evidence.contains("no default route"));
    }
}
