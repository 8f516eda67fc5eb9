//! Requests the server's routes after the ready check, if the spec says so, then reports the link up.

use std::time::Instant;

use super::{Session, SessionEvent};
use crate::{
    deadline::Deadline,
    engine::{
        inform::{InformCounters, InformExchange},
        message::LinkUp,
    },
    failure::Phase,
    ppp::link::Random,
};

#[derive(Default)]
pub(super) struct PeerRoutes {
    /// Transaction id of the request; `None` if routes are not requested.
    xid: Option<u32>,
    open: Option<(LinkUp, InformExchange)>,
    /// The open request has exceeded its time limit.
    expired: bool,
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

    /// Returns whether a packet from the tunnel is for our DHCP client, and consumes it.
    pub(super) fn take(&mut self, packet: &[u8]) -> bool {
        self.open.as_mut().is_some_and(|(_, inform)| inform.take(packet))
    }

    pub(super) fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.open.as_mut()?.1.poll_packet()
    }

    pub(super) fn next_timeout(&self) -> Option<Deadline> {
        self.open.as_ref()?.1.next_timeout()
    }

    /// Repeats the request when due, or gives it up.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, inform)) = &mut self.open {
            inform.handle_timeout(now);
            self.expired = inform.is_over(now);
        }
    }

    /// Cancels the request: the link has ended or renegotiates.
    pub(super) fn forget(&mut self) {
        self.open = None;
    }

    /// Returns the counters by name; none if routes are not requested.
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
    /// Reports the link up, at once or after the request for routes.
    pub(super) fn request_routes(&mut self, now: Instant, up: LinkUp) {
        match self.peer_routes.xid {
            None => self.is_up_with(now, up),
            Some(xid) => {
                let inform = InformExchange::new(up.local, up.peer, xid, now);
                (self.peer_routes.open, self.peer_routes.expired) = (Some((up, inform)), false);
            }
        }
    }

    /// Reports the link up after the answer to the request or the time limit.
    pub(super) fn poll_routes(&mut self, now: Instant) {
        let Some((_, inform)) = &self.peer_routes.open else { return };
        if !inform.is_answered() && !self.peer_routes.expired {
            return;
        }
        self.peer_routes.counters = inform.counters();
        if let (Some((mut up, inform)), None) = (self.peer_routes.open.take(), &self.ending) {
            up.routes = inform.into_routes();
            self.is_up_with(now, up);
        }
    }

    fn is_up_with(&mut self, now: Instant, up: LinkUp) {
        self.up = true;
        self.phase = Phase::Up;
        self.path.link_up(&up);
        self.events.push_back(SessionEvent::Up(up));
        self.search_path(now);
    }
}
