//! The PPP stream: what goes over the pty, pipe or socket to the PPP daemon, both ways, as bytes.
//!
//! Asynchronous (RFC 1662 §4) or, with `--sync`, one frame to a write (see [`sync`](super::sync)). What the
//! daemon does not read in time waits here up to a bound, and is dropped and counted beyond it: a daemon that
//! stands still must not keep us from the network. Pure: reading and writing is the gateway's.

use std::{collections::VecDeque, time::Instant};

use super::{accm::AccmWatch, sync::Cutter};
use crate::ppp::hdlc::{Decoder, Encoder, HdlcDrop, encoded_max};

/// The longest frame, as the classic program has it.
pub const LONGEST: usize = 8192;

/// Bytes that wait for the daemon at most.
const BOUND: usize = 256 * 1024;

/// The stream.
#[derive(Debug)]
pub struct Stream {
    framing: Framing,
    /// What waits for the daemon, from `sent` on.
    waiting: Vec<u8>,
    sent: usize,
    counters: StreamCounters,
}

#[derive(Debug)]
enum Framing {
    Async {
        decoder: Box<Decoder>,
        encoder: Encoder,
        watch: AccmWatch,
    },
    Sync {
        /// The lengths of the frames that wait for the daemon.
        lengths: VecDeque<usize>,
        cutter: Cutter,
    },
}

/// Frames, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Frames from the daemon.
    pub from_ppp: u64,
    /// Frames for the daemon, taken.
    pub to_ppp: u64,
    /// Frames for the daemon dropped, because it does not read.
    pub ppp_full: u64,
    /// Synchronous frames of which the daemon's side took only a part.
    pub ppp_cut: u64,
    /// Synchronous reads that gave more than one frame.
    pub ppp_joined: u64,
    /// Beginnings of synchronous frames that the daemon's side gave up and wrote again.
    pub ppp_stub: u64,
    /// Synchronous bytes that hold no end of a frame for longer than a frame can be.
    pub ppp_long: u64,
    /// Frames from the daemon dropped, in the order of [`HdlcDrop::ALL`].
    pub hdlc: [u64; 5],
}

impl Stream {
    /// A stream on which nothing has passed.
    #[must_use]
    pub fn new(synchronous: bool) -> Self {
        let framing = if synchronous {
            Framing::Sync { lengths: VecDeque::new(), cutter: Cutter::default() }
        } else {
            let decoder = Box::new(Decoder::new(LONGEST));
            Framing::Async { decoder, encoder: Encoder::default(), watch: AccmWatch::default() }
        };
        Self { framing, waiting: Vec::new(), sent: 0, counters: StreamCounters::default() }
    }

    /// Whether one write is one frame.
    #[must_use]
    pub const fn is_synchronous(&self) -> bool {
        matches!(self.framing, Framing::Sync { .. })
    }

    /// What one read gave; each good frame goes to `deliver`, in order. Reading goes on until there is nothing more,
    /// and then [`quiet`](Self::quiet) follows: a pty whose reader was late may have cut a frame in two.
    pub fn read(&mut self, bytes: &[u8], mut deliver: impl FnMut(&[u8])) {
        let counters = &mut self.counters;
        match &mut self.framing {
            Framing::Async { decoder, watch, .. } => {
                decoder.feed(bytes, |frame| {
                    counters.from_ppp += 1;
                    watch.daemon_sends(frame);
                    deliver(frame);
                });
                counters.hdlc = decoder.counters().drops;
            }
            Framing::Sync { cutter, .. } => cutter.read(bytes, counters, deliver),
        }
    }

    /// There is no more to read at present: what was held is whole, unless the daemon's end was full. To be called
    /// again when [`next_timeout`](Self::next_timeout) says so.
    pub fn quiet(&mut self, now: Instant, deliver: impl FnMut(&[u8])) {
        if let Framing::Sync { cutter, .. } = &mut self.framing {
            cutter.quiet(now, &mut self.counters, deliver);
        }
    }

    /// When [`quiet`](Self::quiet) is to be called: `Some(None)` is at once, if there is nothing to read.
    #[must_use]
    pub const fn next_timeout(&self) -> Option<Option<Instant>> {
        match &self.framing {
            Framing::Sync { cutter, .. } => cutter.next_timeout(),
            Framing::Async { .. } => None,
        }
    }

    /// A frame for the daemon: waits, or is dropped and counted.
    pub fn push(&mut self, frame: &[u8]) {
        let waiting = self.waiting.len() - self.sent;
        let room = match self.framing {
            Framing::Async { .. } => encoded_max(frame.len()),
            Framing::Sync { .. } => frame.len(),
        };
        if waiting + room > BOUND || frame.len() > LONGEST {
            self.counters.ppp_full += 1;
            return;
        }
        self.counters.to_ppp += 1;
        self.make_room();
        match &mut self.framing {
            Framing::Async { encoder, watch, .. } => {
                encoder.set_accm(watch.daemon_gets(frame));
                encoder.encode(frame, &mut self.waiting);
            }
            Framing::Sync { lengths, .. } => {
                self.waiting.extend_from_slice(frame);
                lengths.push_back(frame.len());
            }
        }
    }

