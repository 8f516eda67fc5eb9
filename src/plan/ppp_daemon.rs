//! The steps of a tunnel whose PPP is pppd(8)'s or ppp(8)'s: it makes the device and gives it addresses and a pid file
//! itself, so these steps of ours are left out, and what it does instead is said. The MTU stays ours: pppd takes MPPE's
//! four bytes off once for each request of the server's.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::{Facts, Platform, Step, Symbol, Value};
use crate::profile::{PppBackend, Profile};

/// Who speaks PPP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Daemon {
    /// pppd(8) of Linux.
    Pppd,
    /// ppp(8) of FreeBSD.
    Ppp,
}

/// One deed around an external PPP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum PppStep {
    /// Starts the daemon once the call is up. Undone by ending it and removing the pid files that one that was killed
    /// could not remove.
    Start {
        /// Which.
        daemon: Daemon,
        /// The number of its device; `None` takes a free one.
        unit: Option<u32>,
        /// Where its pid files are.
        run: PathBuf,
        /// Its name for this tunnel.
        link: String,
    },
    /// What the daemon has done by the time the link is up. Nothing is left to do or to undo.
    Does {
        /// Which.
        daemon: Daemon,
        /// Its device.
        tun: Value<String>,
        /// Our address.
        local: Value<Ipv4Addr>,
        /// The other end.
        peer: Value<Ipv4Addr>,
        /// Where its pid files are.
        run: PathBuf,
    },
}

/// The place on the host that such a step occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PppKey {
    /// The one daemon of the tunnel.
    Start,
    /// What it does.
    Does,
}

impl Daemon {
    /// The program's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pppd => "pppd",
            Self::Ppp => "ppp",
        }
    }

    /// Whose daemon a profile asks for, if any's.
    #[must_use]
    pub const fn of(profile: &Profile) -> Option<Self> {
        match profile.ppp.backend {
            PppBackend::Builtin => None,
            PppBackend::Pppd => Some(Self::Pppd),
            PppBackend::Ppp => Some(Self::Ppp),
        }
    }

    /// What its devices are called, before the number.
    #[must_use]
    pub const fn device(self) -> &'static str {
        match self {
            Self::Pppd => "ppp",
            Self::Ppp => "tun",
        }
    }
}

/// The daemon's name for the tunnel of a profile: of its pid file with pppd, of its label with ppp.
#[must_use]
pub fn link_name(profile: &str) -> String {
    format!("pptpctl-{profile}")
}

/// The tunnel's device.
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

/// Puts the daemon in the place of the tun device.
pub(super) fn transport(profile: &Profile, platform: Platform, steps: &mut Vec<Step>) {
    let Some(daemon) = Daemon::of(profile) else { return };
    let link = link_name(profile.name.as_str());
    let start = PppStep::Start { daemon, unit: profile.unit, run: platform.run_dir().into(), link };
    for step in &mut *steps {
        match step {
            Step::OpenTun { .. } => *step = Step::Ppp(start.clone()),
            // A daemon makes a route to the peer's address in the tunnel, whatever that is. Where it is the server's own,
            // a route to the server that was there before keeps the tunnel out of itself.
            Step::HostRoute { within, .. } => *within = vec![IpNet::V4(Ipv4Net::default())],
            _ => {}
        }
    }
    if !steps.iter().any(|step| matches!(step, Step::HostRoute { .. })) {
        let server = match profile.servers.as_slice() {
            [only] => only.literal(),
            _ => None,
        };
        steps.push(Step::HostRoute {
            server: server
                .map_or(Value::Open(Symbol::Server), |address| Value::Known(IpAddr::V4(*address.ip()))),
            way: Value::Open(Symbol::Gateway),
            within: vec![IpNet::V4(Ipv4Net::default())],
        });
    }
}

/// Leaves out what the daemon does, and says so.
pub(super) fn network(profile: &Profile, run: &Path, steps: &mut Vec<Step>) {
    let Some(daemon) = Daemon::of(profile) else { return };
    steps.retain(|step| {
        !matches!(step, Step::Address { .. } | Step::Address6 { .. } | Step::Up { .. } | Step::PidFile { .. })
    });
    let does = PppStep::Does {
        daemon,
        tun: device(profile),
        local: Value::Open(Symbol::Local),
        peer: Value::Open(Symbol::Peer),
        run: run.to_owned(),
    };
    steps.insert(0, Step::Ppp(does));
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

    /// A process, and pid files in a directory that a restart empties.
    pub(super) const fn is_volatile(&self) -> bool {
        true
    }

    /// The pid files are not.
    pub(super) const fn is_in_namespace(&self) -> bool {
        matches!(self, Self::Does { .. })
    }

    /// The daemon's device comes and goes with it.
    pub(super) const fn is_of_device(&self) -> bool {
        matches!(self, Self::Does { .. })
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
