//! A host whose routing tables were looked at a moment ago: for a run of steps that each look at one place.
//!
//! Only whole tables can be read from a kernel, so a thousand routes that each look before they leap would read a
//! thousand routes each. From [`RouteCache::begin`] to [`RouteCache::end`] what was seen does for a moment ([`FRESH`]); a place
//! that was changed through us is looked at again, and after whatever else may change routes (a device that goes down, a
//! program that is run) everything is. What someone else does within that moment is seen as late as if he had come
//! between our look and our deed, which nothing here could keep him from either.
//!
//! Does not own what is done with what was seen (`deeds`).

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

/// How old what was seen may be.
const FRESH: Duration = Duration::from_millis(50);
/// And so many times as long as the look took: a slow machine, or a long table, is not to do nothing else.
const LOOKS: u32 = 8;

/// The host, and what was seen of it.
pub(super) struct RouteCache<'h> {
    host: Holder<'h>,
    /// `None` while every question goes to the host.
    seen: Option<HashMap<(bool, u32), Table>>,
    /// How old that may be; a test has time.
    fresh: Duration,
}

enum Holder<'h> {
    Own(Box<dyn Host>),
    Lent(&'h mut dyn Host),
}

/// A routing table as it was.
struct Table {
    /// Until when this will do.
    good: Instant,
    /// `None`: it has a route that could not be understood, so that each place has to be asked for by itself.
    routes: Option<HashMap<IpNet, Vec<Route>>>,
    /// Places that are not as they were.
    changed: HashSet<IpNet>,
}

impl RouteCache<'static> {
    pub(super) fn own(host: Box<dyn Host>) -> Self {
        Self { host: Holder::Own(host), seen: None, fresh: FRESH }
    }
}

impl<'h> RouteCache<'h> {
    pub(super) fn lent(host: &'h mut dyn Host) -> Self {
        Self { host: Holder::Lent(host), seen: None, fresh: FRESH }
    }

    /// From here on what was seen may be as old as [`FRESH`]; nothing has been seen yet.
    pub(super) fn begin(&mut self) {
        self.seen = Some(HashMap::new());
    }

    /// From here on every look is a new one.
    pub(super) fn end(&mut self) {
        self.seen = None;
    }

    fn forget(&mut self) {
        if let Some(seen) = &mut self.seen {
            seen.clear();
        }
    }

    fn forget_place(&mut self, route: &Route) {
        let key = (route.dest.addr().is_ipv6(), route.table);
        if let Some(table) = self.seen.as_mut().and_then(|seen| seen.get_mut(&key)) {
            table.changed.insert(route.dest.trunc());
        }
    }

    /// The whole table, if it has to be and can be read.
    fn look(&mut self, ipv6: bool, table: u32) {
        let Some(seen) = &mut self.seen else { return };
        let key = (ipv6, table);
        if seen.get(&key).is_some_and(|table| Instant::now() < table.good) {
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
        let good = started + self.fresh.max(started.elapsed() * LOOKS);
        seen.insert(key, Table { good, routes, changed: HashSet::new() });
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
            self.look(ipv6, table);
            let seen = self.seen.as_ref().and_then(|seen| seen.get(&(ipv6, table)));
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
        self.forget_place(route);
        self.host.add_route(route, insert)
    }

    fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        self.forget_place(route);
        self.host.delete_route(route)
    }

    // What follows may change routes by the way.

    fn set_domain(&mut self, dev: &str, number: u32) -> Result<(), Error> {
        self.forget();
        self.host.set_domain(dev, number)
    }

    fn set_mtu(&mut self, dev: &str, mtu: u32) -> Result<(), Error> {
        self.forget();
        self.host.set_mtu(dev, mtu)
    }

    fn set_up(&mut self, dev: &str, up: bool) -> Result<(), Error> {
        self.forget();
        self.host.set_up(dev, up)
    }

    fn delete_link(&mut self, dev: &str, index: u32) -> Result<(), Error> {
        self.forget();
        self.host.delete_link(dev, index)
    }

    fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.forget();
        self.host.add_address(dev, address)
    }

    fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.forget();
        self.host.delete_address(dev, address)
    }

    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error> {
        self.forget();
        self.host.open_tun(unit)
    }

    fn run(&mut self, program: &Program) -> Result<Output, ProgramError> {
        self.forget();
        self.host.run(program)
    }

    // What follows changes no route.

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

    fn place(&self) -> Option<NamedNetns> {
        self.host.place()
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

    const AGES: Duration = Duration::from_secs(3600);

    /// What may be done through us, to one of a few places.
    #[derive(Clone, Debug)]
    enum Deed {
        Add(Route, Insert),
        Delete(Route),
        Up(bool),
        DeleteLink,
        Run,
    }

    fn place(number: u8) -> IpNet {
        IpNet::new(IpAddr::from([10, number, 0, 0]), 16).unwrap()
    }

    fn routes() -> impl Strategy<Value = Route> {
        (0_u8..4, 0_u32..2, prop_oneof![Just(MAIN_TABLE), Just(77)], "eth0|tun0").prop_map(
            |(number, metric, table, dev)| Route { metric, table, ..Route::through(place(number), &dev) },
        )
    }

    fn deeds() -> impl Strategy<Value = Deed> {
        let insert = prop_oneof![Just(Insert::New), Just(Insert::Replace), Just(Insert::Append)];
        prop_oneof![
            8 => (routes(), insert).prop_map(|(route, insert)| Deed::Add(route, insert)),
            4 => routes().prop_map(Deed::Delete),
            1 => any::<bool>().prop_map(Deed::Up),
            1 => Just(Deed::DeleteLink),
            1 => Just(Deed::Run),
        ]
    }

    fn host() -> FakeHost {
        let mut state = HostState::default();
        state.device("eth0");
        state.device("tun0");
        let program = |_: &Program, state: &mut HostState| {
            state.routes.retain(|route| route.dest != place(1));
            state.route(Route::through(place(2), "eth0"));
            Ok(Output::default())
        };
        FakeHost::new(state).with_programs(Rc::new(program))
    }

    fn everywhere(host: &mut dyn Host) -> Vec<Vec<Route>> {
        let places = (0..4).flat_map(|number| [(number, MAIN_TABLE), (number, 77)]);
        places.map(|(number, table)| host.routes(&Filter::to(place(number), table)).unwrap()).collect()
    }

    proptest! {
        /// However long what was seen counts: what we do ourselves is seen at once.
        #[test]
        fn what_is_done_through_it_is_seen(deeds in proptest::collection::vec(deeds(), 1..24)) {
            let model = host();
            let mut recent = RouteCache { fresh: AGES, ..RouteCache::own(Box::new(model.clone())) };
            recent.begin();
            for deed in deeds {
                // Some are refused, which changes nothing.
                let _refused = match &deed {
                    Deed::Add(route, insert) => recent.add_route(route, *insert).is_err(),
                    Deed::Delete(route) => recent.delete_route(route).is_err(),
                    Deed::Up(up) => recent.set_up("tun0", *up).is_err(),
                    Deed::DeleteLink => recent.delete_link("tun0", 3).is_err(),
                    Deed::Run => recent.run(&Program::at("/bin/true".into(), &[])).is_err(),
                };
                prop_assert_eq!(everywhere(&mut recent), everywhere(&mut model.clone()), "{:?}", deed);
            }
        }
    }

    #[test]
    fn a_table_is_read_once_and_what_others_do_is_seen_later() {
        let model = host();
        let mut recent = RouteCache { fresh: AGES, ..RouteCache::own(Box::new(model.clone())) };
        recent.begin();
        let before = everywhere(&mut recent);
        assert_eq!(*model.looks.borrow(), 2, "one for each table");
        let theirs = Route::through(place(3), "eth0");
        model.clone().add_route(&theirs, Insert::New).unwrap();
        assert_eq!(everywhere(&mut recent), before);
        assert_eq!(*model.looks.borrow(), 2);
        recent.forget();
        assert!(everywhere(&mut recent).contains(&vec![theirs.clone()]), "when it is looked at again");
        recent.end();
        model.clone().delete_route(&theirs).unwrap();
        assert_eq!(everywhere(&mut recent), before, "nobody is in a hurry any more");
    }
}
