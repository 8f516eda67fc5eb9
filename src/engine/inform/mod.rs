//! Asks the server for routes, inside the tunnel and before this host is configured for it: DHCPINFORM (RFC 2131
//! §4.4.3), as the dial-up clients of Windows do.
//!
//! Owns the exchange: when it is asked, how often, for how long, and which packets from the tunnel are its answer.
//! The bytes are `wire`'s. Pure, and without a device: there is none yet that has our address, so the packets are made
//! here, IP header and all. That servers leave it unanswered is ordinary; then there are no routes, and no failure.

mod wire;

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;

use self::wire::Answer;
use super::message::{MOST_ROUTES, may_be_offered};

/// How long the server has for its answer.
pub const LIMIT: Duration = Duration::from_secs(2);

/// How long until it is asked again.
const AGAIN: Duration = Duration::from_millis(600);

/// How often it is asked at most.
const TIMES: u32 = 3;

/// What has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InformCounters {
    /// Questions: packets.
    pub sent: u64,
    /// Packets to a DHCP client that are no answer of ours, or broken.
    pub ignored: u64,
    /// Routes that nobody should be able to give us, or too many.
    pub routes_refused: u64,
}

/// One exchange.
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
    /// Begins to ask. `xid` tells our answer from another's: it should be hard to guess.
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

    /// Asks again when it is time to.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.routes.is_some() || self.asked >= TIMES || self.again > now || self.until <= now {
            return;
        }
        self.again = now + AGAIN;
        self.waiting.push_back(wire::question(self.local, Ipv4Addr::BROADCAST, self.xid));
        // Some hear no broadcast on a point-to-point device; others are not at the peer's address.
        if self.asked > 0 && !self.peer.is_unspecified() {
            self.waiting.push_back(wire::question(self.local, self.peer, self.xid));
        }
        self.asked += 1;
    }

    /// When [`Self::handle_timeout`] is due, or the waiting is over.
    #[must_use]
    pub fn next_timeout(&self) -> Instant {
        if self.asked < TIMES { self.again.min(self.until) } else { self.until }
    }

    /// The next IP packet for the tunnel.
    pub fn poll_packet(&mut self) -> Option<Vec<u8>> {
        let packet = self.waiting.pop_front()?;
        self.counters.sent += 1;
        Some(packet)
    }

    /// Whether an IP packet from the tunnel is for the DHCP client that we are: it must go no further then.
    pub fn take(&mut self, packet: &[u8]) -> bool {
        let Some(message) = wire::to_client(packet, self.local) else { return false };
        match wire::answer(message, self.xid) {
            Some(answer) if self.routes.is_none() => {
                self.waiting.clear();
                self.routes = Some(self.sift(answer));
            }
            Some(_) => {}
            None => self.counters.ignored += 1,
        }
        true
    }

    /// Whether there is nothing more to wait for.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.routes.is_some() || self.until <= now
    }

    /// The routes; `None`: no answer came.
    #[must_use]
    pub fn into_routes(self) -> Option<Vec<Ipv4Net>> {
        self.routes
    }

    /// What has passed so far.
    #[must_use]
    pub const fn counters(&self) -> InformCounters {
        self.counters
    }

    /// The routes that the supervisor would let pass, each once.
    fn sift(&mut self, answer: Answer) -> Vec<Ipv4Net> {
        let mut routes = Vec::new();
        for route in answer.routes {
            if routes.contains(&route) {
                continue;
            }
            if may_be_offered(route) && routes.len() < MOST_ROUTES {
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
