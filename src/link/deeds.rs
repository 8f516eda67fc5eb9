//! What each step does to the host, what has to be remembered first, and how it is undone.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Cause, Host, daemon, dns, firewall, gre, hook,
    ledger::{Before, Device},
    pidfile, policy,
};
use crate::{
    net::routes::{Address, Filter, Hop, Insert, MAIN_TABLE, Route, default_metric, default_prefix},
    plan::{Key, Step, Value, Way},
};

/// What is at the place of a step now.
///
/// # Errors
/// [`Cause::Taken`] and [`Cause::CannotRestore`] say why the step must not be performed.
pub(super) fn observe(host: &mut dyn Host, step: &Step) -> Result<Before, Cause> {
    match step {
        Step::RemoveDefault { ipv6 } => {
            let routes = host.routes(&Filter::defaults(*ipv6))?;
            if let Some(other) = routes.iter().find(|route| route.is_ours()) {
                return Err(Cause::Taken(format!("another tunnel has the default route: {other}")));
            }
            match routes.iter().find_map(cannot_restore) {
                Some(reason) => Err(Cause::CannotRestore(reason)),
                None => Ok(Before::Routes(routes)),
            }
        }
        Step::HostRoute { .. } | Step::Route { .. } => {
            let wanted = route_of(step)?;
            let Some(found) = in_place_of(host, &wanted)? else { return Ok(Before::Nothing) };
            let into_tunnel = matches!(step, Step::Route { .. });
            if found.is_ours() && into_tunnel {
                if found.same_way(&wanted) {
                    return Ok(Before::Nothing);
                }
                return Err(Cause::Taken(format!("another tunnel has this route: {found}")));
            }
            if found.is_ours() {
                return Ok(Before::Shared);
            }
            if found.same_way(&wanted) {
                return Ok(Before::Same);
            }
            match cannot_restore(&found) {
                Some(reason) => Err(Cause::CannotRestore(reason)),
                None => Ok(Before::Route(Box::new(found))),
            }
        }
        Step::OpenTun { .. }
        | Step::Mtu { .. }
        | Step::Domain { .. }
        | Step::Address { .. }
        | Step::Address6 { .. }
        | Step::Up { .. }
        | Step::PidFile { .. } => Ok(Before::Nothing),
        Step::Ppp(step) => daemon::observe(host, step),
        Step::AllowGre => gre::observe(host),
        Step::Policy(step) => policy::observe(host, step),
        Step::Firewall(step) => firewall::observe(host, step),
        Step::Dns(step) => dns::observe(host, step),
        Step::Hook(step) => hook::observe(host, step),
    }
}

/// Performs a step whose place holds `before`. Opening the tun device is the session's, which keeps it.
///
/// What a person should know about how it went is added to `notes`.
pub(super) fn perform(
    host: &mut dyn Host,
    step: &Step,
    before: &Before,
    notes: &mut Vec<String>,
) -> Result<(), Cause> {
    match step {
        Step::OpenTun { .. } => {}
        Step::RemoveDefault { .. } => {
            if let Before::Routes(routes) = before {
                // The last first: whatever is still there when we die stands before what has to be put back, and
                // of two with one metric the kernel uses the one in front.
                for route in routes.iter().rev() {
                    gone(host.delete_route(route))?;
                }
            }
        }
        Step::HostRoute { .. } | Step::Route { .. } => {
            if *before != Before::Same {
                // What is in the place is remembered, or ours: it is replaced in one step, so there is no
                // moment without a route.
                add(host, route_of(step)?, Insert::Replace)?;
            }
        }
        Step::Mtu { tun, mtu } => host.set_mtu(known(tun)?, u32::from(*known(mtu)?))?,
        Step::Domain { tun, number } => host.set_domain(known(tun)?, *number)?,
        Step::Address { tun, .. } | Step::Address6 { tun, .. } => {
            match host.add_address(known(tun)?, &address_of(step)?) {
                Err(error) if error.is_present() => {}
                outcome => outcome?,
            }
        }
        Step::Up { tun } => host.set_up(known(tun)?, true)?,
        Step::PidFile { pid, .. } => {
            if let Key::File(path) = step.key() {
                pidfile::write(&path, *known(pid)?)?;
            }
        }
        // The daemon is started by the supervisor, which holds its line, when there is a call.
        Step::Ppp(_) => {}
        Step::AllowGre => gre::perform(host, before)?,
        Step::Policy(step) => policy::perform(host, step, before)?,
        Step::Firewall(step) => firewall::perform(host, step, notes)?,
        Step::Dns(step) => dns::perform(host, step, before)?,
        Step::Hook(step) => hook::perform(host, step, before)?,
    }
    Ok(())
}

