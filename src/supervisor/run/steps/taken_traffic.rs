//! Warns of routes that have taken packets from the tunnel since `up`.

use super::Steps;
use crate::{plan, platform::Platform};

/// The routes of other programs that take packets from the tunnel.
#[derive(Debug, Default)]
pub(super) struct TakenTraffic {
    /// The sentence that says how they can be refused.
    remedy: &'static str,
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
        self.since.iter().map(|route| warning(route, self.remedy))
    }
}

fn warning(route: &str, remedy: &str) -> String {
    format!(
        "the route {route} takes packets from the tunnel, which leave unencrypted; it was not there at `up`. {remedy}"
    )
}

impl Steps {
    /// Reads which routes take packets from the tunnel; logs those that are new.
    pub(super) fn follow_taken_traffic(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        let now = changes.taken_traffic(&self.profile.exclude, self.collisions.server);
        self.taken.remedy = plan::taken_traffic_remedy(&self.profile, Platform::host());
        for route in self.taken.update(now) {
            tracing::warn!("{}", warning(&route, self.taken.remedy));
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
