//! A host with cached routing tables, for a batch of steps that each check one prefix.
//!
//! The kernel only dumps whole tables, so a thousand routes that are each checked before they are added would
//! cost a thousand dumps. From [`RouteCache::begin`] to [`RouteCache::end`] a dump is reused for a short time
//! ([`FRESH`]). A prefix that is changed through the cache is read again; everything is, after an operation
//! that may change routes as a side effect (a device goes down, a program is run). A change by another
//! program within that time is noticed late, as if it had come between our check and our write, a race that
//! nothing here could prevent anyway.
//!
//! Does not own what is done with the routes (`steps`).

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use ipnet::IpNet;

use super::{FileOp, Host, NamedNetns, Output, Program, ProgramError};
use crate::net::{
    routes::{Address, Error, Filter, Insert, Link, Route, RouteTo},
    rules::Rule,
    tun::{self, Tun},
};

/// How long a dump is reused.
const FRESH: Duration = Duration::from_millis(50);
/// A dump is also reused for this multiple of its duration, so that a slow host spends little time on dumps.
const AGE_FACTOR: u32 = 8;

/// The host, and the cached dumps of its routing tables.
pub(super) struct RouteCache<'h> {
    host: Holder<'h>,
    /// The cache; `None` while every query goes to the host.
    tables: Option<HashMap<(bool, u32), Table>>,
    /// How long a dump is reused; tests use a longer time.
    max_age: Duration,
}

enum Holder<'h> {
    Own(Box<dyn Host>),
    Lent(&'h mut dyn Host),
}

/// A dump of a routing table.
struct Table {
    /// When the dump expires.
    expires: Instant,
    /// `None` if the table has a route that can't be parsed: each prefix is then queried separately.
    routes: Option<HashMap<IpNet, Vec<Route>>>,
    /// Prefixes that were changed since the dump.
    changed: HashSet<IpNet>,
}

impl RouteCache<'static> {
    pub(super) fn own(host: Box<dyn Host>) -> Self {
        Self { host: Holder::Own(host), tables: None, max_age: FRESH }
    }
}

impl<'h> RouteCache<'h> {
    pub(super) fn lent(host: &'h mut dyn Host) -> Self {
        Self { host: Holder::Lent(host), tables: None, max_age: FRESH }
    }

    /// Starts caching, with an empty cache: dumps are reused for up to [`FRESH`].
    pub(super) fn begin(&mut self) {
        self.tables = Some(HashMap::new());
    }

    /// Stops caching: every query goes to the host.
    pub(super) fn end(&mut self) {
        self.tables = None;
    }

    fn invalidate_all(&mut self) {
        if let Some(seen) = &mut self.tables {
            seen.clear();
        }
    }

    fn invalidate(&mut self, route: &Route) {
        let key = (route.dest.addr().is_ipv6(), route.table);
        if let Some(table) = self.tables.as_mut().and_then(|seen| seen.get_mut(&key)) {
            table.changed.insert(route.dest.trunc());
        }
    }

    /// Dumps the whole table, unless caching is off or the last dump is still valid.
    fn fill(&mut self, ipv6: bool, table: u32) {
        let Some(seen) = &mut self.tables else { return };
        let key = (ipv6, table);
        if seen.get(&key).is_some_and(|table| Instant::now() < table.expires) {
            return;
        }
        let started = Instant::now();
        let routes = self.host.table(ipv6, table).ok().map(|all| {
            let mut places: HashMap<IpNet, Vec<Route>> = HashMap::new();
            for route in all {
                places.entry(route.dest).or_default().push(route);
            }
            places
        });
        let good = started + self.max_age.max(started.elapsed() * AGE_FACTOR);
        seen.insert(key, Table { expires: good, routes, changed: HashSet::new() });
    }
}

impl<'h> Deref for Holder<'h> {
    type Target = dyn Host + 'h;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Own(host) => host.as_ref(),
            Self::Lent(host) => *host,
        }
    }
}

impl DerefMut for Holder<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Own(host) => host.as_mut(),
            Self::Lent(host) => *host,
        }
    }
}

