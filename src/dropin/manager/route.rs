//! The host route to the server, so that the tunnel's own routes cannot swallow the tunnel.
//!
//! Made by the way that the kernel has now; removed at the end if it is still as it was made. One that was there before
//! is neither changed nor removed.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::net::{
    netlink::Netlink,
    routes::{Error, Filter, Hop, Insert, Kind, MAIN_TABLE, PROTOCOL, Route},
};

/// A route of ours; dropping it removes it.
pub struct HostRoute {
    netlink: Netlink,
    route: Route,
}

impl HostRoute {
    /// Makes it; `None` when one is there already, or the server is this host itself.
    ///
    /// # Errors
    /// The kernel's: no way to the server, no right to change routes.
    pub fn make(server: Ipv4Addr, local: Option<Ipv4Addr>, mark: u32) -> Result<Option<Self>, Error> {
        let mut netlink = Netlink::open()?;
        let mark = Some(mark).filter(|mark| *mark != 0);
        let way = netlink.route_to(server.into(), local.map(IpAddr::V4), mark)?;
        if way.local {
            return Ok(None);
        }
        let hop = Hop { via: way.gateway, dev: Some(way.dev), onlink: false, weight: 0 };
        let route = Route {
            dest: IpNet::from(IpAddr::V4(server)),
            table: MAIN_TABLE,
            metric: 0,
            tos: 0,
            kind: Kind::Unicast,
            scope: if hop.via.is_some() { 0 } else { 253 },
            protocol: PROTOCOL,
            hops: vec![hop],
            source: way.source,
            metrics: Vec::new(),
            preference: None,
            realm: None,
            beyond: Vec::new(),
        };
        if !netlink.routes(&Filter::to(route.dest, MAIN_TABLE))?.is_empty() {
            return Ok(None);
        }
        match netlink.add_route(&route, Insert::New) {
            Ok(()) => Ok(Some(Self { netlink, route })),
            Err(error) if error.is_present() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for HostRoute {
    fn drop(&mut self) {
        let Self { netlink, route } = self;
        let ours = |found: &Route| found.is_ours() && found.same_key(route) && found.same_way(route);
        if netlink.routes(&Filter::to(route.dest, MAIN_TABLE)).is_ok_and(|found| found.iter().any(ours))
            && let Err(error) = netlink.delete_route(route)
        {
            tracing::debug!(%error, "host route");
        }
    }
}
