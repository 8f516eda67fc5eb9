//! HDLC decoder: bytes to frames.

use std::fmt;

use super::{
    ESCAPE, ESCAPE_BIT, FLAG,
    chunk::{CHUNK, ChunkMask, EscapeBuffer, find},
    fcs,
};

/// Finds the frames in a stream that arrives in pieces of any size. Keeps control characters that are not
/// escaped, whatever the ACCM: a pty inserts none.
pub struct Decoder {
    /// The frame received so far, escapes removed, FCS included.
    pub(super) frame: Vec<u8>,
    longest: usize,
    state: DecoderState,
    counters: DecoderCounters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DecoderState {
    /// Before the first flag, or after a frame that was too long: waiting for a flag.
    Hunting,
    Inside,
    /// The last byte was an escape.
    Escaped,
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HdlcDrop {
    /// The FCS does not match: bytes were lost or damaged.
    BadFcs,
    /// Fewer than two bytes besides the FCS, which RFC 1662 §4.3 declares invalid.
    Short,
    /// Longer than the limit.
    Long,
    /// The sender aborted it with escape and flag (RFC 1662 §4.3).
    Aborted,
    /// Bytes before the first flag, such as leftovers of a chat script.
    Noise,
}

/// Counters since the decoder was created. They wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecoderCounters {
    /// Frames delivered.
    pub frames: u64,
    /// Frames dropped, in the order of [`HdlcDrop::ALL`].
    pub drops: [u64; 5],
}

impl Decoder {
    /// Creates a decoder for frames of at most `longest` bytes without FCS. Its memory is bounded by that.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self {
            frame: Vec::with_capacity(longest + 2),
            longest,
            state: DecoderState::Hunting,
            counters: DecoderCounters::default(),
        }
    }

    /// Takes the next bytes of the stream, and passes each good frame, without FCS, to `deliver` in order.
    pub fn feed(&mut self, bytes: &[u8], mut deliver: impl FnMut(&mut [u8])) {
        let mut rest = bytes;
        if self.state == DecoderState::Hunting {
            rest = self.hunt(rest);
        }
        while !rest.is_empty() {
            let to_flag = find(FLAG, rest);
            let (span, after) = rest.split_at(to_flag.unwrap_or(rest.len()));
            rest = after.get(1..).unwrap_or_default();
            if !self.take_span(span) {
                // Too long: everything before the next flag is discarded, and that flag was found.
                if to_flag.is_some() {
                    self.begin();
                }
            } else if to_flag.is_some() {
                if self.state == DecoderState::Escaped {
                    self.drop_frame(HdlcDrop::Aborted);
                } else {
                    self.finish(&mut deliver);
                }
                self.begin();
            }
        }
    }

    /// Appends bytes without flags to the frame, escapes removed. Returns `false` if the frame is too long.
    fn take_span(&mut self, span: &[u8]) -> bool {
        let (mut marks, mut copy) = (ChunkMask::new(), EscapeBuffer::new());
        marks.set_carry(self.state == DecoderState::Escaped);
        let mut rest = span;
        while self.frame.len() + CHUNK <= self.longest + 2 {
            let Some((chunk, after)) = rest.split_first_chunk::<CHUNK>() else { break };
            rest = after;
            if let Some(length) = unescape_chunk(chunk, CHUNK, &mut marks, &mut copy) {
                let length = self.frame.len() + length;
                self.frame.extend_from_slice(copy.copied_and_more::<CHUNK>().1);
                self.frame.truncate(length);
            } else {
                // Cannot fail: there is room for a chunk.
                self.take_bytes(chunk, &mut marks);
            }
        }
        if rest.len() < CHUNK && self.frame.len() + rest.len() <= self.longest + 2 {
            let mut chunk = [0; CHUNK];
            if let Some(begin) = chunk.get_mut(..rest.len()) {
                begin.copy_from_slice(rest);
            }
            if unescape_chunk(&chunk, rest.len(), &mut marks, &mut copy).is_some() {
                self.frame.extend_from_slice(copy.copied());
                rest = &[];
            }
        }
        if !self.take_bytes(rest, &mut marks) {
            self.drop_frame(HdlcDrop::Long);
            self.frame.clear();
            self.state = DecoderState::Hunting;
            return false;
        }
        self.state = if marks.carry() { DecoderState::Escaped } else { DecoderState::Inside };
        true
    }

    /// Does the same as [`Self::take_span`], byte by byte.
    fn take_bytes(&mut self, bytes: &[u8], marks: &mut ChunkMask) -> bool {
        for byte in bytes {
            if !marks.carry() && *byte == ESCAPE {
                marks.set_carry(true);
                continue;
            }
            if self.frame.len() >= self.longest + 2 {
                return false;
            }
            self.frame.push(if marks.carry() { byte ^ ESCAPE_BIT } else { *byte });
            marks.set_carry(false);
        }
        true
    }

    /// Returns the counters.
    #[must_use]
    pub const fn counters(&self) -> &DecoderCounters {
        &self.counters
    }

    fn hunt<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        // The rest of a frame that was too long is not counted as noise.
        let first = self.counters == DecoderCounters::default();
        if first && bytes.first().is_some_and(|byte| *byte != FLAG) {
            self.drop_frame(HdlcDrop::Noise);
        }
        self.seek(bytes)
    }

    /// Starts a frame after the next flag, if there is one, and returns the bytes left to read.
    fn seek<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match find(FLAG, bytes) {
            Some(at) => {
                self.begin();
                bytes.get(at + 1..).unwrap_or_default()
            }
            None => &[],
        }
    }

    fn begin(&mut self) {
        self.frame.clear();
        self.state = DecoderState::Inside;
    }

    fn finish(&mut self, deliver: &mut impl FnMut(&mut [u8])) {
        let length = self.frame.len();
        // Two flags in a row end one frame and begin the next, or are inter-frame fill.
        if length == 0 {
            return;
        }
        if length < 4 {
            self.drop_frame(HdlcDrop::Short);
        } else if fcs::update(fcs::INIT, &self.frame) != fcs::GOOD {
            self.drop_frame(HdlcDrop::BadFcs);
        } else if let Some(frame) = self.frame.get_mut(..length - 2) {
            self.counters.frames = self.counters.frames.wrapping_add(1);
            deliver(frame);
        }
    }

    fn drop_frame(&mut self, reason: HdlcDrop) {
        if let Some(counter) = self.counters.drops.get_mut(reason as usize) {
            *counter = counter.wrapping_add(1);
        }
    }
}

