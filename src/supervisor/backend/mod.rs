//! An external PPP for a profile, pure: what pppd(8) and ppp(8) are told, and what it means how they end.
//!
//! Texts and tables only. Starting and ending a daemon is `run`'s, and the plan leaves out what it does itself.

pub mod exits;
pub mod ppp;
pub mod pppd;

#[cfg(test)]
mod tests;

use super::engine_spec;
use crate::{
    plan::Daemon,
    profile::{Mtu, Profile},
};

/// What stands where the password would, for people.
pub const HIDDEN: &str = "(not shown)";

/// The name of the tunnel for a daemon: of its pid file with pppd, of its label with ppp.
#[must_use]
pub fn link_name(profile: &Profile) -> String {
    crate::plan::link_name(profile.name.as_str())
}

/// What the daemon of a profile is told, for people: a title, and lines without the password. On a path that carries
/// packets of 1500 bytes.
#[must_use]
pub fn told(profile: &Profile) -> Option<(String, Vec<String>)> {
    let limit = engine_spec::inner_mtu(1500);
    let (title, text) = match Daemon::of(profile)? {
        Daemon::Pppd => {
            let text = pppd::options(profile, None, limit);
            ("pppd is told".to_owned(), String::from_utf8_lossy(&text).into_owned())
        }
        Daemon::Ppp => {
            let title = format!("ppp {} is told", ppp::arguments(profile).join(" "));
            (title, ppp::section(profile, None, limit).to_string())
        }
    };
    Some((title, text.lines().map(str::to_owned).collect()))
}

/// The user as servers expect it (RFC 2759 §4).
fn user(profile: &Profile) -> String {
    match &profile.domain {
        Some(domain) => format!("{domain}\\{}", profile.user),
        None => profile.user.clone(),
    }
}

/// MTU and MRU, in bytes, for the daemon; `limit` is what the path carries in one information field.
fn sizes(profile: &Profile, limit: u16) -> (u16, u16) {
    let mtu = match profile.mtu {
        Mtu::Auto => limit,
        // The daemons take MPPE's bytes off what they are told.
        Mtu::Bytes(bytes) => bytes.saturating_add(engine_spec::mppe_overhead(profile)).min(limit),
    };
    (mtu, profile.ppp.mru.unwrap_or(limit))
}
