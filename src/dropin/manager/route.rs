//! The host route to the server, so that the tunnel's own routes cannot swallow the tunnel.
//!
//! Made by the way that the kernel has now, made anew when that way changes, removed at the end if it is still as it
//! was made. One that someone else has made is neither changed nor removed. The way is the best route of the main
//! table that does not lead into the tunnel itself: a point-to-point device that came after us is taken for that, for
//! nobody tells us which it is. Where the kernel decides by more than the main table (rules, `--rtmark`), its way of the
//! start stays.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use ipnet::IpNet;

use crate::net::{
    kernel::{Kernel, Watch},
    routes::{Error, Filter, Hop, Insert, Kind, MAIN_TABLE, PROTOCOL, Route, RouteTo},
};

/// A change of the network comes as many small ones: so long after the first of them they are looked at.
const SETTLE: Duration = Duration::from_millis(200);

/// The route; dropping it removes it.
pub struct HostRoute {
    kernel: Kernel,
    server: Ipv4Addr,
    /// The way of the start, while it is not to be followed by the main table.
    fixed: Option<RouteTo>,
    /// Point-to-point devices that are not the tunnel, by number.
    before: BTreeSet<u32>,
    /// What we made last.
    made: Option<Route>,
    watch: Option<Watch>,
    look_at: Option<Instant>,
}

impl HostRoute {
    /// Makes it, unless there is one; `None` when the server is this host itself.
    ///
    /// # Errors
    /// The kernel's: no way to the server, no right to change routes.
    pub fn make(server: Ipv4Addr, local: Option<Ipv4Addr>, mark: u32) -> Result<Option<Self>, Error> {
        // First of all, so that no change is missed.
        let watch = Watch::open()?;
        let mut kernel = Kernel::open()?;
        let mark = Some(mark).filter(|mark| *mark != 0);
        let way = kernel.route_to(server.into(), local.map(IpAddr::V4), mark)?;
        if way.local {
            return Ok(None);
        }
        let before = kernel.point_to_points()?.into_iter().map(|(index, _)| index).collect();
        let routes = kernel.routes(&MAIN)?;
        let by_the_table = best(&routes, server, |_| false)
            .is_some_and(|route| route.hops.iter().any(|hop| leads(hop, &way)));
        let mut made = Self {
            kernel,
            server,
            fixed: Some(way).filter(|_| !by_the_table),
            before,
            made: None,
            watch: by_the_table.then_some(watch),
            look_at: None,
        };
        made.follow()?;
        Ok(Some(made))
    }

