//! The host route to the server, which keeps packets of the tunnel itself out of the tunnel's routes.
//!
//! It uses the kernel's next hop for the server, is replaced when that changes, and is deleted at the end if
//! unchanged, or when another program adds its own. A host route of another program is neither changed nor deleted.
//! The next hop is that of the best route in the main table that does not lead into the tunnel; a point-to-point
//! device that appears later is taken for the tunnel, whose name is not known here. Where the kernel's choice depends on
//! more than the main table (rules, `--rtmark`), the initial next hop is kept.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ipnet::IpNet;

use crate::deadline::Deadline;
use crate::net::{
    host_route_record,
    kernel::{Kernel, Watch},
    routes::{Error, Filter, Hop, Insert, Kind, MAIN_TABLE, Route, RouteTo},
};

/// A network change causes many notifications: they are handled together this long after the first.
const SETTLE: Duration = Duration::from_millis(200);

/// The host route. Dropping it deletes the route.
pub struct HostRoute {
    kernel: Kernel,
    server: Ipv4Addr,
    /// The initial route, if it does not come from the main table and is therefore kept.
    fixed: Option<RouteTo>,
    /// Interface indexes of the point-to-point devices that are not the tunnel.
    before: BTreeSet<u32>,
    /// The route added last.
    made: Option<Route>,
    /// The file that records it.
    record: PathBuf,
    watch: Option<Watch>,
    check_at: Option<Instant>,
}

impl HostRoute {
    /// Adds the route unless one exists; that of a manager that was killed is taken over. Returns `None` if the server
    /// is this host. `record` is the file that records the route.
    ///
    /// # Errors
    /// Returns the kernel's error, such as no route to the server or no permission.
    pub fn make(
        server: Ipv4Addr,
        local: Option<Ipv4Addr>,
        mark: u32,
        record: &Path,
    ) -> Result<Option<Self>, Error> {
        // Opened first, so that no change is missed.
        let watch = Watch::open()?;
        let mut kernel = Kernel::open()?;
        let mark = Some(mark).filter(|mark| *mark != 0);
        let left = host_route_record::take_over(record, &mut kernel);
        let way = kernel.route_to(server.into(), local.map(IpAddr::V4), mark)?;
        if way.local {
            return Ok(None);
        }
        let before = kernel.point_to_points()?.into_iter().map(|(index, _)| index).collect();
        let routes = kernel.routes(&MAIN)?;
        // A route that was left may be outdated: the kernel's choice is its own.
        let by_the_table = left.is_some()
            || best_route(&routes, server, |_| false)
                .is_some_and(|route| route.hops.iter().any(|hop| uses_hop(hop, &way)));
        let mut made = Self {
            kernel,
            server,
            fixed: Some(way).filter(|_| !by_the_table),
            before,
            made: left,
            record: record.to_owned(),
            watch: by_the_table.then_some(watch),
            check_at: None,
        };
        made.update()?;
        Ok(Some(made))
    }

    /// Returns a descriptor that is readable after a network change; [`changed`](Self::changed) must then be
    /// called.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Schedules a check if the network has changed.
    pub fn changed(&mut self, now: Instant) {
        if self.watch.as_mut().is_some_and(Watch::drain) && self.check_at.is_none() {
            self.check_at = Some(now + SETTLE);
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) must be called.
    pub fn next_timeout(&self) -> Option<Deadline> {
        self.check_at.map(|at| (at, "host route"))
    }

    /// Checks the network if that is due. Returns the route if it was replaced.
    ///
    /// # Errors
    /// Returns the kernel's error; the next change causes another attempt.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Option<&Route>, Error> {
        if self.check_at.is_none_or(|at| at > now) {
            return Ok(None);
        }
        self.check_at = None;
        Ok(if self.update()? { self.made.as_ref() } else { None })
    }

    /// Adds or replaces the route if necessary. Returns whether it did.
    fn update(&mut self) -> Result<bool, Error> {
        let routes = self.kernel.routes(&MAIN)?;
        let present = self.made.as_ref().filter(|made| routes.iter().any(|found| found.is_ours_as(made)));
        let to_server = |route: &Route| route.dest == host(self.server);
        if has_other_route(&routes, self.server, present) {
            // Another program, such as ppp(8) by ppp.linkup, has added its own meanwhile. FreeBSD keeps two routes with
            // one key, and deletes neither if it is asked to delete the key: ours is not needed any more.
            if let Some(made) = present {
                match self.kernel.delete_route(made) {
                    Err(error) if !error.is_absent() => return Err(error),
                    _ => self.made = None,
                }
            }
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
                // No route to the server at present: keep the host route until the next change.
                let Some(best) = best_route(&routes, self.server, skip) else { return Ok(false) };
                if let Some(made) = present
                    && made.hops.iter().all(|hop| best.hops.iter().any(|other| is_same_hop(hop, other)))
                {
                    return Ok(false);
                }
                let Some(hop) = best.hops.first() else { return Ok(false) };
                route(self.server, Hop { weight: 0, ..hop.clone() }, best.source)
            }
        };
        let insert = if present.is_some() { Insert::Replace } else { Insert::New };
        if let Err(error) = host_route_record::write(&self.record, &wanted) {
            tracing::debug!(%error, "record of the host route");
        }
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
        let Self { kernel, made, record, .. } = self;
        let Some(made) = made else { return };
        match host_route_record::remove(kernel, made) {
            Ok(_) => drop(std::fs::remove_file(record)),
            Err(error) => tracing::debug!(%error, "host route"),
        }
    }
}

