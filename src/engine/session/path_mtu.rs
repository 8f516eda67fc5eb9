//! Finds out how large a packet the path to the server carries, once the link is up and again after a change of the
//! network.
//!
//! Some paths drop GRE packets above a size without an error message, and path MTU discovery then fails inside the
//! tunnel: small packets pass, and transfers stall. `search` decides; this file sends its packets, in the link's frames
//! and with GRE headers of full length, and reports the result. The search has ended a few seconds after it began, and
//! is repeated on the same path only after an ICMP error has limited it (`reported`).

mod reported;
mod search;

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use self::search::{Observed, Probe, Search, Verdict};
use super::{Call, Session, SessionEvent};
use crate::{
    deadline::{Deadline, earliest},
    engine::message::{LinkUp, PathMtu, PathSearchEnd, plain},
    pptp::{flow::Flow, gre::MAX_HEADER},
};

/// Time after a search without evidence at which losses are counted.
const RECONSIDER: Duration = Duration::from_secs(30);
/// Losses by then that make a warning: at least this many packets of the server, and one in [`LOST_SHARE`].
const LOST_MIN: u64 = 8;
const LOST_SHARE: u64 = 50;
/// IP and GRE header in front of a PPP frame, in bytes.
const OUTER_HEADERS: usize = 20 + MAX_HEADER;
/// The smallest MTU of a device with IPv6 (RFC 8200 §5), in bytes.
pub(super) const IPV6_MTU: u16 = 1280;
/// The smallest MTU of a device with IPv4 (RFC 791 §3.2), in bytes.
const MTU_MIN: u16 = 68;

/// The search of a session.
#[derive(Debug, Default)]
pub(super) struct PathSearch {
    search: Option<Search>,
    /// Packets to send.
    outbox: VecDeque<(Probe, Vec<u8>)>,
    /// The device's MTU that was reported last.
    mtu: u16,
    ipv6: bool,
    /// A warning is in force.
    warned: bool,
    suspicion: Option<Suspicion>,
    /// When to search again, after an ICMP error.
    again: Option<Instant>,
}

/// Echoes above a size have no answer, and nothing shows why.
#[derive(Debug)]
struct Suspicion {
    passes: u16,
    fails: u16,
    began: Observed,
    due: Instant,
}

impl PathSearch {
    /// Records the parameters of a link that is reported up, on which everything else depends.
    pub fn link_up(&mut self, up: &LinkUp) {
        *self = Self { mtu: up.mtu, ipv6: up.ipv6.is_some(), ..Self::default() };
    }

    /// Ends the search without a result.
    pub fn cancel(&mut self) {
        (self.search, self.suspicion, self.again) = (None, None, None);
        self.outbox.clear();
    }

    pub fn next_timeout(&self) -> Option<Deadline> {
        let search = self.search.as_ref().map(|search| (search.next_timeout(), "path MTU"));
        let suspicion = self.suspicion.as_ref().map(|one| (one.due, "losses on the path"));
        search.or_else(|| earliest([suspicion, self.again.map(|at| (at, "path MTU again"))]))
    }

    /// Returns the next frame of the search, for a packet that the kernel makes.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop_front().map(|(_, frame)| frame)
    }

    /// Writes the next packet of the search. Returns its range in `out`.
    pub fn poll_packet(&mut self, now: Instant, flow: &mut Flow, out: &mut [u8]) -> Option<Range<usize>> {
        let (probe, frame) = self.outbox.pop_front()?;
        out.get_mut(MAX_HEADER..MAX_HEADER + frame.len())?.copy_from_slice(&frame);
        let packet = flow.put_full_header(now, frame.len(), out)?;
        if probe != Probe::Short {
            flow.watch_last();
        }
        Some(packet)
    }
}

impl Verdict {
    const fn end(self) -> PathSearchEnd {
        match self {
            Self::Full => PathSearchEnd::Full,
            Self::Limited { .. } => PathSearchEnd::Limited,
            Self::Unanswered { .. } => PathSearchEnd::Unanswered,
            Self::Unknown => PathSearchEnd::Unknown,
        }
    }
}

impl Session {
    /// Begins a search on a path that may have changed. A daemon's PPP is not tested.
    pub(super) fn search_path(&mut self, now: Instant) {
        self.path.cancel();
        if self.is_up()
            && let Some(link) = self.call.as_mut().and_then(|call| call.link.testable())
        {
            self.path.search = Some(Search::new(link.mtu(), now));
            self.poll_path(now);
        }
    }

    /// Sends the frame of a short echo that belongs to no search.
    pub(super) fn send_short_echo(&mut self, frame: Vec<u8>) {
        self.path.outbox.push_back((Probe::Short, frame));
    }

