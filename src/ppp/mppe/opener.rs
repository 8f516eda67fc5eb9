//! The receiving direction (RFC 3078 §3, §7, §8), with the bounds that Linux's ppp_mppe puts on a bad peer.

use std::fmt;

use super::{
    COUNT_MASK, ENCRYPTED, FLUSHED, HEADER, Keys, Strength, carries, protocol_of, schedule::Schedule,
};

/// Decrypts packets of one direction.
pub struct Opener {
    schedule: Schedule,
    stateful: bool,
    /// Coherency count expected next.
    expected: u16,
    discarding: bool,
    reset_wanted: bool,
    offences: u32,
}

/// Why a packet was not opened. The state is as before, but for what the variant says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MppeDrop {
    /// Shorter than header and one byte.
    Short,
    /// The D bit is clear: sent as if it were not encrypted.
    NotEncrypted,
    /// The A bit is clear where the mode demands it (each stateless packet, each flag packet).
    NotFlushed,
    /// Coherency count of the packet opened last.
    Duplicate,
    /// Coherency count of an earlier packet, whose key is gone.
    Late,
    /// Stateful mode: packets were lost; everything until the peer's answer to our Reset-Request is discarded.
    AwaitingReset,
    /// What came out is no packet that MPPE carries: other keys, or damage.
    Garbage,
}

impl Opener {
    /// `None` when the keys have none of this strength ([`Keys::supports`]).
    #[must_use]
    pub fn new(keys: &Keys, strength: Strength, stateful: bool) -> Option<Self> {
        let schedule = Schedule::new(&keys.receive, strength)?;
        Some(Self { schedule, stateful, expected: 0, discarding: false, reset_wanted: false, offences: 0 })
    }

    /// Decrypts in place what follows PPP protocol 00FD; gives the PPP protocol field and payload.
    ///
    /// # Errors
    /// [`MppeDrop`]; the packet's bytes are then of no use.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a mut [u8], MppeDrop> {
        let (header, body) = packet.split_first_chunk_mut::<HEADER>().ok_or(MppeDrop::Short)?;
        let [flags, _] = *header;
        let count = u16::from_be_bytes(*header) & COUNT_MASK;
        if body.is_empty() {
            return Err(MppeDrop::Short);
        }
        if flags & ENCRYPTED == 0 {
            return Err(MppeDrop::NotEncrypted);
        }
        if flags & FLUSHED == 0 && (!self.stateful || count & 0xff == 0xff) {
            return Err(MppeDrop::NotFlushed);
        }
        while self.expected != (count + 1) & COUNT_MASK {
            self.schedule.rekey();
            self.expected = (self.expected + 1) & COUNT_MASK;
        }
        self.schedule.apply(body);
        if protocol_of(body).is_some_and(carries) { Ok(body) } else { Err(MppeDrop::Garbage) }
    }

    /// Whether a CCP Reset-Request is due; true once for each loss.
    pub fn needs_reset(&mut self) -> bool {
        std::mem::take(&mut self.reset_wanted)
    }

    /// The peer's CCP Reset-Ack. The packet with the A bit is what resynchronises; this only notes the answer.
    pub fn handle_reset_ack(&mut self) {
        self.reset_wanted = false;
    }

    /// Whether so much was wrong that the two ends do not share a key, or the peer does not speak MPPE: the link
    /// should end.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.offences >= 1600
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("stateful", &self.stateful)
            .field("expected", &self.expected)
            .field("discarding", &self.discarding)
            .finish_non_exhaustive()
    }
}

impl MppeDrop {
    /// Every reason, in the order of [`Self::index`].
    pub const ALL: [Self; 7] = [
        Self::Short,
        Self::NotEncrypted,
        Self::NotFlushed,
        Self::Duplicate,
        Self::Late,
        Self::AwaitingReset,
        Self::Garbage,
    ];

    /// The reason's name as a metrics label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Short => "mppe_short",
            Self::NotEncrypted => "mppe_not_encrypted",
            Self::NotFlushed => "mppe_not_flushed",
            Self::Duplicate => "mppe_duplicate",
            Self::Late => "mppe_late",
            Self::AwaitingReset => "mppe_awaiting_reset",
            Self::Garbage => "mppe_garbage",
        }
    }
}

impl fmt::Display for MppeDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for MppeDrop {}
