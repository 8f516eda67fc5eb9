//! The host that this program runs on: its kernel, and its named network namespaces on Linux.

use std::net::IpAddr;

use super::{ApplyError, Host};
use crate::{
    net::{
        kernel::Kernel,
        routes::{Address, Error, Filter, Insert, Link, Route, RouteTo},
        rules::Rule,
        tun::{self, Tun},
    },
    os::crash,
};

impl Host for Kernel {
    fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>) -> Result<RouteTo, Error> {
        Self::route_to(self, to, source, None)
    }

    fn route_to_marked(
        &mut self,
        to: IpAddr,
        source: Option<IpAddr>,
        mark: Option<u32>,
    ) -> Result<RouteTo, Error> {
        Self::route_to(self, to, source, mark)
    }

    #[cfg(not(target_os = "linux"))]
    fn route_to_in(&mut self, to: IpAddr, table: u32) -> Result<RouteTo, Error> {
        Self::route_to_in(self, to, table)
    }

    fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, Error> {
        Self::rules(self, ipv6)
    }

    fn add_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        Self::add_rule(self, rule)
    }

    fn delete_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        Self::delete_rule(self, rule)
    }

    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        Self::routes(self, filter)
    }

    #[cfg(target_os = "linux")]
    fn table(&mut self, ipv6: bool, table: u32) -> Result<Vec<Route>, Error> {
        Self::table(self, ipv6, table)
    }

    fn add_route(&mut self, route: &Route, insert: Insert) -> Result<(), Error> {
        Self::add_route(self, route, insert)
    }

    fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        Self::delete_route(self, route)
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        Self::link(self, name)
    }

    fn set_mtu(&mut self, dev: &str, mtu: u32) -> Result<(), Error> {
        Self::set_mtu(self, dev, mtu)
    }

    #[cfg(not(target_os = "linux"))]
    fn set_domain(&mut self, dev: &str, number: u32) -> Result<(), Error> {
        Self::set_domain(self, dev, number)
    }

    fn set_up(&mut self, dev: &str, up: bool) -> Result<(), Error> {
        Self::set_up(self, dev, up)
    }

    fn delete_link(&mut self, dev: &str, index: u32) -> Result<(), Error> {
        Self::delete_link(self, dev, index)
    }

    fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        Self::add_address(self, dev, address)
    }

    fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        Self::delete_address(self, dev, address)
    }

    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error> {
        crash::point(format_args!("open a tun device"));
        let tun = tun::open(unit)?;
        crash::point(format_args!("know the tun device"));
        #[cfg(target_os = "linux")]
        self.no_automatic_ipv6(&tun.name)
            .and_then(|()| self.keep_second_address(&tun.name))
            .map_err(|error| tun::Error::Other(std::io::Error::other(error)))?;
        Ok(tun)
    }

    fn enter(&self, netns: &str) -> Result<Box<dyn Host>, Error> {
        #[cfg(target_os = "linux")]
        {
            Ok(Box::new(super::netns_host::NetnsHost::open(netns)?))
        }
        #[cfg(not(target_os = "linux"))]
        {
            Err(Error::other(format!("enter the network namespace {netns}"), "only Linux has them"))
        }
    }

    fn forwards(&mut self) -> Option<bool> {
        crate::os::forwarding::ipv4()
    }
}

/// Returns the host that this program runs on.
///
/// # Errors
/// Returns an error if the kernel's routing socket can't be opened.
pub fn system() -> Result<Box<dyn Host>, ApplyError> {
    Ok(Box::new(Kernel::open().map_err(ApplyError::observing)?))
}

/// Returns the host as seen from the network namespace of this name.
///
/// # Errors
/// As [`Host::enter`].
pub fn enter(host: &dyn Host, netns: &str) -> Result<Box<dyn Host>, ApplyError> {
    host.enter(netns).map_err(ApplyError::observing)
}

/// Returns the MTU of a device of this host, in bytes, if it is known and fits in 16 bits.
#[must_use]
pub fn device_mtu(dev: &str) -> Option<u16> {
    let link = system().ok()?.link(dev).ok()??;
    u16::try_from(link.mtu).ok()
}
