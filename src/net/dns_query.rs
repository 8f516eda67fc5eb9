//! A DNS query (RFC 1035), and the part of its answer that shows why a name was not resolved. Parses untrusted
//! bytes, in the unprivileged resolver process. No I/O.

#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of a header, in bytes.
const HEADER: usize = 12;

/// The most records that are read.
const MAX_RECORDS: usize = 32;

/// The most labels of a name that are read.
const MAX_LABELS: usize = 128;

/// The record types of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    /// IPv4 addresses.
    A = 1,
    /// IPv6 addresses.
    Aaaa = 28,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The response code: 0 without error, 2 SERVFAIL, 3 NXDOMAIN.
    pub code: u8,
    /// The addresses in it.
    pub addresses: Vec<IpAddr>,
}

/// Returns a query for one name; `None` if the name cannot be encoded.
#[must_use]
pub fn query(id: u16, name: &str, kind: RecordType) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired, one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 || !name.is_ascii() {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([0, kind as u8, 0, 1]);
    Some(bytes)
}

/// Reads the answer to a query with this id; `None` if it is no answer to it, or damaged.
#[must_use]
pub fn parse(bytes: &[u8], id: u16) -> Option<Reply> {
    let [id_high, id_low, flags, code, questions_high, questions_low, answers_high, answers_low, ..] =
        *bytes.first_chunk::<HEADER>()?;
    if u16::from_be_bytes([id_high, id_low]) != id || flags & 0x80 == 0 {
        return None;
    }
    let mut at = HEADER;
    for _ in 0..u16::from_be_bytes([questions_high, questions_low]) {
        at = skip_name(bytes, at)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..usize::from(u16::from_be_bytes([answers_high, answers_low])).min(MAX_RECORDS) {
        // A truncated answer has fewer records than its header says.
        let Some((kind, data, next)) = record(bytes, at) else { break };
        let address = match kind {
            1 => <[u8; 4]>::try_from(data).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
            28 => <[u8; 16]>::try_from(data).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
            _ => None,
        };
        addresses.extend(address);
        at = next;
    }
    Some(Reply { code: code & 0x0f, addresses })
}

/// Returns type and data of the record at this place, and the place after it.
fn record(bytes: &[u8], at: usize) -> Option<(u16, &[u8], usize)> {
    let at = skip_name(bytes, at)?;
    let [kind_high, kind_low, _, _, _, _, _, _, high, low] = *bytes.get(at..)?.first_chunk()?;
    let start = at + 10;
    let end = start + usize::from(u16::from_be_bytes([high, low]));
    Some((u16::from_be_bytes([kind_high, kind_low]), bytes.get(start..end)?, end))
}

/// Returns the place after a name. A compressed name ends with its pointer, which is not followed.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..MAX_LABELS {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length if length < 64 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// An answer to `query(7, "vpn.example", …)` with these records after the question.
    fn answer(code: u8, records: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = query(7, "vpn.example", RecordType::A).unwrap();
        bytes[2] |= 0x80;
        bytes[3] = 0x80 | code;
        bytes[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            bytes.extend([0xc0, 12, 0, *kind, 0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).unwrap()]);
            bytes.extend_from_slice(data);
        }
        bytes
    }

    #[test]
    fn query_has_one_question() {
        let bytes = query(0x1234, "a.bc.", RecordType::Aaaa).unwrap();
        assert_eq!(bytes, [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 2, b'b', b'c', 0, 0, 28, 0, 1]);
        for name in ["", "a..b", &"x".repeat(64), &"a.".repeat(128), "müller.example"] {
            assert_eq!(query(1, name, RecordType::A), None, "{name}");
        }
    }

    #[test]
    fn answer_has_code_and_addresses() {
        let reply = parse(&answer(0, &[(5, b"\x01x\0"), (1, &[192, 0, 2, 1])]), 7).unwrap();
        assert_eq!(reply, Reply { code: 0, addresses: vec![IpAddr::from([192, 0, 2, 1])] });
        let reply = parse(&answer(0, &[(28, &[0x20; 16])]), 7).unwrap();
        assert_eq!(reply.addresses, [IpAddr::from([0x20; 16])]);
        assert_eq!(parse(&answer(3, &[]), 7), Some(Reply { code: 3, addresses: Vec::new() }));
        assert_eq!(parse(&answer(0, &[]), 8), None, "another id");
        assert_eq!(parse(&query(7, "vpn.example", RecordType::A).unwrap(), 7), None, "a query");
        let cut = answer(0, &[(1, &[192, 0, 2, 1]), (1, &[192, 0, 2, 2])]);
        assert_eq!(parse(&cut[..cut.len() - 1], 7).unwrap().addresses.len(), 1);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_read(
            noise in vec(any::<u8>(), 0..80),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let _no_panic = parse(&noise, 7);
            let mut bytes = answer(0, &[(1, &[192, 0, 2, 1])]);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _no_panic = parse(&bytes, 7);
        }
    }
}
