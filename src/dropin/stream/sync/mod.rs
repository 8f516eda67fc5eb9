//! Synchronous mode: separates frames in a byte stream without delimiters.
//!
//! With `--sync` each end writes one frame with one write(2), and as long as the reader keeps up, each
//! read(2) returns one frame. That is the only framing, and it passes frames of any content and length. It
//! fails in two cases, both on a busy machine:
//!
//! * The reader is late, and one read returns several frames. [`boundary`] separates them as far as they
//!   state their lengths; whatever is uncertain is passed on unsplit.
//! * The reader is so late that the pty is full, and a frame arrives in two parts. A part held back by
//!   Linux's line discipline follows at once (unless the kernel's own thread has to wait for a processor, which
//!   cannot be seen), but a blocked writer continues only when it is scheduled again.
//!   So what may be the beginning of a frame waits for the rest, but only in this case: no other frame is
//!   delayed. The kernel's PPP driver does not block: it writes the frame again, and the first part is
//!   dropped.
//!
//! No I/O: the caller passes in the time and the end of input.

mod boundary;

use std::time::{Duration, Instant};

use boundary::{Boundary, LastEncrypted, STUB};

use super::{MAX_FRAME, StreamCounters};
use crate::deadline::Deadline;

/// Bytes that a pty holds for its reader. A frame can be cut only if the pty was full, and then at least this
/// many bytes have been read since it was last empty.
const READER_FULL: usize = 4095;
/// Bytes written at least when the writer has to block, including Linux's second buffer between writer and
/// reader.
const WRITER_FULL: usize = if cfg!(target_os = "linux") { 8191 } else { READER_FULL };
/// Linux passes a frame of this length or more on in two parts.
const SPLIT: usize = 1536;
/// How long to wait for the rest of a frame: until a blocked writer runs again on a busy machine.
const REST_TIMEOUT: Duration = Duration::from_millis(200);

/// Splits input into frames.
#[derive(Debug, Default)]
pub struct FrameSplitter {
    /// Bytes that may be only the beginning of a frame.
    held: Vec<u8>,
    /// Bytes read since the input was last empty.
    bytes_since_empty: usize,
    /// When the held bytes are delivered as a whole frame.
    due: Option<Instant>,
    last: Option<LastEncrypted>,
}

impl FrameSplitter {
    /// Takes the bytes of one read and passes each frame to `deliver`, in order.
    pub fn read(&mut self, bytes: &[u8], counters: &mut StreamCounters, mut deliver: impl FnMut(&[u8])) {
        self.bytes_since_empty += bytes.len();
        self.due = None;
        let mut before = std::mem::take(&mut self.held);
        if before.is_empty() || before.len() > MAX_FRAME {
            self.deliver(&before, counters, &mut deliver);
            before.clear();
        } else {
            match boundary::classify_held(&before, bytes) {
                Boundary::Whole | Boundary::Frame(_) => {
                    self.deliver(&before, counters, &mut deliver);
                    before.clear();
                }
                Boundary::Stub(_) => {
                    counters.ppp_stub += 1;
                    before.clear();
                }
                Boundary::Open => before.extend_from_slice(bytes),
            }
        }
        if before.is_empty() {
            before.extend_from_slice(self.cut(bytes, counters, &mut deliver));
        } else {
            let gone = before.len() - self.cut(&before, counters, &mut deliver).len();
            before.drain(..gone);
        }
        self.held = before;
    }

    /// Reports that there is nothing to read: delivers held bytes, unless their writer may be blocked within
    /// the frame. To be called again at [`next_timeout`](Self::next_timeout).
    pub fn input_idle(
        &mut self,
        now: Instant,
        counters: &mut StreamCounters,
        mut deliver: impl FnMut(&[u8]),
    ) {
        if !self.held.is_empty() {
            let torn = self.bytes_since_empty >= WRITER_FULL
                && (!cfg!(target_os = "linux") || self.held.len() < STUB || self.held.len() >= SPLIT);
            if torn && *self.due.get_or_insert(now + REST_TIMEOUT) > now {
                return;
            }
            let held = std::mem::take(&mut self.held);
            self.deliver(&held, counters, &mut deliver);
        }
        self.due = None;
        self.bytes_since_empty = 0;
    }

    /// Returns when to call [`quiet`](Self::input_idle); `now` means at once, if there is nothing to read.
    #[must_use]
    pub fn next_timeout(&self, now: Instant) -> Option<Deadline> {
        (!self.held.is_empty()).then(|| (self.due.unwrap_or(now), "rest of a frame"))
    }

