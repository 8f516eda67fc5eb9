//! Routes into the tunnel, the route to the server, and the default routes of the main table: reads the
//! routes with the same key, and adds, restores and removes routes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Cause, Host, KernelOp,
    error::{gone, known},
    ledger::{Device, PriorState},
    on_link::network_in_the_way,
    steps::{Perform, UndoContext},
};
use crate::{
    net::routes::{Filter, Hop, Insert, MAIN_TABLE, Route, RouteTo, default_metric, default_prefix},
    plan::{HostRouteStep, NextHop, RemoveDefaultStep, RouteStep},
};

impl Perform for HostRouteStep {
    fn observe(&self, host: &mut Host) -> Result<PriorState, Cause> {
        observe(host, &self.route()?, |_| Some(PriorState::Shared))
    }

    fn perform(&self, host: &mut Host, before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        replace(host, self.route()?, before)
    }

    fn renew(&self, host: &mut Host, before: &PriorState) -> Result<bool, Cause> {
        add_if_missing(host, self.route()?, before)
    }

    fn undo(&self, host: &mut Host, before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        if *before == PriorState::Same || context.is_needed {
            return Ok(());
        }
        remove_and_restore(host, &self.route()?, before, Route::is_ours)
    }
}

impl HostRouteStep {
    fn route(&self) -> Result<Route, Cause> {
        route_via(IpNet::from(*known(&self.server)?), known(&self.way)?)
    }
}

impl Perform for RouteStep {
    fn observe(&self, host: &mut Host) -> Result<PriorState, Cause> {
        let wanted = self.route()?;
        if let Some(network) = network_in_the_way(host, &wanted, known(&self.tun)?)? {
            // Only if the network has appeared since the plan was made; the next one leaves the route out.
            tracing::warn!("the route to {} is left out: this host is connected to {network}", wanted.dest);
            return Ok(PriorState::Same);
        }
        observe(host, &wanted, |is_same| is_same.then_some(PriorState::Nothing))
    }

    fn perform(&self, host: &mut Host, before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        replace(host, self.route()?, before)
    }

    fn renew(&self, host: &mut Host, before: &PriorState) -> Result<bool, Cause> {
        let wanted = self.route()?;
        // The host has moved into a network of these addresses; the next plan leaves the route out.
        if network_in_the_way(host, &wanted, known(&self.tun)?)?.is_some() {
            return Ok(false);
        }
        add_if_missing(host, wanted, before)
    }

    fn undo(&self, host: &mut Host, before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        let (wanted, tun) = (self.route()?, known(&self.tun)?);
        // A device of the same name may belong to another tunnel by now, and the route with it.
        let alive = device_still_exists(host, context.device, tun)?;
        let leads_into_tunnel = |found: &Route| found.is_ours() && found.leaves_by(tun);
        if !alive && find_same_key(host, &wanted)?.is_some_and(|found| leads_into_tunnel(&found)) {
            // The kernel may have removed the device, and the route with it, since the table was read. A
            // route taken for another tunnel's would keep the one that ours replaced from being restored.
            host.cache.invalidate_all();
        }
        remove_and_restore(host, &wanted, before, |found| alive && leads_into_tunnel(found))
    }
}

impl RouteStep {
    fn route(&self) -> Result<Route, Cause> {
        let mut route = Route::through(self.dest, known(&self.tun)?);
        if let (Some(peer), Some(hop)) = (&self.peer, route.hops.first_mut()) {
            // BSD only: plans for Linux have no peer.
            hop.via = Some(IpAddr::V4(*known(peer)?));
        }
        route.metric = default_metric(&self.dest, self.metric);
        route.table = self.table.as_ref().map_or(Ok(MAIN_TABLE), |table| known(table).copied())?;
        route.label.clone_from(&self.label);
        Ok(route)
    }
}

