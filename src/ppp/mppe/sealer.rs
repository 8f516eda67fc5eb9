//! The sending direction (RFC 3078 §3, §7, §8).

use std::fmt;

use super::{COUNT_MASK, ENCRYPTED, FLUSHED, HEADER, Keys, Strength, carries, schedule::Schedule};

/// Encrypts packets of one direction, in the order in which they are sent.
pub struct Sealer {
    schedule: Schedule,
    stateful: bool,
    /// Coherency count of the last packet sealed; the first is 0.
    count: u16,
    flush: bool,
    style: ResetStyle,
}

/// How an implementation treats its key after a CCP Reset-Request in stateful mode. The two styles are
/// incompatible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResetStyle {
    /// Changes the key, as Linux does.
    #[default]
    NewKey,
    /// Reinitializes RC4 with the same key, as RFC 3078 §3 specifies and Windows and FreeBSD do.
    SameKey,
}

/// Why a packet was not sealed. The output must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// The output is shorter than the packet plus [`HEADER`].
    NoRoom,
    /// MPPE does not carry this protocol (RFC 3078 §3); see [`carries`].
    NotCarried,
}

impl Sealer {
    /// Creates a sealer; `None` if there is no key of this strength ([`Keys::supports`]).
    #[must_use]
    pub fn new(keys: &Keys, strength: Strength, stateful: bool) -> Option<Self> {
        let schedule = Schedule::new(&keys.send, strength)?;
        Some(Self { schedule, stateful, count: COUNT_MASK, flush: false, style: ResetStyle::default() })
    }

    /// Encrypts a packet of `protocol` into `out`: header, then the protocol field in two bytes and the
    /// payload. Returns the length written. Reads and writes every byte once.
    ///
    /// # Errors
    /// Returns the reason if the packet is not sealed; the state and `out` are then unchanged.
    pub fn seal_parts(&mut self, protocol: u16, payload: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let length = HEADER + 2 + payload.len();
        let packet = out.get_mut(..length).ok_or(SealError::NoRoom)?;
        let (header, rest) = packet.split_first_chunk_mut::<HEADER>().ok_or(SealError::NoRoom)?;
        let (field, body) = rest.split_first_chunk_mut::<2>().ok_or(SealError::NoRoom)?;
        *header = self.next_header(protocol)?;
        *field = protocol.to_be_bytes();
        self.schedule.apply(field);
        if self.schedule.apply_to(payload, body) { Ok(length) } else { Err(SealError::NoRoom) }
    }

    /// Returns whether packets depend on those before them.
    #[must_use]
    pub fn is_stateful(&self) -> bool {
        self.stateful
    }

    /// Sets the lengths of the next payloads for [`Sealer::seal_parts`], in place of those set before. In stateless
    /// mode their keys are then made together, in less time; the results are the same, and others may come.
    pub fn expect(&mut self, lengths: impl Iterator<Item = usize>) {
        if !self.stateful {
            self.schedule.expect(lengths.map(|length| length.saturating_add(2)));
        }
    }

    /// Handles the peer's CCP Reset-Request: restarts the cipher for the next packet and sets its A bit (RFC
    /// 3078 §8.2). Several requests before the next packet count as one. Does nothing in stateless mode.
    pub fn handle_reset_request(&mut self) {
        self.flush = self.stateful;
    }

    /// Sets how to restart the cipher; see [`ResetStyle`]. Should be the peer's style
    /// ([`super::Opener::reset_style`]).
    pub fn set_reset_style(&mut self, style: ResetStyle) {
        self.style = style;
    }

    /// Counts the packet, changes the key when due, and returns the packet's header.
    fn next_header(&mut self, protocol: u16) -> Result<[u8; HEADER], SealError> {
        if !carries(protocol) {
            return Err(SealError::NotCarried);
        }
        self.count = (self.count + 1) & COUNT_MASK;
        let flag_packet = self.count & 0xff == 0xff;
        let mut flags = ENCRYPTED;
        if !self.stateful || flag_packet || self.flush {
            if self.stateful && !flag_packet && self.style == ResetStyle::SameKey {
                self.schedule.reinitialize();
            } else if self.stateful {
                self.schedule.rekey();
            } else {
                self.schedule.rekey_next();
            }
            self.flush = false;
            flags |= FLUSHED;
        }
        let [high, low] = self.count.to_be_bytes();
        Ok([flags | high, low])
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("stateful", &self.stateful)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom => "no room for the encrypted packet",
            Self::NotCarried => "MPPE does not carry this protocol",
        })
    }
}

impl std::error::Error for SealError {}
