//! Warns of routes that have taken packets from the tunnel since `up`.

use super::Steps;
use crate::{plan, platform::Platform};

/// The routes of other programs that take packets from the tunnel.
#[derive(Debug, Default)]
pub(super) struct TakenTraffic {
    /// The sentence that says how they can be refused, or what refuses them.
    remedy: &'static str,
    /// Whether pf blocks their packets.
    is_blocked: bool,
    /// Those that were there when the tunnel came up; `None` before.
    at_up: Option<Vec<String>>,
    /// Those that came later and are there now.
    since: Vec<String>,
}

impl TakenTraffic {
    /// Takes the routes of now; returns those that are new since the last call. The first routes are those of `up`.
    fn update(&mut self, now: Vec<String>) -> Vec<String> {
        let at_up = self.at_up.get_or_insert_with(|| now.clone());
        let since: Vec<String> = now.into_iter().filter(|route| !at_up.contains(route)).collect();
        let before = std::mem::replace(&mut self.since, since);
        self.since.iter().filter(|route| !before.contains(route)).cloned().collect()
    }

    /// Returns warnings for the status, one sentence each.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.since.iter().map(|route| self.warning(route))
    }

    fn warning(&self, route: &str) -> String {
        let leave = if self.is_blocked { "" } else { ", which leave unencrypted" };
        format!(
            "the route {route} takes packets from the tunnel{leave}; it was not there at `up`. {}",
            self.remedy
        )
    }
}

impl Steps {
    /// Reads which routes take packets from the tunnel; logs those that are new.
    pub(super) fn follow_taken_traffic(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        let taken = changes.taken_traffic(&self.profile.exclude, self.collisions.server);
        let (prefixes, now): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
        self.taken.remedy = plan::taken_traffic_remedy(&self.profile, Platform::host());
        let has_filter = plan::has_leak_filter(&self.profile, Platform::host());
        let fresh = self.taken.update(now);
        if !fresh.is_empty() {
            // pf may have been disabled, or its main ruleset replaced.
            self.leak_problems = changes.leak_filter_problems();
            self.taken.is_blocked = has_filter && self.leak_problems.is_empty();
        }
        for route in fresh {
            tracing::warn!("{}", self.taken.warning(&route));
        }
        if !prefixes.is_empty()
            && let Err(error) = changes.end_connections_to(&prefixes)
        {
            tracing::warn!("connections past the tunnel: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_up_are_no_reason_to_warn() {
        let routes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut taken = TakenTraffic::default();
        assert!(taken.update(routes(&["a"])).is_empty());
        assert_eq!(taken.update(routes(&["a", "b"])), ["b"]);
        assert!(taken.update(routes(&["b", "a"])).is_empty());
        assert_eq!(taken.warnings().count(), 1);
        assert!(taken.update(Vec::new()).is_empty());
        assert_eq!(taken.warnings().count(), 0);
        assert_eq!(taken.update(routes(&["a", "b"])), ["b"], "again");
    }
}
