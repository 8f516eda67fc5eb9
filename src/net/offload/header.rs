//! The virtio-net header before each packet of the device (virtio 1.2 §5.1.6, without the number of buffers).

/// Length of the header in bytes.
pub const HEADER: usize = 10;

/// F_NEEDS_CSUM: the checksum field holds the sum of the pseudo header, and the rest is to be added.
const NEEDS_CHECKSUM: u8 = 1;

const NONE: u8 = 0;
const TCP_V4: u8 = 1;
const TCP_V6: u8 = 4;
const UDP_L4: u8 = 5;
/// A flag of the type: the first segment has CWR set.
const ECN: u8 = 0x80;

/// How a packet is to be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Not at all.
    None,
    /// Into TCP segments over IPv4.
    TcpV4,
    /// Into TCP segments over IPv6.
    TcpV6,
    /// Into UDP datagrams.
    Udp,
}

/// The fields of the header. Numbers have the machine's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioHeader {
    /// Offset at which the checksummed bytes begin, and of the checksum from there, if it is to be completed.
    pub checksum: Option<(u16, u16)>,
    /// How to split the packet.
    pub split: Split,
    /// Length of all headers.
    pub headers: u16,
    /// Payload of each packet but the last.
    pub size: u16,
}

impl VirtioHeader {
    /// A packet as it is.
    pub const PLAIN: Self = Self { checksum: None, split: Split::None, headers: 0, size: 0 };

    /// Decodes a header; `None` if it asks for something that was not negotiated.
    #[must_use]
    pub fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        let [flags, kind, h0, h1, s0, s1, b0, b1, o0, o1] = *bytes;
        let split = match kind & !ECN {
            NONE => Split::None,
            TCP_V4 => Split::TcpV4,
            TCP_V6 => Split::TcpV6,
            UDP_L4 => Split::Udp,
            _ => return None,
        };
        let word = |low, high| u16::from_ne_bytes([low, high]);
        let checksum = (flags & NEEDS_CHECKSUM != 0).then(|| (word(b0, b1), word(o0, o1)));
        Some(Self { checksum, split, headers: word(h0, h1), size: word(s0, s1) })
    }

    /// Returns how many packets a packet of this length stands for.
    #[must_use]
    pub fn packets(self, length: usize) -> u64 {
        let payload = length.saturating_sub(usize::from(self.headers));
        let count = if self.size == 0 { 1 } else { payload.div_ceil(usize::from(self.size)) };
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Encodes the header.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER] {
        let kind = match self.split {
            Split::None => NONE,
            Split::TcpV4 => TCP_V4,
            Split::TcpV6 => TCP_V6,
            Split::Udp => UDP_L4,
        };
        let (begin, offset) = self.checksum.unwrap_or_default();
        let [[h0, h1], [s0, s1], [b0, b1], [o0, o1]] =
            [self.headers, self.size, begin, offset].map(u16::to_ne_bytes);
        let flags = if self.checksum.is_some() { NEEDS_CHECKSUM } else { 0 };
        [flags, kind, h0, h1, s0, s1, b0, b1, o0, o1]
    }
}