/// Copies the first `length` bytes of the next chunk with escapes removed, and returns the length of the
/// copy. Returns `None`, without any effect, if an escape follows an escape, which no sender writes.
fn unescape_chunk(
    chunk: &[u8; CHUNK],
    length: usize,
    marks: &mut ChunkMask,
    copy: &mut EscapeBuffer,
) -> Option<usize> {
    let carry = u64::from(marks.carry());
    let mut escapes = marks.next(chunk, |byte| byte == ESCAPE);
    if length < CHUNK {
        escapes &= (1 << length) - 1;
    }
    if escapes & (escapes << 1 | carry) != 0 {
        marks.set_carry(carry != 0);
        return None;
    }
    copy.begin_after(chunk, marks);
    if length < CHUNK {
        marks.set_carry((escapes << 1 | carry) >> length & 1 == 1);
    }
    while escapes != 0 {
        copy.run_to(escapes.trailing_zeros() as usize);
        copy.skip();
        escapes &= escapes - 1;
    }
    copy.run_to(length);
    Some(copy.copied_and_more::<CHUNK>().0)
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("state", &self.state)
            .field("held", &self.frame.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl HdlcDrop {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::BadFcs, Self::Short, Self::Long, Self::Aborted, Self::Noise];

    /// Returns the reason's name as a metrics label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadFcs => "hdlc_bad_fcs",
            Self::Short => "hdlc_short",
            Self::Long => "hdlc_long",
            Self::Aborted => "hdlc_aborted",
            Self::Noise => "hdlc_noise",
        }
    }
}

impl fmt::Display for HdlcDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