    /// Readable when something about the network has changed; then [`changed`](Self::changed) is called.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Something may have changed.
    pub fn changed(&mut self, now: Instant) {
        if self.watch.as_mut().is_some_and(Watch::drain) && self.look_at.is_none() {
            self.look_at = Some(now + SETTLE);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub const fn next_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    /// Looks at the network if that is due; gives the route if it was made anew.
    ///
    /// # Errors
    /// The kernel's; the next change is another try.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Option<&Route>, Error> {
        if self.look_at.is_none_or(|at| at > now) {
            return Ok(None);
        }
        self.look_at = None;
        Ok(if self.follow()? { self.made.as_ref() } else { None })
    }

    /// Makes the route what it should be; whether there was something to do.
    fn follow(&mut self) -> Result<bool, Error> {
        let routes = self.kernel.routes(&MAIN)?;
        let present = self.made.as_ref().filter(|made| routes.iter().any(|found| is_the_one(found, made)));
        let to_server = |route: &Route| route.dest == host(self.server);
        if routes.iter().any(|route| to_server(route) && present.is_none_or(|made| !is_the_one(route, made)))
        {
            return Ok(false);
        }
        let tunnels: Vec<String> = self
            .kernel
            .point_to_points()?
            .into_iter()
            .filter(|(index, _)| !self.before.contains(index))
            .map(|(_, name)| name)
            .collect();
        let wanted = match &self.fixed {
            Some(way) => {
                let hop = Hop { via: way.gateway, dev: Some(way.dev.clone()), onlink: false, weight: 0 };
                route(self.server, hop, way.source)
            }
            None => {
                let skip =
                    |route: &Route| to_server(route) || tunnels.iter().any(|tunnel| route.leaves_by(tunnel));
                // No way at present: what there is stays, and the next change is looked at again.
                let Some(best) = best(&routes, self.server, skip) else { return Ok(false) };
                if let Some(made) = present
                    && made.hops.iter().all(|hop| best.hops.iter().any(|other| same(hop, other)))
                {
                    return Ok(false);
                }
                let Some(hop) = best.hops.first() else { return Ok(false) };
                route(self.server, Hop { weight: 0, ..hop.clone() }, best.source)
            }
        };
        let insert = if present.is_some() { Insert::Replace } else { Insert::New };
        match self.kernel.add_route(&wanted, insert) {
            Ok(()) => {
                self.made = Some(wanted);
                Ok(true)
            }
            Err(error) if error.is_present() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for HostRoute {
    fn drop(&mut self) {
        let Self { kernel, server, made, .. } = self;
        let Some(made) = made else { return };
        let there = kernel.routes(&Filter::to(host(*server), MAIN_TABLE));
        if there.is_ok_and(|found| found.iter().any(|found| is_the_one(found, made)))
            && let Err(error) = kernel.delete_route(made)
        {
            tracing::debug!(%error, "host route");
        }
    }
}

/// Every IPv4 route of the main table.
const MAIN: Filter = Filter { ipv6: false, table: Some(MAIN_TABLE), dest: None };

const fn host(server: Ipv4Addr) -> IpNet {
    IpNet::V4(ipnet::Ipv4Net::new_assert(server, 32))
}

fn route(server: Ipv4Addr, hop: Hop, source: Option<IpAddr>) -> Route {
    Route {
        dest: host(server),
        table: MAIN_TABLE,
        metric: 0,
        tos: 0,
        kind: Kind::Unicast,
        scope: if hop.via.is_some() { 0 } else { 253 },
        protocol: PROTOCOL,
        hops: vec![hop],
        source,
        metrics: Vec::new(),
        preference: None,
        realm: None,
        label: None,
        unrestorable: Vec::new(),
    }
}

fn is_the_one(found: &Route, made: &Route) -> bool {
    found.is_ours() && found.same_key(made) && found.same_way(made)
}

fn same(a: &Hop, b: &Hop) -> bool {
    a.via == b.via && a.dev == b.dev
}

fn leads(hop: &Hop, way: &RouteTo) -> bool {
    hop.via == way.gateway && hop.dev.as_deref() == Some(way.dev.as_str())
}

/// The route that the kernel would take: the longest prefix, then the lowest metric, then its own order; `None` when
/// that leads nowhere.
fn best(routes: &[Route], server: Ipv4Addr, skip: impl Fn(&Route) -> bool) -> Option<&Route> {
    let server = IpAddr::V4(server);
    routes
        .iter()
        .filter(|route| route.tos == 0 && route.dest.contains(&server) && !skip(route))
        .filter(|route| route.kind != Kind::Throw)
        .min_by_key(|route| (u8::MAX - route.dest.prefix_len(), route.metric))
        .filter(|route| route.kind == Kind::Unicast && !route.hops.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn to(dest: &str, via: Option<&str>, dev: &str, metric: u32) -> Route {
        let via = via.map(|via| via.parse().unwrap());
        let hop = Hop { via, dev: Some(dev.to_owned()), onlink: false, weight: 0 };
        Route { dest: dest.parse().unwrap(), metric, protocol: 3, ..route(SERVER, hop, None) }
    }

    #[test]
    fn the_longest_prefix_then_the_lowest_metric_and_never_the_tunnel() {
        let routes = [
            to("0.0.0.0/0", None, "ppp0", 0),
            to("0.0.0.0/0", Some("10.0.0.1"), "wlan0", 600),
            to("0.0.0.0/0", Some("10.1.0.1"), "eth0", 100),
            to("192.0.3.0/24", Some("10.2.0.1"), "eth1", 0),
        ];
        let dev = |routes: &[Route]| {
            let skip = |route: &Route| route.leaves_by("ppp0");
            best(routes, SERVER, skip).and_then(|route| route.hops[0].dev.clone())
        };
        assert_eq!(dev(&routes).as_deref(), Some("eth0"));
        assert_eq!(dev(&routes[..2]).as_deref(), Some("wlan0"));
        assert_eq!(dev(&routes[..1]), None);
        let mut more = routes.to_vec();
        more.push(to("0.0.0.0/1", None, "ppp0", 0));
        more.push(to("192.0.2.0/24", Some("10.3.0.1"), "eth2", 999));
        assert_eq!(dev(&more).as_deref(), Some("eth2"));
        // A route that refuses is the kernel's answer, too.
        more.push(Route { kind: Kind::Unreachable, hops: vec![], ..to("192.0.2.0/28", None, "lo", 0) });
        assert_eq!(dev(&more), None);
    }
}
