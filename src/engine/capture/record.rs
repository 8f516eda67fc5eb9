//! Records of a capture, as the engine writes them and `pptpctl capture` reads them. Both are of one version.
//!
//! The reader runs as root, and the engine may have been taken over: [`Decoder`] accepts any bytes.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    net::{Ipv4Addr, SocketAddrV4},
};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A packet of the raw socket, with its IPv4 header.
    GreIn,
    /// A GRE packet without the IPv4 header, which the kernel adds.
    GreOut,
    /// Bytes from the control connection.
    ControlIn,
    /// Bytes to the control connection.
    ControlOut,
    /// An IP packet of the peer, decrypted.
    InnerIn,
    /// An IP packet of this host, before it is encrypted.
    InnerOut,
    /// A text, in the comment.
    Note,
    /// The ends of a new control connection: [`addresses`].
    Connection,
    /// The number of records that were left out here, eight bytes.
    Lost,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::GreIn,
        Self::GreOut,
        Self::ControlIn,
        Self::ControlOut,
        Self::InnerIn,
        Self::InnerOut,
        Self::Note,
        Self::Connection,
        Self::Lost,
    ];

    fn number(self) -> u8 {
        Self::ALL.iter().position(|kind| *kind == self).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<D> {
    /// What it is about.
    pub kind: Kind,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// What became of the packet; empty if it was passed on.
    pub comment: String,
    /// The packet.
    pub data: D,
}

/// The longest comment, in bytes. Each record has this much space for one, which is known only after the packet.
const COMMENT: usize = 160;

/// Length of the rest, kind, length of the comment, time, comment.
const HEAD: usize = 4 + 1 + 1 + 8 + COMMENT;

/// The largest packet, in bytes.
const LARGEST: usize = 65_535;

impl Record<&[u8]> {
    /// Returns the size in bytes.
    pub(super) fn size(&self) -> usize {
        HEAD + self.data.len().min(LARGEST)
    }

    /// Appends the record, without its comment.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let data = self.data.get(..LARGEST).unwrap_or(self.data);
        let length = u32::try_from(HEAD - 4 + data.len()).unwrap_or(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.push(self.kind.number());
        out.push(0);
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&[0; COMMENT]);
        out.extend_from_slice(data);
    }
}

/// Sets the comment of the record at the beginning of these bytes; what does not fit is cut off.
pub(super) fn set_comment(record: &mut [u8], comment: impl fmt::Display) {
    let Some((head, _)) = record.split_first_chunk_mut::<HEAD>() else { return };
    let Some(mut space) = head.get_mut(HEAD - COMMENT..) else { return };
    // An error means that the space is used up.
    let _cut = write!(space, "{comment}");
    let used = COMMENT - space.len();
    if let Some(length) = head.get_mut(5) {
        *length = u8::try_from(used).unwrap_or(u8::MAX);
    }
}

/// Returns the content of a [`Kind::Connection`].
pub(super) fn addresses(local: SocketAddrV4, server: SocketAddrV4) -> [u8; 12] {
    let ([a, b, c, d], [e, f, g, h]) = (local.ip().octets(), server.ip().octets());
    let ([i, j], [k, l]) = (local.port().to_be_bytes(), server.port().to_be_bytes());
    [a, b, c, d, i, j, e, f, g, h, k, l]
}

impl<D: AsRef<[u8]>> Record<D> {
    /// Returns this host's end and the server's of a [`Kind::Connection`].
    #[must_use]
    pub fn connection(&self) -> Option<(SocketAddrV4, SocketAddrV4)> {
        let [a, b, c, d, i, j, e, f, g, h, k, l] = *self.data.as_ref() else { return None };
        let end =
            |address: [u8; 4], port| SocketAddrV4::new(Ipv4Addr::from(address), u16::from_be_bytes(port));
        Some((end([a, b, c, d], [i, j]), end([e, f, g, h], [k, l])))
    }

    /// Returns the number of a [`Kind::Lost`].
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.data.as_ref().try_into().map_or(0, u64::from_le_bytes)
    }
}

/// The bytes are no records: another version, or an engine that was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine sent something else than records of a capture")]
pub struct NotARecord;

/// Splits a stream into records.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Bytes that were taken.
    taken: usize,
}

impl Decoder {
    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next record, `None` until it is whole.
    ///
    /// # Errors
    /// Returns an error if the bytes are no record; nothing after that is one.
    pub fn take(&mut self) -> Result<Option<Record<Vec<u8>>>, NotARecord> {
        let Some((length, rest)) =
            self.bytes.get(self.taken..).and_then(|rest| rest.split_first_chunk::<4>())
        else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| NotARecord)?;
        if !(HEAD - 4..=HEAD - 4 + LARGEST).contains(&length) {
            return Err(NotARecord);
        }
        let Some(record) = rest.get(..length) else { return Ok(None) };
        let (kind, rest) = record.split_first().ok_or(NotARecord)?;
        let (comment_length, rest) = rest.split_first().ok_or(NotARecord)?;
        let (time, rest) = rest.split_first_chunk::<8>().ok_or(NotARecord)?;
        let (comment, data) = rest.split_first_chunk::<COMMENT>().ok_or(NotARecord)?;
        let comment = comment.get(..usize::from(*comment_length)).ok_or(NotARecord)?;
        let mut shown = String::new();
        for c in String::from_utf8_lossy(comment).chars() {
            let c = if c.is_control() { ' ' } else { c };
            let _infallible = shown.write_char(c);
        }
        let kind = Kind::of_number(*kind).ok_or(NotARecord)?;
        let record = Record { kind, time: u64::from_le_bytes(*time), comment: shown, data: data.to_vec() };
        self.taken += 4 + length;
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_round_trip() {
        let (local, server) = ("192.0.2.7:4711".parse().unwrap(), "198.51.100.1:1723".parse().unwrap());
        let data = addresses(local, server);
        let record = Record { kind: Kind::Connection, time: 1, comment: String::new(), data: &data[..] };
        assert_eq!(record.connection(), Some((local, server)));
    }

    proptest! {
        #[test]
        fn records_round_trip_in_pieces(
            records in proptest::collection::vec((0..9_u8, any::<u64>(), "[ -~é]{0,200}", proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
            piece in 1..400_usize,
        ) {
            let mut bytes = Vec::new();
            for (kind, time, comment, data) in &records {
                let start = bytes.len();
                let kind = Kind::of_number(*kind).unwrap();
                Record { kind, time: *time, comment: String::new(), data: &data[..] }.write(&mut bytes);
                set_comment(&mut bytes[start..], comment);
            }
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(piece) {
                decoder.push(piece);
                while let Some(record) = decoder.take().unwrap() {
                    found.push(record);
                }
            }
            prop_assert_eq!(found.len(), records.len());
            for (record, (kind, time, comment, data)) in found.iter().zip(&records) {
                prop_assert_eq!((record.kind.number(), record.time, &record.data), (*kind, *time, data));
                let kept = record.comment.trim_end_matches('\u{fffd}');
                prop_assert!(comment.starts_with(kept) && (comment.len() > COMMENT || kept == comment));
            }
        }

        #[test]
        fn decoder_accepts_arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(record)) = decoder.take() {
                prop_assert!(record.data.len() <= LARGEST);
            }
        }
    }
}
