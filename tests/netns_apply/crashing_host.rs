//! A kernel that simulates a kill of its process before a chosen kernel request, program run or file change.

use std::{cell::Cell, net::IpAddr, rc::Rc};

use pptpctl::testing::{
    apply::{FileOp, Host, Kernel, KernelOp, Output, Program, ProgramError},
    net::{
        netlink::Netlink,
        routes::{Error, Filter, Link, Route, RouteTo},
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

    pub fn host(&self) -> Host {
        Host::new(self.of_kernel(Box::new(Netlink::open().unwrap())))
    }

    fn of_kernel(&self, kernel: Box<dyn Kernel>) -> Box<dyn Kernel> {
        Box::new(Mortal { kernel, budget: self.clone() })
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

struct Mortal {
    kernel: Box<dyn Kernel>,
    budget: Budget,
}

impl Kernel for Mortal {
    fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>, mark: Option<u32>) -> Result<RouteTo, Error> {
        self.kernel.route_to(to, source, mark)
    }

    fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, Error> {
        self.kernel.rules(ipv6)
    }

    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        self.kernel.routes(filter)
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        self.kernel.link(name)
    }

    fn forwards(&self) -> Option<bool> {
        self.kernel.forwards()
    }

    fn reopen(&self) -> Result<Box<dyn Kernel>, Error> {
        Ok(self.budget.of_kernel(self.kernel.reopen()?))
    }

    fn change(&mut self, op: KernelOp<'_>) -> Result<(), Error> {
        self.budget.spend()?;
        self.kernel.change(op)
    }

    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error> {
        self.budget.spend().map_err(|error| tun::Error::Other(std::io::Error::other(error)))?;
        self.kernel.open_tun(unit)
    }

    fn run(&mut self, program: &Program) -> Result<Output, ProgramError> {
        self.budget.spend().map_err(|error| ProgramError::Spawn {
            program: program.name(),
            error: std::io::Error::other(error),
        })?;
        self.kernel.run(program)
    }

    fn file(&mut self, op: &FileOp<'_>) -> std::io::Result<()> {
        self.budget.spend().map_err(std::io::Error::other)?;
        self.kernel.file(op)
    }
}
