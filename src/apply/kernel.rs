//! The operations of a host that its kernel performs. Linux implements them with netlink, the BSDs with the
//! routing socket and ioctl(2), and tests with a fake kernel.

use std::net::IpAddr;

use nix::errno::Errno;

use super::{FileOp, Output, Program, ProgramError};
use crate::{
    net::{
        connected::{self, InterfaceAddress},
        kernel,
        routes::{Address, Error, Filter, Insert, Link, Route, RouteTo},
        rules::Rule,
        tun::{self, Tun},
    },
    os::crash,
};

/// One request that changes the kernel's routes, rules or interfaces.
#[derive(Clone, Copy, Debug)]
pub enum KernelOp<'a> {
    /// Adds a route.
    AddRoute(&'a Route, Insert),
    /// Removes exactly this route; [`Error::is_absent`] if it does not exist.
    DeleteRoute(&'a Route),
    /// Adds a rule; [`Error::is_present`] if it exists.
    AddRule(&'a Rule),
    /// Removes exactly this rule; [`Error::is_absent`] if it does not exist.
    DeleteRule(&'a Rule),
    /// Sets the MTU of an interface, in bytes.
    SetMtu(&'a str, u32),
    /// Moves an interface to a routing domain (OpenBSD) or assigns it a FIB (FreeBSD).
    SetDomain(&'a str, u32),
    /// Brings an interface up or down.
    SetUp(&'a str, bool),
    /// Removes the interface of this name and index; [`Error::is_absent`] if it does not exist.
    DeleteLink(&'a str, u32),
    /// Adds an address to an interface; [`Error::is_present`] if the interface has it.
    AddAddress(&'a str, &'a Address),
    /// Removes an address from an interface; [`Error::is_absent`] if the interface does not have it.
    DeleteAddress(&'a str, &'a Address),
}

/// A connection to a kernel, which stays in the network namespace in which it was opened.
pub trait Kernel {
    /// Returns the route that a packet to `to` takes now, with this source and firewall mark (Linux) if given.
    ///
    /// # Errors
    /// Returns an error if there is no route or the query failed.
    fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>, mark: Option<u32>) -> Result<RouteTo, Error>;

    /// Returns the route that an echo request to `to` takes now. Rules may select packets by protocol.
    ///
    /// # Errors
    /// As [`Kernel::route_to`].
    fn route_of_ping(&mut self, to: IpAddr) -> Result<RouteTo, Error> {
        self.route_to(to, None, None)
    }

    /// Returns the route to `to` in the table of a routing domain (OpenBSD) or of a FIB (FreeBSD).
    ///
    /// # Errors
    /// As [`Kernel::route_to`]; EOPNOTSUPP if the platform has no such tables.
    fn route_to_in(&mut self, to: IpAddr, table: u32) -> Result<RouteTo, Error> {
        Err(Error::errno(format!("look up the route to {to} in routing table {table}"), Errno::EOPNOTSUPP))
    }

    /// Returns the policy routing rules of an address family, in the kernel's order; none if unsupported.
    ///
    /// # Errors
    /// Returns an error if the query failed.
    fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, Error>;

    /// Returns the routes that match, in the kernel's order.
    ///
    /// # Errors
    /// Returns an error if the query failed.
    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error>;

    /// Returns every route of one table.
    ///
    /// # Errors
    /// Returns an error if the query failed or the table has a route that can't be parsed.
    fn table(&mut self, ipv6: bool, table: u32) -> Result<Vec<Route>, Error> {
        self.routes(&Filter { ipv6, table: Some(table), dest: None })
    }

    /// Returns the interface of this name, or `None`.
    ///
    /// # Errors
    /// Returns an error if the query failed.
    fn link(&mut self, name: &str) -> Result<Option<Link>, Error>;

    /// Returns the routing domain (OpenBSD) or the FIB (FreeBSD) of an interface; `None` if the platform has none.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn domain(&mut self, _dev: &str) -> Result<Option<u32>, Error> {
        Ok(None)
    }

    /// Performs a request.
    ///
    /// # Errors
    /// Returns the kernel's error; EOPNOTSUPP if the platform has no such request.
    fn change(&mut self, op: KernelOp<'_>) -> Result<(), Error>;

    /// Opens a tun device in the calling thread's namespace, down and without an address.
    ///
    /// # Errors
    /// Returns why no device could be opened.
    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error>;

    /// Opens another connection, in the calling thread's namespace.
    ///
    /// # Errors
    /// Returns the error of the socket.
    fn reopen(&self) -> Result<Box<dyn Kernel>, Error>;

    /// Returns whether the calling thread's namespace forwards IPv4 packets; `None` if unknown.
    fn forwards(&self) -> Option<bool> {
        None
    }

    /// Returns the addresses of the interfaces.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn addresses(&mut self) -> Result<Vec<InterfaceAddress>, Error> {
        Ok(Vec::new())
    }

    /// Returns whether an interface has this address.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn has_address(&mut self, _dev: &str, _address: IpAddr) -> Result<bool, Error> {
        Ok(true)
    }

    /// Returns the name of the interface with this index, in the calling thread's namespace.
    fn link_name(&self, _index: u32) -> Option<String> {
        None
    }

    /// Runs a program and waits for it to end, at most for its time limit.
    ///
    /// # Errors
    /// Returns why the program could not be run or did not end. A non-zero exit status is not an error.
    fn run(&mut self, program: &Program) -> Result<Output, ProgramError> {
        program.run()
    }

    /// Changes a file.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn file(&mut self, op: &FileOp<'_>) -> std::io::Result<()> {
        op.perform()
    }
}

impl Kernel for kernel::Kernel {
    fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>, mark: Option<u32>) -> Result<RouteTo, Error> {
        Self::route_to(self, to, source, mark)
    }

    #[cfg(target_os = "linux")]
    fn route_of_ping(&mut self, to: IpAddr) -> Result<RouteTo, Error> {
        Self::route_of_ping(self, to)
    }

    #[cfg(not(target_os = "linux"))]
    fn route_to_in(&mut self, to: IpAddr, table: u32) -> Result<RouteTo, Error> {
        Self::route_to_in(self, to, table)
    }

    fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, Error> {
        Self::rules(self, ipv6)
    }

    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        Self::routes(self, filter)
    }

    #[cfg(target_os = "linux")]
    fn table(&mut self, ipv6: bool, table: u32) -> Result<Vec<Route>, Error> {
        Self::table(self, ipv6, table)
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        Self::link(self, name)
    }

    #[cfg(not(target_os = "linux"))]
    fn domain(&mut self, dev: &str) -> Result<Option<u32>, Error> {
        Self::domain(self, dev)
    }

    fn change(&mut self, op: KernelOp<'_>) -> Result<(), Error> {
        match op {
            KernelOp::AddRoute(route, insert) => self.add_route(route, insert),
            KernelOp::DeleteRoute(route) => self.delete_route(route),
            KernelOp::AddRule(rule) => self.add_rule(rule),
            KernelOp::DeleteRule(rule) => self.delete_rule(rule),
            KernelOp::SetMtu(dev, mtu) => self.set_mtu(dev, mtu),
            #[cfg(not(target_os = "linux"))]
            KernelOp::SetDomain(dev, number) => self.set_domain(dev, number),
            #[cfg(target_os = "linux")]
            KernelOp::SetDomain(dev, number) => {
                Err(Error::errno(format!("place {dev} in routing table {number}"), Errno::EOPNOTSUPP))
            }
            KernelOp::SetUp(dev, up) => self.set_up(dev, up),
            KernelOp::DeleteLink(dev, index) => self.delete_link(dev, index),
            KernelOp::AddAddress(dev, address) => self.add_address(dev, address),
            KernelOp::DeleteAddress(dev, address) => self.delete_address(dev, address),
        }
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

    fn reopen(&self) -> Result<Box<dyn Kernel>, Error> {
        Ok(Box::new(Self::open()?))
    }

    fn forwards(&self) -> Option<bool> {
        crate::net::forwarding::ipv4()
    }

    fn addresses(&mut self) -> Result<Vec<InterfaceAddress>, Error> {
        self.addresses()
    }

    fn has_address(&mut self, dev: &str, address: IpAddr) -> Result<bool, Error> {
        self.has_address(dev, address)
    }

    fn link_name(&self, index: u32) -> Option<String> {
        connected::link_name(index)
    }
}
