//! One call's packets in both directions: sequence numbers, acknowledgements, order (RFC 2637 §4).
//!
//! This is the data path: it allocates nothing per packet, hashes nothing, and delivers packets that arrive
//! in order without copying. It owns the sequence numbers; it does not own the socket or interpret payloads.
//!
//! The receiver is liberal and never stalls:
//!
//! * A gap delays the packets behind it for as long as reordering has been measured to take (`hold`); each
//!   packet that fills part of the gap restarts the wait. Then the missing numbers count as lost. A packet
//!   256 numbers or more ahead pushes the gap out at once.
//! * The first packet sets the base. If its number is above 1, it may have overtaken earlier packets: it
//!   waits as behind a gap, and earlier packets are still accepted: all of them if its number is below 256,
//!   because peers start at 0 or 1, else 16. Numbers below the first one delivered never count as lost.
//! * A packet beyond the window (64 Ki numbers ahead; `missing_window` if set) is dropped as a stray, but
//!   four such packets close to each other are accepted as the peer's new position.
//! * Four packets behind the delivered ones, close to each other, after one second in which nothing else
//!   came, mean that the peer has restarted, and the flow restarts there. Duplicates never count for this.

mod ack;
mod counters;
mod hold;
mod order;
mod ring;
#[cfg(test)]
mod tests;
mod watch;
mod window;

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use ack::Acks;
pub use counters::{DropReason, FlowCounters};
use hold::Hold;
use order::OutlierFilter;
use ring::{Mark, Ring};
pub use watch::Acked;
use watch::Watch;
use window::Window;

use super::gre::{self, Header, MAX_HEADER};
use crate::deadline::{ACKNOWLEDGEMENT, Deadline, REORDERING, earliest};

/// How far ahead a packet may be and is still accepted at once, unless `missing_window` is set.
const DEFAULT_WINDOW: u32 = 0x1_0000;
/// Strays close to each other that move the flow to their position.
const STRAYS_TO_RESTART: u8 = 4;
/// How long no packet must have been accepted before strays behind the delivered ones can restart the flow.
const RESTART_SILENCE: Duration = Duration::from_secs(1);
/// How far before the first packet an earlier one may be, if the peer started at an arbitrary number.
const BEFORE_FIRST: u32 = 16;

/// How long packets wait for earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Reorder {
    /// Not at all: a gap is accepted at once, and late packets are dropped (pptp(8)'s `--nobuffer`).
    Off,
    /// For a time adapted to measured reordering.
    Adaptive {
        /// Upper limit of the wait (pptp(8)'s `--timeout`).
        max: Duration,
    },
}

/// Parameters of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowConfig {
    /// Our identifier of the call: the key of packets that we receive.
    pub local_call_id: u16,
    /// The peer's identifier: the key of packets that we send.
    pub peer_call_id: u16,
    /// Packets that we told the peer we buffer: determines how often to acknowledge.
    pub window: u16,
    /// How long packets wait for earlier ones.
    pub reorder: Reorder,
    /// How far ahead a packet may be and is still accepted at once (pptp(8)'s `--missing-window`).
    /// `None`: 64 Ki numbers.
    pub missing_window: Option<u32>,
    /// Packets that the peer buffers, if that is to be obeyed.
    pub peer_window: Option<u16>,
}

impl FlowConfig {
    /// Returns pptp(8)'s defaults: a window of 3, at most 0.3 s of waiting.
    #[cfg(any(target_os = "linux", target_os = "freebsd", feature = "fuzzing", test))]
    #[must_use]
    pub const fn new(local_call_id: u16, peer_call_id: u16) -> Self {
        let reorder = Reorder::Adaptive { max: Duration::from_millis(300) };
        Self { local_call_id, peer_call_id, window: 3, reorder, missing_window: None, peer_window: None }
    }
}

/// The sequence and acknowledgement state of one call.
#[derive(Debug)]
pub struct Flow {
    config: FlowConfig,
    hold: Option<Hold>,
    ring: Ring,
    /// The next number to deliver.
    expected: u32,
    /// One above the highest number received. From `expected` up to here are waiting packets and gaps, at
    /// most 256 numbers; both are equal if nothing waits.
    end: u32,
    /// When the last packet was accepted.
    last: Instant,
    stage: Stage,
    strays: OutlierFilter,
    acks: Acks,
    /// Counts packets with a higher number than any before, to tell how many followed a gap. One that fills
    /// an earlier gap does not count.
    advances: u32,
    /// The last gap that was partly filled: when the gap was noticed, and when that packet arrived.
    partly_filled: Option<(Instant, Instant)>,
    /// The last number sent; the first is 1, as in pptp(8).
    sent: u32,
    /// The packet whose acknowledgement is watched.
    watch: Option<Watch>,
    /// The peer's receive window, if it is obeyed.
    window: Option<Window>,
    counters: FlowCounters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has been received: any number is accepted.
    Silent,
    /// Nothing has been delivered: missing numbers may never have been sent.
    Fresh,
    Running,
}

