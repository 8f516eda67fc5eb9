//! Cached routing tables, for a batch of steps that each check one prefix.
//!
//! The kernel only dumps whole tables, so a thousand routes that are each checked before they are added would
//! cost a thousand dumps, and a poll of the network reads the main table for one question after the other.
//! From [`RouteCache::begin`] to [`RouteCache::end`] a dump is reused for a short time ([`FRESH`]). A prefix
//! that is changed through the cache is read again; everything is, after an operation that may change routes as
//! a side effect (a device goes down, a program is run). A change by another program within that time is
//! noticed late, as if it had come between our check and our write, a race that nothing here could prevent
//! anyway.
//!
//! Does not own what is done with the routes (`steps`).

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use ipnet::IpNet;

use super::kernel::{Kernel, KernelOp};
use crate::net::routes::{Error, Filter, Route};

/// How long a dump is reused.
const FRESH: Duration = Duration::from_millis(50);
/// A dump is also reused for this multiple of its duration, so that a slow host spends little time on dumps.
const AGE_FACTOR: u32 = 8;

/// The cached dumps of the routing tables.
pub(super) struct RouteCache {
    /// The dumps by IPv6 and table; `None` while every query goes to the kernel.
    tables: Option<HashMap<(bool, u32), Table>>,
    /// How long a dump is reused; tests use a longer time.
    max_age: Duration,
    /// How many calls of [`RouteCache::begin`] have not ended: a batch may be a part of another.
    depth: u32,
}

/// A dump of a routing table.
struct Table {
    /// When the dump expires.
    expires: Instant,
    /// In the kernel's order. `None` if the table has a route that can't be parsed: each prefix is then queried
    /// separately.
    routes: Option<Vec<Route>>,
    /// The positions of the routes to each prefix.
    places: HashMap<IpNet, Vec<usize>>,
    /// Prefixes that were changed since the dump.
    changed: HashSet<IpNet>,
}

impl Default for RouteCache {
    fn default() -> Self {
        Self { tables: None, max_age: FRESH, depth: 0 }
    }
}

impl RouteCache {
    /// Starts caching, with an empty cache unless another batch has begun: dumps are reused for up to [`FRESH`].
    pub(super) fn begin(&mut self) {
        self.depth += 1;
        self.tables.get_or_insert_default();
    }