impl Perform for RemoveDefaultStep {
    fn observe(&self, host: &mut Host) -> Result<PriorState, Cause> {
        let routes = host.routes(&Filter::defaults(self.ipv6))?;
        if let Some(other) = routes.iter().find(|route| route.is_ours()) {
            return Err(Cause::Taken(format!("another tunnel has the default route: {other}")));
        }
        match routes.iter().find_map(cannot_restore) {
            Some(reason) => Err(Cause::CannotRestore(reason)),
            None => Ok(PriorState::Routes(routes)),
        }
    }

    fn perform(&self, host: &mut Host, before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        let PriorState::Routes(routes) = before else { return Ok(()) };
        // Delete from the last to the first: a crash then leaves the first ones, restored routes are appended
        // behind them, and of several routes with one metric the kernel uses the first.
        for route in routes.iter().rev() {
            gone(host.change(KernelOp::DeleteRoute(route)))?;
        }
        Ok(())
    }

    fn undo(&self, host: &mut Host, before: &PriorState, _context: UndoContext<'_>) -> Result<(), Cause> {
        match before {
            PriorState::Routes(routes) => restore_defaults(host, self.ipv6, routes),
            _ => Ok(()),
        }
    }
}

/// Reads the existing route with the key of a step. `ours` returns the prior state for a route of another
/// tunnel, given whether it has the same effect; `None` if the step must not be performed.
pub(super) fn observe(
    host: &mut Host,
    wanted: &Route,
    ours: impl Fn(bool) -> Option<PriorState>,
) -> Result<PriorState, Cause> {
    let Some(found) = find_same_key(host, wanted)? else { return Ok(PriorState::Nothing) };
    // Of a route that refuses packets only the kind matters.
    let refuses = wanted.hops.is_empty() && found.kind == wanted.kind;
    let is_same = refuses || found.same_next_hops(wanted);
    if found.is_ours() {
        let taken = || Cause::Taken(format!("another tunnel has this route: {found}"));
        return ours(is_same).ok_or_else(taken);
    }
    match cannot_restore(&found) {
        _ if is_same => Ok(PriorState::Same),
        Some(reason) => Err(Cause::CannotRestore(reason)),
        None => Ok(PriorState::Route(Box::new(found))),
    }
}

/// Adds a route whose key now holds `before`.
pub(super) fn replace(host: &mut Host, wanted: Route, before: &PriorState) -> Result<(), Cause> {
    match before {
        PriorState::Same => Ok(()),
        // The existing route is in the ledger, or ours: replace it in one request, so that there is never a
        // moment without a route.
        _ => add(host, wanted, Insert::Replace),
    }
}

/// Adds a route if it is missing; returns whether it was. Where the kernel's own entry leads there (OpenBSD),
/// nothing is added.
pub(super) fn add_if_missing(host: &mut Host, wanted: Route, before: &PriorState) -> Result<bool, Cause> {
    if *before == PriorState::Same || find_same_key(host, &wanted)?.is_some() {
        return Ok(false);
    }
    add(host, wanted.clone(), Insert::New)?;
    Ok(find_same_key(host, &wanted)?.is_some())
}

/// Returns why a route could not be restored as it is, if so.
pub(super) fn cannot_restore(route: &Route) -> Option<String> {
    let reason = route.unrestorable.first()?;
    Some(format!("the route \"{route}\" has {reason}, which could not be restored"))
}

/// Removes our route and restores the one that it replaced.
pub(super) fn remove_and_restore(
    host: &mut Host,
    wanted: &Route,
    before: &PriorState,
    is_ours: impl Fn(&Route) -> bool,
) -> Result<(), Cause> {
    let routes = host.routes(&Filter::to(wanted.dest, wanted.table))?;
    let found = routes.iter().find(|route| route.same_key(wanted));
    let mut ours = routes.iter().filter(|route| is_ours(route));
    match (before, ours.clone().find(|route| route.same_key(wanted)), found) {
        (PriorState::Route(old), Some(_), _) => host.change(KernelOp::AddRoute(old, Insert::Replace))?,
        // Our route went away with its device, or the step was never begun and there was no route.
        (PriorState::Route(old), None, None) => host.change(KernelOp::AddRoute(old, Insert::New))?,
        (_, Some(ours), _) => gone(host.change(KernelOp::DeleteRoute(ours)))?,
        // The route is gone, or belongs to another program by now, unless the kernel lists it with another
        // metric than it was asked for: a route of ours that stays would refuse or misdirect packets for good.
        (_, None, _) => {
            if let Some(ours) = ours.find(|route| route.same_next_hops(wanted)) {
                gone(host.change(KernelOp::DeleteRoute(ours)))?;
            }
        }
    }
    Ok(())
}

