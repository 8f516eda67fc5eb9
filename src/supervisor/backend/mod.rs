//! An external PPP for a profile, pure: what pppd(8) and ppp(8) are told, and what it means how they end.
//!
//! Texts and tables only. Starting and ending a daemon is `run`'s, and the plan leaves out what it does itself.

pub mod exits;
pub mod ppp;
pub mod pppd;

#[cfg(test)]
mod tests;

use crate::profile::{MppeMode, Mtu, Profile};

/// What stands where the password would, for people.
pub const HIDDEN: &str = "(not shown)";

/// Bytes that MPPE adds to a packet, which the daemons take off the MTU that they are told.
const MPPE: u16 = 4;

/// The name of the tunnel for a daemon: of its pid file with pppd, of its label with ppp.
#[must_use]
pub fn link_name(profile: &Profile) -> String {
    crate::plan::link_name(profile.name.as_str())
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
    let overhead = if profile.mppe.mode == MppeMode::Off { 0 } else { MPPE };
    let mtu = match profile.mtu {
        Mtu::Auto => limit,
        Mtu::Bytes(bytes) => bytes.saturating_add(overhead).min(limit),
    };
    (mtu, profile.ppp.mru.unwrap_or(limit))
}
