//! The next hop to a server without what this tunnel has added to the routing table, and default routes that
//! appear while the tunnel's default route is in place.
//!
//! The kernel answers a route query with our own host route as long as it exists, which hides a change of the
//! network. Therefore the main table is read, without our routes and with the routes that we removed from it.
//! If the kernel decides by more than the main table (rules, other tables), its own answer is used.

use std::{cmp::Reverse, net::IpAddr};

use ipnet::IpNet;

use super::{
    ApplyError, Changes,
    ledger::{Entry, PriorState},
    routes, steps,
};
use crate::{
    net::routes::{Error, Filter, Kind, MAIN_TABLE, Route},
    plan::{HostRouteStep, NextHop, PolicyRule, PolicyStep, Step, Value},
};

impl Changes {
    /// Returns the kernel's next hop to the server, ignoring our own tunnel, if its routes now cover the
    /// server, and our own host route, which only repeats an earlier answer.
    pub(super) fn next_hop_to(
        &mut self,
        server: IpAddr,
        source: Option<IpAddr>,
    ) -> Result<NextHop, ApplyError> {
        let own = self.ledger.record().device.as_ref().map(|device| device.name.clone());
        let mark = self.ledger.record().entries.iter().find_map(|entry| match &entry.step {
            Step::Policy(step @ PolicyStep::Rule { rule: PolicyRule::Tunnel, .. }) => step.table(),
            _ => None,
        });
        let refused = match self.host.route_to(server, source, mark) {
            Ok(way) if way.local => return Ok(NextHop::ThisHost),
            // The tunnel is in another namespace: its device name means nothing here.
            Ok(way) if self.host.named_netns().is_some() => {
                return Ok(routes::next_hop(way));
            }
            Err(error) if self.host.named_netns().is_some() => return Err(ApplyError::observing(error)),
            Ok(way) if own.as_ref() == Some(&way.dev) => unreachable(server),
            Ok(way) => {
                let way = routes::next_hop(way);
                if !self.pinned_next_hop(server).is_some_and(|pinned| pinned.is_same_path(&way)) {
                    let past = self.next_hop_without_tunnel(server, own.as_deref(), source)?;
                    self.main_table_decides = past.is_some_and(|past| past.is_same_path(&way));
                    return Ok(way);
                }
                if !self.main_table_decides {
                    return Ok(way);
                }
                unreachable(server)
            }
            Err(error) => error,
        };
        let past = self.next_hop_without_tunnel(server, own.as_deref(), source)?;
        past.ok_or_else(|| ApplyError::observing(refused))
    }

    /// Returns the next hop of this tunnel's route to the server, or to an excluded prefix that contains the
    /// server, if there is one.
    fn pinned_next_hop(&self, server: IpAddr) -> Option<&NextHop> {
        self.ledger.record().entries.iter().find_map(|entry| match &entry.step {
            Step::HostRoute(HostRouteStep { server: Value::Known(to), way: Value::Known(way), .. })
                if *to == server =>
            {
                Some(way)
            }
            Step::Policy(PolicyStep::Outside { dest, way: Value::Known(way) }) if dest.contains(&server) => {
                Some(way)
            }
            _ => None,
        })
    }

    /// Returns the excluded prefixes for which this tunnel has added a route.
    fn outside_prefixes(&self) -> Vec<IpNet> {
        let entries = self.ledger.record().entries.iter();
        let outside = entries.filter_map(|entry| match &entry.step {
            Step::Policy(PolicyStep::Outside { dest, .. }) if entry.before != PriorState::Same => Some(*dest),
            _ => None,
        });
        outside.collect()
    }

    /// Returns the next hop that the kernel would use without our tunnel: by the main table without our
    /// routes, and with those that we removed from it.
    fn next_hop_without_tunnel(
        &mut self,
        server: IpAddr,
        own: Option<&str>,
        source: Option<IpAddr>,
    ) -> Result<Option<NextHop>, ApplyError> {
        let filter = Filter { ipv6: server.is_ipv6(), table: Some(MAIN_TABLE), dest: None };
        let mut live = self.host.routes(&filter).map_err(ApplyError::observing)?;
        let outside = self.outside_prefixes();
        live.retain(|route| {
            // Host routes, excluded prefixes, and the routes of the kill switch.
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
            if self.is_usable(route, live.iter().chain(&kept))? {
                candidates.push((false, route.clone()));
            }
        }
        candidates.extend(live.into_iter().map(|route| (true, route)));
        let best = candidates
            .into_iter()
            .filter(|(_, route)| route.tos == 0 && route.kind != Kind::Throw && route.dest.contains(&server))
            .min_by_key(|(live, route)| (Reverse(route.dest.prefix_len()), route.metric, !live))
            // A route that refuses packets ends the search without a next hop.
            .filter(|(_, route)| route.kind == Kind::Unicast);
        let Some((_, route)) = best else { return Ok(None) };
        let Some((hop, dev)) = route.hops.first().and_then(|hop| Some((hop, hop.dev.clone()?))) else {
            return Ok(None);
        };
        let mut source = source.or(route.source);
        if let (None, Some(gateway)) = (source, hop.via) {
            source = self
                .host
                .route_to(gateway, None, None)
                .ok()
                .filter(|way| way.dev == dev)
                .and_then(|way| way.source);
        }
        Ok(Some(NextHop::By { gateway: hop.via, dev, source }))
    }

    /// Returns whether a route that we removed would work: its device is up and can reach its gateway.
    fn is_usable<'a>(
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

    /// Removes a default route that another program (most likely a DHCP client) has added while ours is in
    /// place, and records it to be restored at the end. One that could not be restored stays. Returns whether
    /// there was one to remove.
    pub(super) fn remove_new_defaults(
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
        if self.host.refuses_changes {
            return Ok(true);
        }
        let mut before: Vec<Route> =
            kept.iter().filter(|old| !routes::superseded(old, fresh.iter())).cloned().collect();
        before.extend(fresh.iter().cloned());
        self.ledger.intend(entry.part, &entry.step, PriorState::Routes(before), Some(entry.number))?;
        steps::verbs(&entry.step)
            .perform(&mut self.host, &PriorState::Routes(fresh), &mut self.notes)
            .map(|()| true)
            .map_err(|cause| ApplyError::doing(&entry.step, cause))
    }
}

fn unreachable(server: IpAddr) -> Error {
    Error::errno(format!("look up the route to {server} outside the tunnel"), nix::errno::Errno::ENETUNREACH)
}
