//! Steps of a tunnel with an external PPP: pppd(8) or ppp(8). The daemon sets up the device, addresses and
//! pid file, so one descriptive step replaces those steps. The MTU step stays: pppd subtracts MPPE's four
//! bytes once per request of the server.

use std::{net::Ipv4Addr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Facts, Symbol, Value,
    kind::{Key, StepKind, StepTraits},
};
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

impl Daemon {
    /// Returns the name of the program.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pppd => "pppd",
            Self::Ppp => "ppp",
        }
    }

    /// Returns the daemon that a profile selects; `None` for the builtin PPP. A build without daemons refuses the profiles
    /// that select one.
    #[must_use]
    pub const fn of(profile: &Profile) -> Option<Self> {
        if !cfg!(feature = "pppd") {
            return None;
        }
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

impl StepKind for PppStep {
    fn key(&self) -> Key {
        match self {
            Self::Start { .. } => Key::of("ppp-start", ()),
            Self::Does { .. } => Key::of("ppp-does", ()),
        }
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        match self {
            Self::Start { .. } => Vec::new(),
            Self::Does { tun, local, peer, .. } => {
                vec![tun.fill(&facts.tun), local.fill(&facts.local), peer.fill(&facts.peer)]
            }
        }
    }

    fn line(&self, platform: Platform) -> String {
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
                    "{daemon} itself runs: {device}; writes its pid to {}",
                    run.join(format!("{tun}.pid")).display()
                )
            }
        }
    }

    fn undo_line(&self, _platform: Platform) -> Option<String> {
        match self {
            Self::Start { daemon, .. } => Some(format!("end {}, which removes its device", daemon.name())),
            Self::Does { .. } => None,
        }
    }

    fn traits(&self) -> StepTraits {
        match self {
            Self::Start { .. } => StepTraits { in_namespace: false, ..StepTraits::OF_HOST },
            Self::Does { .. } => StepTraits::OF_DEVICE,
        }
    }
}