impl Flow {
    /// Creates the flow of a call that has just come up.
    #[must_use]
    pub fn new(config: FlowConfig, now: Instant) -> Self {
        Self {
            config,
            hold: match config.reorder {
                Reorder::Off => None,
                Reorder::Adaptive { max } => Some(Hold::new(max)),
            },
            ring: Ring::new(),
            expected: 0,
            end: 0,
            last: now,
            stage: Stage::Silent,
            strays: OutlierFilter::default(),
            acks: Acks::new(config.window, now),
            advances: 0,
            partly_filled: None,
            sent: 0,
            watch: None,
            window: config.peer_window.map(Window::new),
            counters: FlowCounters::default(),
        }
    }

    /// Processes a packet without its IP header and delivers the payloads that are then in order, if any.
    ///
    /// # Errors
    /// Returns why the packet was dropped, which is also counted. Earlier payloads may have been delivered.
    pub fn receive(
        &mut self,
        now: Instant,
        packet: &mut [u8],
        deliver: &mut impl FnMut(&mut [u8]),
    ) -> Result<(), DropReason> {
        let taken = self.take(now, packet, deliver);
        if let Err(drop) = taken {
            self.counters.count(drop);
        }
        if self.expected != self.end {
            self.release(now, deliver);
        }
        taken
    }

    /// Returns how many packets of the peer count as lost before those that [`receive`](Self::receive) delivers
    /// for this one, at least and at most; `u64::MAX` if the flow may restart at it.
    #[must_use]
    pub fn lost_before(&self, packet: &[u8]) -> (u64, u64) {
        let waiting = self.lost_when_due();
        let seq = gre::parse(packet).ok().and_then(|(header, _)| header.seq);
        let Some(seq) = seq.filter(|seq| *seq != self.expected) else { return waiting };
        let ahead = seq.wrapping_sub(self.expected);
        if ahead >= self.config.missing_window.unwrap_or(DEFAULT_WINDOW) {
            return (waiting.0, u64::MAX);
        }
        (waiting.0, waiting.1.max(waiting.0 + u64::from(ahead)))
    }

