//! The collisions that `up` finds on this host now: for the dry run, and for `up` itself.

use std::net::Ipv4Addr;

use crate::{
    apply::{self, Directories},
    engine::message::LinkUp,
    failure::{Failure, FailureKind, Phase},
    plan::{self, Collisions, Obstacle, Tunnel},
    platform::Platform,
    profile::{OnCollision, Profile},
};

/// The collisions of a profile with this host.
#[derive(Debug, Default)]
pub struct Preview {
    /// The collisions, for the plans.
    pub collisions: Collisions,
    /// The failure with which `up` refuses them.
    pub refusal: Option<Failure>,
}

/// Compares a profile with this host, without changing anything. Other tunnels count as far as this user may read
/// their ledgers. `server` is the address of the first server, if it is known.
#[must_use]
pub fn preview(profile: &Profile, server: Option<Ipv4Addr>) -> Preview {
    let platform = Platform::host();
    let tunnel = Tunnel { profile, planned: profile, platform, server, dns: None };
    if !tunnel.shares_routes() {
        return Preview::default();
    }
    let places = Directories::system(platform);
    match apply::surroundings(&places, profile.name.as_str(), profile.ppp.ipv6) {
        Ok(host) => {
            let collisions = plan::collisions(&tunnel, &host);
            Preview { refusal: refusal(profile, &collisions), collisions }
        }
        Err(error) => {
            tracing::warn!("the networks of this host: {error}");
            Preview::default()
        }
    }
}

/// Compares the addresses of a link, which is not used, with this host; returns the failure of `up`, if there is one.
#[must_use]
pub fn link_refusal(profile: &Profile, server: Ipv4Addr, link: &LinkUp) -> Option<Failure> {
    let platform = Platform::host();
    let tunnel =
        Tunnel { profile, planned: profile, platform, server: Some(server), dns: Some(link.dns.as_slice()) };
    let places = Directories::system(platform);
    let host = apply::surroundings(&places, profile.name.as_str(), profile.ppp.ipv6).ok()?;
    let assigned = plan::assigned(&tunnel, &host, link.local, &plan::collisions(&tunnel, &host));
    assigned.refusal.map(address_refusal)
}

/// Returns the failure of a link whose local address this host needs otherwise.
#[must_use]
pub fn address_refusal(words: String) -> Failure {
    Failure::new(Phase::Routes, FailureKind::Collision, words)
        .hint("ask the server's administrator for another pool of addresses")
        .hint("link.netns = \"NAME\" keeps the tunnel apart from this host's networks (Linux)")
}

/// Returns why `up` refuses, if it does: for a whole connected network also with `collision = "tunnel"`, for the
/// route of another tunnel always.
#[must_use]
pub fn refusal(profile: &Profile, found: &Collisions) -> Option<Failure> {
    let is_taken = found.found.iter().any(|one| matches!(one.with, Obstacle::Tunnel(_)));
    if found.found.is_empty() || (profile.collision == OnCollision::KeepLan && !is_taken) {
        return None;
    }
    let failure = Failure::new(Phase::Routes, FailureKind::Collision, found.summary());
    Some(found.ways_out().into_iter().fold(failure, Failure::hint))
}
