//! Asks the server for routes with DHCPINFORM (RFC 2131 §4.4.3), inside the tunnel and before this host is
//! configured for it, as the dial-up clients of Windows do.
//!
//! Owns the exchange: when and how often to ask, the time limit, and which packets from the tunnel are
//! answers. `wire` builds complete IP packets, because no device has our address yet. No I/O. Many servers do
//! not answer; then there are no routes, and no failure.

#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
mod wire;

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;

use self::wire::Answer;
use super::message::{MAX_ROUTES, is_acceptable_route};
use crate::deadline::Deadline;

/// Time limit for the server's answer.
pub const LIMIT: Duration = Duration::from_secs(2);

/// Interval between requests.
const RESEND_INTERVAL: Duration = Duration::from_millis(600);

/// Maximum number of requests, each of one or two packets.
const MAX_REQUESTS: u32 = 3;

/// Counters of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InformCounters {
    /// Request packets sent.
    pub sent: u64,
    /// Packets to our DHCP client that are malformed or do not answer our request.
    pub ignored: u64,
    /// Routes refused because no server may offer them, or because there were too many.
    pub routes_refused: u64,
}

/// One DHCPINFORM exchange.
#[derive(Debug)]
pub struct InformExchange {
    local: Ipv4Addr,
    peer: Ipv4Addr,
    xid: u32,
    asked: u32,
    again: Instant,
    until: Instant,
    waiting: VecDeque<Vec<u8>>,
    routes: Option<Vec<Ipv4Net>>,
    counters: InformCounters,
}

impl InformExchange {
    /// Starts the exchange. `xid` identifies the answer to our request and should be hard to guess.
    #[must_use]
    pub fn new(local: Ipv4Addr, peer: Ipv4Addr, xid: u32, now: Instant) -> Self {
        let mut inform = Self {
            local,
            peer,
            xid,
            asked: 0,
            again: now,
            until: now + LIMIT,
            waiting: VecDeque::new(),
            routes: None,
            counters: InformCounters::default(),
        };
        inform.handle_timeout(now);
        inform
    }

    /// Repeats the request when due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.routes.is_some() || self.asked >= MAX_REQUESTS || self.again > now || self.until <= now {
            return;
        }
        self.again = now + RESEND_INTERVAL;
        self.waiting.push_back(wire::encode_inform(self.local, Ipv4Addr::BROADCAST, self.xid));
        // Some servers receive no broadcast on a point-to-point device; others do not use the peer's address.
        if self.asked > 0 && !self.peer.is_unspecified() {
            self.waiting.push_back(wire::encode_inform(self.local, self.peer, self.xid));
        }
        self.asked += 1;
    }

    /// Returns when [`Self::handle_timeout`] is due or the time limit expires.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Deadline> {
        let at = if self.asked < MAX_REQUESTS { self.again.min(self.until) } else { self.until };
        Some((at, "route request"))
    }

    /// Returns the next IP packet for the tunnel.
    pub fn poll_packet(&mut self) -> Option<Vec<u8>> {
        let packet = self.waiting.pop_front()?;
        self.counters.sent += 1;
        Some(packet)
    }

    /// Processes an IP packet from the tunnel; `true` if it is for our DHCP client and must not be passed on.
    pub fn take(&mut self, packet: &[u8]) -> bool {
        let Some(message) = wire::to_client(packet, self.local) else { return false };
        match wire::answer(message, self.xid) {
            Some(answer) if self.routes.is_none() => {
                self.waiting.clear();
                self.routes = Some(self.filter_routes(answer));
            }
            Some(_) => {}
            None => self.counters.ignored += 1,
        }
        true
    }

    /// Returns whether the answer has arrived.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.routes.is_some()
    }

    /// Returns whether the answer has arrived or the time limit has expired.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.is_answered() || self.until <= now
    }

    /// Returns the routes; `None` if no answer came.
    #[must_use]
    pub fn into_routes(self) -> Option<Vec<Ipv4Net>> {
        self.routes
    }

    /// Returns the counters.
    #[must_use]
    pub const fn counters(&self) -> InformCounters {
        self.counters
    }

    /// Returns the routes that the supervisor accepts, without duplicates.
    fn filter_routes(&mut self, answer: Answer) -> Vec<Ipv4Net> {
        let mut routes = Vec::new();
        for route in answer.routes {
            if routes.contains(&route) {
                continue;
            }
            if is_acceptable_route(route) && routes.len() < MAX_ROUTES {
                routes.push(route);
            } else {
                self.counters.routes_refused += 1;
                tracing::info!("the server offers a route to {route}: not taken");
            }
        }
        routes
    }
}

#[cfg(test)]
mod tests;