/// Restores default routes, except those for which another program (most likely a DHCP client) has meanwhile
/// added one for the same device or with the same metric.
fn restore_defaults(host: &mut Host, ipv6: bool, saved: &[Route]) -> Result<(), Cause> {
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
        // Append behind routes of the same metric: several are restored in their listed order.
        match host.change(KernelOp::AddRoute(old, Insert::Append)) {
            Err(error) if error.is_present() => {}
            // Its device is down, which removes routes anyway; a new one is added when it comes up again.
            Err(_) if is_device_down(host, old)? => {}
            // The host has moved to another network and has a default route there.
            Err(_) if !foreign.is_empty() => {}
            Err(error) if error.is_unreachable() || error.is_absent() => stranded = stranded.or(Some(error)),
            Err(error) => failure = failure.or(Some(error)),
            Ok(()) => others = true,
        }
    }
    // An unreachable gateway or a missing device is an error only if there is no other default route.
    match failure.or(stranded.filter(|_| !others)) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Returns whether a device of a route exists but is down.
fn is_device_down(host: &mut Host, route: &Route) -> Result<bool, Cause> {
    for dev in route.hops.iter().filter_map(|hop| hop.dev.as_deref()) {
        if host.link(dev)?.is_some_and(|link| !link.up) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether one of these replaces an old default route: it has the same device or the same metric.
pub(super) fn superseded<'a>(old: &Route, mut now: impl Iterator<Item = &'a Route>) -> bool {
    now.any(|new| {
        new.dest == old.dest
            && (new.metric == old.metric
                || new.hops.iter().any(|hop| hop.dev.as_deref().is_some_and(|dev| old.leaves_by(dev))))
    })
}

/// Adds a route. If no address of the device covers the gateway (as at some hosting providers), the gateway
/// is assumed to be on the link, as the kernel already uses it.
fn add(host: &mut Host, route: Route, insert: Insert) -> Result<(), Cause> {
    match host.change(KernelOp::AddRoute(&route, insert)) {
        Err(error) if error.is_unreachable() && route.hops.iter().any(|hop| hop.via.is_some()) => {
            let mut route = route;
            for hop in &mut route.hops {
                hop.onlink = true;
            }
            Ok(host.change(KernelOp::AddRoute(&route, insert))?)
        }
        outcome => Ok(outcome?),
    }
}

/// Returns the kernel's route with the same key; ours if several share it.
pub(super) fn find_same_key(host: &mut Host, wanted: &Route) -> Result<Option<Route>, Cause> {
    let mut found = host.routes(&Filter::to(wanted.dest, wanted.table))?;
    found.retain(|route| route.same_key(wanted));
    found.sort_by_key(|route| !route.is_ours());
    Ok(found.into_iter().next())
}

/// Returns whether the tun device that a step was performed on still exists and is the same.
pub(super) fn device_still_exists(
    host: &mut Host,
    device: Option<&Device>,
    name: &str,
) -> Result<bool, Cause> {
    let Some(device) = device.filter(|device| device.name == name) else { return Ok(false) };
    Ok(host.link(name)?.is_some_and(|link| link.index == device.index))
}

/// Returns the next hop of the kernel's answer for a host other than this one.
pub(super) fn next_hop(answer: RouteTo) -> NextHop {
    NextHop::By { gateway: answer.gateway, dev: answer.dev, source: answer.source }
}

/// Returns a route of ours by a given next hop.
pub(super) fn route_via(dest: IpNet, way: &NextHop) -> Result<Route, Cause> {
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
