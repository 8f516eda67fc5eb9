//! Configuration of an external PPP daemon, pppd(8) or ppp(8), and the meaning of its exits. No I/O.
//!
//! The supervisor's `run` module starts and stops the daemon. The plan omits the steps that the daemon
//! performs itself.

pub mod exits;
pub mod ppp;
pub mod pppd;

#[cfg(feature = "pppd")]
#[cfg(test)]
mod tests;

use super::engine_spec;
use crate::{
    plan::Daemon,
    profile::{Mtu, Profile},
};

/// Shown to users in place of the password.
pub const HIDDEN: &str = "(not shown)";

/// Returns the daemon's name of the tunnel: pppd uses it for its pid file, ppp as a label.
#[must_use]
pub fn link_name(profile: &Profile) -> String {
    crate::plan::link_name(profile.name.as_str())
}

/// Returns the daemon's configuration for display: a title, and lines without the password. Assumes a path
/// MTU of 1500 bytes.
#[must_use]
pub fn displayed_configuration(profile: &Profile) -> Option<(String, Vec<String>)> {
    let limit = engine_spec::inner_mtu(1500);
    let (title, text) = match Daemon::of(profile)? {
        Daemon::Pppd => {
            let text = pppd::options(profile, None, limit);
            ("options of pppd".to_owned(), String::from_utf8_lossy(&text).into_owned())
        }
        Daemon::Ppp => {
            let title = format!("commands of ppp {}", ppp::arguments(profile).join(" "));
            (title, ppp::section(profile, None, limit).to_string())
        }
    };
    Some((title, text.lines().map(str::to_owned).collect()))
}

/// Returns the user name with its domain, as servers expect it (RFC 2759 §4).
fn user(profile: &Profile) -> String {
    match &profile.domain {
        Some(domain) => format!("{domain}\\{}", profile.user),
        None => profile.user.clone(),
    }
}

/// Returns MTU and MRU for the daemon, in bytes. `limit` is the largest PPP information field that the path
/// carries.
fn sizes(profile: &Profile, limit: u16) -> (u16, u16) {
    let mtu = match profile.mtu {
        Mtu::Auto => limit,
        // The daemons subtract MPPE's bytes from the MTU they are given.
        Mtu::Bytes(bytes) => bytes.saturating_add(engine_spec::mppe_overhead(profile)).min(limit),
    };
    (mtu, profile.ppp.mru.unwrap_or(limit))
}
