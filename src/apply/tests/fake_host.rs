//! A host in memory, for tests: routes, links and addresses by the kernel's rules, and a process that can be
//! killed before any request.

use std::{cell::RefCell, fs::File, net::IpAddr, rc::Rc};

use nix::errno::Errno;

use crate::apply::{FileOp, Host, Kernel, KernelOp, Output, Program, ProgramError};
use crate::net::{
    routes::{Address, Error, Filter, Insert, Kind, Link, MAIN_TABLE, Route, RouteTo},
    rules::Rule,
    tun::{self, Tun},
};

/// The state that tests compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::apply) struct HostState {
    /// In the kernel's order.
    pub(in crate::apply) routes: Vec<Route>,
    pub(in crate::apply) links: Vec<Link>,
    pub(in crate::apply) addresses: Vec<(String, Address)>,
    /// Routing domains as on OpenBSD, of devices that are not in domain 0.
    pub(in crate::apply) domains: Vec<(String, u32)>,
    /// In the kernel's order.
    pub(in crate::apply) rules: Vec<Rule>,
}

impl HostState {
    pub(in crate::apply) fn device(&mut self, name: &str) {
        let index = u32::try_from(self.links.len()).unwrap() + 2;
        self.links.push(Link { index, name: name.to_owned(), mtu: 1500, up: true });
    }

    pub(in crate::apply) fn route(&mut self, route: Route) {
        self.routes.push(route);
        self.routes.sort_by_key(|route| (route.dest, route.table, route.metric));
    }

    fn remove_device(&mut self, name: &str) {
        self.links.retain(|link| link.name != name);
        self.routes.retain(|route| !route.leaves_by(name));
        self.addresses.retain(|(dev, _)| dev != name);
        self.domains.retain(|(dev, _)| dev != name);
    }
}

/// A process on the host. Clones are the same process; [`FakeHost::restart`] returns another one.
#[derive(Clone)]
pub(in crate::apply) struct FakeHost {
    pub(in crate::apply) state: Rc<RefCell<HostState>>,
    /// Number of further changes before the process is killed.
    pub(in crate::apply) budget: Rc<RefCell<usize>>,
    /// Number of reads of a routing table.
    pub(in crate::apply) table_reads: Rc<RefCell<usize>>,
    /// Whether the kernel removes tun0 after the next read of a routing table.
    pub(in crate::apply) closes_tun: Rc<RefCell<bool>>,
    /// Whether a device's routes go with its address, as on FreeBSD.
    pub(in crate::apply) routes_go_with_address: Rc<RefCell<bool>>,
    /// Whether a device that exists can be opened, as on the BSDs; closing it takes it down.
    pub(in crate::apply) opens_existing: Rc<RefCell<bool>>,
    next: Rc<RefCell<u32>>,
    answer: Answer,
}

/// Runs a program on the fake host: may change its state, and returns the outcome.
pub(in crate::apply) type Answer = Rc<dyn Fn(&Program, &mut HostState) -> Result<Output, ProgramError>>;

impl FakeHost {
    pub(in crate::apply) fn new(state: HostState) -> Self {
        Self {
            state: Rc::new(RefCell::new(state)),
            budget: Rc::new(RefCell::new(usize::MAX)),
            table_reads: Rc::default(),
            closes_tun: Rc::default(),
            routes_go_with_address: Rc::default(),
            opens_existing: Rc::default(),
            next: Rc::new(RefCell::new(100)),
            answer: Rc::new(|program, _| Err(ProgramError::Missing { program: program.name() })),
        }
    }

    /// Returns the host for this process.
    pub(in crate::apply) fn host(&self) -> Host {
        Host::new(Box::new(self.clone()))
    }

    /// Returns another process on the same host, which is killed after `budget` changes.
    pub(in crate::apply) fn restart(&self, budget: usize) -> Self {
        Self { budget: Rc::new(RefCell::new(budget)), ..self.clone() }
    }

