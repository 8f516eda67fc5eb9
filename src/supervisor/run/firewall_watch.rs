//! Reads this host's firewall when a dial stalls, and explains by it why the dial failed.
//!
//! A dial that goes well costs nothing: the rules are read only when TCP is not connected after [`CONNECT`], or no
//! GRE packet has led beyond LCP after [`GRE`].

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use crate::{
    apply::ApplyError,
    failure::{Failure, FailureKind, Phase},
    plan::{Facts, NextHop},
    profile::Profile,
    supervisor::{
        firewall::{self, DialPath, Finding, Reading, Traffic},
        hints, network_verdict,
    },
};

/// How long TCP may take to connect before the rules are read. Longer than most round trips.
const CONNECT: Duration = Duration::from_millis(300);
/// How long LCP may take before the rules are read; a quarter of `timeouts.gre` if that is shorter.
const GRE: Duration = Duration::from_millis(700);

/// The firewall's part in the current dial.
#[derive(Default)]
pub(in crate::supervisor) struct FirewallWatch {
    path: Option<DialPath>,
    /// When to read the rules, and for what.
    due: Option<(Instant, Traffic)>,
    earlier: Option<Reading>,
}

impl FirewallWatch {
    /// Begins with a dial.
    pub fn dials(&mut self, path: DialPath) {
        let due = Some((Instant::now() + CONNECT, Traffic::TcpOut));
        *self = Self { path: Some(path), due, earlier: None };
    }

    /// Follows the dial.
    pub fn phase(&mut self, phase: Phase, gre: Duration) {
        self.due = match phase {
            Phase::Connect => self.due,
            Phase::Lcp => Some((Instant::now() + GRE.min(gre / 4), Traffic::GreIn)),
            _ => None,
        };
        if phase != Phase::Connect {
            self.earlier = None;
        }
    }

    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        self.due.map(|(due, _)| (due, "reading the firewall's rules"))
    }

    /// Reads the rules if that is due. Returns the failure of a dial whose packets this host drops.
    pub fn expired(&mut self, now: Instant) -> Option<Failure> {
        let (_, traffic) = self.due.take_if(|(due, _)| *due <= now)?;
        if traffic == Traffic::TcpOut
            && let Some(path) = &self.path
            && let Finding::Blocked(found) = firewall::explain(traffic, path, None)
            && found.is_lasting
        {
            // The explanation follows, as for every failure.
            let words = format!("no answer from {}", path.server);
            return Some(Failure::new(Phase::Connect, FailureKind::ConnectTimeout, words));
        }
        self.earlier = Some(Reading::take());
        None
    }

    /// Returns the failure of a dial with what this host's firewall and network explain about it, and with its hints.
    /// `server` is the one that was dialled, `local` the address that the dial used.
    pub fn explained(
        &mut self,
        failure: Failure,
        profile: &Profile,
        server: Option<SocketAddrV4>,
        local: Option<Ipv4Addr>,
    ) -> Failure {
        self.due = None;
        let failure = match self.path.take() {
            Some(path) => firewall::explained(failure, &path, profile, self.earlier.take().as_ref()),
            None => failure,
        };
        hints::add(network_verdict::amend(failure, profile, server, local), profile, server)
    }
}

/// Returns the device that leads to the server.
pub(super) fn device(facts: &Result<Facts, ApplyError>) -> Option<String> {
    facts.as_ref().ok()?.next_hop.as_ref().map(device_of)
}

/// Returns the device of a next hop.
pub(in crate::supervisor) fn device_of(next_hop: &NextHop) -> String {
    match next_hop {
        NextHop::By { dev, .. } => dev.clone(),
        NextHop::ThisHost => "lo".to_owned(),
    }
}
