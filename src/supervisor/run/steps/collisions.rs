//! Compares the tunnel with the networks of this host, before the dial and on every change of the network, and
//! leaves colliding routes out as long as they collide.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::Steps;
use crate::{
    apply::Changes,
    engine::message::LinkUp,
    failure::{Failure, FailureKind, Phase},
    plan::{self, Collisions, Part, Plan, Surroundings, Tunnel},
    platform::Platform,
    profile::Profile,
    supervisor::preview::refusal,
};

/// What is known about collisions, and the plans as they are without them.
#[derive(Default)]
pub(super) struct CollisionState {
    /// The server that is dialled.
    pub server: Option<Ipv4Addr>,
    /// The collisions that the plans in force take into account.
    pub found: Collisions,
    /// The resolvers that the server has named; `None` before the first link.
    dns: Option<Vec<Ipv4Addr>>,
    transport: Option<Plan>,
    network: Option<Plan>,
}

impl CollisionState {
    /// Returns the plan without the colliding routes, and keeps the whole for the time without a collision.
    pub fn around(&mut self, plan: Plan) -> Plan {
        let around = plan.around(&self.found);
        match plan.part {
            Part::Transport => self.transport = Some(plan),
            Part::Network => self.network = Some(plan),
        }
        around
    }
}

impl Steps {
    /// Compares the profile with this host before anything is done.
    ///
    /// # Errors
    /// Returns the refusal that the profile asks for (`collision`), or one because another tunnel has a route.
    pub fn refuse_collisions(&mut self) -> Result<(), Failure> {
        let mut host = self.surroundings();
        host.tunnels = self.changes.as_ref().map(Changes::other_tunnels).unwrap_or_default();
        let found = plan::collisions(&self.tunnel(&self.profile), &host);
        refusal(&self.profile, &found).map_or(Ok(()), Err)
    }

    /// Compares the routes with this host as it is now.
    pub fn compare(&mut self) {
        let host = self.surroundings();
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        self.collisions.found = plan::collisions(&self.tunnel(planned), &host);
    }

    /// Compares the addresses of a link with this host; returns the resolvers of the server that are asked.
    ///
    /// # Errors
    /// Returns a failure if the host needs the address that the server assigns to it.
    pub fn compare_addresses(
        &mut self,
        up: &LinkUp,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Ipv4Addr>, Failure> {
        self.collisions.dns = Some(up.dns.clone());
        self.compare();
        let host = self.surroundings();
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let left_out = self.collisions.found.unreachable();
        let routes: Vec<IpNet> =
            main_routes(planned).into_iter().filter(|route| !left_out.contains(route)).collect();
        let assigned = plan::assigned(&self.tunnel(planned), &host, up.local, &routes);
        notes.extend(assigned.notes);
        match assigned.refusal {
            Some(words) => Err(Failure::new(Phase::Routes, FailureKind::Collision, words)
                .hint("ask the server's administrator for another pool of addresses")
                .hint("link.netns = \"NAME\" keeps the tunnel apart from this host's networks (Linux)")),
            None => Ok(assigned.dns),
        }
    }

    /// Compares again after a change of the network: takes routes away that collide now, and performs the plans
    /// again when one no longer does. `has_link` is whether the tunnel is up.
    pub fn follow_collisions(&mut self, has_link: bool) {
        if self.changes.is_none() || self.collisions.transport.is_none() {
            return;
        }
        let before = self.collisions.found.clone();
        self.compare();
        let now = &self.collisions.found;
        if *now == before {
            return;
        }
        let fresh = now.found.iter().filter(|one| !before.found.contains(one));
        fresh.for_each(|one| tracing::warn!("{}", one.warning()));
        let gone = before.found.iter().filter(|one| !now.unreachable().contains(&one.route));
        gone.for_each(|one| tracing::info!("{} is reached through the tunnel again", one.route));
        let transport = self.collisions.transport.as_ref().map(|plan| plan.around(now));
        let network = self.collisions.network.as_ref().map(|plan| plan.around(now));
        let network = network.filter(|_| has_link && !self.without_routes);
        let Some(changes) = &mut self.changes else { return };
        // First of all the host gets its network back.
        for error in changes.withdraw_routes_to(&now.left_out_prefixes()) {
            tracing::warn!("{error}");
        }
        for plan in transport.iter().chain(&network) {
            // Another message of the kernel follows while the network is still changing.
            if let Err(error) = changes.perform(plan) {
                tracing::warn!("after a change of the network: {error}");
            }
        }
    }

    /// Returns the prefixes that are not reached through the tunnel.
    pub fn unreachable(&self) -> Vec<String> {
        self.collisions.found.unreachable().iter().map(ToString::to_string).collect()
    }

    fn tunnel<'a>(&'a self, planned: &'a Profile) -> Tunnel<'a> {
        Tunnel {
            profile: &self.profile,
            planned,
            platform: Platform::host(),
            server: self.collisions.server,
            dns: self.collisions.dns.as_deref(),
        }
    }

    fn surroundings(&mut self) -> Surroundings {
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let (shares, ipv6) = (self.tunnel(planned).shares_routes(), planned.ppp.ipv6);
        let routes = main_routes(planned);
        let changes = self.changes.as_mut().filter(|_| shares);
        changes.map(|changes| changes.surroundings(&routes, ipv6)).unwrap_or_default()
    }
}

/// Returns the destinations of a profile's routes in the main table.
fn main_routes(profile: &Profile) -> Vec<IpNet> {
    profile.routes.iter().filter(|route| route.table.is_none()).map(|route| route.prefix).collect()
}