    /// Stops caching with the outermost batch: every query goes to the kernel.
    pub(super) fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            self.tables = None;
        }
    }

    /// Invalidates everything, for an operation that may change routes as a side effect.
    pub(super) fn invalidate_all(&mut self) {
        if let Some(seen) = &mut self.tables {
            seen.clear();
        }
    }

    /// Invalidates what a request may change.
    pub(super) fn invalidate(&mut self, op: KernelOp<'_>) {
        match op {
            KernelOp::AddRoute(route, _) | KernelOp::DeleteRoute(route) => {
                let key = (route.dest.addr().is_ipv6(), route.table);
                if let Some(table) = self.tables.as_mut().and_then(|seen| seen.get_mut(&key)) {
                    table.changed.insert(route.dest.trunc());
                }
            }
            KernelOp::AddRule(_) | KernelOp::DeleteRule(_) => {}
            _ => self.invalidate_all(),
        }
    }

    /// Returns the routes that match, from the cache if they are all of one table or those to one prefix of it.
    pub(super) fn routes(&mut self, kernel: &mut dyn Kernel, filter: &Filter) -> Result<Vec<Route>, Error> {
        if let Filter { ipv6, table: Some(table), dest } = *filter
            && let Some(Table { routes: Some(routes), places, changed, .. }) = self.fill(kernel, ipv6, table)
        {
            match dest {
                None if changed.is_empty() => return Ok(routes.clone()),
                Some(dest) if !changed.contains(&dest) => {
                    let found = places.get(&dest).into_iter().flatten();
                    return Ok(found.filter_map(|place| routes.get(*place).cloned()).collect());
                }
                _ => {}
            }
        }
        kernel.routes(filter)
    }

    /// Dumps the whole table, unless caching is off or the last dump is still valid.
    fn fill(&mut self, kernel: &mut dyn Kernel, ipv6: bool, table: u32) -> Option<&Table> {
        let seen = self.tables.as_mut()?;
        let key = (ipv6, table);
        if seen.get(&key).is_none_or(|table| Instant::now() >= table.expires) {
            let started = Instant::now();
            let routes = kernel.table(ipv6, table).ok();
            let mut places: HashMap<IpNet, Vec<usize>> = HashMap::new();
            for (place, route) in routes.iter().flatten().enumerate() {
                places.entry(route.dest).or_default().push(place);
            }
            let expires = started + self.max_age.max(started.elapsed() * AGE_FACTOR);
            seen.insert(key, Table { expires, routes, places, changed: HashSet::new() });
        }
        seen.get(&key)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, rc::Rc};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        apply::{
            Host, Output, Program,
            tests::fake_host::{FakeHost, HostState},
        },
        net::routes::{Insert, MAIN_TABLE},
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

    /// Returns a host that reuses dumps for longer than the test takes.
    fn caching(model: &FakeHost) -> Host {
        let mut host = model.host();
        host.cache = RouteCache { max_age: LONG_AGE, ..RouteCache::default() };
        host.cache.begin();
        host
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

    fn all_routes(host: &mut Host) -> Vec<Vec<Route>> {
        let places = (0..4).flat_map(|number| [(number, MAIN_TABLE), (number, 77)]);
        let filters = places.map(|(number, table)| Filter::to(prefix(number), table));
        let whole = [MAIN_TABLE, 77].map(|table| Filter { ipv6: false, table: Some(table), dest: None });
        filters.chain(whole).map(|filter| host.routes(&filter).unwrap()).collect()
    }

    proptest! {
        /// Changes made through the cache are visible at once, however long dumps are reused.
        #[test]
        fn own_changes_are_visible_at_once(operations in proptest::collection::vec(operations(), 1..24)) {
            let model = host();
            let mut recent = caching(&model);
            for deed in operations {
                // Some operations are refused and change nothing.
                let _refused = match &deed {
                    Operation::Add(route, insert) => recent.change(KernelOp::AddRoute(route, *insert)).is_err(),
                    Operation::Delete(route) => recent.change(KernelOp::DeleteRoute(route)).is_err(),
                    Operation::Up(up) => recent.change(KernelOp::SetUp("tun0", *up)).is_err(),
                    Operation::DeleteLink => recent.change(KernelOp::DeleteLink("tun0", 3)).is_err(),
                    Operation::Run => recent.run(&Program::at("/bin/true".into(), &[])).is_err(),
                };
                prop_assert_eq!(all_routes(&mut recent), all_routes(&mut model.host()), "{:?}", deed);
            }
        }
    }

    #[test]
    fn table_is_dumped_once_and_foreign_changes_appear_later() {
        let model = host();
        let mut recent = caching(&model);
        let before = all_routes(&mut recent);
        assert_eq!(*model.table_reads.borrow(), 2, "one for each table");
        let theirs = Route::through(prefix(3), "eth0");
        model.host().change(KernelOp::AddRoute(&theirs, Insert::New)).unwrap();
        assert_eq!(all_routes(&mut recent), before);
        assert_eq!(*model.table_reads.borrow(), 2);
        recent.cache.invalidate_all();
        assert!(all_routes(&mut recent).contains(&vec![theirs.clone()]), "when it is looked at again");
        let reads = *model.table_reads.borrow();
        recent.cache.begin();
        recent.cache.end();
        all_routes(&mut recent);
        assert_eq!(*model.table_reads.borrow(), reads, "a batch in another ends");
        recent.cache.end();
        model.host().change(KernelOp::DeleteRoute(&theirs)).unwrap();
        assert_eq!(all_routes(&mut recent), before, "nobody is in a hurry any more");
    }
}
