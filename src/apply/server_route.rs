//! The way to a server past everything that this tunnel has put into the routing table, and default routes that
//! come while ours stands in their place.
//!
//! The kernel answers "which way" with our own host route, for as long as that is there: it would never tell that
//! the network has changed. So the main table is read without what is ours, and with what we keep from it. Where
//! the kernel decides by more than the main table (rules, other tables), its own answer stands.

use std::{cmp::Reverse, net::IpAddr};

use ipnet::IpNet;

use super::{
    ApplyError, Changes, Host as _,
    ledger::{Entry, PriorState},
    routes, steps,
};
use crate::{
    net::routes::{Error, Filter, Kind, MAIN_TABLE, Route},
    plan::{NextHop, PolicyRule, PolicyStep, Step, Value},
};

impl Changes {
    /// The kernel's way to the server; past our own tunnel, if it has swallowed the server meanwhile, and past our
    /// own host route, which says only which way it was.
    pub(super) fn way_to(&mut self, server: IpAddr, source: Option<IpAddr>) -> Result<NextHop, ApplyError> {
        let own = self.ledger.record().device.as_ref().map(|device| device.name.clone());
        let mark = self.ledger.record().entries.iter().find_map(|entry| match &entry.step {
            Step::Policy(step @ PolicyStep::Rule { rule: PolicyRule::Tunnel, .. }) => step.table(),
            _ => None,
        });
        let refused = match self.host.route_to_marked(server, source, mark) {
            Ok(way) if way.local => return Ok(NextHop::ThisHost),
            // The tunnel lives in another namespace: nothing of it is in the way, whatever its device is called.
            Ok(way) if self.host.place().is_some() => {
                return Ok(NextHop::By { gateway: way.gateway, dev: way.dev, source: way.source });
            }
            Err(error) if self.host.place().is_some() => return Err(ApplyError::observing(error)),
            Ok(way) if own.as_ref() == Some(&way.dev) => unreachable(server),
            Ok(way) => {
                let way = NextHop::By { gateway: way.gateway, dev: way.dev, source: way.source };
                if !self.pinned(server).is_some_and(|pinned| pinned.is_same_path(&way)) {
                    let past = self.way_past(server, own.as_deref(), source)?;
                    self.by_the_table = past.is_some_and(|past| past.is_same_path(&way));
                    return Ok(way);
                }
                if !self.by_the_table {
                    return Ok(way);
                }
                unreachable(server)
            }
            Err(error) => error,
        };
        let past = self.way_past(server, own.as_deref(), source)?;
        past.ok_or_else(|| ApplyError::observing(refused))
    }

    /// Whether this tunnel holds a route to the server, or to a prefix outside the tunnel that it is in, and which way
    /// that leads.
    fn pinned(&self, server: IpAddr) -> Option<&NextHop> {
        self.ledger.record().entries.iter().find_map(|entry| match &entry.step {
            Step::HostRoute { server: Value::Known(to), way: Value::Known(way), .. } if *to == server => {
                Some(way)
            }
            Step::Policy(PolicyStep::Outside { dest, way: Value::Known(way) }) if dest.contains(&server) => {
                Some(way)
            }
            _ => None,
        })
    }

    /// The prefixes whose way we have pinned beside that to the server.
    fn outside_prefixes(&self) -> Vec<IpNet> {
        let entries = self.ledger.record().entries.iter();
        let outside = entries.filter_map(|entry| match &entry.step {
            Step::Policy(PolicyStep::Outside { dest, .. }) if entry.before != PriorState::Same => Some(*dest),
            _ => None,
        });
        outside.collect()
    }

