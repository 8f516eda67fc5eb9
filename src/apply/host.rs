//! The kernel operations that this module needs from a host. Linux implements them with netlink, the BSDs
//! with the routing socket and ioctl(2), and tests with a fake host.

use std::net::IpAddr;

use super::{FileOp, Output, Program, ProgramError};

use crate::{
    net::{
        routes::{Address, Error, Filter, Insert, Link, Route, RouteTo},
        rules::Rule,
        tun::{self, Tun},
    },
    os::namespace::Namespace,
};

/// A named network namespace of this host.
#[derive(Clone, Debug)]
pub struct NamedNetns {
    /// The name, as in ip-netns(8).
    pub name: String,
    /// The namespace that has this name now.
    pub namespace: Namespace,
}

/// A host that steps are performed on.
pub trait Host {
    /// Returns the route that a packet to `to` takes now.
    ///
    /// # Errors
    /// Returns an error if there is no route or the query failed.
    fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>) -> Result<RouteTo, Error>;

    /// Does the same as [`Host::route_to`] for a packet with this firewall mark (Linux).
    ///
    /// # Errors
    /// As [`Host::route_to`].
    fn route_to_marked(
        &mut self,
        to: IpAddr,
        source: Option<IpAddr>,
        _mark: Option<u32>,
    ) -> Result<RouteTo, Error> {
        self.route_to(to, source)
    }

    /// Does the same as [`Host::route_to`] in the table of a routing domain (OpenBSD) or of a FIB (FreeBSD).
    ///
    /// # Errors
    /// As [`Host::route_to`]; EOPNOTSUPP if the platform has no such tables.
    fn route_to_in(&mut self, to: IpAddr, table: u32) -> Result<RouteTo, Error> {
        let what = format!("find the way to {to} in routing table {table}");
        Err(Error::errno(what, nix::errno::Errno::EOPNOTSUPP))
    }

    /// Returns the policy routing rules of an address family, in the kernel's order; none if unsupported.
    ///
    /// # Errors
    /// Returns an error if the query failed.
    fn rules(&mut self, _ipv6: bool) -> Result<Vec<Rule>, Error> {
        Ok(Vec::new())
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// Returns the kernel's error; [`Error::is_present`] if the rule exists.
    fn add_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        Err(Error::errno(format!("add rule {rule}"), nix::errno::Errno::EOPNOTSUPP))
    }

    /// Removes exactly this rule.
    ///
    /// # Errors
    /// Returns the kernel's error; [`Error::is_absent`] if the rule does not exist.
    fn delete_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        Err(Error::errno(format!("delete rule {rule}"), nix::errno::Errno::EOPNOTSUPP))
    }

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

    /// Adds a route.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn add_route(&mut self, route: &Route, insert: Insert) -> Result<(), Error>;

    /// Removes exactly this route.
    ///
    /// # Errors
    /// Returns the kernel's error; [`Error::is_absent`] if the route does not exist.
    fn delete_route(&mut self, route: &Route) -> Result<(), Error>;

    /// Returns the interface of this name, or `None`.
    ///
    /// # Errors
    /// Returns an error if the query failed.
    fn link(&mut self, name: &str) -> Result<Option<Link>, Error>;

    /// Sets the MTU of an interface, in bytes.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn set_mtu(&mut self, dev: &str, mtu: u32) -> Result<(), Error>;

    /// Moves an interface to a routing domain (OpenBSD) or assigns it a FIB (FreeBSD).
    ///
    /// # Errors
    /// Returns the kernel's error; EOPNOTSUPP if the platform has neither.
    fn set_domain(&mut self, dev: &str, number: u32) -> Result<(), Error> {
        let what = format!("place {dev} in routing table {number}");
        Err(Error::errno(what, nix::errno::Errno::EOPNOTSUPP))
    }

    /// Brings an interface up or down.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn set_up(&mut self, dev: &str, up: bool) -> Result<(), Error>;

    /// Removes the interface that has this name and this index.
    ///
    /// # Errors
    /// Returns the kernel's error; [`Error::is_absent`] if the interface does not exist.
    fn delete_link(&mut self, dev: &str, index: u32) -> Result<(), Error>;

    /// Adds an address to an interface.
    ///
    /// # Errors
    /// Returns the kernel's error; [`Error::is_present`] if the interface has the address.
    fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error>;

    /// Removes an address from an interface.
    ///
    /// # Errors
    /// Returns the kernel's error; [`Error::is_absent`] if the interface does not have the address.
    fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error>;

    /// Opens a tun device, down and without an address.
    ///
    /// # Errors
    /// Returns why no device could be opened.
    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error>;

    /// Returns the host as seen from the network namespace of this name, for tunnels inside it. Routes to a
    /// server are still looked up in the current namespace.
    ///
    /// # Errors
    /// Returns an error if there is no namespace of that name; EOPNOTSUPP if the platform has none.
    fn enter(&self, netns: &str) -> Result<Box<dyn Host>, Error> {
        Err(Error::errno(format!("enter network namespace {netns}"), nix::errno::Errno::EOPNOTSUPP))
    }

    /// Returns the namespace that was entered; `None` for the host itself.
    fn named_netns(&self) -> Option<NamedNetns> {
        None
    }

    /// Returns whether the host forwards IPv4 packets between its interfaces; `None` if unknown.
    fn forwards(&mut self) -> Option<bool> {
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
    fn file(&mut self, deed: &FileOp<'_>) -> std::io::Result<()> {
        deed.perform()
    }
}