    /// Delivers the frames of one read. Returns the last one if it may be incomplete.
    fn cut<'a>(
        &mut self,
        bytes: &'a [u8],
        counters: &mut StreamCounters,
        deliver: &mut impl FnMut(&[u8]),
    ) -> &'a [u8] {
        let mut rest = bytes;
        let mut joined = false;
        while !rest.is_empty() {
            let (end, whole) = match boundary::find_boundary(
                rest,
                self.last.as_ref(),
                self.bytes_since_empty >= READER_FULL,
            ) {
                Boundary::Frame(end) => (end.clamp(1, rest.len()), true),
                Boundary::Whole => (rest.len(), true),
                Boundary::Open => (rest.len(), self.bytes_since_empty < READER_FULL && rest.len() < SPLIT),
                Boundary::Stub(end) => {
                    counters.ppp_stub += 1;
                    rest = rest.get(end.max(1)..).unwrap_or_default();
                    continue;
                }
            };
            if !whole {
                return rest;
            }
            let (frame, after) = rest.split_at(end);
            if !after.is_empty() && !joined {
                joined = true;
                counters.ppp_joined += 1;
            }
            self.deliver(frame, counters, deliver);
            rest = after;
        }
        rest
    }

    fn deliver(&mut self, frame: &[u8], counters: &mut StreamCounters, deliver: &mut impl FnMut(&[u8])) {
        if frame.is_empty() {
            return;
        }
        if frame.len() > MAX_FRAME {
            counters.ppp_long += 1;
            return;
        }
        self.last = LastEncrypted::of(frame).or(self.last);
        counters.ppp.from_ppp += 1;
        deliver(frame);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        boundary::tests::{FULL, encrypted, ipv4},
        *,
    };

    fn read(splitter: &mut FrameSplitter, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        splitter.read(bytes, &mut StreamCounters::default(), |frame| got.push(frame.to_vec()));
        got
    }

    fn idle(splitter: &mut FrameSplitter, now: Instant) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        splitter.input_idle(now, &mut StreamCounters::default(), |frame| got.push(frame.to_vec()));
        got
    }

    fn frames(count: u16, length: usize) -> Vec<Vec<u8>> {
        (0..count).map(|n| encrypted(&[0xfd], n, length)).collect()
    }

    #[test]
    fn single_frame_is_delivered_at_once() {
        let mut splitter = FrameSplitter::default();
        for frame in [encrypted(&FULL, 1, 1400), ipv4(40), vec![0x2d, 1, 2], encrypted(&[0xfd], 2, 3)] {
            assert_eq!(read(&mut splitter, &frame), [frame]);
            assert_eq!(splitter.next_timeout(Instant::now()), None);
            idle(&mut splitter, Instant::now());
        }
    }

    #[test]
    fn frame_split_by_full_pty_is_reassembled() {
        for size in [4095, 1376, 1000, 700] {
            let (mut splitter, mut got) = (FrameSplitter::default(), Vec::new());
            for length in [1373, 97] {
                let frames = frames(100, length);
                for piece in frames.concat().chunks(size) {
                    // The pty is full from the beginning.
                    splitter.bytes_since_empty += READER_FULL;
                    got.extend(read(&mut splitter, piece));
                }
                let now = Instant::now();
                got.extend(idle(&mut splitter, now));
                got.extend(idle(&mut splitter, now + REST_TIMEOUT));
                assert_eq!(std::mem::take(&mut got), frames, "{size}");
            }
        }
    }

    #[test]
    fn only_last_frame_of_full_pty_waits() {
        let now = Instant::now();
        for (count, length, waits) in [(8, 1373, false), (100, 97, true), (50, 97, false), (6, 1600, true)] {
            let (mut splitter, frames) = (FrameSplitter::default(), frames(count, length));
            let mut got = read(&mut splitter, &frames.concat());
            assert_eq!(got.len(), frames.len() - 1, "the last may have been cut");
            assert_eq!(splitter.next_timeout(now), Some((now, "rest of a frame")));
            got.extend(idle(&mut splitter, now));
            if waits {
                let due = Some((now + REST_TIMEOUT, "rest of a frame"));
                assert_eq!(splitter.next_timeout(now), due, "{count} of {length}");
                got.extend(idle(&mut splitter, now + REST_TIMEOUT));
            }
            assert_eq!(got, frames);
            assert_eq!(splitter.next_timeout(now), None);
        }
    }

    #[test]
    fn late_rest_loses_only_its_own_frame() {
        let (mut splitter, frames) = (FrameSplitter::default(), frames(104, 97));
        let mut got = read(&mut splitter, &[frames[..100].concat(), frames[100][..40].to_vec()].concat());
        let now = Instant::now();
        got.extend(idle(&mut splitter, now));
        got.extend(idle(&mut splitter, now + REST_TIMEOUT));
        got.extend(read(&mut splitter, &[&frames[100][40..], &frames[101..].concat()].concat()));
        got.extend(idle(&mut splitter, now + REST_TIMEOUT));
        assert_eq!(got[..100], frames[..100]);
        assert_eq!(got[102..], frames[101..]);
    }

    #[test]
    fn oversized_input_is_dropped_and_counted() {
        let (mut splitter, mut counters) = (FrameSplitter::default(), StreamCounters::default());
        for _ in 0..3 {
            splitter.read(&[2; 4096], &mut counters, |frame| panic!("delivered {} bytes", frame.len()));
        }
        splitter.input_idle(Instant::now() + REST_TIMEOUT, &mut counters, |_| panic!("delivered"));
        splitter.input_idle(Instant::now() + 2 * REST_TIMEOUT, &mut counters, |_| panic!("delivered"));
        assert_eq!((counters.ppp_long, counters.ppp.from_ppp), (1, 0));
        assert!(splitter.held.is_empty());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_pass_unchanged(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..20),
        ) {
            let (mut splitter, mut counters, mut got) = (FrameSplitter::default(), StreamCounters::default(), Vec::new());
            let now = Instant::now();
            for piece in &pieces {
                splitter.read(piece, &mut counters, |frame| got.extend_from_slice(frame));
            }
            splitter.input_idle(now, &mut counters, |frame| got.extend_from_slice(frame));
            splitter.input_idle(now + REST_TIMEOUT, &mut counters, |frame| got.extend_from_slice(frame));
            if counters.ppp_stub + counters.ppp_long == 0 {
                prop_assert_eq!(got, pieces.concat());
            }
        }
    }
}