    /// The way that the kernel would take if our tunnel were not there: by the main table without our routes,
    /// and with those that we keep from it.
    fn way_past(
        &mut self,
        server: IpAddr,
        own: Option<&str>,
        source: Option<IpAddr>,
    ) -> Result<Option<NextHop>, ApplyError> {
        let filter = Filter { ipv6: server.is_ipv6(), table: Some(MAIN_TABLE), dest: None };
        let mut live = self.host.routes(&filter).map_err(ApplyError::observing)?;
        let outside = self.outside_prefixes();
        live.retain(|route| {
            // Host routes, what stays outside, and what refuses in the tunnel's stead.
            let is_ours = route.is_ours()
                && (route.dest.prefix_len() >= 32
                    || outside.contains(&route.dest)
                    || route.kind != Kind::Unicast);
            !is_ours && !own.is_some_and(|own| route.leaves_by(own))
        });
        let mut kept = Vec::new();
        for entry in &self.ledger.record().entries {
            match &entry.before {
                PriorState::Routes(routes) => kept.extend(routes.iter().cloned()),
                PriorState::Route(route) => kept.push((**route).clone()),
                _ => {}
            }
        }
        kept.retain(|route| !routes::superseded(route, live.iter().filter(|new| !new.is_ours())));
        let mut candidates: Vec<(bool, Route)> = Vec::new();
        for route in &kept {
            if self.still_leads(route, live.iter().chain(&kept))? {
                candidates.push((false, route.clone()));
            }
        }
        candidates.extend(live.into_iter().map(|route| (true, route)));
        let best = candidates
            .into_iter()
            .filter(|(_, route)| route.tos == 0 && route.kind != Kind::Throw && route.dest.contains(&server))
            .min_by_key(|(live, route)| (Reverse(route.dest.prefix_len()), route.metric, !live))
            // A route that refuses is an answer, too.
            .filter(|(_, route)| route.kind == Kind::Unicast);
        let Some((_, route)) = best else { return Ok(None) };
        let Some((hop, dev)) = route.hops.first().and_then(|hop| Some((hop, hop.dev.clone()?))) else {
            return Ok(None);
        };
        let mut source = source.or(route.source);
        if let (None, Some(gateway)) = (source, hop.via) {
            source = self
                .host
                .route_to(gateway, None)
                .ok()
                .filter(|way| way.dev == dev)
                .and_then(|way| way.source);
        }
        Ok(Some(NextHop::By { gateway: hop.via, dev, source }))
    }

    /// Whether a route that we keep out of the table would lead anywhere: its device is up, and its gateway on a
    /// link of it.
    fn still_leads<'a>(
        &mut self,
        route: &Route,
        mut others: impl Iterator<Item = &'a Route>,
    ) -> Result<bool, ApplyError> {
        let Some(hop) = route.hops.first() else { return Ok(true) };
        let Some(dev) = &hop.dev else { return Ok(true) };
        let link = self.host.link(dev).map_err(ApplyError::observing)?;
        let on_link = hop.via.is_none_or(|via| {
            hop.onlink
                || via.is_ipv6()
                || others.any(|other| {
                    other.dest.prefix_len() > 0 && other.dest.contains(&via) && other.leaves_by(dev)
                })
        });
        Ok(link.is_some_and(|link| link.up) && on_link)
    }

    /// Someone (DHCP, most likely) has made a default route while ours stands in the place of all of them: it is
    /// kept as the others were, to be put back at the end, and taken away. One that could not be put back stays.
    /// Whether there was one to take away.
    pub(super) fn remove_again(
        &mut self,
        entry: &Entry,
        ipv6: bool,
        kept: &[Route],
    ) -> Result<bool, ApplyError> {
        let mut fresh = self.host.routes(&Filter::defaults(ipv6)).map_err(ApplyError::observing)?;
        fresh.retain(|route| !route.is_ours());
        if fresh.is_empty() {
            return Ok(false);
        }
        if let Some(reason) = fresh.iter().find_map(routes::cannot_restore) {
            tracing::warn!("a new default route stays beside the tunnel's: {reason}");
            return Ok(false);
        }
        let mut before: Vec<Route> =
            kept.iter().filter(|old| !routes::superseded(old, fresh.iter())).cloned().collect();
        before.extend(fresh.iter().cloned());
        self.ledger.intend(entry.part, &entry.step, PriorState::Routes(before), Some(entry.number))?;
        steps::perform(&mut self.host, &entry.step, &PriorState::Routes(fresh), &mut self.notes)
            .map(|()| true)
            .map_err(|cause| ApplyError::doing(&entry.step, cause))
    }
}

fn unreachable(server: IpAddr) -> Error {
    Error::errno(format!("find the way to {server} outside the tunnel"), nix::errno::Errno::ENETUNREACH)
}
