//! The host that steps are performed on: a kernel, the network namespace of the tunnel, and cached routing
//! tables.
//!
//! With `link.netns`, everything that a plan changes in the kernel is changed in the namespace, through
//! sockets that were opened in it, and programs run in it. Only routes to a server are looked up outside.

use std::{io, net::IpAddr};

use super::{
    ApplyError, FileOp, Output, Program, ProgramError,
    kernel::{Kernel, KernelOp},
    route_cache::RouteCache,
};
#[cfg(target_os = "linux")]
use crate::os::netns::Netns;
use crate::{
    net::{
        connected::{Connected, InterfaceAddress},
        kernel,
        routes::{Error, Filter, Link, Route, RouteTo},
        rules::Rule,
        tun::{self, Tun},
    },
    os::namespace::Namespace,
};

/// Never shown: the caller performs the change afterwards.
const REFUSED: &str = "nothing is changed while looking";

/// A named network namespace of this host.
#[derive(Clone, Debug)]
pub struct NamedNetns {
    /// The name, as in ip-netns(8).
    pub name: String,
    /// The namespace that has this name now.
    pub namespace: Namespace,
}

/// A host that steps are performed on.
pub struct Host {
    /// The kernel, in the namespace of the tunnel.
    kernel: Box<dyn Kernel>,
    /// The namespace of the tunnel and the kernel outside it; `None` if the tunnel is in the current one.
    netns: Option<(Netns, Box<dyn Kernel>)>,
    /// The cache of the routing tables that [`Host::routes`] reads.
    pub(super) cache: RouteCache,
    /// Whether every change is an error: the caller only looks whether one is needed.
    pub(super) refuses_changes: bool,
}

/// Returns the MTU of a device of this host, in bytes, if it is known and fits in 16 bits.
#[must_use]
pub fn device_mtu(dev: &str) -> Option<u16> {
    let link = Host::system().ok()?.link(dev).ok()??;
    u16::try_from(link.mtu).ok()
}

impl Host {
    /// Returns a host with this kernel.
    #[must_use]
    pub fn new(kernel: Box<dyn Kernel>) -> Self {
        Self { kernel, netns: None, cache: RouteCache::default(), refuses_changes: false }
    }

    /// Returns the host that this program runs on.
    ///
    /// # Errors
    /// Returns an error if the kernel's routing socket can't be opened.
    pub fn system() -> Result<Self, ApplyError> {
        Ok(Self::new(Box::new(kernel::Kernel::open().map_err(ApplyError::observing)?)))
    }

