//! The messages of rtnetlink that this program sends or reads: encoding and decoding. No I/O.
//!
//! netlink-packet-route encodes and decodes routes, rules and addresses. Its type for all messages, and its links, would
//! link the codecs of every kind of device and of traffic control, which are larger than the rest of this module; so
//! [`Message`] has the kinds in use only, and [`LinkMessage`] the header and attributes without their meaning.

use netlink_packet_core::{DecodeError, Emitable, Parseable};
use netlink_packet_route::{address::AddressMessage, route::RouteMessage, rule::RuleMessage};

/// Length of the header of a link (`struct ifinfomsg`), in bytes.
const LINK_HEADER: usize = 16;
/// Length of the header of an attribute, in bytes.
const ATTRIBUTE_HEADER: usize = 4;
/// The bits of an attribute's type without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER.
const TYPE_MASK: u16 = 0x3fff;

/// Declares [`Message`] with one variant for each type of message, its number and its content.
macro_rules! messages {
    ($($name:ident($content:ty) = $number:literal,)*) => {
        /// A message.
        #[derive(Clone, Debug)]
        pub(super) enum Message {
            $(#[doc = concat!("Type ", stringify!($number), ".")] $name($content),)*
        }

        impl Message {
            /// Returns the number of its type.
            pub(super) const fn number(&self) -> u16 {
                match self {
                    $(Self::$name(_) => $number,)*
                }
            }

            fn content(&self) -> &dyn Emitable {
                match self {
                    $(Self::$name(content) => content,)*
                }
            }

            /// Decodes the payload of a message with this number; `None` for other numbers.
            pub(super) fn decode(number: u16, payload: &[u8]) -> Option<Result<Self, DecodeError>> {
                Some(match number {
                    $($number => <$content>::parse(payload).map(Self::$name),)*
                    _ => return None,
                })
            }
        }
    };
}

messages! {
    NewLink(LinkMessage) = 16,
    DelLink(LinkMessage) = 17,
    GetLink(LinkMessage) = 18,
    SetLink(LinkMessage) = 19,
    NewAddress(AddressMessage) = 20,
    DelAddress(AddressMessage) = 21,
    GetAddress(AddressMessage) = 22,
    NewRoute(RouteMessage) = 24,
    DelRoute(RouteMessage) = 25,
    GetRoute(RouteMessage) = 26,
    NewRule(RuleMessage) = 32,
    DelRule(RuleMessage) = 33,
    GetRule(RuleMessage) = 34,
}

impl Message {
    /// Returns the payload.
    pub(super) fn payload(&self) -> Vec<u8> {
        let content = self.content();
        let mut bytes = vec![0; content.buffer_len()];
        content.emit(&mut bytes);
        bytes
    }
}

/// A network interface in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkMessage {
    /// Its index; 0 if the message names it.
    pub(super) index: u32,
    /// IFF_*.
    pub(super) flags: u32,
    /// The flags that a request changes.
    pub(super) change: u32,
    /// Encoded.
    pub(super) attributes: Vec<u8>,
}

impl LinkMessage {
    /// Returns the message with one more attribute.
    #[must_use]
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.attributes.extend(attribute(kind, value));
        self
    }

    /// Returns the value of an attribute.
    pub(super) fn get(&self, kind: u16) -> Option<&[u8]> {
        let mut rest = self.attributes.as_slice();
        while let Some([a, b, c, d]) = rest.first_chunk() {
            let length = usize::from(u16::from_ne_bytes([*a, *b]));
            let value = rest.get(ATTRIBUTE_HEADER..length)?;
            if u16::from_ne_bytes([*c, *d]) & TYPE_MASK == kind {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
        None
    }

    /// Returns the payload: as an attribute's value it is another interface.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        for field in [self.index, self.flags, self.change] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.attributes);
        bytes
    }
}

impl Emitable for LinkMessage {
    fn buffer_len(&self) -> usize {
        LINK_HEADER + self.attributes.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        let bytes = self.bytes();
        if let Some(place) = buffer.get_mut(..bytes.len()) {
            place.copy_from_slice(&bytes);
        }
    }
}

impl Parseable<[u8]> for LinkMessage {
    fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let field = |at: usize| bytes.get(at..)?.first_chunk().map(|field| u32::from_ne_bytes(*field));
        match (field(4), field(8), field(12), bytes.get(LINK_HEADER..)) {
            (Some(index), Some(flags), Some(change), Some(attributes)) => {
                Ok(Self { index, flags, change, attributes: attributes.to_vec() })
            }
            _ => Err(DecodeError::from("a link that is shorter than its header")),
        }
    }
}

/// Returns an encoded attribute, which may be (a part of) the value of another one.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // The kernel refuses what is cut short; no caller has a value of that length.
    let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Returns a text as an attribute's value.
pub(super) fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_is_decoded_as_it_was_encoded() {
        let link = LinkMessage { index: 7, flags: 0x41, change: 1, ..LinkMessage::default() };
        let link = link.with(4, &1400_u32.to_ne_bytes()).with(0x8000 | 3, &text("tun0"));
        assert_eq!(link.get(3), Some(&b"tun0\0"[..]));
        assert_eq!(link.get(4), Some(&1400_u32.to_ne_bytes()[..]));
        assert_eq!(link.get(5), None);
        let message = Message::SetLink(link.clone());
        assert_eq!(message.number(), 19);
        let payload = message.payload();
        assert_eq!(payload.len(), 16 + 8 + 12);
        let Some(Ok(Message::SetLink(again))) = Message::decode(19, &payload) else { panic!("not decoded") };
        assert_eq!(again, link);
        assert!(Message::decode(16, &payload[..15]).unwrap().is_err());
        assert!(Message::decode(64, &payload).is_none());
    }

    #[test]
    fn attribute_is_padded_and_its_length_is_not() {
        assert_eq!(
            attribute(3, b"lo\0"),
            [&7_u16.to_ne_bytes()[..], &3_u16.to_ne_bytes(), b"lo\0\0"].concat()
        );
        let link = LinkMessage { attributes: vec![9, 9, 9], ..LinkMessage::default() };
        assert_eq!(link.get(3), None);
        let endless = LinkMessage { attributes: vec![0; 8], ..LinkMessage::default() };
        assert_eq!(endless.get(3), None);
    }
}
