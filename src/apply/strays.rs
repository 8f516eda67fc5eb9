//! Lifts a kill switch whose ledger is lost: rules and routes of ours that refuse packets or lead them into a tunnel's
//! table, and that no ledger names.

use super::{ApplyError, Directories, Host, KernelOp, Program, error::gone, ledger};
use crate::{
    net::routes::{Filter, Kind, Route},
    os::{boot, namespace::Namespace},
    plan::{FIRST_TABLE, LEAK_LABEL, SLOTS, is_leak_anchor},
    platform::Platform,
};

/// What was removed.
#[derive(Debug, Default)]
pub struct Strays {
    /// Number of rules.
    pub rules: usize,
    /// Number of routes.
    pub routes: usize,
    /// Number of anchors of pf.
    pub anchors: usize,
    /// Whether some of them have refused packets.
    pub lifted: bool,
    /// What could not be removed.
    pub errors: Vec<ApplyError>,
}

/// Removes what a tunnel without a ledger has left in this network namespace. Does nothing while there is a ledger of this
/// boot and namespace: what it does not name may belong to a tunnel that is coming up.
pub fn remove_strays(places: &Directories, host: &mut Host) -> Strays {
    let mut strays = Strays::default();
    if has_ledger(places) {
        return strays;
    }
    for ipv6 in [false, true] {
        match host.rules(ipv6) {
            Ok(rules) => {
                for rule in rules.iter().filter(|rule| rule.is_ours()) {
                    match gone(host.change(KernelOp::DeleteRule(rule))) {
                        Ok(()) => strays.rules += 1,
                        Err(cause) => strays.errors.push(ApplyError::observing(cause)),
                    }
                }
            }
            Err(error) => strays.errors.push(ApplyError::observing(error)),
        }
        match host.routes(&Filter { ipv6, table: None, dest: None }) {
            Ok(routes) => {
                for route in routes.iter().filter(|route| is_of_kill_switch(route)) {
                    match gone(host.change(KernelOp::DeleteRoute(route))) {
                        Ok(()) => {
                            strays.routes += 1;
                            strays.lifted |= route.kind != Kind::Unicast && route.kind != Kind::Throw;
                        }
                        Err(cause) => strays.errors.push(ApplyError::observing(cause)),
                    }
                }
            }
            Err(error) => strays.errors.push(ApplyError::observing(error)),
        }
    }
    for anchor in leak_anchors(host, Platform::host()) {
        let program = Program::find("pfctl", &["-q", "-a", &anchor, "-F", "all"]);
        match host.run_successfully(&program) {
            Ok(_) => {
                strays.anchors += 1;
                strays.lifted = true;
            }
            Err(error) => strays.errors.push(ApplyError::observing(error)),
        }
    }
    strays
}

/// Returns the anchors of pf that have the rules of a kill switch.
fn leak_anchors(host: &mut Host, platform: Platform) -> Vec<String> {
    if !matches!(platform, Platform::FreeBsd | Platform::OpenBsd) {
        return Vec::new();
    }
    // Without pf in the kernel there is none.
    let mut list =
        |args: &[&str]| host.run_successfully(&Program::find("pfctl", args)).unwrap_or_default().stdout;
    let anchors = list(&["-q", "-v", "-s", "Anchors"]);
    let anchors = anchors.lines().map(str::trim).filter(|anchor| is_leak_anchor(anchor));
    let has_rules = |anchor: &&str| list(&["-q", "-a", anchor, "-s", "rules"]).contains(LEAK_LABEL);
    anchors.filter(has_rules).map(str::to_owned).collect()
}

/// Returns whether a route is one of ours that refuses packets, or in a tunnel's table. A route that leads anywhere, such
/// as the host route of `pptp`, stays.
fn is_of_kill_switch(route: &Route) -> bool {
    let has_own_table = (FIRST_TABLE..FIRST_TABLE + SLOTS).contains(&route.table);
    route.is_ours() && (route.kind != Kind::Unicast || has_own_table)
}

fn has_ledger(places: &Directories) -> bool {
    let Ok(paths) = ledger::list(&places.state) else { return places.state.exists() };
    let here = Namespace::current();
    let is_here =
        |record: &ledger::Record| record.header.boot == boot::id() && record.header.namespace().same_as(here);
    // One that can't be read counts: `recover` has reported it.
    paths.iter().any(|path| ledger::peek(path).as_ref().is_none_or(is_here))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        apply::tests::fake_host::{FakeHost, HostState},
        net::{routes::MAIN_TABLE, rules::Rule},
    };

    #[test]
    fn only_our_refusals_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let places = Directories { run: dir.path().to_owned(), state: dir.path().to_owned() };
        let mut state = HostState::default();
        state.device("eth0");
        let to = |dest: &str| Route::through(dest.parse().unwrap(), "eth0");
        let refusal = |dest: &str| Route { kind: Kind::Unreachable, hops: Vec::new(), ..to(dest) };
        let kept = [to("192.0.2.1/32"), Route { protocol: 4, ..refusal("10.0.0.0/8") }];
        for route in kept.iter().cloned().chain([
            refusal("0.0.0.0/1"),
            Route { table: FIRST_TABLE + 5, ..to("0.0.0.0/0") },
            Route { kind: Kind::Throw, ..refusal("10.9.0.0/16") },
        ]) {
            state.route(route);
        }
        state.rules =
            vec![Rule::for_all(false, 7000, FIRST_TABLE + 5), Rule::for_all(false, 32766, MAIN_TABLE)];
        if let Some(rule) = state.rules.last_mut() {
            rule.protocol = 2;
        }
        let host = FakeHost::new(state);
        let found = remove_strays(&places, &mut host.host());
        assert_eq!((found.rules, found.routes, found.errors.len()), (1, 3, 0));
        assert_eq!(host.state.borrow().routes, {
            let mut kept = kept.to_vec();
            kept.sort_by_key(|route| route.dest);
            kept
        });
        assert_eq!(host.state.borrow().rules.len(), 1);
        let again = remove_strays(&places, &mut host.host());
        assert_eq!((again.rules, again.routes), (0, 0));
    }

    /// Only anchors with our label are flushed, and only where there is pf.
    #[test]
    fn anchors_of_a_kill_switch_are_found_by_their_label() {
        let host = FakeHost::new(HostState::default()).with_programs(std::rc::Rc::new(|program, _| {
            let stdout = match program.args.join(" ").as_str() {
                "-q -v -s Anchors" => "  vpn\n  vpn/leak\n  office/leak\n  other\n",
                "-q -a vpn/leak -s rules" => "block drop out quick all label \"pptpctl-leak\"\n",
                "-q -a office/leak -s rules" => "block drop out quick all\n",
                other => unreachable!("{other}"),
            };
            Ok(crate::apply::Output { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() })
        }));
        for platform in [Platform::FreeBsd, Platform::OpenBsd] {
            assert_eq!(leak_anchors(&mut host.host(), platform), ["vpn/leak"]);
        }
        for platform in [Platform::Linux, Platform::NetBsd] {
            assert_eq!(leak_anchors(&mut host.host(), platform), [""; 0]);
        }
    }
}
