//! Changes of the network under a tunnel: the next hop to the server, and foreign default routes.

use super::*;
use crate::plan::NextHop;

/// A laptop on one network, with a tunnel in the given mode.
struct Scenario {
    _dir: tempfile::TempDir,
    directories: Directories,
    model: FakeHost,
    session: Changes,
    mode: Mode,
}

impl Scenario {
    fn up(mode: Mode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let directories = directories(dir.path());
        let mut state = laptop();
        uplink(&mut state, "up1", "198.51.100.0/24");
        let model = FakeHost::new(state);
        let session = session(&directories, &model);
        let mut scenario = Self { _dir: dir, directories, model, session, mode };
        scenario.perform_again();
        scenario
    }

    fn perform_again(&mut self) {
        bring_up(&mut self.session, &(Some(self.mode), vec![], false), &self.directories).unwrap();
    }

    /// Returns the device by which the server is reached outside the tunnel.
    fn server_device(&mut self) -> Option<String> {
        match self.session.facts(SERVER, None) {
            Ok(Facts { next_hop: Some(NextHop::By { dev, .. }), .. }) => Some(dev),
            Ok(facts) => panic!("{facts:?}"),
            Err(_) => None,
        }
    }

    fn host_route(&self) -> Option<String> {
        let server: ipnet::IpNet = format!("{SERVER}/32").parse().unwrap();
        let state = self.model.state.borrow();
        state.routes.iter().find(|route| route.dest == server).and_then(|route| route.hops[0].dev.clone())
    }

    fn change(&self, change: impl FnOnce(&mut HostState)) {
        change(&mut self.model.state.borrow_mut());
    }

    fn defaults(&self) -> Vec<(Option<String>, u32)> {
        let state = self.model.state.borrow();
        let defaults = state.routes.iter().filter(|route| route.dest.prefix_len() == 0);
        defaults.map(|route| (route.hops[0].dev.clone(), route.metric)).collect()
    }
}

fn other_default(metric: u32) -> Route {
    let mut route = by_gateway("0.0.0.0/0", "198.51.100.1", metric);
    route.hops[0].dev = Some("up1".to_owned());
    route
}

fn is_default_of(dev: &'static str) -> impl Fn(&Route) -> bool {
    move |route| route.dest.prefix_len() == 0 && route.leaves_by(dev)
}

fn unplugged(dev: &'static str) -> impl FnOnce(&mut HostState) {
    move |state| {
        state.routes.retain(|route| !route.leaves_by(dev));
        for link in state.links.iter_mut().filter(|link| link.name == dev) {
            link.up = false;
        }
    }
}

#[test]
fn next_hop_follows_the_network_not_the_pinned_route() {
    let mut scenario = Scenario::up(Mode::Halves);
    assert_eq!(scenario.server_device().as_deref(), Some("up0"));
    scenario.change(|state| {
        state.routes.retain(|route| !is_default_of("up0")(route));
        state.route(other_default(100));
    });
    assert_eq!(scenario.server_device().as_deref(), Some("up1"));
    assert_eq!(scenario.host_route().as_deref(), Some("up0"), "until the plans are performed again");
    scenario.perform_again();
    assert_eq!(scenario.host_route().as_deref(), Some("up1"));
    let now = scenario.model.state.borrow().clone();
    scenario.perform_again();
    assert_eq!(*scenario.model.state.borrow(), now, "the repeated plans changed the host");
    assert!(scenario.session.undo_all_and_close().is_empty());
    let state = scenario.model.state.borrow();
    let mut left: Vec<String> = state.routes.iter().map(ToString::to_string).collect();
    left.sort();
    assert_eq!(
        left,
        ["192.0.2.0/24 dev up0", "198.51.100.0/24 dev up1", "default via 198.51.100.1 dev up1 metric 100",]
    );
}

#[test]
fn network_loss_is_detected_despite_the_pinned_route() {
    for mode in [Mode::Halves, Mode::Replace] {
        let mut scenario = Scenario::up(mode);
        scenario.change(unplugged("up0"));
        assert_eq!(scenario.server_device(), None, "{mode:?}");
        scenario.change(|state| state.route(other_default(100)));
        assert_eq!(scenario.server_device().as_deref(), Some("up1"), "{mode:?}");
        scenario.perform_again();
        assert_eq!(scenario.host_route().as_deref(), Some("up1"), "{mode:?}");
    }
}