    /// Returns the host as seen from the network namespace of this name, for tunnels inside it.
    ///
    /// # Errors
    /// Returns an error if there is no namespace of that name, or it may not be entered.
    pub fn enter(&self, name: &str) -> Result<Self, ApplyError> {
        let failed = |error: io::Error| {
            let why = match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("it does not exist; `ip netns add {name}` creates it")
                }
                _ => error.to_string(),
            };
            ApplyError::observing(Error::other(format!("enter network namespace {name}"), why))
        };
        let netns = Netns::open(name).map_err(failed)?;
        let inside = netns.inside(|| self.kernel.reopen()).map_err(failed)?.map_err(ApplyError::observing)?;
        let outside = self.kernel.reopen().map_err(ApplyError::observing)?;
        Ok(Self { netns: Some((netns, outside)), ..Self::new(inside) })
    }

    /// Returns the namespace that was entered; `None` for the host itself.
    #[must_use]
    pub fn named_netns(&self) -> Option<NamedNetns> {
        let (netns, _) = self.netns.as_ref()?;
        Some(NamedNetns { name: netns.name().to_owned(), namespace: netns.namespace() })
    }

    /// Calls a function in the namespace of the tunnel.
    pub(super) fn inside<T>(&mut self, act: impl FnOnce(&mut dyn Kernel) -> T) -> io::Result<T> {
        match &self.netns {
            Some((netns, _)) => netns.inside(|| act(self.kernel.as_mut())),
            None => Ok(act(self.kernel.as_mut())),
        }
    }

    fn outside(&mut self) -> &mut dyn Kernel {
        self.netns.as_mut().map_or(&mut self.kernel, |(_, outside)| outside).as_mut()
    }

    pub(super) fn route_to(
        &mut self,
        to: IpAddr,
        source: Option<IpAddr>,
        mark: Option<u32>,
    ) -> Result<RouteTo, Error> {
        self.outside().route_to(to, source, mark)
    }

    pub(super) fn route_of_ping(&mut self, to: IpAddr) -> Result<RouteTo, Error> {
        self.outside().route_of_ping(to)
    }

    pub(super) fn route_to_in(&mut self, to: IpAddr, table: u32) -> Result<RouteTo, Error> {
        self.outside().route_to_in(to, table)
    }

    pub(super) fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, Error> {
        self.kernel.rules(ipv6)
    }

    pub(super) fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        self.cache.routes(self.kernel.as_mut(), filter)
    }

    pub(super) fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        self.kernel.link(name)
    }

    pub(super) fn domain(&mut self, dev: &str) -> Result<Option<u32>, Error> {
        self.kernel.domain(dev)
    }

    pub(super) fn change(&mut self, op: KernelOp<'_>) -> Result<(), Error> {
        if self.refuses_changes {
            return Err(Error::other("change the network", REFUSED));
        }
        self.cache.invalidate(op);
        self.kernel.change(op)
    }

    pub(super) fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error> {
        self.cache.invalidate_all();
        // The device belongs to the namespace in which /dev/net/tun was opened; its descriptor works in any.
        self.inside(|kernel| kernel.open_tun(unit))?
    }

    pub(super) fn forwards(&mut self) -> Option<bool> {
        self.inside(|kernel| kernel.forwards()).ok().flatten()
    }

    pub(super) fn addresses(&mut self) -> Result<Vec<InterfaceAddress>, Error> {
        self.kernel.addresses()
    }

    /// Returns the connected networks; those of loopback interfaces are left out.
    pub(super) fn connected(&mut self) -> Result<Vec<Connected>, Error> {
        let all = self.addresses()?.into_iter();
        Ok(all.filter_map(|one| Some(Connected { network: one.network?, dev: one.dev })).collect())
    }

    /// Returns whether an interface has this address.
    pub(super) fn has_address(&mut self, dev: &str, address: IpAddr) -> Result<bool, Error> {
        self.kernel.has_address(dev, address)
    }

    pub(super) fn run(&mut self, program: &Program) -> Result<Output, ProgramError> {
        let failed = |error| ProgramError::Spawn { program: program.name(), error };
        if self.refuses_changes {
            return Err(failed(io::Error::other(REFUSED)));
        }
        self.cache.invalidate_all();
        self.inside(|kernel| kernel.run(program)).map_err(failed)?
    }

    /// Runs a program that changes nothing.
    pub(super) fn query(&mut self, program: &Program) -> Result<Output, ProgramError> {
        let failed = |error| ProgramError::Spawn { program: program.name(), error };
        self.inside(|kernel| kernel.run(program)).map_err(failed)?
    }

    /// Does the same as [`Host::run`], where a non-zero exit status is an error.
    pub(super) fn run_successfully(&mut self, program: &Program) -> Result<Output, ProgramError> {
        self.run(program)?.or_failed(program)
    }

    pub(super) fn file(&mut self, op: &FileOp<'_>) -> io::Result<()> {
        if self.refuses_changes {
            return Err(io::Error::other(REFUSED));
        }
        self.kernel.file(op)
    }
}

/// A network namespace on a system that has none.
#[cfg(not(target_os = "linux"))]
enum Netns {}

#[cfg(not(target_os = "linux"))]
impl Netns {
    fn open(_name: &str) -> io::Result<Self> {
        Err(io::Error::other("only Linux has them"))
    }

    const fn name(&self) -> &str {
        match *self {}
    }

    const fn namespace(&self) -> Namespace {
        match *self {}
    }

    fn inside<T>(&self, _action: impl FnOnce() -> T) -> io::Result<T> {
        match *self {}
    }
}
