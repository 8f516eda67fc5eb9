//! The sending direction (RFC 3078 §3, §7, §8).

use std::fmt;

use super::{
    COUNT_MASK, ENCRYPTED, FLUSHED, HEADER, Keys, Strength, carries, protocol_of, schedule::Schedule,
};

/// Encrypts packets of one direction, in the order in which they are sent.
pub struct Sealer {
    schedule: Schedule,
    stateful: bool,
    /// Coherency count of the packet sealed last; the first is 0.
    count: u16,
    flush: bool,
}

/// Why a packet was not sealed. Nothing was written that may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// The output is shorter than the packet and [`HEADER`].
    NoRoom,
    /// MPPE does not carry this protocol (RFC 3078 §3); see [`carries`].
    NotCarried,
}

impl Sealer {
    /// `None` when the keys have none of this strength ([`Keys::supports`]).
    #[must_use]
    pub fn new(keys: &Keys, strength: Strength, stateful: bool) -> Option<Self> {
        let schedule = Schedule::new(&keys.send, strength)?;
        Some(Self { schedule, stateful, count: COUNT_MASK, flush: false })
    }

    /// Encrypts `plain` (PPP protocol field and payload) into `out`, header first; gives the length written.
    ///
    /// # Errors
    /// [`SealError`]; the state is then as before.
    pub fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let length = HEADER + plain.len();
        let packet = out.get_mut(..length).ok_or(SealError::NoRoom)?;
        if let Some(body) = packet.get_mut(HEADER..) {
            body.copy_from_slice(plain);
        }
        self.seal_in_place(packet)?;
        Ok(length)
    }

    /// Encrypts a packet whose first [`HEADER`] bytes are room for the header and whose rest is the PPP protocol
    /// field and the payload.
    ///
    /// # Errors
    /// [`SealError`]; the state and the packet are then as before.
    pub fn seal_in_place(&mut self, packet: &mut [u8]) -> Result<(), SealError> {
        let (header, body) = packet.split_first_chunk_mut::<HEADER>().ok_or(SealError::NoRoom)?;
        if !protocol_of(body).is_some_and(carries) {
            return Err(SealError::NotCarried);
        }
        self.count = (self.count + 1) & COUNT_MASK;
        let flag_packet = self.count & 0xff == 0xff;
        let mut flags = ENCRYPTED;
        if !self.stateful || flag_packet || self.flush {
            self.schedule.rekey();
            self.flush = false;
            flags |= FLUSHED;
        }
        let [high, low] = self.count.to_be_bytes();
        *header = [flags | high, low];
        self.schedule.apply(body);
        Ok(())
    }

    /// The peer sent a CCP Reset-Request: the next packet starts afresh and says so (RFC 3078 §8.2). Several
    /// requests before the next packet count as one.
    pub fn handle_reset_request(&mut self) {
        self.flush = true;
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
