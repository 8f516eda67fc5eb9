//! One call's packets in both directions: sequence numbers, acknowledgements, order (RFC 2637 §4).
//!
//! The data path. Nothing is allocated per packet, nothing is hashed, and a packet that comes in order is
//! handed on where it lies. Owns the numbers; does not own the socket, nor what PPP makes of a payload.
//!
//! Receiving is liberal, and never stands still:
//!
//! * A gap holds up what follows for as long as reordering has been seen to take (`hold`), counted anew while it is
//!   being filled, then its numbers count as lost. What follows by 256 numbers or more pushes the gap out at once.
//! * The first packet sets the base. If its number is above 1, earlier ones may have been overtaken: it waits
//!   as behind a gap, and earlier ones are still taken: all of them if it is below 256, for peers begin at 0
//!   or 1, else 16. What never came in front of the first that did is not counted as lost.
//! * What is over the window (64 Ki numbers ahead; `missing_window` if set) is dropped as a stray, but four
//!   such packets near each other are the truth: the peer is there now.
//! * Four packets behind what was delivered, near each other, after a second in which nothing else came, mean
//!   that the peer has begun anew, and so do we. Duplicates never count for that.

mod ack;
mod counters;
mod hold;
mod order;
mod ring;
#[cfg(test)]
mod tests;

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use ack::Acks;
pub use counters::{DropReason, FlowCounters};
use hold::Hold;
use order::OutlierFilter;
use ring::{Mark, Ring};

use super::gre::{self, Header, MAX_HEADER};

/// How far ahead a packet may be and is still believed at once, unless `missing_window` says otherwise.
const BELIEVABLE: u32 = 0x1_0000;
/// Strays near each other that convince us.
const CONVINCING: u8 = 4;
/// How long nothing else must have come before strays behind us can convince.
const RESTART_SILENCE: Duration = Duration::from_secs(1);
/// How much earlier than the first packet one may be, if the peer has begun just anywhere.
const BEFORE_FIRST: u32 = 16;

/// What order is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reorder {
    /// Nothing waits: a gap is accepted at once, and what comes late is dropped (pptp(8)'s `--nobuffer`).
    Off,
    /// What follows a gap waits as long as measurement says.
    Adaptive {
        /// And never longer than this (pptp(8)'s `--timeout`).
        max: Duration,
    },
}

/// What the flow is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowConfig {
    /// Our identifier of the call: the key of packets that we receive.
    pub local_call_id: u16,
    /// The peer's identifier: the key of packets that we send.
    pub peer_call_id: u16,
    /// Packets that we told the peer we buffer: says how often to acknowledge.
    pub window: u16,
    /// What order is worth.
    pub reorder: Reorder,
    /// How far ahead a packet may be and is still believed at once (pptp(8)'s `--missing-window`).
    pub missing_window: Option<u32>,
}

impl FlowConfig {
    /// As the classic client by default: a window of 3, at most 0.3 s of waiting.
    #[must_use]
    pub const fn new(local_call_id: u16, peer_call_id: u16) -> Self {
        let reorder = Reorder::Adaptive { max: Duration::from_millis(300) };
        Self { local_call_id, peer_call_id, window: 3, reorder, missing_window: None }
    }
}

/// Why the flow wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A gap has waited long enough: `handle_timeout`.
    Reorder,
    /// A lone acknowledgement is due: `poll_ack`.
    Ack,
}

/// The flow.
#[derive(Debug)]
pub struct Flow {
    config: FlowConfig,
    hold: Option<Hold>,
    ring: Ring,
    /// The next number to deliver.
    expected: u32,
    /// The number after the highest received. Between the two lie packets that wait and gaps, 256 numbers at
    /// most; they are equal if nothing waits.
    end: u32,
    /// When the last packet was taken.
    last: Instant,
    stage: Stage,
    strays: OutlierFilter,
    acks: Acks,
    /// Packets with a higher number than any before, for counting what followed a gap: one that merely fills
    /// an earlier gap proves nothing.
    advances: u32,
    /// The last gap of which a part has come: when it was noticed, and when that part came.
    filled: Option<(Instant, Instant)>,
    /// The last number sent; the first is 1, as pptp(8)'s.
    sent: u32,
    counters: FlowCounters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has been received: any number is right.
    Silent,
    /// Nothing has been delivered: what is missing was perhaps never sent.
    Fresh,
    Running,
}