/// Selects all IPv4 routes of the main table.
const MAIN: Filter = Filter { ipv6: false, table: Some(MAIN_TABLE), dest: None };

const fn host(server: Ipv4Addr) -> IpNet {
    IpNet::V4(ipnet::Ipv4Net::new_assert(server, 32))
}

fn route(server: Ipv4Addr, hop: Hop, source: Option<IpAddr>) -> Route {
    let scope = if hop.via.is_some() { 0 } else { 253 };
    // With the metric that the kernel lists, by which the route is found again.
    Route { scope, hops: vec![hop], source, ..Route::through(host(server), "") }
}

/// Returns whether there is a host route to the server beside ours.
fn has_other_route(routes: &[Route], server: Ipv4Addr, ours: Option<&Route>) -> bool {
    let other = |route: &Route| ours.is_none_or(|made| !route.is_ours_as(made));
    routes.iter().any(|route| route.dest == host(server) && other(route))
}

fn is_same_hop(a: &Hop, b: &Hop) -> bool {
    a.via == b.via && a.dev == b.dev
}

fn uses_hop(hop: &Hop, way: &RouteTo) -> bool {
    hop.via == way.gateway && hop.dev.as_deref() == Some(way.dev.as_str())
}

/// Returns the route that the kernel selects: longest prefix, then lowest metric, then the kernel's order;
/// `None` if it has no next hop.
fn best_route(routes: &[Route], server: Ipv4Addr, skip: impl Fn(&Route) -> bool) -> Option<&Route> {
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
    use crate::net::routes::{PROTOCOL, default_metric};

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn to(dest: &str, via: Option<&str>, dev: &str, metric: u32) -> Route {
        let via = via.map(|via| via.parse().unwrap());
        let hop = Hop { via, dev: Some(dev.to_owned()), onlink: false, weight: 0 };
        Route { dest: dest.parse().unwrap(), metric, protocol: 3, ..route(SERVER, hop, None) }
    }

    #[test]
    fn route_of_another_program_is_told_from_ours() {
        let ours = Route { protocol: PROTOCOL, ..to("192.0.2.1/32", Some("10.0.0.1"), "eth0", 0) };
        let theirs = to("192.0.2.1/32", Some("10.0.0.1"), "eth0", 0);
        let default = to("0.0.0.0/0", Some("10.0.0.1"), "eth0", 0);
        let other = |routes: &[Route], made| has_other_route(routes, SERVER, made);
        assert!(
            !other(std::slice::from_ref(&default), None)
                && !other(&[default.clone(), ours.clone()], Some(&ours))
        );
        assert!(other(&[default, ours.clone(), theirs.clone()], Some(&ours)) && other(&[theirs], None));
    }

    /// OpenBSD lists a priority of 8 for it.
    #[test]
    fn route_has_the_metric_by_which_it_is_listed() {
        let hop = Hop {
            via: Some("10.0.0.1".parse().unwrap()),
            dev: Some("vio0".to_owned()),
            onlink: false,
            weight: 0,
        };
        let made = route(SERVER, hop.clone(), None);
        assert_eq!(made.metric, default_metric(&host(SERVER), None));
        assert_eq!((made.scope, &made.hops), (0, &vec![hop.clone()]));
        assert_eq!(route(SERVER, Hop { via: None, ..hop }, None).scope, 253);
    }

    #[test]
    fn best_route_prefers_prefix_then_metric_and_skips_tunnel() {
        let routes = [
            to("0.0.0.0/0", None, "ppp0", 0),
            to("0.0.0.0/0", Some("10.0.0.1"), "wlan0", 600),
            to("0.0.0.0/0", Some("10.1.0.1"), "eth0", 100),
            to("192.0.3.0/24", Some("10.2.0.1"), "eth1", 0),
        ];
        let dev = |routes: &[Route]| {
            let skip = |route: &Route| route.leaves_by("ppp0");
            best_route(routes, SERVER, skip).and_then(|route| route.hops[0].dev.clone())
        };
        assert_eq!(dev(&routes).as_deref(), Some("eth0"));
        assert_eq!(dev(&routes[..2]).as_deref(), Some("wlan0"));
        assert_eq!(dev(&routes[..1]), None);
        let mut more = routes.to_vec();
        more.push(to("0.0.0.0/1", None, "ppp0", 0));
        more.push(to("192.0.2.0/24", Some("10.3.0.1"), "eth2", 999));
        assert_eq!(dev(&more).as_deref(), Some("eth2"));
        // An unreachable route also decides the kernel's lookup.
        more.push(Route { kind: Kind::Unreachable, hops: vec![], ..to("192.0.2.0/28", None, "lo", 0) });
        assert_eq!(dev(&more), None);
    }
}
