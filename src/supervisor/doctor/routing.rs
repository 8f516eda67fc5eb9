//! What else on this host decides about the packets that the profile wants in its tunnel: connected networks,
//! default routes and rules of other programs.

use super::finding::Finding;
use crate::{
    apply,
    net::routes::{Kind, Route},
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

/// Returns whether another program wants all traffic, too: `rivals` is what `up` would warn of.
fn default_route(routes: &[Route], rivals: &[String], is_wanted: bool) -> Finding {
    if let Some(what) = rivals.first().filter(|_| is_wanted) {
        return Finding::warning(
            "default",
            format!("the profile wants all traffic, and so does another program: {what}"),
        )
        .next("end the other VPN first, or list the networks of the profile in routes = […]");
    }
    let foreign = routes.iter().filter(|route| !route.is_ours() && route.kind == Kind::Unicast);
    let defaults = foreign.filter(|route| route.dest.prefix_len() == 0);
    let list: Vec<String> = defaults.map(ToString::to_string).collect();
    Finding::ok(
        "default",
        if list.is_empty() { "this host has no default route".to_owned() } else { list.join("; ") },
    )
}

/// Checks the routes of this host against those of the profile.
pub(super) fn check(profile: &Profile) -> Vec<Finding> {
    let elsewhere =
        profile.link.netns.is_some() || profile.link.rdomain.is_some() || profile.link.fib.is_some();
    if elsewhere {
        let why = "the tunnel has routes of its own (link), so those of this host do not matter";
        return vec![Finding::skipped("collisions", why), Finding::skipped("default", why)];
    }
    let read =
        apply::Host::system().and_then(|mut host| Ok((host.main_routes()?, host.rival_default_routes()?)));
    match read {
        Ok((routes, rivals)) => {
            vec![
                collisions(&preview(profile, profile.first_literal())),
                default_route(&routes, &rivals, profile.default_route.is_some()),
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
    /// A route that another program has added.
    fn foreign(dest: &str, dev: &str, via: Option<&str>) -> Route {
        let mut route = Route::through(dest.parse().unwrap(), dev);
        route.protocol = 4;
        for hop in &mut route.hops {
            hop.via = via.map(|via| via.parse().unwrap());
        }
        route
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
        let only = [foreign("0.0.0.0/0", "eth0", Some("192.168.1.1"))];
        assert_eq!(default_route(&only, &[], true).severity, Severity::Ok);
        let rivals = ["its rule 5270 leads all packets to the default route of table 52".to_owned()];
        let found = default_route(&only, &rivals, true);
        assert!(found.severity == Severity::Warning && found.evidence.ends_with(&rivals[0]), "{found:?}");
        assert_eq!(default_route(&only, &rivals, false).severity, Severity::Ok, "it wants its routes only");
        assert!(default_route(&[], &[], true).evidence.contains("no default route"));
    }
}
