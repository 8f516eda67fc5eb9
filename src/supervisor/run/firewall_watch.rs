//! Reads this host's firewall when a dial stalls, and explains by it why the dial failed.
//!
//! A dial that goes well costs nothing: the rules are read only when TCP is not connected after [`CONNECT`], or no
//! GRE packet has led beyond LCP after [`GRE`]. From then on a second GRE socket shows packets that go astray.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use crate::{
    apply::ApplyError,
    failure::{Failure, FailureKind, Phase},
    net::gre_witness::GreWitness,
    plan::{Facts, NextHop},
    profile::Profile,
    supervisor::{
        connections::connections,
        firewall::{self, DialPath, Finding, Reading, Traffic},
        gre_strays, hints, network_verdict,
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
    strays: Option<StrayWatch>,
}

/// What watches for GRE packets that the tunnel's socket does not get.
struct StrayWatch {
    witness: GreWitness,
    /// This host has other connections to the server.
    others: bool,
}

impl FirewallWatch {
    /// Begins with a dial.
    pub fn dials(&mut self, path: DialPath) {
        let due = Some((Instant::now() + CONNECT, Traffic::TcpOut));
        *self = Self { path: Some(path), due, earlier: None, strays: None };
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
        if phase > Phase::Lcp {
            self.strays = None;
        }
    }

    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        self.due.map(|(due, _)| (due, "reading the firewall's rules"))
    }

    /// Reads the rules if that is due. Returns the failure of a dial whose packets this host drops.
    pub fn expired(&mut self, now: Instant) -> Option<Failure> {
        let (_, traffic) = self.due.take_if(|(due, _)| *due <= now)?;
        if traffic == Traffic::TcpOut
            && firewall::has_room_for_a_test()
            && let Some(path) = &self.path
            && let Finding::Blocked(found) = firewall::explain(traffic, path, None)
            && found.is_lasting
        {
            // The explanation follows, as for every failure.
            let words = format!("no answer from {}", path.server);
            return Some(Failure::new(Phase::Connect, FailureKind::ConnectTimeout, words));
        }
        if traffic == Traffic::GreIn {
            self.strays = self.path.as_ref().and_then(watch_strays);
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
        if let Some(stray) = self.gone_astray(&failure) {
            self.path = None;
            return stray;
        }
        let failure = match self.path.take() {
            Some(path) => firewall::explained(failure, &path, profile, self.earlier.take().as_ref()),
            None => failure,
        };
        hints::add(network_verdict::amend(failure, profile, server, local), profile, server)
    }
}

impl FirewallWatch {
    /// Returns the failure with where the GRE packets of the call went, if they came and were not the tunnel's.
    fn gone_astray(&mut self, failure: &Failure) -> Option<Failure> {
        let StrayWatch { witness, others } = self.strays.take()?;
        let path = self.path.as_ref()?;
        // A failure with hints was seen to have another cause.
        let is_silence = failure.kind == FailureKind::GreFiltered && failure.hints.is_empty();
        let strays = if is_silence { witness.take() } else { Vec::new() };
        gre_strays::explained(failure, &strays, path.server, path.call_id, others)
    }
}

fn watch_strays(path: &DialPath) -> Option<StrayWatch> {
    let witness = GreWitness::open(*path.server.ip(), path.call_id, &path.options)
        .inspect_err(|error| tracing::debug!(%error, "no second GRE socket"))
        .ok()?;
    // That of this dial is one of them.
    Some(StrayWatch { witness, others: connections()(path.server) > 1 })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::transport::Options;

    /// What drops packets on this host is named within a second: the engine notices refused GRE after half of one
    /// (`refused_gre_is_reported_within_a_second`).
    #[test]
    fn rules_are_read_within_a_second() {
        let server = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1723);
        let mut watch = FirewallWatch::default();
        watch.dials(DialPath { server, local: None, dev: None, options: Options::default(), call_id: 1 });
        let (due, _) = watch.next_timeout().unwrap();
        assert!(due.saturating_duration_since(Instant::now()) < Duration::from_secs(1));
        watch.phase(Phase::Lcp, Duration::from_secs(30));
        let (due, _) = watch.next_timeout().unwrap();
        assert!(due.saturating_duration_since(Instant::now()) < Duration::from_secs(1));
        watch.phase(Phase::Authentication, Duration::from_secs(30));
        assert_eq!(watch.next_timeout(), None);
    }
}
