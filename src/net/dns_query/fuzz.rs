//! The body of the fuzz target `dns_answer`: any bytes as an answer of a nameserver, and answers with known records.

use std::net::IpAddr;

use super::{HEADER, MAX_RECORDS, RecordType, Reply, parse, query};

/// The identification of the query.
const ID: u16 = 7;

/// Parses the bytes after the first one as an answer, builds an answer that they describe, or queries the name that they
/// are; the first byte selects which.
///
/// # Errors
/// Returns the property that does not hold.
pub fn answers(data: &[u8]) -> Result<(), String> {
    match data.split_first() {
        Some((choice, rest)) if choice & 3 < 2 => any_bytes(rest),
        Some((choice, rest)) if choice & 3 == 2 => described(*choice, rest),
        Some((_, rest)) => name(&String::from_utf8_lossy(rest)),
        None => Ok(()),
    }
}

fn any_bytes(bytes: &[u8]) -> Result<(), String> {
    let Some(reply) = parse(bytes, ID) else { return Ok(()) };
    if reply.addresses.len() > MAX_RECORDS || reply.code > 15 {
        return Err(format!("{} addresses, code {}", reply.addresses.len(), reply.code));
    }
    if let Some(address) = reply.addresses.iter().find(|address| !contains(bytes, **address)) {
        return Err(format!("{address} is not in the answer"));
    }
    if parse(bytes, ID + 1).is_some() {
        return Err("it answers two queries".to_owned());
    }
    let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
    is_beginning(parse(half, ID), &reply)
}

/// Builds an answer to a query with records of three bytes each: kind, length of the data, its content.
fn described(choice: u8, mut data: &[u8]) -> Result<(), String> {
    let (mut wanted, mut records, mut count) = (Vec::new(), Vec::new(), 0_u16);
    while let Some((&[kind, length, content], rest)) = data.split_first_chunk() {
        data = rest;
        let length = match kind & 3 {
            0 => 4,
            1 => 16,
            _ => usize::from(length),
        };
        let data: Vec<u8> = (0..length).map(|n| content.wrapping_add(n.to_le_bytes()[0])).collect();
        let kind = match kind & 3 {
            2 => 1,
            0 => 1,
            1 => 28,
            _ => kind >> 2,
        };
        if usize::from(count) < MAX_RECORDS {
            wanted.extend(match kind {
                1 => <[u8; 4]>::try_from(data.as_slice()).ok().map(IpAddr::from),
                28 => <[u8; 16]>::try_from(data.as_slice()).ok().map(IpAddr::from),
                _ => None,
            });
        }
        // A compressed name, or one with labels.
        let name: &[u8] = if content & 1 == 0 { &[0xc0, 12] } else { b"\x03vpn\x07example\0" };
        records.extend_from_slice(name);
        records.extend([0, kind, 0, 1, 0, 0, 0, 60]);
        records.extend(u16::try_from(length).unwrap_or_default().to_be_bytes());
        records.extend(data);
        count += 1;
    }
    let mut bytes = query(ID, "vpn.example", RecordType::A).unwrap_or_default();
    if let Some(header) = bytes.first_chunk_mut::<HEADER>() {
        header[2] |= 0x80;
        header[3] = choice >> 2 & 0x0f;
        [header[6], header[7]] = count.to_be_bytes();
    }
    let question = bytes.len();
    bytes.extend(records);
    let wanted = Reply { code: choice >> 2 & 0x0f, addresses: wanted };
    if parse(&bytes, ID).as_ref() != Some(&wanted) {
        return Err(format!("{wanted:?} was read as {:?}", parse(&bytes, ID)));
    }
    // A truncated answer has the first of the addresses.
    let cut = question + (bytes.len() - question) * usize::from(choice >> 6) / 4;
    is_beginning(parse(bytes.get(..cut).unwrap_or_default(), ID), &wanted)
}

/// Encodes a query, which is not an answer, and is one without addresses once it has the flag.
fn name(name: &str) -> Result<(), String> {
    for kind in [RecordType::A, RecordType::Aaaa] {
        let Some(mut bytes) = query(ID, name, kind) else { continue };
        if bytes.len() > 512 || parse(&bytes, ID).is_some() {
            return Err(format!("{name:?} is no query: {bytes:?}"));
        }
        if let Some(flags) = bytes.get_mut(2) {
            *flags |= 0x80;
        }
        if parse(&bytes, ID) != Some(Reply { code: 0, addresses: Vec::new() }) {
            return Err(format!("{name:?} is encoded as a damaged question: {bytes:?}"));
        }
    }
    Ok(())
}

fn contains(bytes: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => bytes.windows(4).any(|window| window == address.octets()),
        IpAddr::V6(address) => bytes.windows(16).any(|window| window == address.octets()),
    }
}

fn is_beginning(cut: Option<Reply>, whole: &Reply) -> Result<(), String> {
    let same =
        cut.as_ref().is_none_or(|cut| cut.code == whole.code && whole.addresses.starts_with(&cut.addresses));
    if same { Ok(()) } else { Err(format!("{whole:?}, cut, is {cut:?}")) }
}
