//! Codec for the fifteen control messages (RFC 2637 §2), and decoder for the TCP stream that carries them.
//!
//! The meaning and the order of messages are in `control`.

mod fields;
mod messages;
mod stream;
#[cfg(test)]
mod tests;

pub use fields::Text;
pub use messages::{
    CallClearRequest, CallDisconnectNotify, EchoReply, EchoRequest, Message, OutgoingCallReply,
    OutgoingCallRequest, SetLinkInfo, StartControlConnectionReply, StartControlConnectionRequest,
    StopControlConnectionReply, StopControlConnectionRequest,
};
pub use stream::{StreamCounters, StreamDecoder};

/// The TCP port of the control connection.
pub const PORT: u16 = 1723;
/// The only version of the protocol.
pub const VERSION: u16 = 0x0100;
/// The constant in every header that helps to find a lost message boundary again (§2).
pub const MAGIC_COOKIE: u32 = 0x1A2B_3C4D;
/// The header that all messages share, in bytes.
pub const HEADER_LENGTH: usize = 12;
/// The longest message, in bytes.
pub const MAX_LENGTH: usize = 220;

/// PPTP message type of control messages; 2, management, was never defined.
const CONTROL: u16 = 1;

impl Message {
    /// Appends the message in its wire format.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let length = Self::length_of(self.kind()).unwrap_or_default();
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&CONTROL.to_be_bytes());
        out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        out.extend_from_slice(&self.kind().to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        self.write_body(out);
    }

    /// Decodes one message; `None` unless `bytes` is exactly one whole message.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let header = Header::read(bytes)?;
        let fits = header.message_type == CONTROL
            && Self::length_of(header.kind) == Some(header.length)
            && bytes.len() == usize::from(header.length);
        if !fits {
            return None;
        }
        Self::read_body(header.kind, bytes.get(HEADER_LENGTH..)?)
    }
}

/// The header that all messages share, with the cookie checked.
struct Header {
    length: u16,
    message_type: u16,
    kind: u16,
    reserved: u16,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, t0, t1, c0, c1, c2, c3, k0, k1, r0, r1] = *bytes.first_chunk::<HEADER_LENGTH>()?;
        (u32::from_be_bytes([c0, c1, c2, c3]) == MAGIC_COOKIE).then_some(Self {
            length: u16::from_be_bytes([l0, l1]),
            message_type: u16::from_be_bytes([t0, t1]),
            kind: u16::from_be_bytes([k0, k1]),
            reserved: u16::from_be_bytes([r0, r1]),
        })
    }
}
