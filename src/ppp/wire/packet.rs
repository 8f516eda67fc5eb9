//! The packet format of all control protocols: code, identifier, length, data (RFC 1661 §5).

/// Length of the packet header in bytes.
pub const HEADER_LEN: usize = 4;

/// Packet codes (RFC 1661 §5, RFC 1962 §3 for the last two).
pub mod code {
    /// Configure-Request.
    pub const CONFIGURE_REQUEST: u8 = 1;
    /// Configure-Ack.
    pub const CONFIGURE_ACK: u8 = 2;
    /// Configure-Nak.
    pub const CONFIGURE_NAK: u8 = 3;
    /// Configure-Reject.
    pub const CONFIGURE_REJECT: u8 = 4;
    /// Terminate-Request.
    pub const TERMINATE_REQUEST: u8 = 5;
    /// Terminate-Ack.
    pub const TERMINATE_ACK: u8 = 6;
    /// Code-Reject.
    pub const CODE_REJECT: u8 = 7;
    /// Protocol-Reject (LCP only).
    pub const PROTOCOL_REJECT: u8 = 8;
    /// Echo-Request (LCP only).
    pub const ECHO_REQUEST: u8 = 9;
    /// Echo-Reply (LCP only).
    pub const ECHO_REPLY: u8 = 10;
    /// Discard-Request (LCP only).
    pub const DISCARD_REQUEST: u8 = 11;
    /// Time-Remaining (LCP only, RFC 1570 §2.2).
    pub const TIME_REMAINING: u8 = 13;
    /// Reset-Request (CCP only).
    pub const RESET_REQUEST: u8 = 14;
    /// Reset-Ack (CCP only).
    pub const RESET_ACK: u8 = 15;
}

/// One control packet, borrowed from a frame's information field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Type of the packet, see [`code`].
    pub code: u8,
    /// Matches replies to requests.
    pub id: u8,
    /// Everything after the header, without padding.
    pub data: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses one packet. Bytes beyond the length field are padding (RFC 1661 §5). Returns `None` if the
    /// length field is smaller than the header or larger than `bytes`.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let [code, id, high, low, rest @ ..] = bytes else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let data = rest.get(..length.checked_sub(HEADER_LEN)?)?;
        Some(Self { code: *code, id: *id, data })
    }
}

/// Writes one control packet; the length field is filled in at the end.
#[derive(Clone, Debug)]
pub struct PacketBuilder {
    bytes: Vec<u8>,
}

impl PacketBuilder {
    /// Starts a packet.
    #[must_use]
    pub fn new(code: u8, id: u8) -> Self {
        Self { bytes: vec![code, id, 0, 0] }
    }

    /// Appends data. Bytes that exceed a packet length of 65 535 are left out.
    pub fn bytes(&mut self, data: &[u8]) -> &mut Self {
        let room = usize::from(u16::MAX).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(data.get(..room).unwrap_or(data));
        self
    }

    /// Returns the finished packet.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let length = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(field) = self.bytes.get_mut(2..4) {
            field.copy_from_slice(&length);
        }
        self.bytes
    }
}

#[cfg(test)]
impl Packet<'_> {
    /// Returns the packet as bytes. Data that exceeds the 16-bit length is cut off.
    pub fn to_vec(self) -> Vec<u8> {
        let mut builder = PacketBuilder::new(self.code, self.id);
        builder.bytes(self.data);
        builder.finish()
    }
}
