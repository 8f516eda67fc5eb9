//! The receiving direction (RFC 3078 §3, §7, §8), with the limits that Linux's ppp_mppe sets for a
//! misbehaving peer.

use std::{fmt, time::Instant};

use super::{
    COUNT_MASK, ENCRYPTED, FLUSHED, HEADER, Keys, ResetStyle, Strength, budget::KeyBudget,
    checkpoints::Checkpoints, plausible, schedule::Schedule,
};

/// Decrypts packets of one direction.
///
/// Coherency counts are compared modulo 4096. The layer below delivers packets in the order of their GRE
/// sequence numbers, and reports how many it has lost ([`Opener::set_lost`]). A packet up to [`LATE_WINDOW`]
/// behind the expected count is late and dropped, unless enough packets were lost for it to be ahead; any
/// other is ahead. So up to 4095 lost packets are bridged. A forged count costs few key changes, since keys ahead are
/// stored ([`Checkpoints`]), and those of dropped packets are limited ([`KeyBudget`]).
pub struct Opener {
    schedule: Schedule,
    stateful: bool,
    /// Coherency count expected next; while `discarding`, that of the first lost packet.
    expected: u16,
    /// Stateful mode: the RC4 state is lost until a packet with the A bit arrives.
    discarding: bool,
    style: Option<ResetStyle>,
    offences: u32,
    losses: Losses,
    /// Stateless mode: keys ahead of the expected count.
    checkpoints: Checkpoints,
    budget: KeyBudget,
}

/// Packets of the peer that the layer below has lost, and that were not opened.
#[derive(Debug, Default)]
struct Losses {
    /// Total that the layer below has certainly lost.
    least: u64,
    /// Total that it has lost at most.
    most: u64,
    /// `least` when a packet was last opened.
    at_last_opened: u64,
    /// Packets received since then.
    unopened: u64,
}

impl Losses {
    /// Returns how many packets of the peer may be missing between the last one opened and the present one.
    fn missing(&self) -> u64 {
        self.most.saturating_sub(self.at_last_opened).saturating_add(self.unopened)
    }

    fn opened(&mut self) {
        self.at_last_opened = self.least;
        self.unopened = 0;
    }
}

/// Maximum distance behind the expected count of a late packet: a peer may encrypt packets in another order
/// than it numbers them.
pub const LATE_WINDOW: u16 = 512;

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MppeDrop {
    /// Shorter than the header and one byte.
    Short,
    /// The D bit is clear: marked as not encrypted.
    NotEncrypted,
    /// Stateless mode, and the A bit is clear.
    NotFlushed,
    /// The coherency count of the last packet opened.
    Duplicate,
    /// The coherency count of an earlier packet, whose key is gone.
    Late,
    /// Stateful mode: packets were lost; discarded until the peer answers our Reset-Request.
    AwaitingReset,
    /// The decrypted bytes are no packet that MPPE carries: the keys differ, or the packet is damaged.
    Garbage,
    /// Not decrypted: it does not follow the last packet, and too many like it could not be decrypted.
    OverBudget,
    /// Not decrypted, because of too many errors before ([`Opener::is_hopeless`]).
    Hopeless,
}

/// Error score at which we assume that the two ends share no key, or the peer does not implement MPPE
/// (SANITY_MAX in Linux).
const MAX_OFFENCES: u32 = 1600;
/// Stateless mode: after a gap of more packets than this, the next one must decrypt to an IP packet; after a
/// shorter one, to any protocol that MPPE carries.
const SHORT_JUMP: u16 = 256;
/// Stateful mode: key changes to try beyond those that the count implies. A peer that changes its key for
/// each Reset-Request may have done so for packets that were lost.
const UNSEEN_RESETS: u16 = 16;
/// Stateful mode: full rounds of the count that a loss may have skipped, if the layer below has lost that many.
const ROUNDS_MAX: u64 = 4;
/// Flag packets, and so key changes, in one round of the count.
const FLAGS_PER_ROUND: u16 = 16;

impl Opener {
    /// Creates an opener; `None` if there is no key of this strength ([`Keys::supports`]).
    #[must_use]
    pub fn new(keys: &Keys, strength: Strength, stateful: bool) -> Option<Self> {
        let schedule = Schedule::new(&keys.receive, strength)?;
        Some(Self {
            schedule,
            stateful,
            expected: 0,
            discarding: false,
            style: None,
            offences: 0,
            losses: Losses::default(),
            checkpoints: Checkpoints::new(),
            budget: KeyBudget::new(),
        })
    }

    /// Reports how many packets of the peer the layer below has lost in total, before the next one for
    /// [`Opener::open`]: at least and at most, since it may still wait for some. `u64::MAX` if unknown.
    pub fn set_lost(&mut self, least: u64, most: u64) {
        (self.losses.least, self.losses.most) = (least, most);
    }