    /// Returns the same host with `answer` running its programs.
    pub(in crate::apply) fn with_programs(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    /// Removes tun0, as the kernel does when the last descriptor of a tun device is closed.
    pub(in crate::apply) fn close_tun(&self) {
        self.state.borrow_mut().remove_device("tun0");
    }

    fn spend(&self) -> Result<(), Error> {
        let mut budget = self.budget.borrow_mut();
        *budget = budget.checked_sub(1).ok_or_else(|| Error::other("killed", "killed"))?;
        Ok(())
    }

    fn change<T>(
        &self,
        dev: &str,
        change: impl FnOnce(&mut HostState, usize) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.spend()?;
        let mut state = self.state.borrow_mut();
        let position = state.links.iter().position(|link| link.name == dev);
        change(&mut state, position.ok_or_else(|| Error::errno("change", Errno::ENODEV))?)
    }

    fn add_rule(&self, rule: &Rule) -> Result<(), Error> {
        self.spend()?;
        let mut state = self.state.borrow_mut();
        if state.rules.contains(rule) {
            return Err(Error::errno("add rule", Errno::EEXIST));
        }
        state.rules.push(rule.clone());
        state.rules.sort_by_key(|rule| rule.priority);
        Ok(())
    }

    fn delete_rule(&self, rule: &Rule) -> Result<(), Error> {
        self.spend()?;
        let mut state = self.state.borrow_mut();
        let place = state.rules.iter().position(|other| other == rule);
        state.rules.remove(place.ok_or_else(|| Error::errno("delete rule", Errno::ENOENT))?);
        Ok(())
    }

    fn add_route(&self, route: &Route, insert: Insert) -> Result<(), Error> {
        self.spend()?;
        let mut state = self.state.borrow_mut();
        let known = |hop: &crate::net::routes::Hop| {
            hop.dev.as_ref().is_none_or(|dev| state.links.iter().any(|link| link.name == *dev))
        };
        if !route.hops.iter().all(known) {
            return Err(Error::errno("add route", Errno::ENODEV));
        }
        let place = state.routes.iter().position(|other| other.same_key(route));
        match (insert, place) {
            (Insert::New, Some(_)) => return Err(Error::errno("add route", Errno::EEXIST)),
            (Insert::Append, Some(_)) if state.routes.contains(route) => {
                return Err(Error::errno("add route", Errno::EEXIST));
            }
            (Insert::Replace, Some(place)) => state.routes[place] = route.clone(),
            _ => state.route(route.clone()),
        }
        Ok(())
    }

    fn delete_route(&self, route: &Route) -> Result<(), Error> {
        self.spend()?;
        let mut state = self.state.borrow_mut();
        let place = state.routes.iter().position(|other| other == route);
        state.routes.remove(place.ok_or_else(|| Error::errno("delete route", Errno::ESRCH))?);
        Ok(())
    }

    fn set_mtu(&self, dev: &str, mtu: u32) -> Result<(), Error> {
        self.change(dev, |state, link| {
            state.links[link].mtu = mtu;
            Ok(())
        })
    }

    fn set_domain(&self, dev: &str, number: u32) -> Result<(), Error> {
        self.change(dev, |state, _| {
            state.domains.retain(|(name, _)| name != dev);
            if number != 0 {
                state.domains.push((dev.to_owned(), number));
            }
            state.addresses.retain(|(name, _)| name != dev);
            Ok(())
        })
    }

    fn set_up(&self, dev: &str, up: bool) -> Result<(), Error> {
        self.change(dev, |state, link| {
            state.links[link].up = up;
            if !up {
                state.routes.retain(|route| !route.leaves_by(dev));
            }
            Ok(())
        })
    }

    fn delete_link(&self, dev: &str, index: u32) -> Result<(), Error> {
        self.change(dev, |state, link| {
            if state.links[link].index != index {
                return Err(Error::errno("delete link", Errno::ENODEV));
            }
            state.remove_device(dev);
            Ok(())
        })
    }

    fn add_address(&self, dev: &str, address: &Address) -> Result<(), Error> {
        self.change(dev, |state, _| {
            let entry = (dev.to_owned(), address.clone());
            if state.addresses.contains(&entry) {
                return Err(Error::errno("add address", Errno::EEXIST));
            }
            state.addresses.push(entry);
            Ok(())
        })
    }

    fn delete_address(&self, dev: &str, address: &Address) -> Result<(), Error> {
        self.change(dev, |state, _| {
            let place = state.addresses.iter().position(|(name, held)| name == dev && held == address);
            state.addresses.remove(place.ok_or_else(|| Error::errno("delete", Errno::EADDRNOTAVAIL))?);
            if *self.routes_go_with_address.borrow() {
                state.routes.retain(|route| !route.leaves_by(dev));
            }
            Ok(())
        })
    }
}

impl Kernel for FakeHost {
    fn route_to(
        &mut self,
        to: IpAddr,
        _source: Option<IpAddr>,
        _mark: Option<u32>,
    ) -> Result<RouteTo, Error> {
        self.route_to_in(to, MAIN_TABLE)
    }

