//! The facts that `up` would resolve its plans with on this host now, for the dry run.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    name_lookup,
    preview::{Preview, preview},
};
use crate::{
    apply::{self, ApplyError, Changes, Directories},
    plan::{self, Facts, Symbol},
    platform::Platform,
    profile::{Host, Profile},
};

/// Time limit of looking the server's name up: the plan is shown without it then.
const LOOKUP_LIMIT: std::time::Duration = std::time::Duration::from_secs(3);

/// This host, as far as this user can read it.
#[derive(Debug, Default)]
pub struct Here {
    /// Collisions of the profile with it.
    pub preview: Preview,
    /// What is known before the call.
    pub facts: Facts,
    /// Why some of it is not known, and for which server the plan is; one sentence each.
    pub notes: Vec<String>,
}

/// Reads what the plans of a profile depend on, as any user and without changing anything. Looks the server's name up if
/// a step needs its address.
#[must_use]
pub fn here(profile: &Profile) -> Here {
    let open = plan::transport(profile, Platform::host()).open();
    let is_open = |symbol| open.contains(&symbol);
    let mut notes = Vec::new();
    let mut server = profile.first_literal();
    if server.is_none() && (is_open(Symbol::Server) || is_open(Symbol::Gateway)) {
        server = look_up(profile).map_err(|why| notes.push(why)).ok();
    }
    if let Some(server) = server.filter(|_| profile.servers.len() > 1 || profile.first_literal().is_none()) {
        notes.push(format!("the server is {server} here; `up` does the same for the next one if it fails"));
    }
    let facts = facts(profile, server, is_open(Symbol::Gateway), &mut notes);
    Here { preview: preview(profile, server), facts, notes }
}

fn look_up(profile: &Profile) -> Result<Ipv4Addr, String> {
    let Some(Host::Name(name)) = profile.servers.first().map(|server| &server.host) else {
        return Err("the profile has no server".to_owned());
    };
    match name_lookup::look_up(name, LOOKUP_LIMIT.min(profile.timeouts.resolve)) {
        Ok(found) => found.first().copied().ok_or_else(|| format!("{name} has no IPv4 address now")),
        Err(failure) => Err(format!("not known now: <server> and the way to it ({failure})")),
    }
}

/// Returns the facts of this host. `needs_way` tells whether a step depends on the next hop to the server.
fn facts(profile: &Profile, server: Option<Ipv4Addr>, needs_way: bool, notes: &mut Vec<String>) -> Facts {
    let mut changes = match opened(profile) {
        Ok(changes) => changes,
        Err(error) => {
            notes.push(format!("this host cannot be read ({error}), so names in angle brackets stay"));
            return Facts::default();
        }
    };
    let next_hop = server.map(|server| changes.next_hop(server, profile.localbind)).transpose();
    let next_hop = next_hop.unwrap_or_else(|error| {
        if needs_way {
            notes.push(format!("not known now: <gateway> ({error})"));
        }
        None
    });
    Facts {
        server: server.map(IpAddr::V4),
        outside: changes.next_hops_outside(&profile.exclude),
        resolver: profile.dns.is_wanted().then(apply::resolver_in_charge),
        ..changes.facts_of_host(next_hop)
    }
}

fn opened(profile: &Profile) -> Result<Changes, ApplyError> {
    let host = apply::Host::system()?;
    let host = match &profile.link.netns {
        Some(netns) => host.enter(netns)?,
        None => host,
    };
    Changes::read_only(&Directories::system(Platform::host()), profile.name.as_str(), host)
}
