//! The enhanced GRE header (RFC 2637 §4.1), parsed strictly and written with the minimal fields.
//!
//! The payload length is checked against the bytes received after the IP header; a packet that claims more is
//! dropped, never completed from stale buffer contents. Sequence numbers are interpreted by `flow`.

use std::{fmt, ops::Range};

/// GRE's protocol number in the IP header.
pub const IP_PROTOCOL: u8 = 47;
/// Protocol type of PPP in GRE.
const PROTOCOL_PPP: u16 = 0x880B;
/// The longest header, in bytes: with key, sequence number and acknowledgement.
pub const MAX_HEADER: usize = 16;

const CHECKSUM: u8 = 0x80;
const ROUTING: u8 = 0x40;
const KEY: u8 = 0x20;
const SEQUENCE: u8 = 0x10;
const STRICT_ROUTE_AND_RECURSION: u8 = 0x0F;
const ACKNOWLEDGEMENT: u8 = 0x80;
const RESERVED_FLAGS: u8 = 0x78;
const VERSION_MASK: u8 = 0x07;
const VERSION: u8 = 1;

/// The fields of a header that vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The receiver's call ID.
    pub call_id: u16,
    /// Sequence number; present on exactly the packets that carry PPP.
    pub seq: Option<u32>,
    /// Highest sequence number that the sender has received.
    pub ack: Option<u32>,
}

/// Why a packet is not a valid PPTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GreDrop {
    /// The packet ends inside the header.
    ShortHeader,
    /// The packet ends inside the payload.
    Truncated,
    /// Not version 1.
    Version,
    /// Does not carry PPP.
    Protocol,
    /// No key, hence no call ID.
    NoKey,
    /// Checksum, routing, strict source route, recursion or reserved bits, which must be zero.
    Flags,
    /// A payload without a sequence number.
    NoSequence,
}

impl fmt::Display for GreDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShortHeader => "GRE header is cut short",
            Self::Truncated => "GRE payload is cut short",
            Self::Version => "GRE version is not 1",
            Self::Protocol => "GRE packet does not carry PPP",
            Self::NoKey => "GRE packet has no call id",
            Self::Flags => "GRE packet has flags that PPTP forbids",
            Self::NoSequence => "GRE payload has no sequence number",
        })
    }
}

/// Returns the call ID of a packet without its IP header, even if the rest is invalid or a fragment.
#[must_use]
pub fn peek_call_id(packet: &[u8]) -> Option<u16> {
    let [_, more, p0, p1, _, _, c0, c1] = packet.first_chunk()?;
    let is_enhanced = more & VERSION_MASK == VERSION && u16::from_be_bytes([*p0, *p1]) == PROTOCOL_PPP;
    is_enhanced.then(|| u16::from_be_bytes([*c0, *c1]))
}

/// Parses the header of a packet without its IP header, and returns it with the range of the payload.
///
/// Bytes after the payload (link-layer padding) are not in the range.
///
/// # Errors
/// Returns why the packet is not one that RFC 2637 §4.1 allows.
pub fn parse(packet: &[u8]) -> Result<(Header, Range<usize>), GreDrop> {
    let Some(([flags, more, p0, p1, l0, l1, c0, c1], rest)) = packet.split_first_chunk::<8>() else {
        return Err(GreDrop::ShortHeader);
    };
    if more & VERSION_MASK != VERSION {
        return Err(GreDrop::Version);
    }
    if u16::from_be_bytes([*p0, *p1]) != PROTOCOL_PPP {
        return Err(GreDrop::Protocol);
    }
    if flags & KEY == 0 {
        return Err(GreDrop::NoKey);
    }
    if flags & (CHECKSUM | ROUTING | STRICT_ROUTE_AND_RECURSION) != 0 || more & RESERVED_FLAGS != 0 {
        return Err(GreDrop::Flags);
    }
    let (seq, rest) = number(flags & SEQUENCE != 0, rest)?;
    let (ack, rest) = number(more & ACKNOWLEDGEMENT != 0, rest)?;
    let payload = usize::from(u16::from_be_bytes([*l0, *l1]));
    if payload > rest.len() {
        return Err(GreDrop::Truncated);
    }
    if seq.is_none() && payload > 0 {
        return Err(GreDrop::NoSequence);
    }
    let start = packet.len() - rest.len();
    let header = Header { call_id: u16::from_be_bytes([*c0, *c1]), seq, ack };
    Ok((header, start..start + payload))
}