    /// Handles an answer to one of the search's echoes.
    pub(super) fn path_answered(&mut self, now: Instant, id: u8) {
        let seen = self.observed();
        if let Some(search) = &mut self.path.search {
            search.answered(now, id, seen);
        }
        self.poll_path(now);
    }

    /// Handles the search's timeout, and what it has ready.
    pub(super) fn poll_path(&mut self, now: Instant) {
        let seen = self.observed();
        if let Some(search) = &mut self.path.search {
            search.handle_timeout(now, seen);
            let link = self.call.as_mut().and_then(|call| call.link.testable());
            if let Some(link) = link {
                while let Some(probe) = search.poll_probe() {
                    let frame = match probe {
                        Probe::Short => link.path_echo(None),
                        Probe::Padded(size) => link.path_echo(Some(size)),
                        Probe::Discard => link.path_discard(),
                    };
                    if let Some((id, frame)) = frame {
                        search.sent(probe, id);
                        self.path.outbox.push_back((probe, frame));
                    }
                }
            }
            if let Some(verdict) = search.take_verdict() {
                self.path.search = None;
                self.path_found(now, verdict, seen);
                self.events.push_back(SessionEvent::PathSearched(verdict.end()));
            }
        }
        if let Some(suspicion) = self.path.suspicion.take_if(|suspicion| suspicion.due <= now) {
            self.reconsider(&suspicion, seen);
        }
        if self.path.again.take_if(|at| *at <= now).is_some() {
            self.search_path(now);
        }
    }

    fn observed(&self) -> Observed {
        self.call.as_ref().map_or_else(Observed::default, |Call { flow, .. }| {
            let counters = flow.counters();
            Observed { acked: flow.watched(), received: counters.rx_accepted, lost: counters.rx_lost }
        })
    }

    fn path_found(&mut self, now: Instant, verdict: Verdict, seen: Observed) {
        let Some(link) = self.call.as_mut().and_then(|call| call.link.testable()) else { return };
        let full = link.mtu();
        tracing::debug!("path MTU: {verdict:?} of {full} bytes");
        match verdict {
            Verdict::Full => {
                self.mss.set(self.spec.mss, full);
                if self.path.warned || self.path.mtu != full {
                    tracing::info!("the path carries packets of {full} bytes");
                    self.report_path(full, String::new());
                }
            }
            Verdict::Limited { passes, fails, outbound } => {
                let which = if outbound {
                    "the server acknowledges no longer one"
                } else {
                    "the server's answers to longer ones are lost"
                };
                // The answers that passed may have had no acknowledgement, 4 bytes less than other packets.
                let passes = if outbound { passes } else { passes.saturating_sub(4) };
                let [good, bad] = [passes, fails].map(|size| OUTER_HEADERS + link.data_frame_length(size));
                let sizes = format!(
                    "GRE packets of {good} bytes pass on the path to the server, those of {bad} are lost without an \
                     error message (LCP echoes: {which})"
                );
                let device = if self.path.ipv6 { passes.max(IPV6_MTU).min(full) } else { passes };
                if self.spec.follow_path {
                    self.mss.set(self.spec.mss, passes);
                    self.report_path(device, format!("{sizes}: the tunnel's MTU is {device} now"));
                } else {
                    let advice = format!("set mtu = \"auto\" or mtu = {passes} in the profile");
                    self.report_path(self.path.mtu, format!("{sizes}, so transfers may stall: {advice}"));
                }
            }
            Verdict::Unanswered { passes, fails } => {
                tracing::info!(
                    "the server answers LCP echoes as long as packets of {passes} bytes, not of {fails}; nothing shows \
                     whether the path drops the longer ones: if transfers stall, try mtu = {passes}"
                );
                let due = now + RECONSIDER;
                self.path.suspicion = Some(Suspicion { passes, fails, began: seen, due });
            }
            Verdict::Unknown => {}
        }
    }

    /// Warns if packets have been lost since echoes above a size had no answer.
    fn reconsider(&mut self, suspicion: &Suspicion, seen: Observed) {
        let lost = seen.lost.saturating_sub(suspicion.began.lost);
        let received = seen.received.saturating_sub(suspicion.began.received);
        if lost >= LOST_MIN && lost.saturating_mul(LOST_SHARE) >= received {
            let Suspicion { passes, fails, .. } = suspicion;
            let words = format!(
                "{lost} of the server's packets are lost, and it answers no LCP echo as long as a packet of {fails} \
                 bytes: the path probably drops large packets; if transfers stall, set mtu = {passes} in the profile"
            );
            self.report_path(self.path.mtu, words);
        }
    }

    fn report_path(&mut self, mtu: u16, warning: String) {
        (self.path.mtu, self.path.warned) = (mtu, !warning.is_empty());
        self.events.push_back(SessionEvent::PathMtu(PathMtu { mtu, warning: plain(&warning) }));
    }
}
