//! The receiving direction (RFC 3078 §3, §7, §8), with the bounds that Linux's ppp_mppe puts on a bad peer.

use std::fmt;

use super::{
    COUNT_MASK, ENCRYPTED, FLUSHED, HEADER, Keys, ResetStyle, Strength, plausible, schedule::Schedule,
};

/// Decrypts packets of one direction.
///
/// Coherency counts are compared modulo 4096. What lies up to [`LATE_WINDOW`] behind the packet opened last is late
/// and dropped; everything else lies ahead: packets were lost, up to 3583 of them.
pub struct Opener {
    schedule: Schedule,
    stateful: bool,
    /// Coherency count expected next. While `discarding`, that of the first packet lost.
    expected: u16,
    /// Stateful mode: RC4's state is lost until a packet with the A bit.
    discarding: bool,
    style: Option<ResetStyle>,
    offences: u32,
}

/// How far behind a packet may be and count as late. More than any reordering below us lets through.
pub const LATE_WINDOW: u16 = 512;

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MppeDrop {
    /// Shorter than the header and one byte.
    Short,
    /// The D bit is clear: sent as if it were not encrypted.
    NotEncrypted,
    /// Stateless mode, and the A bit is clear.
    NotFlushed,
    /// Coherency count of the packet opened last.
    Duplicate,
    /// Coherency count of an earlier packet, whose key is gone.
    Late,
    /// Stateful mode: packets were lost; everything until the peer's answer to our Reset-Request is discarded.
    AwaitingReset,
    /// What came out is no packet that MPPE carries: other keys, or damage.
    Garbage,
    /// Not looked at: too much was wrong before ([`Opener::is_hopeless`]).
    Hopeless,
}

/// Above this the two ends do not share a key, or the peer does not speak MPPE (SANITY_MAX in Linux).
const HOPELESS: u32 = 1600;
/// Stateless mode: a jump over more packets than this must lead to an IP packet; over fewer, to any that MPPE carries.
const SHORT_JUMP: u16 = 256;
/// How many key changes more than the count tells are tried in stateful mode: a peer that changes its key for each
/// Reset-Request has done so for packets that never arrived.
const UNSEEN_RESETS: u16 = 16;

impl Opener {
    /// `None` when the keys have none of this strength ([`Keys::supports`]).
    #[must_use]
    pub fn new(keys: &Keys, strength: Strength, stateful: bool) -> Option<Self> {
        let schedule = Schedule::new(&keys.receive, strength)?;
        Some(Self { schedule, stateful, expected: 0, discarding: false, style: None, offences: 0 })
    }

