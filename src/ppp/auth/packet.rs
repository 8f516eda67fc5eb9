//! Packets of PAP (RFC 1334 §2.2) and CHAP (RFC 1994 §4): code, identifier, length, data.

use std::fmt;

/// PAP codes.
pub(super) mod pap {
    pub const REQUEST: u8 = 1;
    pub const ACK: u8 = 2;
    pub const NAK: u8 = 3;
}

/// CHAP codes.
pub(super) mod chap {
    pub const CHALLENGE: u8 = 1;
    pub const RESPONSE: u8 = 2;
    pub const SUCCESS: u8 = 3;
    pub const FAILURE: u8 = 4;
}

/// Why an authentication packet was dropped. The state machine is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthDrop {
    /// Not the PPP protocol that was negotiated.
    WrongProtocol,
    /// Shorter than its header, or than its length fields claim.
    Truncated,
    /// A code that this role never receives, or not in this state.
    UnexpectedCode,
    /// An identifier that matches no packet that we sent.
    StaleIdentifier,
    /// A challenge or response of the wrong length for the dialect.
    BadValue,
    /// The exchange has already failed.
    Finished,
}

impl AuthDrop {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::WrongProtocol,
        Self::Truncated,
        Self::UnexpectedCode,
        Self::StaleIdentifier,
        Self::BadValue,
        Self::Finished,
    ];

    /// Returns the reason's name as a metrics label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::WrongProtocol => "auth_wrong_protocol",
            Self::Truncated => "auth_truncated",
            Self::UnexpectedCode => "auth_unexpected_code",
            Self::StaleIdentifier => "auth_stale_identifier",
            Self::BadValue => "auth_bad_value",
            Self::Finished => "auth_finished",
        }
    }
}

impl fmt::Display for AuthDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for AuthDrop {}

/// A parsed packet, without the padding after its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub code: u8,
    pub identifier: u8,
    pub data: &'a [u8],
}

impl<'a> Packet<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, AuthDrop> {
        let (header, _) = bytes.split_first_chunk::<4>().ok_or(AuthDrop::Truncated)?;
        let [code, identifier, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let data = bytes.get(4..length).ok_or(AuthDrop::Truncated)?;
        Ok(Self { code, identifier, data })
    }

    /// Encodes the packet; `None` if its length exceeds 16 bits.
    pub(super) fn encode(self) -> Option<Vec<u8>> {
        let length = u16::try_from(self.data.len() + 4).ok()?;
        let mut bytes = Vec::with_capacity(usize::from(length));
        bytes.extend([self.code, self.identifier]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(self.data);
        Some(bytes)
    }
}

/// Splits `data` after a value with a leading length byte.
pub(super) fn split_length_prefixed(data: &[u8]) -> Result<(&[u8], &[u8]), AuthDrop> {
    let (length, rest) = data.split_first().ok_or(AuthDrop::Truncated)?;
    rest.split_at_checked(usize::from(*length)).ok_or(AuthDrop::Truncated)
}

/// Appends a length byte and the value; `None` if the value is longer than 255 bytes.
pub(super) fn put_length_prefixed(data: &mut Vec<u8>, value: &[u8]) -> Option<()> {
    data.push(u8::try_from(value.len()).ok()?);
    data.extend(value);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn length_fields_must_fit_in_the_packet() {
        assert_eq!(Packet::parse(&[1, 7, 0, 3, 9]), Err(AuthDrop::Truncated));
        assert_eq!(Packet::parse(&[1, 7, 0, 6, 9]), Err(AuthDrop::Truncated));
        assert_eq!(Packet::parse(&[1, 7, 0]), Err(AuthDrop::Truncated));
        assert_eq!(Packet::parse(&[1, 7, 0, 5, 9, 0, 0]).unwrap().data, [9]);
        assert_eq!(split_length_prefixed(&[2, 1]), Err(AuthDrop::Truncated));
        assert_eq!(split_length_prefixed(&[]), Err(AuthDrop::Truncated));
        assert_eq!(split_length_prefixed(&[1, 5, 6]), Ok((&[5_u8][..], &[6_u8][..])));
    }

    proptest! {
        #[test]
        fn packet_round_trips(code: u8, identifier: u8, data in proptest::collection::vec(any::<u8>(), 0..600)) {
            let packet = Packet { code, identifier, data: &data };
            let bytes = packet.encode().unwrap();
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        }

        #[test]
        fn parser_accepts_arbitrary_bytes(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Packet::parse(&data).map(|packet| split_length_prefixed(packet.data).is_ok());
        }
    }
}
