//! Routes that the server offers: asked for between the proof of a link and its being up, when the spec says so.

use std::time::Instant;

use super::{Session, SessionEvent};
use crate::{
    engine::{
        failure::Phase,
        inform::{InformCounters, InformExchange},
        message::LinkUp,
    },
    ppp::link::Random,
};

#[derive(Default)]
pub(super) struct PeerRoutes {
    /// What the questions are told apart by; `None`: nobody asks.
    xid: Option<u32>,
    open: Option<(LinkUp, InformExchange)>,
    counters: InformCounters,
}

impl PeerRoutes {
    pub(super) fn new(wanted: bool, random: &mut Random) -> Self {
        let xid = wanted.then(|| {
            let mut bytes = [0; 4];
            random(&mut bytes);
            u32::from_be_bytes(bytes)
        });
        Self { xid, ..Self::default() }
    }

    /// Whether a packet from the tunnel is the answer, or meant to be one.
    pub(super) fn take(&mut self, packet: &[u8]) -> bool {
        self.open.as_mut().is_some_and(|(_, inform)| inform.take(packet))
    }

    pub(super) fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.open.as_mut()?.1.poll_packet()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.open.as_ref().map(|(_, inform)| inform.next_timeout())
    }

    /// The link is gone, or begins anew.
    pub(super) fn forget(&mut self) {
        self.open = None;
    }

    /// By name; none when nobody asks.
    pub(super) fn counters(&self) -> Vec<(String, u64)> {
        if self.xid.is_none() {
            return Vec::new();
        }
        let InformCounters { sent, ignored, routes_refused } =
            self.open.as_ref().map_or(self.counters, |(_, inform)| inform.counters());
        [("sent", sent), ("ignored", ignored), ("routes_refused", routes_refused)]
            .map(|(name, value)| (format!("inform.{name}"), value))
            .into()
    }
}

impl Session {
    /// The link is proven: it is up at once, or when the server has been asked for its routes.
    pub(super) fn ask_for_offers(&mut self, now: Instant, up: LinkUp) {
        match self.offers.xid {
            None => self.is_up_with(up),
            Some(xid) => {
                let inform = InformExchange::new(up.local, up.peer, xid, now);
                self.offers.open = Some((up, inform));
            }
        }
    }

    /// Asks again, or goes on when there is an answer or none is to be expected any more.
    pub(super) fn settle_offers(&mut self, now: Instant) {
        let Some((_, inform)) = &mut self.offers.open else { return };
        inform.handle_timeout(now);
        if !inform.is_over(now) {
            return;
        }
        self.offers.counters = inform.counters();
        if let (Some((mut up, inform)), None) = (self.offers.open.take(), &self.ending) {
            up.routes = inform.into_routes();
            self.is_up_with(up);
        }
    }

    fn is_up_with(&mut self, up: LinkUp) {
        self.up = true;
        self.phase = Phase::Up;
        self.events.push_back(SessionEvent::Up(up));
    }
}
