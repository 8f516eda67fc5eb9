//! A host whose tunnels are in a separate network namespace (`link.netns`), with the transport outside.
//!
//! Everything that a plan changes in the kernel is changed in the namespace, through sockets that were opened
//! in it; only the route to the server is looked up outside. Programs also run in the namespace.

use std::net::IpAddr;

use super::{Host, NamedNetns, Output, Program, ProgramError};
use crate::net::{
    netlink::Netlink,
    netns::Netns,
    routes::{Address, Error, Filter, Insert, Link, Route, RouteTo},
    rules::Rule,
    tun::{self, Tun},
};

/// The namespace, with a netlink socket inside it and one outside.
pub(super) struct NetnsHost {
    outside: Netlink,
    inside: Netlink,
    netns: Netns,
}

impl NetnsHost {
    /// Opens the namespace of this name.
    ///
    /// # Errors
    /// Returns an error if it does not exist or may not be entered.
    pub(super) fn open(name: &str) -> Result<Self, Error> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::other(
                format!("enter network namespace {name}"),
                format!("there is none of that name; `ip netns add {name}` makes it"),
            ),
            _ => Error::other(format!("enter network namespace {name}"), error.to_string()),
        };
        let netns = Netns::open(name).map_err(failed)?;
        let inside = netns.inside(Netlink::open).map_err(failed)??;
        Ok(Self { outside: Netlink::open()?, inside, netns })
    }
}

impl Host for NetnsHost {
    fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>) -> Result<RouteTo, Error> {
        Host::route_to(&mut self.outside, to, source)
    }

    fn route_to_marked(
        &mut self,
        to: IpAddr,
        source: Option<IpAddr>,
        mark: Option<u32>,
    ) -> Result<RouteTo, Error> {
        Host::route_to_marked(&mut self.outside, to, source, mark)
    }

    fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, Error> {
        self.inside.rules(ipv6)
    }

    fn add_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        self.inside.add_rule(rule)
    }

    fn delete_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        self.inside.delete_rule(rule)
    }

    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        self.inside.routes(filter)
    }

    fn table(&mut self, ipv6: bool, table: u32) -> Result<Vec<Route>, Error> {
        self.inside.table(ipv6, table)
    }

    fn add_route(&mut self, route: &Route, insert: Insert) -> Result<(), Error> {
        self.inside.add_route(route, insert)
    }

    fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        self.inside.delete_route(route)
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        self.inside.link(name)
    }

    fn set_mtu(&mut self, dev: &str, mtu: u32) -> Result<(), Error> {
        self.inside.set_mtu(dev, mtu)
    }

    fn set_up(&mut self, dev: &str, up: bool) -> Result<(), Error> {
        self.inside.set_up(dev, up)
    }

    fn delete_link(&mut self, dev: &str, index: u32) -> Result<(), Error> {
        self.inside.delete_link(dev, index)
    }

    fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.inside.add_address(dev, address)
    }

    fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.inside.delete_address(dev, address)
    }

    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error> {
        // The device belongs to the namespace in which /dev/net/tun was opened; its descriptor works in any.
        self.netns.inside(|| self.inside.open_tun(unit))?
    }

    fn forwards(&mut self) -> Option<bool> {
        self.netns.inside(|| self.inside.forwards()).ok().flatten()
    }

    fn run(&mut self, program: &Program) -> Result<Output, ProgramError> {
        let failed = |error| ProgramError::Spawn { program: program.name(), error };
        self.netns.inside(|| program.run()).map_err(failed)?
    }

    fn named_netns(&self) -> Option<NamedNetns> {
        Some(NamedNetns { name: self.netns.name().to_owned(), namespace: self.netns.namespace() })
    }
}