impl Flow {
    /// The flow of a call that has just come up.
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
            filled: None,
            sent: 0,
            counters: FlowCounters::default(),
        }
    }

    /// Takes a packet, its IP header off, and delivers the payloads that are thereby in order: none, its own,
    /// or several.
    ///
    /// # Errors
    /// The packet was dropped, and counted under that name. Payloads may have been delivered nevertheless.
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

    /// Delivers what has waited long enough; nothing is due before [`next_timeout`](Self::next_timeout).
    pub fn handle_timeout(&mut self, now: Instant, deliver: &mut impl FnMut(&mut [u8])) {
        self.release(now, deliver);
    }

    /// The earliest moment at which there is something to do, and what.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, Timer)> {
        let reorder = self.gap_deadline().map(|at| (at, Timer::Reorder));
        let ack = self.acks.due().map(|at| (at, Timer::Ack));
        reorder.into_iter().chain(ack).min_by_key(|(at, _)| *at)
    }

    /// Writes the header for the next payload to the front of `out` and says how long it is, 12 or 16 bytes:
    /// with an acknowledgement if one is owed. `None`: no GRE packet holds so long a payload.
    pub fn header(&mut self, now: Instant, payload: usize, out: &mut [u8; MAX_HEADER]) -> Option<usize> {
        let Ok(payload) = u16::try_from(payload) else {
            self.counters.tx_oversize += 1;
            return None;
        };
        self.sent = self.sent.wrapping_add(1);
        self.acks.sent(now, self.sent);
        self.counters.tx_sent += 1;
        let header =
            Header { call_id: self.config.peer_call_id, seq: Some(self.sent), ack: self.acks.take() };
        Some(gre::emit(header, payload, out))
    }

    /// Writes the header right before the payload of so many bytes that stands at `out[MAX_HEADER..]`, and gives the
    /// place of the whole packet. `None`: no GRE packet holds so long a payload, or `out` has no room for a header.
    pub fn put_header(&mut self, now: Instant, payload: usize, out: &mut [u8]) -> Option<Range<usize>> {
        let mut header = [0; MAX_HEADER];
        let size = self.header(now, payload, &mut header)?;
        let start = MAX_HEADER.checked_sub(size)?;
        out.get_mut(start..MAX_HEADER)?.copy_from_slice(header.get(..size)?);
        Some(start..MAX_HEADER + payload)
    }

    /// A lone acknowledgement, if one is due.
    pub fn poll_ack(&mut self, now: Instant) -> Option<[u8; 12]> {
        self.acks.due().filter(|due| *due <= now)?;
        let header = Header { call_id: self.config.peer_call_id, seq: None, ack: self.acks.take() };
        let mut out = [0; MAX_HEADER];
        gre::emit(header, 0, &mut out);
        self.counters.tx_acks += 1;
        out.first_chunk().copied()
    }

    /// The number of the next packet to deliver; 0 before the first has come.
    #[must_use]
    pub const fn expected(&self) -> u32 {
        self.expected
    }

    /// The key of the packets that are sent: the peer's number for the call (RFC 2637 §4.1).
    #[must_use]
    pub const fn peer_call_id(&self) -> u16 {
        self.config.peer_call_id
    }

    /// What has been met so far.
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
            self.acknowledged(now, ack);
        }
        let (Some(seq), Some(payload)) = (header.seq, packet.get_mut(payload)) else { return Ok(()) };
        if self.stage == Stage::Silent {
            self.begin(now, seq);
        }
        if seq != self.expected || self.expected != self.end {
            return self.take_out_of_order(now, seq, payload, deliver);
        }
        // The usual case: nothing is missing, nothing waits.
        self.expected = seq.wrapping_add(1);
        self.end = self.expected;
        self.stage = Stage::Running;
        self.last = now;
        self.advances = self.advances.wrapping_add(1);
        self.ring.set(seq, Mark::Delivered);
        self.strays.forget();
        self.acks.received(now, seq);
        hand_over(&mut self.counters, payload, deliver);
        Ok(())
    }

    fn acknowledged(&mut self, now: Instant, ack: u32) {
        match self.acks.acknowledged(now, ack, self.sent) {
            Ok(round_trip) => {
                self.counters.rx_acks += 1;
                self.counters.round_trip = round_trip.or(self.counters.round_trip);
            }
            Err(()) => self.counters.rx_acks_invalid += 1,
        }
    }
}

/// Delivers a payload and counts it. A packet may be empty: it uses up its number, but PPP has no use for it.
fn hand_over(counters: &mut FlowCounters, payload: &mut [u8], deliver: &mut impl FnMut(&mut [u8])) {
    counters.rx_accepted += 1;
    if payload.is_empty() {
        counters.rx_empty += 1;
    } else {
        deliver(payload);
    }
}
