//! Synchronous mode: which bytes are a frame where nothing marks its end.
//!
//! A pty or a stream socket carries bytes. With `--sync` each end writes one frame with one write(2), and as long
//! as the reader keeps up each read(2) gives one frame back: that is all the framing there is, and frames of
//! any content and length pass. Two things break it, both on a busy machine:
//!
//! * The reader is late: one read gives several frames. [`boundary`] tells them apart as far as they say what they are;
//!   whatever is not certain goes on whole.
//! * The reader is so late that the pty is full: a frame comes in two parts. What Linux's line discipline holds back
//!   follows at once; but a writer that waits goes on with its frame only when it is scheduled again, which takes as long
//!   as others use the processor. So what may be a beginning waits for its rest, but only then: for every other frame
//!   there is no wait. The kernel's own PPP does not wait: it writes the frame again, and its beginning is dropped.
//!
//! Pure: time comes in, and that there is nothing more to read.

mod boundary;

use std::time::{Duration, Instant};

use boundary::{Boundary, Last, STUB};

use super::stream::{LONGEST, StreamCounters};

/// A pty holds so many bytes for its reader. Only when it was full can a frame be cut, and then so many have been read
/// since it was last empty.
const READER_FULL: usize = 4095;
/// With what is still on its way to there, at least so many have been written when the writer has to wait. Elsewhere than
/// on Linux there is no such second buffer.
const WRITER_FULL: usize = if cfg!(target_os = "linux") { 8191 } else { READER_FULL };
/// Linux hands on a frame of this length or more in two parts.
const SPLIT: usize = 1536;
/// How long the rest of a frame may take then: until a waiting writer runs again on a machine that is busy.
const REST: Duration = Duration::from_millis(200);

/// Makes frames of what was read.
#[derive(Debug, Default)]
pub struct Cutter {
    /// What was read and may be the beginning of a frame only.
    held: Vec<u8>,
    /// Bytes read since there was last nothing to read.
    run: usize,
    /// When what is held is whole after all.
    due: Option<Instant>,
    last: Option<Last>,
}

