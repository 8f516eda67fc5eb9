//! The PPP side of a session: the link's configuration, and the phases that its events mean for the user.
//!
//! Owns the words of each phase. [`crate::ppp::link`] does the negotiation (RFC 1661 §3.2).

use std::time::{Duration, Instant};

use super::{Session, SessionEvent};
use crate::{
    engine::{
        message::{LinkUp, Offers, plain},
        spec::Spec,
        verdict,
    },
    failure::Phase,
    ppp::{
        auth::Credentials,
        ipcp::Given,
        lcp::DEFAULT_MRU,
        link::{self, DownReason},
    },
    secret::Secret,
};

/// Time within which the server of a tunnel that was up must end the link after it has refused our credentials.
/// They worked before, and any host can forge the refusal.
const CONFIRM_REFUSAL: Duration = Duration::from_secs(3);

impl Session {
    pub(super) fn link_events(&mut self, now: Instant) {
        while let Some(event) = self.call.as_mut().and_then(|call| call.link.poll_event()) {
            self.report_offers();
            self.link_event(now, event);
        }
        self.ipv6_decided(now);
    }

    fn link_event(&mut self, now: Instant, event: link::LinkEvent) {
        match event {
            link::LinkEvent::LcpUp { peer_mru, auth } => {
                let refused = self.call.as_ref().map_or(&[][..], |call| call.link.offered_auth());
                let by = match auth {
                    Some(protocol) => protocol.to_string(),
                    None if refused.is_empty() => "no authentication".to_owned(),
                    // pppd drops its demand when we refuse it, and ends the link right after that.
                    None => format!(
                        "the server offered {}, which the profile does not accept",
                        refused.join(", ")
                    ),
                };
                self.enter_link_phase(Phase::Authentication, format!("MRU {peer_mru}, {by}"));
            }
            link::LinkEvent::Authenticated { protocol, peer_name, message } => {
                let says = message.filter(|m| !m.is_empty()).map_or_else(String::new, |m| format!(": {m}"));
                let name = if peer_name.is_empty() { String::new() } else { format!(" by {peer_name}") };
                self.enter_link_phase(Phase::Encryption, format!("{protocol}, accepted{name}{says}"));
            }
            link::LinkEvent::Encryption(mppe) => {
                let words = mppe.map_or_else(|| "none".to_owned(), |mppe| mppe.to_string());
                self.enter_link_phase(Phase::Addresses, words);
            }
            // A daemon has no option for this.
            link::LinkEvent::Up(up)
                if self.spec.external && up.auth.is_none() && !self.spec.unauthenticated =>
            {
                let failure = verdict::of_link(self.phase, &DownReason::NotAuthenticated, &self.offers());
                self.fail(now, failure);
            }
            link::LinkEvent::Up(up) => {
                self.has_address = true;
                if self.ending.is_none() {
                    self.mss.set(self.spec.mss, up.mtu);
                    let mru = self.call.as_ref().and_then(|call| call.link.requested_mru());
                    self.start_ready_check(now, link_up(&up, mru));
                }
            }
            link::LinkEvent::PeerAnswered => self.answered(now),
            link::LinkEvent::Confirmed => self.ready_confirmed(),
            link::LinkEvent::PathAnswered(id) => self.path_answered(now, id),
            link::LinkEvent::Ipv6Up(ids) => self.ipv6_opened(identifiers(ids)),
            link::LinkEvent::Ipv6Down => tracing::debug!("IPv6 may not flow"),
            link::LinkEvent::Renegotiating => {
                tracing::info!("the server renegotiates the link");
                self.has_address = false;
                self.cancel_pending();
            }
            link::LinkEvent::Down(reason) => self.link_down(now, &reason),
        }
    }

    /// Reports the server's offers if they have changed since the last report.
    fn report_offers(&mut self) {
        let Some((auth, mppe)) = self.call.as_ref().map(|call| call.link.offers()) else { return };
        let offers = Offers {
            auth: auth.iter().map(|words| plain(words)).collect(),
            mppe: mppe.map(|words| plain(&words)),
        };
        if offers != self.offers {
            self.offers = offers.clone();
            self.events.push_back(SessionEvent::Offers(offers));
        }
    }