    /// What to write next with one write(2); empty if there is nothing.
    #[must_use]
    pub fn to_write(&self) -> &[u8] {
        let end = match &self.framing {
            Framing::Async { .. } => self.waiting.len(),
            Framing::Sync { lengths, .. } => self.sent + lengths.front().copied().unwrap_or_default(),
        };
        self.waiting.get(self.sent..end).unwrap_or_default()
    }

    /// So many bytes of it were taken. The rest of a synchronous frame is of no use to anyone.
    pub fn written(&mut self, count: usize) {
        let mut gone = count;
        if let Framing::Sync { lengths, .. } = &mut self.framing
            && let Some(length) = lengths.pop_front()
        {
            self.counters.ppp_cut += u64::from(count < length);
            gone = length;
        }
        self.sent = (self.sent + gone).min(self.waiting.len());
        if self.sent == self.waiting.len() {
            self.waiting.clear();
            self.sent = 0;
        }
    }

    /// What has been met so far.
    #[must_use]
    pub const fn counters(&self) -> &StreamCounters {
        &self.counters
    }

    /// Moves what waits to the front once that is cheap, so that the memory stays within twice the bound.
    fn make_room(&mut self) {
        if self.sent > BOUND / 2 {
            self.waiting.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl StreamCounters {
    /// Every count with its label.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let mut named = vec![
            ("from_ppp", self.from_ppp),
            ("to_ppp", self.to_ppp),
            ("ppp_full", self.ppp_full),
            ("ppp_cut", self.ppp_cut),
            ("ppp_joined", self.ppp_joined),
            ("ppp_stub", self.ppp_stub),
            ("ppp_long", self.ppp_long),
        ];
        named.extend(HdlcDrop::ALL.map(HdlcDrop::label).into_iter().zip(self.hdlc));
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 8] = [0xff, 0x03, 0x80, 0x21, 1, 1, 0, 4];

    fn drain(stream: &mut Stream, piece: usize) -> Vec<Vec<u8>> {
        let mut writes = Vec::new();
        while !stream.to_write().is_empty() {
            let bytes = stream.to_write();
            let bytes = bytes[..bytes.len().min(piece)].to_vec();
            stream.written(bytes.len());
            writes.push(bytes);
        }
        writes
    }

    #[test]
    fn frames_pass_both_ways_in_both_modes() {
        for synchronous in [false, true] {
            let (mut here, mut there) = (Stream::new(synchronous), Stream::new(synchronous));
            for _ in 0..3 {
                here.push(&FRAME);
                here.push(&[0xfd, 0x90, 0x7e, 0x7d]);
            }
            let mut got = Vec::new();
            let now = Instant::now();
            let piece = if synchronous { usize::MAX } else { 3 };
            for write in drain(&mut here, piece) {
                there.read(&write, |frame| got.push(frame.to_vec()));
                there.quiet(now, |frame| got.push(frame.to_vec()));
            }
            assert_eq!(got, [&FRAME[..], &[0xfd, 0x90, 0x7e, 0x7d]].repeat(3));
            assert_eq!((here.counters().to_ppp, there.counters().from_ppp), (6, 6));
        }
    }

    #[test]
    fn a_daemon_that_does_not_read_costs_frames_and_no_memory() {
        for synchronous in [false, true] {
            let mut stream = Stream::new(synchronous);
            for _ in 0..10_000 {
                stream.push(&[0x21; 1400]);
            }
            let counters = *stream.counters();
            assert!(counters.ppp_full > 0 && counters.to_ppp + counters.ppp_full == 10_000);
            assert!(stream.waiting.len() <= BOUND);
            for _ in 0..1000 {
                let bytes = stream.to_write().len().min(1400);
                stream.written(bytes);
                stream.push(&[0x21; 1400]);
                assert!(stream.waiting.len() <= 2 * BOUND);
            }
        }
    }

    #[test]
    fn a_synchronous_frame_that_was_cut_is_not_followed_by_its_rest() {
        let mut stream = Stream::new(true);
        stream.push(&[1; 10]);
        stream.push(&[2; 10]);
        stream.written(4);
        assert_eq!(stream.to_write(), [2; 10]);
        assert_eq!(stream.counters().ppp_cut, 1);
    }

    #[test]
    fn a_bad_check_sum_is_dropped_and_counted() {
        let (mut here, mut there) = (Stream::new(false), Stream::new(false));
        here.push(&FRAME);
        let mut bytes = here.to_write().to_vec();
        bytes[3] ^= 1;
        there.read(&bytes, |frame| panic!("delivered {frame:?}"));
        assert_eq!(there.counters().hdlc[HdlcDrop::BadFcs as usize], 1);
    }
}
