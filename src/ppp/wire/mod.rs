//! PPP on the wire: protocol numbers, the frame header, control packets and their options.
//!
//! Owns the codecs of RFC 1661 §2 (frame), §5 (packet) and §6 (option list), and the header compressions of
//! §6.5 and §6.6. Does not own the meaning of an option (each protocol's own module) or HDLC framing.
//! Decoders borrow from the input, never allocate, and never accept a length that points outside it.

mod options;
mod packet;
#[cfg(test)]
mod tests;

pub use options::{Options, RawOption, push};
pub use packet::{HEADER_LEN, Packet, PacketBuilder, code};

/// PPP protocol numbers (RFC 1661 §2; IANA "PPP DLL Protocol Numbers").
pub mod protocol {
    /// Internet Protocol version 4.
    pub const IPV4: u16 = 0x0021;
    /// Internet Protocol version 6 (RFC 5072 §3).
    pub const IPV6: u16 = 0x0057;
    /// A compressed or, with MPPE, encrypted datagram (RFC 1962 §3).
    pub const COMPRESSED: u16 = 0x00FD;
    /// Internet Protocol Control Protocol (RFC 1332).
    pub const IPCP: u16 = 0x8021;
    /// IPv6 Control Protocol (RFC 5072).
    pub const IPV6CP: u16 = 0x8057;
    /// Compression Control Protocol (RFC 1962).
    pub const CCP: u16 = 0x80FD;
    /// Link Control Protocol (RFC 1661).
    pub const LCP: u16 = 0xC021;
    /// Password Authentication Protocol (RFC 1334 §2).
    pub const PAP: u16 = 0xC023;
    /// Challenge Handshake Authentication Protocol (RFC 1994).
    pub const CHAP: u16 = 0xC223;
    /// Extensible Authentication Protocol (RFC 3748).
    pub const EAP: u16 = 0xC227;
}

/// The HDLC address and control bytes that open an uncompressed frame (RFC 1662 §3.1).
pub const ADDRESS_CONTROL: [u8; 2] = [0xFF, 0x03];

/// Largest header that [`FrameHeader::emit`] writes, in bytes.
pub const FRAME_HEADER_MAX: usize = 4;

/// Why bytes are not a PPP frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The frame ends before its protocol number does.
    Short,
    /// The protocol field breaks the even/odd rule of RFC 1661 §2.
    Protocol,
}

/// Splits a frame into its protocol number and its information field.
///
/// The address and control bytes may be present or absent, and the protocol field may be compressed, whatever
/// was negotiated: the forms cannot be confused (RFC 1661 §6.5, §6.6).
///
/// # Errors
///
/// Returns [`FrameError`] if the protocol field is missing, truncated or invalid.
pub fn split(frame: &mut [u8]) -> Result<(u16, &mut [u8]), FrameError> {
    if frame.starts_with(&ADDRESS_CONTROL) {
        split_protocol(frame.get_mut(2..).ok_or(FrameError::Short)?)
    } else {
        split_protocol(frame)
    }
}

/// Returns the information field of a frame of protocol [`protocol::COMPRESSED`], `None` for any other.
#[must_use]
pub fn compressed(frame: &[u8]) -> Option<&[u8]> {
    let rest = frame.strip_prefix(&ADDRESS_CONTROL).unwrap_or(frame);
    let [high, low] = protocol::COMPRESSED.to_be_bytes();
    rest.strip_prefix(&[low]).or_else(|| rest.strip_prefix(&[high, low]))
}

/// Splits a protocol field of one or two bytes from the bytes after it (RFC 1661 §2 and §6.5).
///
/// # Errors
///
/// Returns [`FrameError`] if the protocol field is missing, truncated or invalid.
pub fn split_protocol(bytes: &mut [u8]) -> Result<(u16, &mut [u8]), FrameError> {
    let (number, length) = match *bytes {
        [first, ..] if first & 1 == 1 => (u16::from(first), 1),
        [] | [_] => return Err(FrameError::Short),
        [first, second, ..] if second & 1 == 1 => (u16::from_be_bytes([first, second]), 2),
        [..] => return Err(FrameError::Protocol),
    };
    Ok((number, bytes.get_mut(length..).ok_or(FrameError::Short)?))
}

/// Returns whether a protocol number belongs to a control protocol: NCPs from 0x8000, LCP and authentication
/// from 0xC000 (RFC 1661 §2).
#[must_use]
pub const fn is_control(number: u16) -> bool {
    number >= 0x8000
}

/// Header compressions of frames that we send; both need the peer's consent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// Leave out the address and control bytes (RFC 1661 §6.6).
    pub acfc: bool,
    /// Send protocol numbers below 256 as one byte (RFC 1661 §6.5).
    pub pfc: bool,
}

impl FrameHeader {
    /// Writes the header for `protocol` at the start of `out` and returns its length (1 to 4 bytes), or `None` if
    /// `out` is too short. LCP is never compressed (RFC 1661 §6.6).
    pub fn emit(self, protocol: u16, out: &mut [u8]) -> Option<usize> {
        let [high, low] = protocol.to_be_bytes();
        let mut at = 0;
        let mut put = |byte: u8| -> Option<()> {
            *out.get_mut(at)? = byte;
            at += 1;
            Some(())
        };
        if !self.acfc || protocol == protocol::LCP {
            put(ADDRESS_CONTROL[0])?;
            put(ADDRESS_CONTROL[1])?;
        }
        if !(self.pfc && high == 0) {
            put(high)?;
        }
        put(low)?;
        Some(at)
    }
}

/// Builds a control frame: full header and packet, uncompressed, which every peer can read.
#[must_use]
pub fn control_frame(protocol: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEADER_MAX + packet.len());
    frame.extend_from_slice(&ADDRESS_CONTROL);
    frame.extend_from_slice(&protocol.to_be_bytes());
    frame.extend_from_slice(packet);
    frame
}
