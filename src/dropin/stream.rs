//! The PPP stream: the bytes exchanged with the PPP daemon over a pty, pipe or socket.
//!
//! Asynchronous (RFC 1662 §4) or, with `--sync`, one frame per write (see [`sync`]). [`PppStream`] buffers the
//! output, so that a stopped daemon does not block the network side. No I/O: the gateway reads and writes.

mod sync;

use std::{collections::VecDeque, time::Instant};

use self::sync::FrameSplitter;
use super::accm::AccmWatch;
use crate::deadline::Deadline;
use crate::ppp::{
    hdlc::{encode, encoded_max},
    stream::{PppCounters, PppStream},
};

/// Longest frame in bytes, as in the classic program.
pub const MAX_FRAME: usize = 8192;

/// A stream in one framing.
#[derive(Debug)]
pub struct Stream {
    framing: Framing,
    stream: PppStream,
    counters: StreamCounters,
}

#[derive(Debug)]
enum Framing {
    Async(AccmWatch),
    Sync {
        /// Lengths of the frames in the output buffer.
        lengths: VecDeque<usize>,
        cutter: FrameSplitter,
    },
}

/// Frames counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Frames in either mode.
    pub ppp: PppCounters,
    /// Synchronous frames that were written only in part.
    pub ppp_cut: u64,
    /// Synchronous reads that returned more than one frame.
    pub ppp_joined: u64,
    /// Truncated synchronous frames that the daemon's side abandoned and wrote again.
    pub ppp_stub: u64,
    /// Synchronous input dropped because it has no frame boundary within the longest frame.
    pub ppp_long: u64,
}

impl Stream {
    /// Returns a stream on which nothing has passed.
    #[must_use]
    pub fn new(synchronous: bool) -> Self {
        let framing = if synchronous {
            Framing::Sync { lengths: VecDeque::new(), cutter: FrameSplitter::default() }
        } else {
            Framing::Async(AccmWatch::default())
        };
        Self { framing, stream: PppStream::new(MAX_FRAME), counters: StreamCounters::default() }
    }

    /// Returns whether each write is one frame.
    #[must_use]
    pub const fn is_synchronous(&self) -> bool {
        matches!(self.framing, Framing::Sync { .. })
    }

    /// Takes the bytes of one read and passes each valid frame to `deliver`, in order. The caller reads until
    /// nothing is left and then calls [`quiet`](Self::input_idle): a pty whose reader was late may have split a
    /// frame.
    pub fn read(&mut self, bytes: &[u8], mut deliver: impl FnMut(&[u8])) {
        let Self { framing, stream, counters } = self;
        match framing {
            Framing::Async(watch) => stream.read(bytes, &mut counters.ppp, |frame| {
                watch.daemon_sends(frame);
                deliver(frame);
            }),
            Framing::Sync { cutter, .. } => cutter.read(bytes, counters, deliver),
        }
    }

    /// Reports that there is nothing to read: delivers held bytes as a frame, unless the daemon's end was
    /// full. To be called again at [`next_timeout`](Self::next_timeout).
    pub fn input_idle(&mut self, now: Instant, deliver: impl FnMut(&[u8])) {
        if let Framing::Sync { cutter, .. } = &mut self.framing {
            cutter.input_idle(now, &mut self.counters, deliver);
        }
    }

    /// Returns when to call [`quiet`](Self::input_idle); `now` means at once, if there is nothing to read.
    #[must_use]
    pub fn next_timeout(&self, now: Instant) -> Option<Deadline> {
        match &self.framing {
            Framing::Sync { cutter, .. } => cutter.next_timeout(now),
            Framing::Async(_) => None,
        }
    }

    /// Queues a frame for the daemon, or drops and counts it.
    pub fn push(&mut self, frame: &[u8]) {
        let Self { framing, stream, counters: StreamCounters { ppp: counters, .. } } = self;
        if frame.len() > MAX_FRAME {
            counters.ppp_full += 1;
            return;
        }
        match framing {
            Framing::Async(watch) => stream.push(encoded_max(frame.len()), counters, |out| {
                encode(frame, watch.daemon_gets(frame), out);
            }),
            Framing::Sync { lengths, .. } => stream.push(frame.len(), counters, |out| {
                out.extend_from_slice(frame);
                lengths.push_back(frame.len());
            }),
        }
    }

