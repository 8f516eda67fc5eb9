use super::{
    super::tests::fake_host::{FakeHost, HostState},
    *,
};
use crate::{
    apply::ledger::PriorState,
    net::routes::Hop,
    plan::{NextHop, Part, PolicyRule},
};

const TABLE: u32 = crate::plan::FIRST_TABLE;

/// A tunnel with a default route by rules, and one excluded prefix. The fake host implements no rules, so
/// this tests only `decide`; the kernel's own answers are covered by the namespace tests.
#[test]
fn rules_and_tables_are_searched_in_kernel_order() {
    let model = FakeHost::new(state());
    let mut host = model.host();
    let mut at = |to: &str| {
        let decided = select_route(&mut host, to.parse().unwrap(), MAIN_TABLE, |_| false).unwrap();
        decided.map(|(rule, route)| (rule.unwrap().priority, route.to_string()))
    };
    let own = |route: &str| Some((900, format!("{route} table {TABLE}")));
    assert_eq!(at("1.1.1.1"), own("default dev tun0"));
    assert_eq!(at("192.0.2.7"), Some((800, "192.0.2.0/24 dev up0".to_owned())), "not suppressed");
    assert_eq!(at("198.18.0.1"), Some((32_766, "default via 192.0.2.1 dev up0".to_owned())), "thrown");
    model.state.borrow_mut().routes.retain(|route| !route.leaves_by("tun0"));
    let mut at = |to: &str| {
        select_route(&mut host, to.parse().unwrap(), MAIN_TABLE, |_| false)
            .unwrap()
            .map(|(_, route)| route.kind)
    };
    assert_eq!(at("1.1.1.1"), Some(Kind::Unreachable), "the unreachable route of the table");
}

#[test]
fn disposition_follows_from_route_and_ledger() {
    let step = |step| Entry { number: 1, part: Part::Transport, step, before: PriorState::Nothing };
    let server = "203.0.113.9".parse().unwrap();
    let entries = vec![
        step(Step::HostRoute(HostRouteStep {
            server: Value::Known(server),
            way: Value::Known(NextHop::ThisHost),
            within: Vec::new(),
        })),
        step(Step::Policy(PolicyStep::Throw {
            dest: "198.18.0.0/15".parse().unwrap(),
            table: Value::Known(TABLE),
        })),
    ];
    let tunnel = AppliedRouting { device: Some("tun0".to_owned()), entries };
    let by =
        |dev: &str| RouteTo { gateway: None, dev: dev.to_owned(), source: None, mtu: None, local: false };
    let disposition_of = |answer: Option<&RouteTo>, route: Option<&Route>, to: &str| {
        tunnel.explain(answer, route, to.parse().unwrap()).0
    };
    assert_eq!(disposition_of(Some(&by("tun0")), None, "1.1.1.1"), Disposition::Tunnel);
    assert_eq!(disposition_of(Some(&by("up0")), None, "1.1.1.1"), Disposition::Outside);
    assert_eq!(disposition_of(None, None, "1.1.1.1"), Disposition::Nowhere);
    let refusing = Route { kind: Kind::Unreachable, hops: Vec::new(), ..through("0.0.0.0/0", "tun0", TABLE) };
    assert_eq!(disposition_of(None, Some(&refusing), "1.1.1.1"), Disposition::Blocked);
    let foreign = Route { protocol: 3, ..refusing };
    assert_eq!(
        disposition_of(None, Some(&foreign), "1.1.1.1"),
        Disposition::Nowhere,
        "a route of another program"
    );
    let local = RouteTo { local: true, ..by("lo") };
    assert_eq!(disposition_of(Some(&local), None, "192.0.2.2"), Disposition::Here);
    let why = |to: &str| tunnel.explain(Some(&by("up0")), None, to.parse().unwrap()).1;
    assert!(why("203.0.113.9").contains("server") && why("198.18.1.1").contains("excluded"));
}

/// As on OpenBSD: the tunnel has a routing domain, and queries are made in it.
#[test]
fn trace_uses_the_table_of_the_routing_domain() {
    let mut state = state();
    state.rules.clear();
    let mut inside = through("0.0.0.0/0", "tun0", 3);
    inside.hops[0].via = Some("10.99.0.1".parse().unwrap());
    state.route(inside);
    let model = FakeHost::new(state);
    let mut host = model.host();
    let entry = |step| Entry { number: 1, part: Part::Network, step, before: PriorState::Nothing };
    let placed = entry(Step::Domain(DomainStep { tun: Value::Known("tun0".to_owned()), number: 3 }));
    let traced = |entries: Vec<Entry>, host: &mut Host| {
        let tunnel = AppliedRouting { device: Some("tun0".to_owned()), entries };
        let trace = tunnel.trace(host, "192.0.2.7".parse().unwrap()).unwrap();
        (trace.disposition, trace.route)
    };
    let own = "default via 10.99.0.1 dev tun0 table 3".to_owned();
    assert_eq!(traced(vec![placed.clone()], &mut host), (Disposition::Tunnel, Some(own)));
    assert_eq!(
        traced(Vec::new(), &mut host),
        (Disposition::Outside, Some("192.0.2.0/24 dev up0".to_owned()))
    );
    // No route of the usual table applies in the domain.
    model.state.borrow_mut().routes.retain(|route| route.table != 3);
    assert_eq!(traced(vec![placed], &mut host), (Disposition::Nowhere, None));
}

fn state() -> HostState {
    let mut state = HostState::default();
    state.device("up0");
    state.device("tun0");
    let mut gateway = Route { metric: 100, ..through("0.0.0.0/0", "up0", MAIN_TABLE) };
    gateway.hops = vec![Hop {
        via: Some("192.0.2.1".parse().unwrap()),
        dev: Some("up0".to_owned()),
        onlink: false,
        weight: 0,
    }];
    gateway.metric = 0;
    state.route(gateway);
    state.route(through("192.0.2.0/24", "up0", MAIN_TABLE));
    state.route(through("0.0.0.0/0", "tun0", TABLE));
    let last = through("0.0.0.0/0", "", TABLE);
    state.route(Route { kind: Kind::Unreachable, hops: Vec::new(), metric: u32::MAX, ..last });
    let outside = through("198.18.0.0/15", "", TABLE);
    state.route(Route { kind: Kind::Throw, hops: Vec::new(), ..outside });
    let rule = |priority, table| Rule::for_all(false, priority, table);
    state.rules = vec![
        rule(0, LOCAL_TABLE),
        Rule { ip_protocol: Some(17), port: Some(53), ..rule(700, TABLE) },
        Rule { suppress_prefix: Some(0), ..rule(800, MAIN_TABLE) },
        Rule { not: true, mark: Some(TABLE), ..rule(900, TABLE) },
        rule(32_766, MAIN_TABLE),
    ];
    // The priorities at which the kernel evaluates them.
    assert!(PolicyRule::Main.priority(TABLE) < PolicyRule::Tunnel.priority(TABLE));
    state
}

fn through(dest: &str, dev: &str, table: u32) -> Route {
    Route { table, ..Route::through(dest.parse().unwrap(), dev) }
}