    fn route_to_in(&mut self, to: IpAddr, table: u32) -> Result<RouteTo, Error> {
        let state = self.state.borrow();
        // Of several routes with one metric the first is used.
        let best = state
            .routes
            .iter()
            .rev()
            .filter(|route| route.table == table && route.dest.contains(&to) && route.kind == Kind::Unicast)
            .max_by_key(|route| (route.dest.prefix_len(), std::cmp::Reverse(route.metric)));
        let route = best.ok_or_else(|| Error::errno("route", Errno::ENETUNREACH))?;
        let hop = &route.hops[0];
        Ok(RouteTo {
            gateway: hop.via,
            dev: hop.dev.clone().unwrap(),
            source: route.source,
            mtu: None,
            local: false,
        })
    }

    fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, Error> {
        Ok(self.state.borrow().rules.iter().filter(|rule| rule.ipv6 == ipv6).cloned().collect())
    }

    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        *self.table_reads.borrow_mut() += 1;
        let matches = |route: &&Route| {
            filter.table.is_none_or(|table| table == route.table)
                && filter.dest.is_none_or(|dest| dest == route.dest)
                && filter.ipv6 == route.dest.addr().is_ipv6()
        };
        let found = self.state.borrow().routes.iter().filter(matches).cloned().collect();
        if self.closes_tun.take() {
            self.close_tun();
        }
        Ok(found)
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        Ok(self.state.borrow().links.iter().find(|link| link.name == name).cloned())
    }

    fn domain(&mut self, dev: &str) -> Result<Option<u32>, Error> {
        Ok(Some(
            self.state.borrow().domains.iter().find(|(name, _)| name == dev).map_or(0, |(_, domain)| *domain),
        ))
    }

    fn change(&mut self, op: KernelOp<'_>) -> Result<(), Error> {
        match op {
            KernelOp::AddRoute(route, insert) => self.add_route(route, insert),
            KernelOp::DeleteRoute(route) => self.delete_route(route),
            KernelOp::AddRule(rule) => self.add_rule(rule),
            KernelOp::DeleteRule(rule) => self.delete_rule(rule),
            KernelOp::SetMtu(dev, mtu) => self.set_mtu(dev, mtu),
            KernelOp::SetDomain(dev, number) => self.set_domain(dev, number),
            KernelOp::SetUp(dev, up) => self.set_up(dev, up),
            KernelOp::DeleteLink(dev, index) => self.delete_link(dev, index),
            KernelOp::AddAddress(dev, address) => self.add_address(dev, address),
            KernelOp::DeleteAddress(dev, address) => self.delete_address(dev, address),
        }
    }

    fn reopen(&self) -> Result<Box<dyn Kernel>, Error> {
        Ok(Box::new(self.clone()))
    }

    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error> {
        self.spend().map_err(|error| tun::Error::Other(std::io::Error::other(error)))?;
        let name = format!("tun{}", unit.unwrap_or(0));
        let mut state = self.state.borrow_mut();
        if let Some(link) = state.links.iter().find(|link| link.name == name) {
            if *self.opens_existing.borrow() {
                let fd = File::open("/dev/null")?.into();
                return Ok(Tun { fd, name, index: link.index, existed: true });
            }
            return Err(tun::Error::InUse(unit.unwrap_or(0)));
        }
        let index = {
            let mut next = self.next.borrow_mut();
            *next += 1;
            *next
        };
        state.links.push(Link { index, name: name.clone(), mtu: 1500, up: false });
        Ok(Tun { fd: File::open("/dev/null")?.into(), name, index, existed: false })
    }

    fn has_address(&mut self, dev: &str, address: IpAddr) -> Result<bool, Error> {
        let state = self.state.borrow();
        Ok(state.addresses.iter().any(|(name, held)| name == dev && held.local == address))
    }

    fn link_name(&self, index: u32) -> Option<String> {
        let state = self.state.borrow();
        state.links.iter().find(|link| link.index == index).map(|link| link.name.clone())
    }

    fn run(&mut self, program: &Program) -> Result<Output, ProgramError> {
        self.spend().map_err(|error| ProgramError::Spawn {
            program: program.name(),
            error: std::io::Error::other(error),
        })?;
        let answer = Rc::clone(&self.answer);
        answer(program, &mut self.state.borrow_mut())
    }

    fn file(&mut self, op: &FileOp<'_>) -> std::io::Result<()> {
        self.spend().map_err(std::io::Error::other)?;
        op.perform()
    }
}