#[test]
fn new_default_route_is_saved_and_removed() {
    let mut scenario = Scenario::up(Mode::Replace);
    assert_eq!(scenario.defaults(), [(Some("tun0".to_owned()), 0)]);
    // A second network with a worse metric: the first is still used.
    scenario.change(|state| state.route(other_default(600)));
    assert_eq!(scenario.server_device().as_deref(), Some("up0"));
    scenario.perform_again();
    assert_eq!(scenario.defaults(), [(Some("tun0".to_owned()), 0)]);
    assert_eq!(scenario.server_device().as_deref(), Some("up0"));
    // The first network goes away; the saved route of the second is used.
    scenario.change(unplugged("up0"));
    assert_eq!(scenario.server_device().as_deref(), Some("up1"));
    scenario.perform_again();
    assert_eq!(scenario.host_route().as_deref(), Some("up1"));
}

#[test]
fn both_default_routes_are_restored() {
    let mut scenario = Scenario::up(Mode::Replace);
    scenario.change(|state| state.route(other_default(600)));
    scenario.perform_again();
    assert!(scenario.session.undo_all_and_close().is_empty());
    let defaults = [("up0", 100), ("up1", 600)].map(|(dev, metric)| (Some(dev.to_owned()), metric));
    let state = scenario.model.state.borrow();
    let left = state.routes.iter().filter(|route| route.dest.prefix_len() == 0);
    assert_eq!(left.map(|route| (route.hops[0].dev.clone(), route.metric)).collect::<Vec<_>>(), defaults);
}

#[test]
fn replaced_default_route_is_taken_back_and_restored() {
    let mut scenario = Scenario::up(Mode::Replace);
    // `ip route replace default` without a metric replaces our route; the old one had another metric.
    scenario.change(|state| {
        state.routes.retain(|route| !is_default_of("tun0")(route));
        state.route(other_default(0));
    });
    scenario.perform_again();
    assert_eq!(scenario.defaults(), [(Some("tun0".to_owned()), 0)]);
    assert_eq!(scenario.server_device().as_deref(), Some("up1"), "its metric is the best");
    assert!(scenario.session.undo_all_and_close().is_empty());
    let state = scenario.model.state.borrow();
    let kept: Vec<u32> = state.routes.iter().filter(|r| r.dest.prefix_len() == 0).map(|r| r.metric).collect();
    assert_eq!(kept, [0, 100]);
}

#[test]
fn new_default_route_is_restored_after_crash_at_any_request() {
    for budget in 0..8 {
        let mut scenario = Scenario::up(Mode::Replace);
        scenario.change(|state| state.route(other_default(100)));
        *scenario.model.budget.borrow_mut() = budget;
        let _killed =
            bring_up(&mut scenario.session, &(Some(Mode::Replace), vec![], false), &scenario.directories);
        drop(scenario.session);
        scenario.model.close_tun();
        let mut fresh = scenario.model.restart(usize::MAX).host();
        let recovery = recover(&scenario.directories, &mut fresh, &|_| false);
        assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
        let state = scenario.model.state.borrow();
        let defaults = state.routes.iter().filter(|route| route.dest.prefix_len() == 0);
        let left: Vec<String> = defaults.map(ToString::to_string).collect();
        assert_eq!(left, ["default via 198.51.100.1 dev up1 metric 100"], "killed at {budget}");
    }
}

/// With many tunnels each would wait for all others after every change of the network.
#[test]
fn look_for_missing_routes_does_not_wait_for_the_lock() {
    for mode in [Mode::Halves, Mode::Replace] {
        let mut scenario = Scenario::up(mode);
        let before = scenario.model.state.borrow().clone();
        let held = ledger::StateLock::take(&scenario.directories.state).unwrap();
        let (settings, device) = scenario.session.renew_device();
        assert_eq!((settings.len(), device.is_ok()), (0, true));
        let (missing, done) = scenario.session.renew_routes();
        assert_eq!((missing, done.is_ok()), (0, true));
        drop(held);
        scenario.change(|state| state.routes.retain(|route| !route.is_ours()));
        let missing = scenario.session.renew_routes();
        assert!(missing.0 > 0 && missing.1.is_ok(), "{missing:?}");
        assert_eq!(*scenario.model.state.borrow(), before);
    }
}

/// A new default route is recorded before it is removed, and only with the lock.
#[test]
fn look_for_new_default_routes_changes_nothing() {
    let mut scenario = Scenario::up(Mode::Replace);
    scenario.change(|state| state.route(other_default(300)));
    assert_eq!(scenario.session.renew_routes().0, 1);
    assert_eq!(scenario.session.renew_routes().0, 0);
    assert!(!scenario.defaults().contains(&(Some("up1".to_owned()), 300)));
}