impl Host for RouteCache<'_> {
    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        if let Filter { ipv6, table: Some(table), dest: Some(dest) } = *filter {
            self.fill(ipv6, table);
            let seen = self.tables.as_ref().and_then(|seen| seen.get(&(ipv6, table)));
            if let Some(Table { routes: Some(routes), changed, .. }) = seen
                && !changed.contains(&dest)
            {
                return Ok(routes.get(&dest).cloned().unwrap_or_default());
            }
        }
        self.host.routes(filter)
    }

    fn table(&mut self, ipv6: bool, table: u32) -> Result<Vec<Route>, Error> {
        self.host.table(ipv6, table)
    }

    fn add_route(&mut self, route: &Route, insert: Insert) -> Result<(), Error> {
        self.invalidate(route);
        self.host.add_route(route, insert)
    }

    fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        self.invalidate(route);
        self.host.delete_route(route)
    }

    // The following operations may change routes as a side effect.

    fn set_domain(&mut self, dev: &str, number: u32) -> Result<(), Error> {
        self.invalidate_all();
        self.host.set_domain(dev, number)
    }

    fn set_mtu(&mut self, dev: &str, mtu: u32) -> Result<(), Error> {
        self.invalidate_all();
        self.host.set_mtu(dev, mtu)
    }

    fn set_up(&mut self, dev: &str, up: bool) -> Result<(), Error> {
        self.invalidate_all();
        self.host.set_up(dev, up)
    }

    fn delete_link(&mut self, dev: &str, index: u32) -> Result<(), Error> {
        self.invalidate_all();
        self.host.delete_link(dev, index)
    }

    fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.invalidate_all();
        self.host.add_address(dev, address)
    }

    fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.invalidate_all();
        self.host.delete_address(dev, address)
    }

    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error> {
        self.invalidate_all();
        self.host.open_tun(unit)
    }

    fn run(&mut self, program: &Program) -> Result<Output, ProgramError> {
        self.invalidate_all();
        self.host.run(program)
    }

    // The following operations change no routes.

    fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>) -> Result<RouteTo, Error> {
        self.host.route_to(to, source)
    }

    fn route_to_marked(
        &mut self,
        to: IpAddr,
        source: Option<IpAddr>,
        mark: Option<u32>,
    ) -> Result<RouteTo, Error> {
        self.host.route_to_marked(to, source, mark)
    }

    fn route_to_in(&mut self, to: IpAddr, table: u32) -> Result<RouteTo, Error> {
        self.host.route_to_in(to, table)
    }

    fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, Error> {
        self.host.rules(ipv6)
    }

    fn add_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        self.host.add_rule(rule)
    }

    fn delete_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        self.host.delete_rule(rule)
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        self.host.link(name)
    }

    fn enter(&self, netns: &str) -> Result<Box<dyn Host>, Error> {
        self.host.enter(netns)
    }

    fn named_netns(&self) -> Option<NamedNetns> {
        self.host.named_netns()
    }

    fn forwards(&mut self) -> Option<bool> {
        self.host.forwards()
    }

    fn file(&mut self, deed: &FileOp<'_>) -> std::io::Result<()> {
        self.host.file(deed)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        apply::tests::fake_host::{FakeHost, HostState},
        net::routes::MAIN_TABLE,
    };

    const LONG_AGE: Duration = Duration::from_secs(3600);

    /// An operation through the cache, on one of a few prefixes.
    #[derive(Clone, Debug)]
    enum Operation {
        Add(Route, Insert),
        Delete(Route),
        Up(bool),
        DeleteLink,
        Run,
    }

    fn prefix(number: u8) -> IpNet {
        IpNet::new(IpAddr::from([10, number, 0, 0]), 16).unwrap()
    }

    fn routes() -> impl Strategy<Value = Route> {
        (0_u8..4, 0_u32..2, prop_oneof![Just(MAIN_TABLE), Just(77)], "eth0|tun0").prop_map(
            |(number, metric, table, dev)| Route { metric, table, ..Route::through(prefix(number), &dev) },
        )
    }

    fn operations() -> impl Strategy<Value = Operation> {
        let insert = prop_oneof![Just(Insert::New), Just(Insert::Replace), Just(Insert::Append)];
        prop_oneof![
            8 => (routes(), insert).prop_map(|(route, insert)| Operation::Add(route, insert)),
            4 => routes().prop_map(Operation::Delete),
            1 => any::<bool>().prop_map(Operation::Up),
            1 => Just(Operation::DeleteLink),
            1 => Just(Operation::Run),
        ]
    }

    fn host() -> FakeHost {
        let mut state = HostState::default();
        state.device("eth0");
        state.device("tun0");
        let program = |_: &Program, state: &mut HostState| {
            state.routes.retain(|route| route.dest != prefix(1));
            state.route(Route::through(prefix(2), "eth0"));
            Ok(Output::default())
        };
        FakeHost::new(state).with_programs(Rc::new(program))
    }

    fn all_routes(host: &mut dyn Host) -> Vec<Vec<Route>> {
        let queries = (0..4).flat_map(|number| [(number, MAIN_TABLE), (number, 77)]);
        queries.map(|(number, table)| host.routes(&Filter::to(prefix(number), table)).unwrap()).collect()
    }

    proptest! {
        /// Changes made through the cache are visible at once, however long dumps are reused.
        #[test]
        fn own_changes_are_visible_at_once(operations in proptest::collection::vec(operations(), 1..24)) {
            let model = host();
            let mut cache = RouteCache { max_age: LONG_AGE, ..RouteCache::own(Box::new(model.clone())) };
            cache.begin();
            for operation in operations {
                // Some operations are refused and change nothing.
                let _refused = match &operation {
                    Operation::Add(route, insert) => cache.add_route(route, *insert).is_err(),
                    Operation::Delete(route) => cache.delete_route(route).is_err(),
                    Operation::Up(up) => cache.set_up("tun0", *up).is_err(),
                    Operation::DeleteLink => cache.delete_link("tun0", 3).is_err(),
                    Operation::Run => cache.run(&Program::at("/bin/true".into(), &[])).is_err(),
                };
                prop_assert_eq!(all_routes(&mut cache), all_routes(&mut model.clone()), "{:?}", operation);
            }
        }
    }

    #[test]
    fn table_is_dumped_once_and_foreign_changes_appear_later() {
        let model = host();
        let mut cache = RouteCache { max_age: LONG_AGE, ..RouteCache::own(Box::new(model.clone())) };
        cache.begin();
        let before = all_routes(&mut cache);
        assert_eq!(*model.table_reads.borrow(), 2, "one for each table");
        let foreign = Route::through(prefix(3), "eth0");
        model.clone().add_route(&foreign, Insert::New).unwrap();
        assert_eq!(all_routes(&mut cache), before);
        assert_eq!(*model.table_reads.borrow(), 2);
        cache.invalidate_all();
        assert!(
            all_routes(&mut cache).contains(&vec![foreign.clone()]),
            "the table is not dumped after invalidation"
        );
        cache.end();
        model.clone().delete_route(&foreign).unwrap();
        assert_eq!(all_routes(&mut cache), before, "dumps are reused after end()");
    }
}