    /// Decrypts in place what follows PPP protocol 00FD; gives the PPP protocol field (one or two bytes, as the
    /// peer sent it) and the payload.
    ///
    /// # Errors
    /// [`MppeDrop`]; the packet's bytes are then of no use.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a mut [u8], MppeDrop> {
        if self.is_hopeless() {
            // A jump costs up to 3583 key changes; no one gets those for ever.
            return Err(MppeDrop::Hopeless);
        }
        let (header, body) = packet.split_first_chunk_mut::<HEADER>().ok_or(MppeDrop::Short)?;
        let result = self.decide(*header, body);
        self.offences = match result {
            // A wrong key makes one packet in 60 pass, which must not wash the others off.
            Ok(()) if plausible::likely(body) || plausible::whole(body) => self.offences / 2,
            Ok(()) => self.offences,
            Err(MppeDrop::NotEncrypted | MppeDrop::NotFlushed | MppeDrop::Garbage) => {
                self.offences.saturating_add(100)
            }
            Err(MppeDrop::Late | MppeDrop::Duplicate) => self.offences.saturating_add(1),
            Err(MppeDrop::Short | MppeDrop::AwaitingReset | MppeDrop::Hopeless) => self.offences,
        };
        result.map(|()| body)
    }

    /// Whether a CCP Reset-Request is due: true from a loss in stateful mode until the stream is whole again. The
    /// caller repeats the request, not more than once a second.
    #[must_use]
    pub fn needs_reset(&self) -> bool {
        self.discarding
    }

    /// The peer's CCP Reset-Ack. It carries nothing that MPPE needs: the next packet with the A bit is what makes
    /// the stream whole, and it may arrive before or after this (RFC 3078 §8.2).
    pub fn handle_reset_ack(&mut self) {}

    /// Whether so much was wrong that the link should end. Nothing is opened any more.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.offences >= HOPELESS
    }

    /// What the peer was seen to do to its key after a Reset-Request; to be given to its counterpart's
    /// [`super::Sealer::set_reset_style`].
    #[must_use]
    pub fn reset_style(&self) -> Option<ResetStyle> {
        self.style
    }

    fn decide(&mut self, header: [u8; HEADER], body: &mut [u8]) -> Result<(), MppeDrop> {
        let [flags, _] = header;
        let count = u16::from_be_bytes(header) & COUNT_MASK;
        let flushed = flags & FLUSHED != 0;
        if body.is_empty() {
            return Err(MppeDrop::Short);
        }
        if flags & ENCRYPTED == 0 {
            return Err(MppeDrop::NotEncrypted);
        }
        if !flushed && !self.stateful {
            return Err(MppeDrop::NotFlushed);
        }
        let behind = self.expected.wrapping_sub(count) & COUNT_MASK;
        match behind {
            1 if !self.discarding => return Err(MppeDrop::Duplicate),
            1..=LATE_WINDOW => return Err(MppeDrop::Late),
            _ => {}
        }
        let ahead = count.wrapping_sub(self.expected) & COUNT_MASK;
        match (self.stateful, flushed) {
            (false, _) => self.open_stateless(ahead, body)?,
            (true, true) => self.open_flushed(count, body)?,
            (true, false) => self.open_continued(count, ahead, body)?,
        }
        self.expected = (count + 1) & COUNT_MASK;
        Ok(())
    }

    /// RFC 3078 §8.1: one key change for each packet, lost ones included. A jump that leads to garbage is taken
    /// back, so that one forged header does not end the stream.
    fn open_stateless(&mut self, ahead: u16, body: &mut [u8]) -> Result<(), MppeDrop> {
        let before = (ahead > 0).then(|| self.schedule.snapshot());
        self.schedule.rekey_times(ahead + 1);
        self.schedule.apply(body);
        let Some(before) = before else {
            return if plausible::carried(body) { Ok(()) } else { self.garbage_in_sequence() };
        };
        if plausible::whole(body) || (ahead <= SHORT_JUMP && plausible::likely(body)) {
            return Ok(());
        }
        self.schedule.restore(&before);
        Err(MppeDrop::Garbage)
    }

    /// Stateless: the packet's turn is over even though nothing came of it.
    fn garbage_in_sequence(&mut self) -> Result<(), MppeDrop> {
        self.expected = (self.expected + 1) & COUNT_MASK;
        Err(MppeDrop::Garbage)
    }

    /// RFC 3078 §8.2, no A bit: good only as the very next packet of an unbroken stream. A flag packet changes the
    /// key even so: not every implementation sets the bit on it.
    fn open_continued(&mut self, count: u16, ahead: u16, body: &mut [u8]) -> Result<(), MppeDrop> {
        if self.discarding || ahead > 0 {
            self.discarding = true;
            return Err(MppeDrop::AwaitingReset);
        }
        self.schedule.rekey_times(flag_packets(self.expected, count));
        self.schedule.apply(body);
        if plausible::carried(body) {
            return Ok(());
        }
        self.discarding = true;
        self.expected = (count + 1) & COUNT_MASK;
        Err(MppeDrop::Garbage)
    }

    /// RFC 3078 §8.2, A bit: whatever was lost, the stream is whole again. What happened to the key depends on the
    /// implementation, so the packet itself is asked.
    fn open_flushed(&mut self, count: u16, body: &mut [u8]) -> Result<(), MppeDrop> {
        let before = self.schedule.snapshot();
        self.schedule.rekey_times(flag_packets(self.expected, count));
        let base = self.schedule.snapshot();

        let flag_packet = count & 0xff == 0xff;
        let preferred = match self.style.unwrap_or_default() {
            ResetStyle::NewKey if !flag_packet => 1,
            ResetStyle::NewKey | ResetStyle::SameKey => 0,
        };
        let unbroken = count == self.expected && !self.discarding;
        let found = self.first_that(&base, preferred, plausible::whole_start, body).or_else(|| {
            self.schedule.restore(&base);
            self.schedule.rekey_times(preferred);
            let start: [u8; plausible::START] = self.schedule.preview(body);
            (unbroken && plausible::carried(&start)).then_some(preferred)
        });
        let Some(changes) = found else {
            self.schedule.restore(&before);
            self.discarding = true;
            return Err(MppeDrop::Garbage);
        };
        self.schedule.restore(&base);
        self.schedule.rekey_times(changes);
        self.schedule.reinitialize();
        self.schedule.apply(body);
        self.discarding = false;
        if !flag_packet {
            match changes {
                0 => self.style = Some(ResetStyle::SameKey),
                _ => self.style = Some(ResetStyle::NewKey),
            }
        }
        Ok(())
    }

    /// The number of key changes after `base`, the preferred first, under which the packet's start is accepted.
    fn first_that(
        &mut self,
        base: &[u8; 16],
        preferred: u16,
        accept: impl Fn(&[u8; plausible::START], usize) -> bool,
        body: &[u8],
    ) -> Option<u16> {
        let others = (0..=UNSEEN_RESETS).filter(|changes| *changes != preferred);
        std::iter::once(preferred).chain(others).find(|changes| {
            self.schedule.restore(base);
            self.schedule.rekey_times(*changes);
            accept(&self.schedule.preview(body), body.len())
        })
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("stateful", &self.stateful)
            .field("expected", &self.expected)
            .field("discarding", &self.discarding)
            .field("offences", &self.offences)
            .finish_non_exhaustive()
    }
}

impl MppeDrop {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Short,
        Self::NotEncrypted,
        Self::NotFlushed,
        Self::Duplicate,
        Self::Late,
        Self::AwaitingReset,
        Self::Garbage,
        Self::Hopeless,
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
            Self::Hopeless => "mppe_hopeless",
        }
    }
}

impl fmt::Display for MppeDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for MppeDrop {}

/// How many flag packets (low byte FF) lie in `from..=to`, counted modulo 4096 (RFC 3078 §7.2).
fn flag_packets(from: u16, to: u16) -> u16 {
    (((to + 1) >> 8).wrapping_sub(from >> 8)) & 0x0f
}