impl Cutter {
    /// What one read gave; each frame goes to `deliver`, in order.
    pub fn read(&mut self, bytes: &[u8], counters: &mut StreamCounters, mut deliver: impl FnMut(&[u8])) {
        self.run += bytes.len();
        self.due = None;
        let mut before = std::mem::take(&mut self.held);
        if before.is_empty() || before.len() > LONGEST {
            self.deliver(&before, counters, &mut deliver);
            before.clear();
        } else {
            match boundary::apart(&before, bytes) {
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

    /// There is nothing more to read at present: what was held is whole, unless its writer may be waiting in the middle of
    /// it. To be called again when [`next_timeout`](Self::next_timeout) says so.
    pub fn quiet(&mut self, now: Instant, counters: &mut StreamCounters, mut deliver: impl FnMut(&[u8])) {
        if !self.held.is_empty() {
            let torn = self.run >= WRITER_FULL
                && (!cfg!(target_os = "linux") || self.held.len() < STUB || self.held.len() >= SPLIT);
            if torn && *self.due.get_or_insert(now + REST) > now {
                return;
            }
            let held = std::mem::take(&mut self.held);
            self.deliver(&held, counters, &mut deliver);
        }
        self.due = None;
        self.run = 0;
    }

    /// When [`quiet`](Self::quiet) is to be called: `Some(None)` is at once, if there is nothing to read.
    #[must_use]
    pub const fn next_timeout(&self) -> Option<Option<Instant>> {
        if self.held.is_empty() { None } else { Some(self.due) }
    }

    /// Delivers the frames of one read; gives back the last, if it may be the beginning of one.
    fn cut<'a>(
        &mut self,
        bytes: &'a [u8],
        counters: &mut StreamCounters,
        deliver: &mut impl FnMut(&[u8]),
    ) -> &'a [u8] {
        let mut rest = bytes;
        let mut joined = false;
        while !rest.is_empty() {
            let (end, whole) = match boundary::first(rest, self.last.as_ref(), self.run >= READER_FULL) {
                Boundary::Frame(end) => (end.clamp(1, rest.len()), true),
                Boundary::Whole => (rest.len(), true),
                Boundary::Open => (rest.len(), self.run < READER_FULL && rest.len() < SPLIT),
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
        if frame.len() > LONGEST {
            counters.ppp_long += 1;
            return;
        }
        self.last = Last::of(frame).or(self.last);
        counters.from_ppp += 1;
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

    fn read(cutter: &mut Cutter, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        cutter.read(bytes, &mut StreamCounters::default(), |frame| got.push(frame.to_vec()));
        got
    }

    fn quiet(cutter: &mut Cutter, now: Instant) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        cutter.quiet(now, &mut StreamCounters::default(), |frame| got.push(frame.to_vec()));
        got
    }

    fn frames(count: u16, length: usize) -> Vec<Vec<u8>> {
        (0..count).map(|n| encrypted(&[0xfd], n, length)).collect()
    }

    #[test]
    fn a_frame_that_comes_alone_goes_on_at_once() {
        let mut cutter = Cutter::default();
        for frame in [encrypted(&FULL, 1, 1400), ipv4(40), vec![0x2d, 1, 2], encrypted(&[0xfd], 2, 3)] {
            assert_eq!(read(&mut cutter, &frame), [frame]);
            assert_eq!(cutter.next_timeout(), None);
            quiet(&mut cutter, Instant::now());
        }
    }

    #[test]
    fn a_frame_that_a_full_pty_has_cut_in_two_is_whole_again() {
        for size in [4095, 1376, 1000, 700] {
            let (mut cutter, mut got) = (Cutter::default(), Vec::new());
            for length in [1373, 97] {
                let frames = frames(100, length);
                for piece in frames.concat().chunks(size) {
                    // The pty is full from the beginning.
                    cutter.run += READER_FULL;
                    got.extend(read(&mut cutter, piece));
                }
                let now = Instant::now();
                got.extend(quiet(&mut cutter, now));
                got.extend(quiet(&mut cutter, now + REST));
                assert_eq!(std::mem::take(&mut got), frames, "{size}");
            }
        }
    }

    #[test]
    fn only_the_end_of_a_full_pty_waits_for_its_writer() {
        let now = Instant::now();
        for (count, length, waits) in [(8, 1373, false), (100, 97, true), (50, 97, false), (6, 1600, true)] {
            let (mut cutter, frames) = (Cutter::default(), frames(count, length));
            let mut got = read(&mut cutter, &frames.concat());
            assert_eq!(got.len(), frames.len() - 1, "the last may have been cut");
            assert_eq!(cutter.next_timeout(), Some(None));
            got.extend(quiet(&mut cutter, now));
            if waits {
                assert_eq!(cutter.next_timeout(), Some(Some(now + REST)), "{count} of {length}");
                got.extend(quiet(&mut cutter, now + REST));
            }
            assert_eq!(got, frames);
            assert_eq!(cutter.next_timeout(), None);
        }
    }

    #[test]
    fn a_rest_that_comes_too_late_costs_its_own_frame_only() {
        let (mut cutter, frames) = (Cutter::default(), frames(104, 97));
        let mut got = read(&mut cutter, &[frames[..100].concat(), frames[100][..40].to_vec()].concat());
        let now = Instant::now();
        got.extend(quiet(&mut cutter, now));
        got.extend(quiet(&mut cutter, now + REST));
        got.extend(read(&mut cutter, &[&frames[100][40..], &frames[101..].concat()].concat()));
        got.extend(quiet(&mut cutter, now + REST));
        assert_eq!(got[..100], frames[..100]);
        assert_eq!(got[102..], frames[101..]);
    }

    #[test]
    fn what_is_longer_than_any_frame_is_dropped_and_counted() {
        let (mut cutter, mut counters) = (Cutter::default(), StreamCounters::default());
        for _ in 0..3 {
            cutter.read(&[2; 4096], &mut counters, |frame| panic!("delivered {} bytes", frame.len()));
        }
        cutter.quiet(Instant::now() + REST, &mut counters, |_| panic!("delivered"));
        cutter.quiet(Instant::now() + 2 * REST, &mut counters, |_| panic!("delivered"));
        assert_eq!((counters.ppp_long, counters.from_ppp), (1, 0));
        assert!(cutter.held.is_empty());
    }

    proptest! {
        #[test]
        fn bytes_that_are_no_frames_come_out_again(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..20),
        ) {
            let (mut cutter, mut counters, mut got) = (Cutter::default(), StreamCounters::default(), Vec::new());
            let now = Instant::now();
            for piece in &pieces {
                cutter.read(piece, &mut counters, |frame| got.extend_from_slice(frame));
            }
            cutter.quiet(now, &mut counters, |frame| got.extend_from_slice(frame));
            cutter.quiet(now + REST, &mut counters, |frame| got.extend_from_slice(frame));
            if counters.ppp_stub + counters.ppp_long == 0 {
                prop_assert_eq!(got, pieces.concat());
            }
        }
    }
}
