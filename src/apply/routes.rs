//! Routes into the tunnel, the route to the server, and the default routes of the main table: what stands in their
//! place, how they are put in, put back in, and taken out.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Cause, Host,
    error::{gone, known},
    ledger::{Device, PriorState},
};
use crate::{
    net::routes::{Filter, Hop, Insert, MAIN_TABLE, Route, default_metric, default_prefix},
    plan::{NextHop, Step},
};

/// Reads what has the place of a step.
///
/// # Errors
/// [`Cause::Taken`] and [`Cause::CannotRestore`] say why the step must not be performed.
pub(super) fn observe(host: &mut dyn Host, step: &Step) -> Result<PriorState, Cause> {
    if let Step::RemoveDefault { ipv6 } = step {
        return observe_defaults(host, *ipv6);
    }
    let wanted = route_of(step)?;
    let Some(found) = in_place_of(host, &wanted)? else { return Ok(PriorState::Nothing) };
    let into_tunnel = matches!(step, Step::Route { .. });
    if found.is_ours() && into_tunnel {
        if found.same_way(&wanted) {
            return Ok(PriorState::Nothing);
        }
        return Err(Cause::Taken(format!("another tunnel has this route: {found}")));
    }
    if found.is_ours() {
        return Ok(PriorState::Shared);
    }
    if found.same_way(&wanted) {
        return Ok(PriorState::Same);
    }
    match cannot_restore(&found) {
        Some(reason) => Err(Cause::CannotRestore(reason)),
        None => Ok(PriorState::Route(Box::new(found))),
    }
}

fn observe_defaults(host: &mut dyn Host, ipv6: bool) -> Result<PriorState, Cause> {
    let routes = host.routes(&Filter::defaults(ipv6))?;
    if let Some(other) = routes.iter().find(|route| route.is_ours()) {
        return Err(Cause::Taken(format!("another tunnel has the default route: {other}")));
    }
    match routes.iter().find_map(cannot_restore) {
        Some(reason) => Err(Cause::CannotRestore(reason)),
        None => Ok(PriorState::Routes(routes)),
    }
}

/// Performs a step whose place holds `before`.
pub(super) fn perform(host: &mut dyn Host, step: &Step, before: &PriorState) -> Result<(), Cause> {
    match (step, before) {
        (Step::RemoveDefault { .. }, PriorState::Routes(routes)) => {
            // The last first: a crash leaves those in front, which stand before the ones that have to be put back, and
            // of two with one metric the kernel uses the one in front.
            for route in routes.iter().rev() {
                gone(host.delete_route(route))?;
            }
            Ok(())
        }
        (Step::RemoveDefault { .. }, _) | (_, PriorState::Same) => Ok(()),
        // What is in the place is in the ledger, or ours: it is replaced in one request, so that there is no moment
        // without a route.
        _ => add(host, route_of(step)?, Insert::Replace),
    }
}

/// Adds the route of a step in force again if it is missing, which is the result. Default routes are not looked at.
pub(super) fn renew(host: &mut dyn Host, step: &Step, before: &PriorState) -> Result<bool, Cause> {
    match step {
        Step::HostRoute { .. } | Step::Route { .. } if *before != PriorState::Same => {
            add_if_missing(host, route_of(step)?)
        }
        _ => Ok(false),
    }
}

/// Undoes a step. `device` is the tun device it was performed on; `needed` says that another tunnel needs the route.
pub(super) fn undo(
    host: &mut dyn Host,
    step: &Step,
    before: &PriorState,
    device: Option<&Device>,
    needed: bool,
) -> Result<(), Cause> {
    match (step, before) {
        (Step::RemoveDefault { ipv6 }, PriorState::Routes(routes)) => put_back(host, *ipv6, routes),
        (Step::RemoveDefault { .. }, _) => Ok(()),
        (Step::Route { tun, .. }, _) => {
            let wanted = route_of(step)?;
            // A device of the same name may be another tunnel's by now, and the route its.
            let tun = known(tun)?.clone();
            let alive = lives(host, device, &tun)?;
            withdraw(host, &wanted, before, |found| alive && found.is_ours() && found.leaves_by(&tun))
        }
        (_, PriorState::Same) => Ok(()),
        _ if needed => Ok(()),
        _ => withdraw(host, &route_of(step)?, before, Route::is_ours),
    }
}

/// Whether it was missing.
pub(super) fn add_if_missing(host: &mut dyn Host, wanted: Route) -> Result<bool, Cause> {
    let missing = in_place_of(host, &wanted)?.is_none();
    if missing {
        add(host, wanted, Insert::New)?;
    }
    Ok(missing)
}

/// Why a route could not be put back as it is, if so.
pub(super) fn cannot_restore(route: &Route) -> Option<String> {
    let reason = route.unrestorable.first()?;
    Some(format!("the route \"{route}\" has {reason}, which could not be put back"))
}

/// Takes our route away and puts back what it replaced.
pub(super) fn withdraw(
    host: &mut dyn Host,
    wanted: &Route,
    before: &PriorState,
    is_ours: impl Fn(&Route) -> bool,
) -> Result<(), Cause> {
    let found = in_place_of(host, wanted)?;
    let ours = found.as_ref().filter(|found| is_ours(found));
    match (before, ours, &found) {
        (PriorState::Route(old), Some(_), _) => host.add_route(old, Insert::Replace)?,
        // Ours went with its device, or the deed was never begun and nothing was there.
        (PriorState::Route(old), None, None) => host.add_route(old, Insert::New)?,
        (_, Some(ours), _) => gone(host.delete_route(ours))?,
        // Someone else's by now.
        (_, None, _) => {}
    }
    Ok(())
}