    /// Sets the time at which the next packets arrive, which allows for key changes.
    pub fn set_time(&mut self, now: Instant) {
        self.budget.refill(now);
    }

    /// Sets the lengths of the next packets for [`Opener::open`], in place of those set before. In stateless mode the
    /// keys of packets in order are then made together, in less time; the results are the same, and others may come.
    pub fn expect(&mut self, lengths: impl Iterator<Item = usize>) {
        if !self.stateful {
            self.schedule.expect(lengths.map(|length| length.saturating_sub(HEADER)));
        }
    }

    /// Sets the total of lost packets at which this opener begins.
    #[must_use]
    pub fn beginning_at(mut self, lost: u64) -> Self {
        self.losses.at_last_opened = lost;
        self
    }

    /// Decrypts in place what follows PPP protocol 00FD; returns the PPP protocol field (one or two bytes, as
    /// sent by the peer) and the payload.
    ///
    /// # Errors
    /// Returns the reason if the packet is dropped; its bytes are then unspecified.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a mut [u8], MppeDrop> {
        if self.is_hopeless() {
            // Too many packets did not decrypt: the two ends share no key.
            return Err(MppeDrop::Hopeless);
        }
        let (header, body) = packet.split_first_chunk_mut::<HEADER>().ok_or(MppeDrop::Short)?;
        let result = self.decide(*header, body);
        match result {
            Ok(()) => self.losses.opened(),
            Err(_) => self.losses.unopened = self.losses.unopened.saturating_add(1),
        }
        self.offences = match result {
            // With a wrong key one packet in 60 passes; those must not lower the score.
            Ok(()) if plausible::plausible_protocol(body) || plausible::plausible_ip(body) => {
                self.offences / 2
            }
            Ok(()) => self.offences,
            Err(MppeDrop::NotEncrypted | MppeDrop::NotFlushed | MppeDrop::Garbage) => {
                self.offences.saturating_add(100)
            }
            Err(MppeDrop::Late | MppeDrop::Duplicate) => self.offences.saturating_add(1),
            Err(MppeDrop::Short | MppeDrop::AwaitingReset | MppeDrop::OverBudget | MppeDrop::Hopeless) => {
                self.offences
            }
        };
        result.map(|()| body)
    }

    /// Returns whether a CCP Reset-Request is due: true from a loss in stateful mode until the stream is
    /// resynchronized. The caller repeats the request, at most once a second.
    #[must_use]
    pub fn needs_reset(&self) -> bool {
        self.discarding
    }

    /// Handles the peer's CCP Reset-Ack. MPPE needs nothing from it: the next packet with the A bit
    /// resynchronizes the stream, and it may arrive before or after the Reset-Ack (RFC 3078 §8.2).
    pub fn handle_reset_ack(&mut self) {}

    /// Returns whether there were so many errors that the link should end. No more packets are opened.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.offences >= MAX_OFFENCES
    }

    /// Returns the peer's style, if seen yet, for [`super::Sealer::set_reset_style`].
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
        let ahead = count.wrapping_sub(self.expected) & COUNT_MASK;
        match behind {
            _ if u64::from(ahead) <= self.losses.missing() => {}
            1 if !self.discarding => return Err(MppeDrop::Duplicate),
            1..=LATE_WINDOW => return Err(MppeDrop::Late),
            _ => {}
        }
        let in_sequence = ahead == 0 && !self.discarding;
        if !in_sequence && flushed && self.budget.is_spent() {
            return Err(MppeDrop::OverBudget);
        }
        let changes = self.schedule.changes;
        let opened = match (self.stateful, flushed) {
            (false, _) => self.open_stateless(ahead, body),
            (true, true) => self.open_flushed(count, ahead, body),
            (true, false) => self.open_continued(count, ahead, body),
        };
        if opened.is_err() {
            self.budget.waste(self.schedule.changes.wrapping_sub(changes));
        }
        opened?;
        self.expected = (count + 1) & COUNT_MASK;
        Ok(())
    }

    /// Decrypts in stateless mode (RFC 3078 §8.1): one key change for each packet, including lost ones. A gap
    /// that leads to garbage is undone, so that one forged header does not end the stream.
    fn open_stateless(&mut self, ahead: u16, body: &mut [u8]) -> Result<(), MppeDrop> {
        let distance = ahead + 1;
        if ahead == 0 {
            self.schedule.rekey_next();
            self.checkpoints.advanced(distance);
            self.schedule.apply(body);
            return if plausible::plausible_in_sequence(body) { Ok(()) } else { self.garbage_in_sequence() };
        }
        let before = self.schedule.snapshot();
        let current = self.expected.wrapping_sub(1) & COUNT_MASK;
        self.checkpoints.seek(&mut self.schedule, current, distance);
        let start: [u8; plausible::START] = self.schedule.preview(body);
        let is_plausible = plausible::plausible_ip_start(&start, body.len())
            || (ahead <= SHORT_JUMP && plausible::plausible_protocol(&start));
        if !is_plausible {
            self.schedule.restore(&before);
            return Err(MppeDrop::Garbage);
        }
        self.checkpoints.advanced(distance);
        self.schedule.reinitialize();
        self.schedule.apply(body);
        Ok(())
    }

    /// Advances the expected count past a packet that decrypted to garbage.
    fn garbage_in_sequence(&mut self) -> Result<(), MppeDrop> {
        self.expected = (self.expected + 1) & COUNT_MASK;
        Err(MppeDrop::Garbage)
    }

    /// Decrypts in stateful mode without the A bit (RFC 3078 §8.2): only the next packet of an unbroken
    /// stream. A flag packet still changes the key: not every implementation sets the A bit on it.
    fn open_continued(&mut self, count: u16, ahead: u16, body: &mut [u8]) -> Result<(), MppeDrop> {
        if self.discarding || ahead > 0 {
            self.discarding = true;
            return Err(MppeDrop::AwaitingReset);
        }
        self.schedule.rekey_times(flag_packets(self.expected, count));
        self.schedule.apply(body);
        if plausible::plausible_in_sequence(body) {
            return Ok(());
        }
        self.discarding = true;
        self.expected = (count + 1) & COUNT_MASK;
        Err(MppeDrop::Garbage)
    }

    /// Decrypts in stateful mode with the A bit (RFC 3078 §8.2), which resynchronizes the stream after any
    /// loss. Implementations change the key differently; trial decryption finds the number of changes.
    fn open_flushed(&mut self, count: u16, ahead: u16, body: &mut [u8]) -> Result<(), MppeDrop> {
        let before = self.schedule.snapshot();
        self.schedule.rekey_times(flag_packets(self.expected, count));
        let base = self.schedule.snapshot();

        let flag_packet = count & 0xff == 0xff;
        let preferred = match self.style.unwrap_or_default() {
            ResetStyle::NewKey if !flag_packet => 1,
            ResetStyle::NewKey | ResetStyle::SameKey => 0,
        };
        let unbroken = count == self.expected && !self.discarding;
        let rounds = self.losses.missing().saturating_sub(u64::from(ahead)) / u64::from(COUNT_MASK + 1);
        let rounds = u16::try_from(rounds.min(ROUNDS_MAX)).unwrap_or_default();
        let most = UNSEEN_RESETS + FLAGS_PER_ROUND * rounds;
        let found = self
            .find_key_changes(&base, preferred, most, plausible::plausible_ip_start, body)
            .or_else(|| {
                self.schedule.restore(&base);
                self.schedule.rekey_times(preferred);
                let start: [u8; plausible::START] = self.schedule.preview(body);
                (unbroken && plausible::plausible_in_sequence(&start)).then_some(preferred)
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
            match if rounds > 0 { changes % FLAGS_PER_ROUND } else { changes } {
                0 => self.style = Some(ResetStyle::SameKey),
                _ => self.style = Some(ResetStyle::NewKey),
            }
        }
        Ok(())
    }

    /// Returns the number of key changes after `base`, `preferred` first, then up to `most`, for which `accept`
    /// accepts the packet's start.
    fn find_key_changes(
        &mut self,
        base: &[u8; 16],
        preferred: u16,
        most: u16,
        accept: impl Fn(&[u8; plausible::START], usize) -> bool,
        body: &[u8],
    ) -> Option<u16> {
        self.schedule.restore(base);
        self.schedule.rekey_times(preferred);
        if accept(&self.schedule.preview(body), body.len()) {
            return Some(preferred);
        }
        self.schedule.restore(base);
        (0..=most).find(|changes| {
            if *changes > 0 {
                self.schedule.rekey();
            }
            *changes != preferred && accept(&self.schedule.preview(body), body.len())
        })
    }
}

#[cfg(test)]
impl Opener {
    /// Returns how often the key was changed.
    pub fn key_changes(&self) -> u64 {
        self.schedule.changes
    }
}

#[cfg(any(feature = "fuzzing", test))]
impl Opener {
    /// Returns what decides about the next packet, besides the keys.
    pub(super) const fn state(&self) -> (u16, bool, u32) {
        (self.expected, self.discarding, self.offences)
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
    pub const ALL: [Self; 9] = [
        Self::Short,
        Self::NotEncrypted,
        Self::NotFlushed,
        Self::Duplicate,
        Self::Late,
        Self::AwaitingReset,
        Self::Garbage,
        Self::OverBudget,
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
            Self::OverBudget => "mppe_over_budget",
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

/// Returns the number of flag packets (low byte FF) in `from..=to`, counted modulo 4096 (RFC 3078 §7.2).
fn flag_packets(from: u16, to: u16) -> u16 {
    (((to + 1) >> 8).wrapping_sub(from >> 8)) & 0x0f
}
