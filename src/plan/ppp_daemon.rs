//! Steps of a tunnel with an external PPP: pppd(8) or ppp(8). The daemon sets up the device, addresses and
//! pid file, so one descriptive step replaces those steps. The MTU step stays: pppd subtracts MPPE's four
//! bytes once per request of the server.

use std::{net::Ipv4Addr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Facts, Symbol, Value};
use crate::{
    platform::Platform,
    profile::{PppBackend, Profile},
};

/// The daemon that implements PPP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Daemon {
    /// pppd(8) of Linux.
    Pppd,
    /// ppp(8) of FreeBSD.
    Ppp,
}

/// One step of an external PPP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum PppStep {
    /// Starts the daemon once the call is up. Undone by terminating it and removing leftover pid files.
    Start {
        /// The daemon.
        daemon: Daemon,
        /// The number of its device; `None` selects a free one.
        unit: Option<u32>,
        /// The directory of its pid files.
        run: PathBuf,
        /// The daemon's name for this tunnel.
        link: String,
    },
    /// Describes what the daemon has done when the link is up; nothing is performed or undone.
    Does {
        /// The daemon.
        daemon: Daemon,
        /// Name of its device.
        tun: Value<String>,
        /// The local address.
        local: Value<Ipv4Addr>,
        /// The peer's address.
        peer: Value<Ipv4Addr>,
        /// The directory of its pid files.
        run: PathBuf,
    },
}

/// Identifies the object that such a step changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PppKey {
    /// The tunnel's daemon.
    Start,
    /// The device and the files that the daemon creates.
    Does,
}

impl Daemon {
    /// Returns the name of the program.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pppd => "pppd",
            Self::Ppp => "ppp",
        }
    }

    /// Returns the daemon that a profile selects; `None` for the builtin PPP.
    #[must_use]
    pub const fn of(profile: &Profile) -> Option<Self> {
        match profile.ppp.backend {
            PppBackend::Builtin => None,
            PppBackend::Pppd => Some(Self::Pppd),
            PppBackend::Ppp => Some(Self::Ppp),
        }
    }

    /// Returns the name of its devices without the number.
    #[must_use]
    pub const fn device(self) -> &'static str {
        match self {
            Self::Pppd => "ppp",
            Self::Ppp => "tun",
        }
    }
}

/// Returns the daemon's name for a profile's tunnel: pppd's `linkname` (for its pid file) or ppp's label.
#[must_use]
pub fn link_name(profile: &str) -> String {
    format!("pptpctl-{profile}")
}

pub(super) fn device(profile: &Profile) -> Value<String> {
    let (prefix, symbol) = match Daemon::of(profile) {
        Some(Daemon::Pppd) => (Daemon::Pppd.device(), Symbol::Ppp),
        Some(Daemon::Ppp) | None => ("tun", Symbol::Tun),
    };
    match profile.unit {
        Some(unit) => Value::Known(format!("{prefix}{unit}")),
        None => Value::Open(symbol),
    }
}

impl PppStep {
    pub(super) const fn key(&self) -> PppKey {
        match self {
            Self::Start { .. } => PppKey::Start,
            Self::Does { .. } => PppKey::Does,
        }
    }

    pub(super) fn open(&self) -> Vec<Symbol> {
        match self {
            Self::Start { .. } => Vec::new(),
            Self::Does { tun, local, peer, .. } => {
                [tun.open(), local.open(), peer.open()].into_iter().flatten().collect()
            }
        }
    }

    pub(super) fn fill(&mut self, facts: &Facts) {
        if let Self::Does { tun, local, peer, .. } = self {
            tun.fill(facts.tun.as_ref());
            local.fill(facts.local.as_ref());
            peer.fill(facts.peer.as_ref());
        }
    }

    pub(super) fn line(&self, platform: Platform) -> String {
        match self {
            Self::Start { daemon, unit, .. } => {
                let number = unit.map_or_else(|| "X".to_owned(), |unit| unit.to_string());
                format!("start {} once the call is up, for {}{number}", daemon.name(), daemon.device())
            }
            Self::Does { daemon, tun, local, peer, run } => {
                let daemon = daemon.name();
                let device = match platform {
                    Platform::Linux => {
                        format!("ip address add {local} peer {peer} dev {tun}; ip link set {tun} up")
                    }
                    _ => format!("ifconfig {tun} inet {local} {peer} up"),
                };
                format!(
                    "{daemon} does: {device}; write its pid to {}",
                    run.join(format!("{tun}.pid")).display()
                )
            }
        }
    }

    pub(super) fn undo_line(&self, _platform: Platform) -> Option<String> {
        match self {
            Self::Start { daemon, .. } => Some(format!("end {}, and with it its device", daemon.name())),
            Self::Does { .. } => None,
        }
    }
}
