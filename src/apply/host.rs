//! What this room asks of a host: the few kernel requests behind the steps. Linux answers them by netlink,
//! the BSDs by their routing socket and by ioctl(2), tests by a model.

use std::net::IpAddr;

use super::{ApplyError, FileOp, Output, Program, ProgramError};

use crate::{
    net::{
        routes::{Address, Error, Filter, Insert, Link, Route, RouteTo},
        rules::Rule,
        tun::{self, Tun},
    },
    os::{crash, namespace::Namespace},
};

/// A network namespace of this host that has a name.
#[derive(Clone, Debug)]
pub struct NamedNetns {
    /// As in ip-netns(8).
    pub name: String,
    /// Which one has that name now.
    pub namespace: Namespace,
}

/// A host that steps are performed on.
pub trait Host {
    /// Which way a packet to `to` would take now.
    ///
    /// # Errors
    /// When there is no way, or the kernel could not be asked.
    fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>) -> Result<RouteTo, Error>;

    /// The same for a packet with this mark (Linux).
    ///
    /// # Errors
    /// When there is no way, or the kernel could not be asked.
    fn route_to_marked(
        &mut self,
        to: IpAddr,
        source: Option<IpAddr>,
        _mark: Option<u32>,
    ) -> Result<RouteTo, Error> {
        self.route_to(to, source)
    }

    /// The same for whoever uses this routing table: of a routing domain (OpenBSD), or a FIB (FreeBSD).
    ///
    /// # Errors
    /// When there is no way, or the kernel could not be asked; EOPNOTSUPP where there is no such thing.
    fn route_to_in(&mut self, to: IpAddr, table: u32) -> Result<RouteTo, Error> {
        let what = format!("find the way to {to} in routing table {table}");
        Err(Error::errno(what, nix::errno::Errno::EOPNOTSUPP))
    }

    /// The rules of policy routing of a family, in the kernel's order; none where there is no such thing.
    ///
    /// # Errors
    /// When the kernel could not be asked.
    fn rules(&mut self, _ipv6: bool) -> Result<Vec<Rule>, Error> {
        Ok(Vec::new())
    }

    /// Puts a rule in.
    ///
    /// # Errors
    /// The kernel's refusal; [`Error::is_present`] when it is there already.
    fn add_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        Err(Error::errno(format!("add rule {rule}"), nix::errno::Errno::EOPNOTSUPP))
    }

    /// Removes exactly this rule.
    ///
    /// # Errors
    /// The kernel's refusal; [`Error::is_absent`] when it is not there.
    fn delete_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        Err(Error::errno(format!("delete rule {rule}"), nix::errno::Errno::EOPNOTSUPP))
    }

    /// The routes that match, in the kernel's order.
    ///
    /// # Errors
    /// When the kernel could not be asked.
    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error>;

    /// Every route of one table.
    ///
    /// # Errors
    /// When the kernel could not be asked, or has one that cannot be read.
    fn table(&mut self, ipv6: bool, table: u32) -> Result<Vec<Route>, Error> {
        self.routes(&Filter { ipv6, table: Some(table), dest: None })
    }

    /// Puts a route in.
    ///
    /// # Errors
    /// The kernel's refusal.
    fn add_route(&mut self, route: &Route, insert: Insert) -> Result<(), Error>;

    /// Removes exactly this route.
    ///
    /// # Errors
    /// The kernel's refusal; [`Error::is_absent`] when it is not there.
    fn delete_route(&mut self, route: &Route) -> Result<(), Error>;

    /// The interface of this name, or `None`.
    ///
    /// # Errors
    /// When the kernel could not be asked.
    fn link(&mut self, name: &str) -> Result<Option<Link>, Error>;

    /// Sets the largest packet, in bytes.
    ///
    /// # Errors
    /// The kernel's refusal.
    fn set_mtu(&mut self, dev: &str, mtu: u32) -> Result<(), Error>;

    /// Places an interface in a routing domain (OpenBSD) or gives it a FIB (FreeBSD).
    ///
    /// # Errors
    /// The kernel's refusal; EOPNOTSUPP where there is no such thing.
    fn set_domain(&mut self, dev: &str, number: u32) -> Result<(), Error> {
        let what = format!("place {dev} in routing table {number}");
        Err(Error::errno(what, nix::errno::Errno::EOPNOTSUPP))
    }

    /// Brings an interface up or down.
    ///
    /// # Errors
    /// The kernel's refusal.
    fn set_up(&mut self, dev: &str, up: bool) -> Result<(), Error>;

    /// Removes the interface that has this name and this number.
    ///
    /// # Errors
    /// The kernel's refusal; [`Error::is_absent`] when it is gone.
    fn delete_link(&mut self, dev: &str, index: u32) -> Result<(), Error>;

    /// Gives an interface an address.
    ///
    /// # Errors
    /// The kernel's refusal; [`Error::is_present`] when it has it already.
    fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error>;

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// The kernel's refusal; [`Error::is_absent`] when it has no such address.
    fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error>;

    /// Opens a tun device, down and without any address.
    ///
    /// # Errors
    /// Why there is none.
    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error>;

    /// The same host as seen from its network namespace of this name, where tunnels then live. The way to a server
    /// is still asked for here.
    ///
    /// # Errors
    /// When there is none of that name; EOPNOTSUPP where there is no such thing.
    fn enter(&self, netns: &str) -> Result<Box<dyn Host>, Error> {
        Err(Error::errno(format!("enter network namespace {netns}"), nix::errno::Errno::EOPNOTSUPP))
    }

    /// The namespace that was entered; `None` when this is simply the host.
    fn place(&self) -> Option<NamedNetns> {
        None
    }

    /// Whether it forwards IPv4 packets between its interfaces; `None` where that is not known.
    fn forwards(&mut self) -> Option<bool> {
        None
    }

    /// Runs a program and waits for its end, at most for its limit.
    ///
    /// # Errors
    /// Why it did not run to its end; that it ended badly is in the output.
    fn run(&mut self, program: &Program) -> Result<Output, ProgramError> {
        program.run()
    }

    /// Changes a file.
    ///
    /// # Errors
    /// The kernel's refusal.
    fn file(&mut self, deed: &FileOp<'_>) -> std::io::Result<()> {
        deed.perform()
    }
}

impl Host for crate::net::kernel::Kernel {
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

/// The host that this program runs on.
///
/// # Errors
/// When the kernel's routing socket can't be had.
pub fn system() -> Result<Box<dyn Host>, ApplyError> {
    Ok(Box::new(crate::net::kernel::Kernel::open().map_err(ApplyError::observing)?))
}

/// The host as seen from its network namespace of this name.
///
/// # Errors
/// As [`Host::enter`].
pub fn enter(host: &dyn Host, netns: &str) -> Result<Box<dyn Host>, ApplyError> {
    host.enter(netns).map_err(ApplyError::observing)
}

/// The MTU of a device of this host, in bytes, when it is known and fits an IP packet.
#[must_use]
pub fn device_mtu(dev: &str) -> Option<u16> {
    let link = system().ok()?.link(dev).ok()??;
    u16::try_from(link.mtu).ok()
}
