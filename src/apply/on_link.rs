//! Routes without a gateway: the networks to which this host is connected, whichever program added them.

use std::net::IpAddr;

use super::Host;
use crate::net::routes::{Filter, Kind, MAIN_TABLE, Route};

/// The shortest prefix of a network; shorter ones are default routes, whole or in halves.
pub(super) const SHORTEST: u8 = 2;

/// Returns the device of a route without a gateway. On OpenBSD such a route names an address of this host.
pub(super) fn device<'a>(route: &'a Route, addresses: &[IpAddr]) -> Option<&'a str> {
    let direct = route.kind == Kind::Unicast
        && route.hops.iter().all(|hop| hop.via.is_none_or(|via| addresses.contains(&via)));
    route.hops.first().filter(|_| direct)?.dev.as_deref()
}

/// Returns the route that a route of ours would replace or precede although it has no gateway and leaves by an
/// interface other than the tunnel's: that of a connected network, whichever program added it.
pub(super) fn network_in_the_way(
    host: &mut Host,
    wanted: &Route,
    tun: &str,
) -> Result<Option<Route>, crate::net::routes::Error> {
    if wanted.dest.prefix_len() < SHORTEST || wanted.table != MAIN_TABLE {
        return Ok(None);
    }
    let found = host.routes(&Filter::to(wanted.dest, wanted.table))?;
    let has_metrics = cfg!(target_os = "linux");
    Ok(found.into_iter().find(|route| {
        // On OpenBSD `routes::cannot_restore` protects a route that names an address of this host.
        let dev = device(route, &[]);
        !route.is_ours()
            && dev.is_some_and(|dev| dev != tun)
            && (!has_metrics || wanted.metric <= route.metric)
    }))
}
