//! Requests about routes and interfaces.
//!
//! Each request uses a new routing socket, so that answers cannot be confused. They are also matched by
//! process id and sequence number, because every routing socket receives all messages.

use std::{
    fs::OpenOptions,
    io::{self, Read, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::{LAYOUT, REQUESTS, addresses};
use crate::{
    net::{
        connected::InterfaceAddress,
        ifreq::{flags_in, mtu_in},
        routes::{Address, Error, Filter, Insert, Link, MAIN_TABLE, Route, RouteTo},
        rtsock::{
            Action, Gateway, Message, Request, RouteChange, from_route, is_neighbour, read, refuses, to_route,
        },
        rules::Rule,
    },
    os::bsd::{control, sysctl},
};

/// Timeout for an answer. Kernels answer at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait until another process has closed a device that is to be destroyed, and between looks.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const CLOSE_PAUSE: Duration = Duration::from_millis(20);

/// Size of the receive buffer: OpenBSD's RTM_MAXSIZE, the largest of the three systems.
const MAX_MESSAGE: usize = 2048;

/// IFF_LOOPBACK. A route through such an interface counts as local, like one with RTF_LOCAL.
const LOOPBACK: u16 = 0x8;
/// IFF_UP.
const UP: u16 = 0x1;
/// RTF_UP.
const ROUTE_UP: u32 = 0x1;
/// IFF_POINTOPOINT.
const POINT_TO_POINT: u16 = 0x10;

/// Access to the kernel. Its main table is the routing table (routing domain, FIB) of this process.
#[derive(Debug)]
pub struct Kernel {
    /// For ioctl(2): requests about an address need a socket of its family.
    inet: Socket,
    inet6: Option<Socket>,
    table: u16,
    sequence: i32,
}

impl Kernel {
    /// Opens the sockets.
    ///
    /// # Errors
    /// Returns the kernel's error if the process has no descriptor left.
    pub fn open() -> Result<Self, Error> {
        let open = |domain| Socket::new(domain, Type::DGRAM, None);
        let inet = open(Domain::IPV4).map_err(|error| kernel_error("open a socket", &error))?;
        // A kernel without IPv6 is supported.
        Ok(Self { inet, inet6: open(Domain::IPV6).ok(), table: sysctl::own_table(), sequence: 0 })
    }

    /// Looks up the route for a packet to `to` (RTM_GET), which cannot depend on source address or mark.
    ///
    /// # Errors
    /// Returns ENETUNREACH or EHOSTUNREACH if there is no route.
    pub fn route_to(
        &mut self,
        to: IpAddr,
        source: Option<IpAddr>,
        _mark: Option<u32>,
    ) -> Result<RouteTo, Error> {
        self.lookup_route(&format!("look up the route to {to}"), to, MAIN_TABLE)
            .map(|way| RouteTo { source: source.or(way.source), ..way })
    }

    /// Looks up the route in another table: of a routing domain (OpenBSD) or a FIB (FreeBSD).
    ///
    /// # Errors
    /// As [`Kernel::route_to`]; EINVAL if the table does not exist. Always fails on NetBSD, which has one
    /// table.
    pub fn route_to_in(&mut self, to: IpAddr, table: u32) -> Result<RouteTo, Error> {
        self.lookup_route(&format!("look up the route to {to} in routing table {table}"), to, table)
    }

    fn lookup_route(&mut self, what: &str, to: IpAddr, table: u32) -> Result<RouteTo, Error> {
        let number = match table {
            MAIN_TABLE => self.table,
            table => u16::try_from(table).map_err(|_| Error::errno(what, Errno::EINVAL))?,
        };
        // On other systems the table is a property of the socket.
        let in_request = if LAYOUT.route.tableid.is_some() { number } else { 0 };
        let answer = self.query(what, table, Request { table: in_request, ..Request::get(to) })?;
        // OpenBSD answers with the route of an interface that is down, which no packet takes.
        if answer.flags & ROUTE_UP == 0 {
            return Err(Error::errno(what, Errno::ENETUNREACH));
        }
        let dev = match (answer.interface.name.as_str(), answer.interface.index) {
            ("", 0) => return Err(Error::errno(what, Errno::ENETUNREACH)),
            ("", index) => name_of(index).ok_or_else(|| Error::errno(what, Errno::ENXIO))?,
            (name, _) => name.to_owned(),
        };
        let gateway = match answer.gateway {
            Some(Gateway::Address(gateway)) if answer.flags & 0x2 != 0 => Some(gateway),
            _ => None,
        };
        let loopback = self.flags(&dev).is_ok_and(|flags| flags & LOOPBACK != 0);
        // A neighbour that does not answer has the flag, too, by its own interface.
        if loopback && refuses(LAYOUT, answer.flags) {
            return Err(Error::errno(what, Errno::ENETUNREACH));
        }
        Ok(RouteTo {
            gateway,
            dev,
            source: answer.source,
            mtu: u32::try_from(answer.mtu).ok().filter(|mtu| *mtu != 0),
            local: loopback || answer.flags & LAYOUT.flags.local != 0,
        })
    }

    /// Lists the routes that match, in the kernel's order. No table, or the main one, means that of this
    /// process.
    ///
    /// # Errors
    /// Returns an error if the table cannot be read or a message in it is malformed.
    pub fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        const WHAT: &str = "list routes";
        let table = match filter.table {
            None | Some(MAIN_TABLE) => self.table,
            Some(table) => u16::try_from(table).map_err(|_| Error::errno(WHAT, Errno::EINVAL))?,
        };
        let family = if filter.ipv6 { libc::AF_INET6 } else { libc::AF_INET };
        let mut number = vec![libc::CTL_NET, libc::PF_ROUTE, 0, family, libc::NET_RT_DUMP, 0];
        if cfg!(not(target_os = "netbsd")) {
            number.push(table.into());
        }
        let listed = sysctl::read(&number).map_err(|error| kernel_error(WHAT, &error))?;
        let mut routes = Vec::new();
        for message in read(LAYOUT, &listed) {
            let Message::Route(news) = message.map_err(|garbled| Error::other(WHAT, garbled.to_string()))?
            else {
                continue;
            };
            let Some(mut route) = to_route(LAYOUT, &news, self.table, &name_of) else { continue };
            // A table requested by number is reported by that number.
            if filter.table.is_some_and(|asked| asked != MAIN_TABLE) {
                route.table = table.into();
            }
            if filter.dest.is_none_or(|dest| dest == route.dest) {
                routes.push(route);
            }
        }
        Ok(routes)
    }

    /// Adds a route to its table.
    ///
    /// # Errors
    /// Returns EEXIST for [`Insert::New`] if a route has the key, ENETUNREACH if the gateway is not on-link,
    /// EPERM.
    pub fn add_route(&mut self, route: &Route, insert: Insert) -> Result<(), Error> {
        let what = format!("add route {route}");
        let held = self.route_with_key_of(route)?;
        match (insert, held) {
            // FreeBSD makes a multipath route of the two, which only `Append` asks for.
            (Insert::New, Some(_)) => Err(Error::errno(what, Errno::EEXIST)),
            (Insert::New | Insert::Append, _) | (Insert::Replace, None) => {
                self.change(&what, Action::Add, route)
            }
            (Insert::Replace, Some(held)) => self.replace(&what, &held, route),
        }
    }

    /// Replaces a route with RTM_CHANGE, or deletes it and adds the new one. The result of RTM_CHANGE is read
    /// back, because not every kernel changes all requested attributes.
    fn replace(&mut self, what: &str, held: &Route, route: &Route) -> Result<(), Error> {
        let changed = self.change(what, Action::Change, route);
        let now = self.route_with_key_of(route)?;
        // RTM_CHANGE can change a label but not remove it.
        let done = |now: &Route| {
            now.same_next_hops(route)
                && now.protocol == route.protocol
                && now.kind == route.kind
                && now.label == route.label
        };
        if changed.is_ok() && now.as_ref().is_some_and(done) {
            return Ok(());
        }
        if let Some(now) = now {
            match self.delete_route(&now) {
                Err(error) if error.is_absent() => {}
                outcome => outcome?,
            }
        }
        self.change(what, Action::Add, route).inspect_err(|_| {
            // Restore the old route.
            if let Err(error) = self.change(what, Action::Add, held) {
                tracing::warn!(%error, "the replaced route could not be restored");
            }
        })
    }

    /// Deletes exactly this route.
    ///
    /// # Errors
    /// Returns ESRCH if there is no such route, EPERM.
    pub fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        self.change(&format!("delete route {route}"), Action::Delete, route)
    }

    /// Returns the interface with this name, or `None`.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let Ok(index) = nix::net::if_::if_nametoindex(name) else { return Ok(None) };
        let found = self.flags(name).and_then(|flags| Ok((flags, self.mtu(name)?)));
        match found {
            Ok((flags, mtu)) => Ok(Some(Link { index, name: name.to_owned(), mtu, up: flags & UP != 0 })),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the MTU, in bytes.
    ///
    /// # Errors
    /// Returns ENXIO, EINVAL if the device does not support the size, EPERM.
    pub fn set_mtu(&mut self, dev: &str, mtu: u32) -> Result<(), Error> {
        let argument = REQUESTS.mtu(dev, mtu);
        self.request(&format!("set mtu of {dev} to {mtu}"), REQUESTS.set_mtu, argument).map(drop)
    }

    /// Brings the interface up or down.
    ///
    /// # Errors
    /// Returns ENXIO, EPERM.
    pub fn set_up(&mut self, dev: &str, up: bool) -> Result<(), Error> {
        let flags = self.flags(dev)?;
        let wanted = if up { flags | UP } else { flags & !UP };
        let what = format!("bring {dev} {}", if up { "up" } else { "down" });
        self.request(&what, REQUESTS.set_flags, REQUESTS.flags(dev, wanted)).map(drop)
    }

    /// Brings a tun device down if the index still has this name, and destroys it on FreeBSD and NetBSD, where it
    /// must be closed. Closing the last descriptor removes it on OpenBSD, and on FreeBSD after 14.0.
    ///
    /// # Errors
    /// Returns ENXIO if the index does not have this name, EBUSY if a process has the device open, EPERM.
    pub fn delete_link(&mut self, dev: &str, index: u32) -> Result<(), Error> {
        self.require_link(dev, index)?;
        self.set_up(dev, false)?;
        let Some(destroy) = REQUESTS.destroy else { return Ok(()) };
        // The request waits for the last descriptor, in the kernel and without end. Only one process can open
        // the device. The engine of a killed supervisor may still be about to exit.
        let what = format!("delete {dev}");
        let end = Instant::now() + CLOSE_TIMEOUT;
        loop {
            let mut node = OpenOptions::new();
            node.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
            match node.open(format!("/dev/{dev}")) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                    std::thread::sleep(CLOSE_PAUSE);
                }
                Err(error) => return Err(kernel_error(&what, &error)),
                // Closes it again. If the kernel has just removed the interface, this has created another one.
                Ok(_) => break,
            }
            self.require_link(dev, index)?;
        }
        self.request(&what, destroy, REQUESTS.named(dev)).map(drop)
    }

    fn require_link(&mut self, dev: &str, index: u32) -> Result<(), Error> {
        match self.link(dev)? {
            Some(link) if link.index == index => Ok(()),
            _ => Err(Error::errno(format!("delete {dev}"), Errno::ENXIO)),
        }
    }

    /// Adds an address to an interface.
    ///
    /// # Errors
    /// Returns ENXIO, EPERM, EEXIST if the interface already has the address.
    pub fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        let what = format!("add address {} to {dev}", address.local);
        self.change_address(&what, address, REQUESTS.add(dev, address))
    }

    /// Deletes an address from an interface.
    ///
    /// # Errors
    /// Returns EADDRNOTAVAIL if the interface does not have the address, ENXIO, EPERM.
    pub fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        let what = format!("delete address {} of {dev}", address.local);
        self.change_address(&what, address, REQUESTS.delete(dev, address))
    }

    /// Lists the point-to-point interfaces: index and name.
    ///
    /// # Errors
    /// Returns the kernel's error if interfaces cannot be listed.
    pub fn point_to_points(&mut self) -> Result<Vec<(u32, String)>, Error> {
        let all = nix::net::if_::if_nameindex().map_err(|errno| Error::errno("list interfaces", errno))?;
        let all = all.iter().map(|one| (one.index(), one.name().to_string_lossy().into_owned()));
        // An interface that disappeared in the meantime is skipped.
        Ok(all.filter(|(_, name)| self.flags(name).is_ok_and(|flags| flags & POINT_TO_POINT != 0)).collect())
    }

    /// Returns no rules: only Linux has policy routing rules.
    ///
    /// # Errors
    /// Never fails.
    pub fn rules(&mut self, _ipv6: bool) -> Result<Vec<Rule>, Error> {
        Ok(Vec::new())
    }

    /// Fails: only Linux has policy routing rules.
    ///
    /// # Errors
    /// Always returns an error.
    pub fn add_rule(&mut self, _rule: &Rule) -> Result<(), Error> {
        Err(Error::other("add a rule of policy routing", "only Linux has them"))
    }

    /// Fails: there are no policy routing rules.
    ///
    /// # Errors
    /// Always returns ESRCH.
    pub fn delete_rule(&mut self, _rule: &Rule) -> Result<(), Error> {
        Err(Error::errno("delete a rule of policy routing", Errno::ESRCH))
    }

    fn change(&mut self, what: &str, action: Action, route: &Route) -> Result<(), Error> {
        let request = from_route(LAYOUT, action, route, self.table, &index_of)
            .map_err(|detail| Error::other(what, detail))?;
        let mut socket = self.routing_socket(what, route.table)?;
        let bytes =
            self.with_sequence(request).encode(LAYOUT).map_err(|no| Error::other(what, no.to_string()))?;
        // write(2) returns the kernel's error.
        match socket.write(&bytes) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(_) => Err(Error::other(what, "the kernel took only a part of the request")),
            Err(error) => {
                let refused = kernel_error(what, &error);
                let leads_there = action == Action::Add
                    && refused.errno == Some(Errno::EINVAL)
                    && self.has_neighbour_of(what, route);
                if !leads_there {
                    return Err(refused);
                }
                tracing::debug!("{what}: the kernel's own entry leads there");
                Ok(())
            }
        }
    }

    /// Returns whether the kernel's own entry for a host leads where this route would.
    fn has_neighbour_of(&mut self, what: &str, route: &Route) -> bool {
        let Ok(request) = from_route(LAYOUT, Action::Get, route, self.table, &index_of) else { return false };
        let request = Request { table: request.table, ..Request::get(route.dest.addr()) };
        let answer = self.query(what, route.table, request);
        answer.is_ok_and(|answer| is_neighbour(LAYOUT, &answer, route, &name_of))
    }

    fn query(&mut self, what: &str, table: u32, request: Request) -> Result<RouteChange, Error> {
        let request = self.with_sequence(request);
        let bytes = request.encode(LAYOUT).map_err(|no| Error::other(what, no.to_string()))?;
        let mut socket = self.routing_socket(what, table)?;
        match socket.write(&bytes) {
            Ok(_) => {}
            // The table has no matching route.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                return Err(Error::errno(what, Errno::ENETUNREACH));
            }
            Err(error) => return Err(kernel_error(what, &error)),
        }
        let pid = nix::unistd::getpid().as_raw();
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut buffer = [0; MAX_MESSAGE];
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            socket.set_read_timeout(Some(left)).map_err(|error| kernel_error(what, &error))?;
            let size = match socket.read(&mut buffer) {
                Ok(size) => size,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // ENOBUFS: the receive queue overflowed, and the answer may have been lost.
                Err(error) => return Err(kernel_error(what, &error)),
            };
            for message in read(LAYOUT, buffer.get(..size).unwrap_or_default()) {
                match message {
                    Ok(Message::Route(news)) if news.answers(pid, request.seq) => {
                        return match news.errno {
                            0 => Ok(*news),
                            libc::ESRCH => Err(Error::errno(what, Errno::ENETUNREACH)),
                            number => Err(Error::errno(what, Errno::from_raw(number))),
                        };
                    }
                    // Not an answer to this request.
                    Ok(_) | Err(_) => {}
                }
            }
        }
        Err(Error::other(what, "the kernel did not answer"))
    }

    fn routing_socket(&self, what: &str, table: u32) -> Result<Socket, Error> {
        let socket = Socket::new(Domain::from(libc::AF_ROUTE), Type::RAW, Some(Protocol::from(0)))
            .map_err(|error| kernel_error(what, &error))?;
        // FreeBSD uses the FIB of the socket; OpenBSD's requests contain the table.
        #[cfg(target_os = "freebsd")]
        if table != MAIN_TABLE && table != u32::from(self.table) {
            socket.set_fib(table).map_err(|error| kernel_error(what, &error))?;
        }
        #[cfg(target_os = "netbsd")]
        if table != MAIN_TABLE {
            return Err(Error::other(what, "NetBSD has only one routing table"));
        }
        #[cfg(target_os = "openbsd")]
        let _ = table;
        Ok(socket)
    }

    fn with_sequence(&mut self, request: Request) -> Request {
        self.sequence = self.sequence.wrapping_add(1);
        Request { seq: self.sequence, ..request }
    }

    fn route_with_key_of(&mut self, route: &Route) -> Result<Option<Route>, Error> {
        let held = self.routes(&Filter::to(route.dest, route.table))?;
        Ok(held.into_iter().find(|held| held.same_key(route)))
    }

    fn flags(&self, dev: &str) -> Result<u16, Error> {
        let what = format!("look up {dev}");
        let argument = self.request(&what, REQUESTS.get_flags, REQUESTS.named(dev))?;
        flags_in(&argument).ok_or_else(|| Error::errno(what, Errno::EINVAL))
    }

    fn mtu(&self, dev: &str) -> Result<u32, Error> {
        let what = format!("look up the mtu of {dev}");
        let argument = self.request(&what, REQUESTS.get_mtu, REQUESTS.named(dev))?;
        mtu_in(&argument).ok_or_else(|| Error::errno(what, Errno::EINVAL))
    }

    /// Lists the addresses of all interfaces.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn addresses(&mut self) -> Result<Vec<InterfaceAddress>, Error> {
        addresses::addresses().map_err(|error| kernel_error("list addresses", &error))
    }

    /// Returns whether an interface has this address.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn has_address(&mut self, dev: &str, address: IpAddr) -> Result<bool, Error> {
        addresses::has_address(dev, address).map_err(|error| kernel_error("list addresses", &error))
    }

    fn change_address(
        &self,
        what: &str,
        address: &Address,
        request: Option<(u64, Vec<u8>)>,
    ) -> Result<(), Error> {
        let socket = match (&self.inet6, address.local.is_ipv6()) {
            (Some(inet6), true) => inet6,
            (None, true) => return Err(Error::errno(what, Errno::EAFNOSUPPORT)),
            (_, false) => &self.inet,
        };
        let (request, mut argument) = request.ok_or_else(|| Error::errno(what, Errno::ENXIO))?;
        control::request(socket, request, &mut argument).map_err(|error| kernel_error(what, &error))
    }

    pub(super) fn request(
        &self,
        what: &str,
        request: u64,
        argument: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Error> {
        // No interface can have this name.
        let mut argument = argument.ok_or_else(|| Error::errno(what, Errno::ENXIO))?;
        control::request(&self.inet, request, &mut argument).map_err(|error| kernel_error(what, &error))?;
        Ok(argument)
    }
}

fn name_of(index: u16) -> Option<String> {
    crate::net::connected::link_name(index.into())
}

fn index_of(name: &str) -> Option<u16> {
    u16::try_from(nix::net::if_::if_nametoindex(name).ok()?).ok()
}

fn kernel_error(what: &str, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(number) => Error::errno(what, Errno::from_raw(number)),
        None => Error::other(what, error.to_string()),
    }
}