    /// Returns the bytes for the next write(2); empty if there are none.
    #[must_use]
    pub fn to_write(&self) -> &[u8] {
        let bytes = self.stream.to_write();
        match &self.framing {
            Framing::Async(_) => bytes,
            Framing::Sync { lengths, .. } => {
                bytes.get(..lengths.front().copied().unwrap_or_default()).unwrap_or_default()
            }
        }
    }

    /// Marks `count` bytes as written. The rest of a synchronous frame is useless and discarded.
    pub fn written(&mut self, count: usize) {
        let mut gone = count;
        if let Framing::Sync { lengths, .. } = &mut self.framing
            && let Some(length) = lengths.pop_front()
        {
            self.counters.ppp_cut += u64::from(count < length);
            gone = length;
        }
        self.stream.written(gone);
    }

    /// Returns the counters.
    #[must_use]
    pub const fn counters(&self) -> &StreamCounters {
        &self.counters
    }
}

impl StreamCounters {
    /// Returns every counter with its label.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let mut named = self.ppp.named();
        let synchronous = [
            ("ppp_cut", self.ppp_cut),
            ("ppp_joined", self.ppp_joined),
            ("ppp_stub", self.ppp_stub),
            ("ppp_long", self.ppp_long),
        ];
        // Before those of the HDLC framing.
        named.splice(3..3, synchronous);
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ppp::{hdlc::HdlcDrop, stream::MAX_QUEUED};

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
    fn frames_round_trip_in_both_modes() {
        for synchronous in [false, true] {
            let (mut sender, mut receiver) = (Stream::new(synchronous), Stream::new(synchronous));
            for _ in 0..3 {
                sender.push(&FRAME);
                sender.push(&[0xfd, 0x90, 0x7e, 0x7d]);
            }
            let mut got = Vec::new();
            let now = Instant::now();
            let piece = if synchronous { usize::MAX } else { 3 };
            for write in drain(&mut sender, piece) {
                receiver.read(&write, |frame| got.push(frame.to_vec()));
                receiver.input_idle(now, |frame| got.push(frame.to_vec()));
            }
            assert_eq!(got, [&FRAME[..], &[0xfd, 0x90, 0x7e, 0x7d]].repeat(3));
            assert_eq!((sender.counters().ppp.to_ppp, receiver.counters().ppp.from_ppp), (6, 6));
        }
    }

    #[test]
    fn full_buffer_drops_frames_and_stays_bounded() {
        for synchronous in [false, true] {
            let mut stream = Stream::new(synchronous);
            for _ in 0..10_000 {
                stream.push(&[0x21; 1400]);
            }
            let counters = stream.counters().ppp;
            assert!(counters.ppp_full > 0 && counters.to_ppp + counters.ppp_full == 10_000);
            assert!(stream.stream.buffered() <= MAX_QUEUED);
            for _ in 0..1000 {
                let bytes = stream.to_write().len().min(1400);
                stream.written(bytes);
                stream.push(&[0x21; 1400]);
                assert!(stream.stream.buffered() <= 2 * MAX_QUEUED);
            }
        }
    }

    #[test]
    fn rest_of_cut_synchronous_frame_is_dropped() {
        let mut stream = Stream::new(true);
        stream.push(&[1; 10]);
        stream.push(&[2; 10]);
        stream.written(4);
        assert_eq!(stream.to_write(), [2; 10]);
        assert_eq!(stream.counters().ppp_cut, 1);
    }

    #[test]
    fn frame_with_bad_fcs_is_dropped_and_counted() {
        let (mut sender, mut receiver) = (Stream::new(false), Stream::new(false));
        sender.push(&FRAME);
        let mut bytes = sender.to_write().to_vec();
        bytes[3] ^= 1;
        receiver.read(&bytes, |frame| panic!("delivered {frame:?}"));
        assert_eq!(receiver.counters().ppp.hdlc[HdlcDrop::BadFcs as usize], 1);
    }
}