/// Performs a step again that is in force, if something took its effect away meanwhile: a device that went
/// down takes its routes along. Whether a route or a rule was missing.
pub(super) fn renew(host: &mut dyn Host, step: &Step, before: &Before) -> Result<bool, Cause> {
    match step {
        Step::HostRoute { .. } | Step::Route { .. } if *before != Before::Same => {
            let wanted = route_of(step)?;
            add_if_missing(host, wanted)
        }
        Step::AllowGre => gre::renew(host, before).map(|()| false),
        Step::Policy(step) => policy::renew(host, step, before),
        Step::Firewall(step) => firewall::renew(host, step).map(|()| false),
        Step::Dns(step) => dns::renew(host, step, before).map(|()| false),
        Step::Hook(step) => hook::renew(host, step, before).map(|()| false),
        _ => Ok(false),
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

/// Undoes a step. `device` is the tun device it was performed on; `needed` says that another tunnel needs
/// what the step made.
pub(super) fn undo(
    host: &mut dyn Host,
    step: &Step,
    before: &Before,
    device: Option<&Device>,
    needed: bool,
) -> Result<(), Cause> {
    match step {
        Step::OpenTun { .. } => match device {
            Some(device) => gone(host.delete_link(&device.name, device.index)),
            None => Ok(()),
        },
        Step::RemoveDefault { ipv6 } => match before {
            Before::Routes(routes) => put_back(host, *ipv6, routes),
            _ => Ok(()),
        },
        Step::HostRoute { .. } => {
            if needed || *before == Before::Same {
                return Ok(());
            }
            withdraw(host, &route_of(step)?, before, Route::is_ours)
        }
        Step::Route { tun, .. } => {
            let wanted = route_of(step)?;
            // A device of the same name may be another tunnel's by now, and the route its.
            let tun = known(tun)?.clone();
            let alive = lives(host, device, &tun)?;
            withdraw(host, &wanted, before, |found| alive && found.is_ours() && found.leaves_by(&tun))
        }
        // Goes with the device.
        Step::Mtu { .. } | Step::Domain { .. } => Ok(()),
        Step::Address { tun, .. } | Step::Address6 { tun, .. } => {
            let tun = known(tun)?;
            if lives(host, device, tun)? {
                gone(host.delete_address(tun, &address_of(step)?))
            } else {
                Ok(())
            }
        }
        Step::Up { tun } => {
            let tun = known(tun)?;
            if lives(host, device, tun)? { gone(host.set_up(tun, false)) } else { Ok(()) }
        }
        Step::PidFile { pid, .. } => match step.key() {
            Key::File(path) => pidfile::remove(&path, *known(pid)?),
            _ => Ok(()),
        },
        Step::Ppp(step) => daemon::undo(step),
        Step::AllowGre => gre::undo(host, before, needed),
        Step::Policy(_) if needed => Ok(()),
        Step::Policy(step) => policy::undo(host, step, before),
        Step::Firewall(step) => firewall::undo(host, step, device),
        Step::Dns(step) => dns::undo(host, step, before, device),
        Step::Hook(step) => hook::undo(host, step, before, device),
    }
}

/// Why a route could not be put back as it is, if so.
pub(super) fn cannot_restore(route: &Route) -> Option<String> {
    let reason = route.beyond.first()?;
    Some(format!("the route \"{route}\" has {reason}, which could not be put back"))
}

/// Takes our route away and puts back what it replaced.
pub(super) fn withdraw(
    host: &mut dyn Host,
    wanted: &Route,
    before: &Before,
    is_ours: impl Fn(&Route) -> bool,
) -> Result<(), Cause> {
    let found = in_place_of(host, wanted)?;
    let ours = found.as_ref().filter(|found| is_ours(found));
    match (before, ours, &found) {
        (Before::Route(old), Some(_), _) => host.add_route(old, Insert::Replace)?,
        // Ours went with its device, or the deed was never begun and nothing was there.
        (Before::Route(old), None, None) => host.add_route(old, Insert::New)?,
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
fn lives(host: &mut dyn Host, device: Option<&Device>, name: &str) -> Result<bool, Cause> {
    let Some(device) = device.filter(|device| device.name == name) else { return Ok(false) };
    Ok(host.link(name)?.is_some_and(|link| link.index == device.index))
}

pub(super) fn gone(outcome: Result<(), crate::net::routes::Error>) -> Result<(), Cause> {
    match outcome {
        Err(error) if error.is_absent() => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// A route of ours that goes a given way.
pub(super) fn route_by(dest: IpNet, way: &Way) -> Result<Route, Cause> {
    let Way::By { gateway, dev, source } = way else {
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

fn address_of(step: &Step) -> Result<Address, Cause> {
    match step {
        Step::Address { local, peer, .. } => {
            let peer = peer.as_ref().map(known).transpose()?;
            let peer = peer.map(|peer| IpAddr::V4(*peer));
            Ok(Address { local: IpAddr::V4(*known(local)?), peer, prefix: 32 })
        }
        Step::Address6 { local, peer, .. } => Ok(Address {
            local: IpAddr::V6(*known(local)?),
            peer: Some(IpAddr::V6(*known(peer)?)),
            prefix: 64,
        }),
        _ => Err(Cause::Ledger("not an address".to_owned())),
    }
}

pub(super) fn known<T>(value: &Value<T>) -> Result<&T, Cause> {
    match value {
        Value::Known(value) => Ok(value),
        Value::Open(symbol) => Err(Cause::Unresolved(vec![*symbol])),
    }
}
