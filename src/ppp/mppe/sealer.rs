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
    style: ResetStyle,
}

/// What an implementation does to its key when it starts afresh after a CCP Reset-Request in stateful mode. The
/// two do not understand each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResetStyle {
    /// Changes the key, as Linux does.
    #[default]
    NewKey,
    /// Starts RC4 again with the same key, as RFC 3078 §3 says and Windows and FreeBSD do.
    SameKey,
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
        Some(Self { schedule, stateful, count: COUNT_MASK, flush: false, style: ResetStyle::default() })
    }

    /// Encrypts `plain` (PPP protocol field and payload) into `out`, header first; gives the length written.
    ///
    /// # Errors
    /// [`SealError`]; the state and `out` are then as before.
    pub fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let length = HEADER + plain.len();
        let packet = out.get_mut(..length).ok_or(SealError::NoRoom)?;
        let (header, body) = packet.split_first_chunk_mut::<HEADER>().ok_or(SealError::NoRoom)?;
        *header = self.next_header(protocol_of(plain))?;
        if self.schedule.apply_to(plain, body) { Ok(length) } else { Err(SealError::NoRoom) }
    }

    /// Encrypts a packet of `protocol` into `out`: header, then the protocol field in two bytes and the payload.
    /// Gives the length written. Reads and writes every byte once.
    ///
    /// # Errors
    /// [`SealError`]; the state and `out` are then as before.
    pub fn seal_parts(&mut self, protocol: u16, payload: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let length = HEADER + 2 + payload.len();
        let packet = out.get_mut(..length).ok_or(SealError::NoRoom)?;
        let (header, rest) = packet.split_first_chunk_mut::<HEADER>().ok_or(SealError::NoRoom)?;
        let (field, body) = rest.split_first_chunk_mut::<2>().ok_or(SealError::NoRoom)?;
        *header = self.next_header(Some(protocol))?;
        *field = protocol.to_be_bytes();
        self.schedule.apply(field);
        if self.schedule.apply_to(payload, body) { Ok(length) } else { Err(SealError::NoRoom) }
    }

    /// Encrypts a packet whose first [`HEADER`] bytes are room for the header and whose rest is the PPP protocol
    /// field and the payload.
    ///
    /// # Errors
    /// [`SealError`]; the state and the packet are then as before.
    pub fn seal_in_place(&mut self, packet: &mut [u8]) -> Result<(), SealError> {
        let (header, body) = packet.split_first_chunk_mut::<HEADER>().ok_or(SealError::NoRoom)?;
        *header = self.next_header(protocol_of(body))?;
        self.schedule.apply(body);
        Ok(())
    }

    /// The peer sent a CCP Reset-Request: the next packet starts afresh and says so (RFC 3078 §8.2). Several
    /// requests before the next packet count as one. Means nothing in stateless mode.
    pub fn handle_reset_request(&mut self) {
        self.flush = self.stateful;
    }

    /// How to start afresh; see [`ResetStyle`]. Best what [`super::Opener::reset_style`] saw the peer do.
    pub fn set_reset_style(&mut self, style: ResetStyle) {
        self.style = style;
    }

    /// Counts the packet, changes keys when it is time, gives the packet's header.
    fn next_header(&mut self, protocol: Option<u16>) -> Result<[u8; HEADER], SealError> {
        if !protocol.is_some_and(carries) {
            return Err(SealError::NotCarried);
        }
        self.count = (self.count + 1) & COUNT_MASK;
        let flag_packet = self.count & 0xff == 0xff;
        let mut flags = ENCRYPTED;
        if !self.stateful || flag_packet || self.flush {
            if self.stateful && !flag_packet && self.style == ResetStyle::SameKey {
                self.schedule.reinitialize();
            } else {
                self.schedule.rekey();
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