/// Writes the header for `payload` bytes to the front of `out` and returns its length: 8, 12 or 16 bytes.
pub fn emit(header: Header, payload: u16, out: &mut [u8; MAX_HEADER]) -> usize {
    let [flags, more, p0, p1, l0, l1, c0, c1, first @ .., s0, s1, s2, s3] = out;
    *flags = KEY | if header.seq.is_some() { SEQUENCE } else { 0 };
    *more = VERSION | if header.ack.is_some() { ACKNOWLEDGEMENT } else { 0 };
    [*p0, *p1] = PROTOCOL_PPP.to_be_bytes();
    [*l0, *l1] = payload.to_be_bytes();
    [*c0, *c1] = header.call_id.to_be_bytes();
    match (header.seq, header.ack) {
        (Some(seq), Some(ack)) => {
            *first = seq.to_be_bytes();
            [*s0, *s1, *s2, *s3] = ack.to_be_bytes();
            16
        }
        (Some(number), None) | (None, Some(number)) => {
            *first = number.to_be_bytes();
            12
        }
        (None, None) => 8,
    }
}

fn number(present: bool, rest: &[u8]) -> Result<(Option<u32>, &[u8]), GreDrop> {
    if !present {
        return Ok((None, rest));
    }
    let (number, rest) = rest.split_first_chunk::<4>().ok_or(GreDrop::ShortHeader)?;
    Ok((Some(u32::from_be_bytes(*number)), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_have_the_expected_bytes() {
        let mut out = [0; MAX_HEADER];
        let header = Header { call_id: 0x1234, seq: Some(1), ack: None };
        assert_eq!(emit(header, 5, &mut out), 12);
        assert_eq!(out[..12], [0x30, 0x01, 0x88, 0x0B, 0, 5, 0x12, 0x34, 0, 0, 0, 1]);
        let header = Header { call_id: 0x1234, seq: Some(1), ack: Some(0x0708_090A) };
        assert_eq!(emit(header, 5, &mut out), 16);
        assert_eq!(out, [0x30, 0x81, 0x88, 0x0B, 0, 5, 0x12, 0x34, 0, 0, 0, 1, 7, 8, 9, 10]);
        let header = Header { call_id: 0x1234, seq: None, ack: Some(9) };
        assert_eq!(emit(header, 0, &mut out), 12);
        assert_eq!(out[..12], [0x20, 0x81, 0x88, 0x0B, 0, 0, 0x12, 0x34, 0, 0, 0, 9]);
    }

    #[test]
    fn payload_one_byte_short_is_truncated() {
        let mut packet = vec![0x30, 0x01, 0x88, 0x0B, 0, 20, 0, 7, 0, 0, 0, 1];
        packet.extend([0xAA; 19]);
        assert_eq!(parse(&packet), Err(GreDrop::Truncated));
        packet.push(0xAA);
        assert_eq!(parse(&packet).unwrap().1, 12..32);
        packet.push(0xBB);
        assert_eq!(parse(&packet).unwrap().1, 12..32, "padding is left out");
    }

    #[test]
    fn every_drop_reason_is_reported() {
        let good = [0x30, 0x81, 0x88, 0x0B, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2];
        let with = |at: usize, byte: u8| {
            let mut packet = good;
            packet[at] = byte;
            parse(&packet).map(|_| ())
        };
        assert_eq!(parse(&good).unwrap().0, Header { call_id: 7, seq: Some(1), ack: Some(2) });
        for end in 0..good.len() {
            assert_eq!(parse(&good[..end]), Err(GreDrop::ShortHeader), "{end}");
        }
        assert_eq!(with(1, 0x80), Err(GreDrop::Version));
        assert_eq!(with(1, 0x82), Err(GreDrop::Version));
        assert_eq!(with(2, 0x08), Err(GreDrop::Protocol));
        assert_eq!(with(0, 0x10), Err(GreDrop::NoKey));
        for flags in [0xB0, 0x70, 0x38, 0x31, 0x32, 0x34] {
            assert_eq!(with(0, flags), Err(GreDrop::Flags), "{flags:x}");
        }
        for more in [0xC1, 0xA1, 0x91, 0x89] {
            assert_eq!(with(1, more), Err(GreDrop::Flags), "{more:x}");
        }
        let no_sequence = [0x20, 0x81, 0x88, 0x0B, 0, 1, 0, 7, 0, 0, 0, 1, 0xFF];
        assert_eq!(parse(&no_sequence), Err(GreDrop::NoSequence));
    }

    proptest! {
        #[test]
        fn header_round_trips(call_id: u16, seq: Option<u32>, ack: Option<u32>, size in 0_u16..2000) {
            let size = if seq.is_some() { size } else { 0 };
            let header = Header { call_id, seq, ack };
            let mut out = [0; MAX_HEADER];
            let length = emit(header, size, &mut out);
            let mut packet = out[..length].to_vec();
            packet.resize(length + usize::from(size), 0x5A);
            prop_assert_eq!(parse(&packet), Ok((header, length..packet.len())));
        }

        #[test]
        fn parser_accepts_arbitrary_bytes(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((_, payload)) = parse(&packet) {
                prop_assert!(packet.get(payload).is_some());
            }
        }
    }
}