    /// Reports a phase to the supervisor. Phases that a renegotiation repeats are only logged.
    fn enter_link_phase(&mut self, phase: Phase, detail: String) {
        if phase > self.phase {
            self.enter(phase, detail);
        } else {
            tracing::info!("{phase} again: {}", plain(&detail));
        }
    }

    /// Cancels everything in progress before or after [`SessionEvent::Up`].
    fn cancel_pending(&mut self) {
        self.up = false;
        (self.ready_check, self.first_echo) = (None, None);
        self.peer_routes.forget();
        self.liveness = None;
        self.path.cancel();
    }

    fn link_down(&mut self, now: Instant, reason: &DownReason) {
        self.cancel_pending();
        self.gre_due = None;
        // The end of the call is not a reason; whatever ended it has one.
        if self.ending.is_none() && *reason != DownReason::LowerLayerDown {
            // The link gets only frames; a server that only acknowledges has also sent something.
            let seen = self.evidence().unwrap_or_default();
            let mut failure = match reason {
                DownReason::LcpTimeout { .. } if seen.gre_received > 0 => {
                    verdict::of_lcp_timeout(self.phase, &seen)
                }
                other => verdict::of_link(self.reached(), other, &self.offers()),
            };
            if *reason == DownReason::EchoTimeout {
                failure.detail = plain(&format!("{}: {}", failure.detail, self.since_last_packet(now)));
            }
            self.end_with(failure);
        }
        self.control.stop(now);
        // Events that `stop` reports at once belong to this round.
        while let Some(event) = self.control.poll_event() {
            self.control_event(now, event);
        }
    }
}

pub(super) fn link_config(spec: &Spec, password: Secret, random: link::Random) -> link::LinkConfig {
    let credentials = Credentials { user: spec.user.clone(), domain: spec.domain.clone(), password };
    let mut config = link::LinkConfig::client(credentials, random);
    if let link::Role::Client(client) = &mut config.role {
        client.dns = spec.want_dns;
        client.follow_mru = spec.mru.is_none();
        client.given_before =
            spec.remembered.as_ref().map(|before| Given { address: before.address, dns: before.dns.clone() });
    }
    // A peer that has rejected the option sends up to 1500 bytes.
    let accepted = spec.remembered.as_ref().and_then(|before| before.mru);
    let accepted = accepted.map(|mru| if mru == DEFAULT_MRU { mru } else { mru.min(spec.mtu_limit) });
    config.mru = spec.mru.or(accepted).unwrap_or(spec.mtu_limit);
    config.mtu_limit = spec.mtu_limit;
    config.echo = spec.lcp_echo;
    config.accept.clone_from(&spec.auth);
    config.unauthenticated = spec.unauthenticated;
    config.prefer_stronger = spec.prefer_stronger;
    config.mppe = spec.mppe;
    config.ipv6 = spec.ipv6;
    config.kernel_data = spec.kernel;
    // pptpd starts a pppd for each call; what arrives before pppd runs is lost, so retransmit early.
    config.timing.negotiation.first = Duration::from_millis(200);
    config.timing.lcp = spec.limits.lcp;
    config.timing.auth = spec.limits.auth;
    config.timing.confirm_refusal = spec.was_up.then_some(CONFIRM_REFUSAL);
    config.timing.network = spec.limits.network;
    config.timing.terminate = spec.limits.stop;
    config
}

fn identifiers(ids: link::InterfaceIds) -> (u64, u64) {
    (u64::from_be_bytes(ids.local), u64::from_be_bytes(ids.peer))
}

fn link_up(up: &link::LinkUp, mru: Option<u16>) -> LinkUp {
    LinkUp {
        local: up.local,
        peer: up.peer,
        dns: up.dns.iter().copied().filter(|address| !address.is_unspecified()).take(2).collect(),
        wins: up.wins.iter().copied().filter(|address| !address.is_unspecified()).take(2).collect(),
        ipv6: up.ipv6.map(identifiers),
        mtu: up.mtu,
        mru,
        encryption: up.mppe.map_or_else(|| "none".to_owned(), |mppe| mppe.to_string()),
        authentication: up.auth.map_or_else(|| "none".to_owned(), |auth| auth.to_string()),
        routes: None,
    }
}