    /// Returns the payloads of those packets that [`receive`](Self::receive) delivers at once, if it gets them in this
    /// order and none waits.
    pub fn in_order<'a>(&self, packets: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
        let (local, mut next) = (self.config.local_call_id, self.expected);
        packets.filter_map(move |packet| {
            let (header, payload) = gre::parse(packet).ok()?;
            if header.call_id != local || header.seq != Some(next) {
                return None;
            }
            next = next.wrapping_add(1);
            packet.get(payload)
        })
    }

    /// Returns how many packets of the peer count as lost before those that
    /// [`handle_timeout`](Self::handle_timeout) delivers, at least and at most.
    #[must_use]
    pub fn lost_when_due(&self) -> (u64, u64) {
        let lost = self.counters.rx_lost;
        (lost, lost + u64::from(self.end.wrapping_sub(self.expected)))
    }

    /// Delivers packets that have waited long enough; none is due before
    /// [`next_timeout`](Self::next_timeout).
    pub fn handle_timeout(&mut self, now: Instant, deliver: &mut impl FnMut(&mut [u8])) {
        self.release(now, deliver);
        if let Some(window) = &mut self.window {
            window.handle_timeout(now);
        }
    }

    /// Returns whether the peer's window has room for another packet; always, if it is not obeyed.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.window.as_ref().is_none_or(Window::is_open)
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) or [`poll_ack`](Self::poll_ack) is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Deadline> {
        let reorder = self.gap_deadline().map(|at| (at, REORDERING));
        let ack = self.acks.due().map(|at| (at, ACKNOWLEDGEMENT));
        let window = self.window.as_ref().and_then(Window::next_timeout).map(|at| (at, "full window"));
        earliest([reorder, ack, window])
    }

    /// Writes the header for the next payload to the front of `out`, with an acknowledgement if one is
    /// pending, and returns its length, 12 or 16 bytes. `None`: the payload is too long for GRE.
    pub fn header(&mut self, now: Instant, payload: usize, out: &mut [u8; MAX_HEADER]) -> Option<usize> {
        let Ok(payload) = u16::try_from(payload) else {
            self.counters.tx_oversize += 1;
            return None;
        };
        self.count_sent(now);
        let header =
            Header { call_id: self.config.peer_call_id, seq: Some(self.sent), ack: self.acks.take() };
        Some(gre::emit(header, payload, out))
    }

    /// Writes the header directly before the `payload` bytes at `out[MAX_HEADER..]` and returns the range of
    /// the whole packet. `None`: the payload is too long for GRE, or `out` too short for a header.
    pub fn put_header(&mut self, now: Instant, payload: usize, out: &mut [u8]) -> Option<Range<usize>> {
        let mut header = [0; MAX_HEADER];
        let size = self.header(now, payload, &mut header)?;
        let start = MAX_HEADER.checked_sub(size)?;
        out.get_mut(start..MAX_HEADER)?.copy_from_slice(header.get(..size)?);
        Some(start..MAX_HEADER + payload)
    }

    /// Returns a standalone acknowledgement, if one is due.
    pub fn poll_ack(&mut self, now: Instant) -> Option<[u8; 12]> {
        self.acks.due().filter(|due| *due <= now)?;
        let header = Header { call_id: self.config.peer_call_id, seq: None, ack: self.acks.take() };
        let mut out = [0; MAX_HEADER];
        gre::emit(header, 0, &mut out);
        self.counters.tx_acks += 1;
        out.first_chunk().copied()
    }

    /// Returns the number of the next packet to deliver; 0 before the first has arrived.
    #[must_use]
    pub const fn expected(&self) -> u32 {
        self.expected
    }

    /// Returns the key of the packets that we send: the peer's call ID (RFC 2637 §4.1).
    #[must_use]
    pub const fn peer_call_id(&self) -> u16 {
        self.config.peer_call_id
    }

    /// Returns the highest of our sequence numbers that the peer has acknowledged; 0 if none, as the first is 1.
    #[must_use]
    pub const fn acknowledged(&self) -> u32 {
        self.acks.highest_acknowledged()
    }

    /// Returns the counters of this flow.
    #[must_use]
    pub const fn counters(&self) -> &FlowCounters {
        &self.counters
    }

    fn take(
        &mut self,
        now: Instant,
        packet: &mut [u8],
        deliver: &mut impl FnMut(&mut [u8]),
    ) -> Result<(), DropReason> {
        let (header, payload) = gre::parse(packet).map_err(DropReason::Gre)?;
        if header.call_id != self.config.local_call_id {
            return Err(DropReason::WrongCall);
        }
        if let Some(ack) = header.ack {
            self.handle_ack(now, ack);
        }
        let (Some(seq), Some(payload)) = (header.seq, packet.get_mut(payload)) else { return Ok(()) };
        if self.stage == Stage::Silent {
            self.begin(now, seq);
        }
        if seq != self.expected || self.expected != self.end {
            return self.take_out_of_order(now, seq, payload, deliver);
        }
        // The usual case: no gap and no waiting packet.
        self.expected = seq.wrapping_add(1);
        self.end = self.expected;
        self.stage = Stage::Running;
        self.last = now;
        self.advances = self.advances.wrapping_add(1);
        self.ring.set(seq, Mark::Delivered);
        self.strays.reset();
        self.acks.received(now, seq);
        deliver_counted(&mut self.counters, payload, deliver);
        Ok(())
    }

    /// Takes the next sequence number for a packet.
    fn count_sent(&mut self, now: Instant) {
        self.sent = self.sent.wrapping_add(1);
        self.acks.sent(now, self.sent);
        self.counters.tx_sent += 1;
        if let Some(window) = &mut self.window {
            let was_open = window.is_open();
            window.record_sent(now, self.sent);
            self.counters.tx_window_full += u64::from(was_open && !window.is_open());
        }
    }

    fn handle_ack(&mut self, now: Instant, ack: u32) {
        if let Some(watch) = &mut self.watch {
            watch.acknowledged(ack);
        }
        match self.acks.acknowledged(now, ack, self.sent) {
            Ok(round_trip) => {
                self.counters.rx_acks += 1;
                if let Some(window) = &mut self.window {
                    window.record_ack(now, ack, round_trip);
                }
                self.counters.round_trip = round_trip.or(self.counters.round_trip);
            }
            Err(()) => self.counters.rx_acks_invalid += 1,
        }
    }
}

/// Delivers a payload and counts it. An empty packet uses up its number but is not passed to PPP.
fn deliver_counted(counters: &mut FlowCounters, payload: &mut [u8], deliver: &mut impl FnMut(&mut [u8])) {
    counters.rx_accepted += 1;
    if payload.is_empty() {
        counters.rx_empty += 1;
    } else {
        deliver(payload);
    }
}
