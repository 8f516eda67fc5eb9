//! A `Host` that simulates a kill of its process before a chosen kernel request, program run or file change.

use std::{cell::Cell, net::IpAddr, rc::Rc};

use pptpctl::{
    apply::{FileOp, Host, NamedNetns, Output, Program, ProgramError},
    net::{
        netlink::Netlink,
        routes::{Address, Error, Filter, Insert, Link, Route, RouteTo},
        rules::Rule,
        tun::{self, Tun},
    },
};

/// The number of changes that still succeed; every later change fails, as if the process had been killed.
#[derive(Clone)]
pub struct Budget(Rc<Cell<usize>>);

impl Budget {
    pub fn of(requests: usize) -> Self {
        Self(Rc::new(Cell::new(requests)))
    }

    pub fn host(&self) -> Box<dyn Host> {
        self.of_host(Box::new(Netlink::open().unwrap()))
    }

    pub fn of_host(&self, host: Box<dyn Host>) -> Box<dyn Host> {
        Box::new(KillableHost { host, budget: self.clone() })
    }

    /// Returns how many changes were made out of a budget of `of`.
    pub fn used(&self, of: usize) -> usize {
        of - self.0.get()
    }

    fn spend(&self) -> Result<(), Error> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(Error::other("killed", "killed")),
        }
    }
}

struct KillableHost {
    host: Box<dyn Host>,
    budget: Budget,
}

impl Host for KillableHost {
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

    fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, Error> {
        self.host.rules(ipv6)
    }

    fn add_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.add_rule(rule)
    }

    fn delete_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.delete_rule(rule)
    }

    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        self.host.routes(filter)
    }

    fn add_route(&mut self, route: &Route, insert: Insert) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.add_route(route, insert)
    }

    fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.delete_route(route)
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        self.host.link(name)
    }

    fn set_mtu(&mut self, dev: &str, mtu: u32) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.set_mtu(dev, mtu)
    }

    fn set_up(&mut self, dev: &str, up: bool) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.set_up(dev, up)
    }

    fn delete_link(&mut self, dev: &str, index: u32) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.delete_link(dev, index)
    }

    fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.add_address(dev, address)
    }

    fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.delete_address(dev, address)
    }

    fn enter(&self, netns: &str) -> Result<Box<dyn Host>, Error> {
        Ok(self.budget.of_host(self.host.enter(netns)?))
    }

    fn named_netns(&self) -> Option<NamedNetns> {
        self.host.named_netns()
    }

    fn forwards(&mut self) -> Option<bool> {
        self.host.forwards()
    }

    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error> {
        self.budget.spend().map_err(|error| tun::Error::Other(std::io::Error::other(error)))?;
        self.host.open_tun(unit)
    }

    fn run(&mut self, program: &Program) -> Result<Output, ProgramError> {
        self.budget.spend().map_err(|error| ProgramError::Spawn {
            program: program.name(),
            error: std::io::Error::other(error),
        })?;
        self.host.run(program)
    }

    fn file(&mut self, op: &FileOp<'_>) -> std::io::Result<()> {
        self.budget.spend().map_err(std::io::Error::other)?;
        op.perform()
    }
}