/// Puts default routes back, unless someone (DHCP, most likely) has made a new one for the same device or
/// with the same metric meanwhile.
fn put_back(host: &mut dyn Host, ipv6: bool, saved: &[Route]) -> Result<(), Cause> {
    let now = host.routes(&Filter::to(default_prefix(ipv6), MAIN_TABLE))?;
    let (kept, foreign): (Vec<&Route>, Vec<&Route>) =
        now.iter().filter(|route| !route.is_ours()).partition(|route| saved.contains(route));
    let superseded = |old: &Route| superseded(old, foreign.iter().copied());
    let mut others = !kept.is_empty();
    let (mut failure, mut stranded) = (None, None);
    for old in saved {
        if kept.contains(&old) || superseded(old) {
            continue;
        }
        // Behind what has its metric: several are put back in the order in which they were listed.
        match host.add_route(old, Insert::Append) {
            Err(error) if error.is_present() => {}
            // Its network has gone meanwhile, and would have taken the route along. It comes back with another.
            Err(_) if is_unplugged(host, old)? => {}
            // The host has moved on to another network and has a default route there.
            Err(_) if !foreign.is_empty() => {}
            Err(error) if error.is_unreachable() || error.is_absent() => stranded = stranded.or(Some(error)),
            Err(error) => failure = failure.or(Some(error)),
            Ok(()) => others = true,
        }
    }
    // One whose gateway is on no link any more, or whose device is none any more, is missed only if there is no other.
    match failure.or(stranded.filter(|_| !others)) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Whether a device of a route is there, but down.
fn is_unplugged(host: &mut dyn Host, route: &Route) -> Result<bool, Cause> {
    for dev in route.hops.iter().filter_map(|hop| hop.dev.as_deref()) {
        if host.link(dev)?.is_some_and(|link| !link.up) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether one of these stands where a default route did: for the same device, or with the same metric.
pub(super) fn superseded<'a>(old: &Route, mut now: impl Iterator<Item = &'a Route>) -> bool {
    now.any(|new| {
        new.dest == old.dest
            && (new.metric == old.metric
                || new.hops.iter().any(|hop| hop.dev.as_deref().is_some_and(|dev| old.leaves_by(dev))))
    })
}

/// Adds a route; a gateway that no address of the device covers (as at some hosters) is taken as on the link,
/// since it is the gateway that the kernel uses already.
pub(super) fn add(host: &mut dyn Host, route: Route, insert: Insert) -> Result<(), Cause> {
    match host.add_route(&route, insert) {
        Err(error) if error.is_unreachable() && route.hops.iter().any(|hop| hop.via.is_some()) => {
            let mut route = route;
            for hop in &mut route.hops {
                hop.onlink = true;
            }
            Ok(host.add_route(&route, insert)?)
        }
        outcome => Ok(outcome?),
    }
}

/// What the kernel lists with the key of this route; ours first, if several share the key.
pub(super) fn in_place_of(host: &mut dyn Host, wanted: &Route) -> Result<Option<Route>, Cause> {
    let mut found = host.routes(&Filter::to(wanted.dest, wanted.table))?;
    found.retain(|route| route.same_key(wanted));
    found.sort_by_key(|route| !route.is_ours());
    Ok(found.into_iter().next())
}

/// Whether the tun device that a step was performed on is still the same one.
pub(super) fn lives(host: &mut dyn Host, device: Option<&Device>, name: &str) -> Result<bool, Cause> {
    let Some(device) = device.filter(|device| device.name == name) else { return Ok(false) };
    Ok(host.link(name)?.is_some_and(|link| link.index == device.index))
}

/// A route of ours that goes a given way.
pub(super) fn route_by(dest: IpNet, way: &NextHop) -> Result<Route, Cause> {
    let NextHop::By { gateway, dev, source } = way else {
        return Err(Cause::Taken(format!("{dest} is this host")));
    };
    let mut route = Route::through(dest, dev);
    if let Some(gateway) = gateway {
        route.hops = vec![Hop { via: Some(*gateway), dev: Some(dev.clone()), onlink: false, weight: 0 }];
        route.scope = 0;
    }
    route.source = *source;
    Ok(route)
}

fn route_of(step: &Step) -> Result<Route, Cause> {
    match step {
        Step::HostRoute { server, way, .. } => route_by(IpNet::from(*known(server)?), known(way)?),
        Step::Route { tun, dest, metric, table, peer, label } => {
            let mut route = Route::through(*dest, known(tun)?);
            if let (Some(peer), Some(hop)) = (peer, route.hops.first_mut()) {
                // The BSDs: the plan for Linux names none.
                hop.via = Some(IpAddr::V4(*known(peer)?));
            }
            route.metric = default_metric(dest, *metric);
            route.table = table.as_ref().map_or(Ok(MAIN_TABLE), |table| known(table).copied())?;
            route.label = label.clone();
            Ok(route)
        }
        _ => Err(Cause::Ledger("not a route".to_owned())),
    }
}
