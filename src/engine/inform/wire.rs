//! Encodes and decodes DHCP (RFC 2131 §2, RFC 2132) over UDP (RFC 768) over IPv4 (RFC 791), and the classless
//! static routes of option 121 (RFC 3442), whose format Microsoft's option 249 shares.
//!
//! Decides neither when to ask nor which routes to accept. Does not panic on any input; a malformed packet is
//! no answer.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::net::checksum::Sum;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const UDP: u8 = 17;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// BOOTP's fixed part, before the options (RFC 2131 §2), in bytes, and the cookie in front of them (§3).
const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Minimum length in bytes: relays and servers may drop messages shorter than BOOTP's 300 (RFC 1542 §2.1).
const MIN_MESSAGE: usize = 300;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

const PAD: u8 = 0;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const PARAMETERS: u8 = 55;
const CLIENT_ID: u8 = 61;
const ROUTES: u8 = 121;
const ROUTES_MICROSOFT: u8 = 249;
const END: u8 = 255;

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const INFORM: u8 = 8;
const ACK: u8 = 5;

/// The routes of a DHCPACK.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Destinations in the server's order. The gateways are left out: all routes lead into the tunnel.
    pub routes: Vec<Ipv4Net>,
}

/// Returns a DHCPINFORM as an IP packet.
pub(super) fn encode_inform(local: Ipv4Addr, to: Ipv4Addr, xid: u32) -> Vec<u8> {
    let mut message = vec![0; FIXED];
    // Filled in as by Windows: an unassigned hardware address of Ethernet's length (§4.3.5 does not use it).
    // The answer is sent to ciaddr (§4.3.5) and recognized by that address and the xid.
    let hardware = hardware_address(local);
    put(&mut message, 0, &[REQUEST, 1, 6, 0]);
    put(&mut message, 4, &xid.to_be_bytes());
    put(&mut message, 12, &local.octets());
    put(&mut message, 28, &hardware);
    message.extend(COOKIE);
    message.extend([MESSAGE_TYPE, 1, INFORM]);
    message.extend([CLIENT_ID, 7, 1]);
    message.extend(hardware);
    // RFC 3442: 121 must precede 3 and 33, which are not needed and therefore not requested.
    message.extend([PARAMETERS, 2, ROUTES, ROUTES_MICROSOFT]);
    message.push(END);
    message.resize(message.len().max(MIN_MESSAGE), PAD);
    in_packet(local, to, &message)
}

/// Returns a hardware address with the prefix of Windows' RAS, 52:41:53; the rest distinguishes two clients
/// of one server.
fn hardware_address(local: Ipv4Addr) -> [u8; 6] {
    let [_, b, c, d] = local.octets();
    [0x52, 0x41, 0x53, b, c, d]
}

fn in_packet(from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    // Does not overflow: a request has a few hundred bytes.
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
    let mut udp = Vec::with_capacity(UDP_HEADER + message.len());
    udp.extend(CLIENT_PORT.to_be_bytes());
    udp.extend(SERVER_PORT.to_be_bytes());
    udp.extend(length(UDP_HEADER + message.len()));
    udp.extend([0; 2]);
    udp.extend(message);
    let sum = match udp_checksum(from, to, &udp) {
        // Zero means that there is no checksum (RFC 768).
        0 => u16::MAX,
        sum => sum,
    };
    put(&mut udp, 6, &sum.to_be_bytes());
    let mut packet = vec![0x45, 0];
    packet.extend(length(IP_HEADER + udp.len()));
    packet.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = Sum::default().add(&packet).checksum();
    put(&mut packet, 10, &sum.to_be_bytes());
    packet.extend(udp);
    packet
}

/// Returns a DHCP message as an IP packet from a server to the client at `local`.
#[cfg(any(feature = "fuzzing", test))]
pub(super) fn fuzzed_packet(local: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let mut packet = in_packet(Ipv4Addr::new(10, 0, 0, 1), local, message);
    put(&mut packet, IP_HEADER, &SERVER_PORT.to_be_bytes());
    put(&mut packet, IP_HEADER + 2, &CLIENT_PORT.to_be_bytes());
    put(&mut packet, IP_HEADER + 6, &[0; 2]);
    packet
}

/// Returns the DHCP message in an IP packet for a DHCP client at `local`; `None` if the packet is another one
/// or malformed.
pub(super) fn to_client(packet: &[u8], local: Ipv4Addr) -> Option<&[u8]> {
    let first = *packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    let whole = packet.get(..usize::from(word(packet, 2)?))?;
    // Fragments are ignored: no acceptable answer is that large.
    if first >> 4 != 4 || header < IP_HEADER || *packet.get(9)? != UDP || word(packet, 6)? & 0x3fff != 0 {
        return None;
    }
    let (from, to) = (address(packet, 12)?, address(packet, 16)?);
    if Sum::default().add(whole.get(..header)?).checksum() != 0 || (to != local && to != Ipv4Addr::BROADCAST)
    {
        return None;
    }
    let udp = whole.get(header..)?;
    if word(udp, 0)? != SERVER_PORT || word(udp, 2)? != CLIENT_PORT {
        return None;
    }
    let udp = udp.get(..usize::from(word(udp, 4)?))?;
    if word(udp, 6)? != 0 && udp_checksum(from, to, udp) != 0 {
        return None;
    }
    udp.get(UDP_HEADER..)
}

/// Parses the DHCPACK to our request.
pub(super) fn answer(message: &[u8], xid: u32) -> Option<Answer> {
    let options = message.get(FIXED..)?.strip_prefix(&COOKIE)?;
    if message.first() != Some(&REPLY) || message.get(4..8)? != xid.to_be_bytes() {
        return None;
    }
    let mut fields = vec![options];
    let overload = option(&fields, OVERLOAD).first().copied().unwrap_or(0);
    // RFC 2131 §4.1: first `file`, then `sname`.
    fields.extend((overload & 1 != 0).then_some(message.get(FILE)?));
    fields.extend((overload & 2 != 0).then_some(message.get(SNAME)?));
    if option(&fields, MESSAGE_TYPE) != [ACK] {
        return None;
    }
    // Microsoft's option is a copy of that of RFC 3442: a server that sends both repeats the same routes.
    let given = [ROUTES, ROUTES_MICROSOFT].map(|code| routes(&option(&fields, code)));
    Some(Answer { routes: given.into_iter().flatten().find(|routes| !routes.is_empty()).unwrap_or_default() })
}

/// Returns the value of an option, joined from its parts wherever they stand (RFC 3396 §7).
fn option(fields: &[&[u8]], wanted: u8) -> Vec<u8> {
    let mut value = Vec::new();
    for field in fields {
        let mut rest = *field;
        loop {
            rest = match rest {
                [PAD, rest @ ..] => rest,
                [] | [END, ..] | [_] => break,
                [code, length, after @ ..] => {
                    let Some((part, rest)) = after.split_at_checked(usize::from(*length)) else { break };
                    if *code == wanted {
                        value.extend(part);
                    }
                    rest
                }
            };
        }
    }
    value
}

/// Parses destination descriptors with a router each (RFC 3442, "Classless Route Option Format"); `None` if
/// they are malformed. Clears the bits beyond the mask, as required there.
fn routes(mut bytes: &[u8]) -> Option<Vec<Ipv4Net>> {
    let mut routes = Vec::new();
    while let Some((&width, rest)) = bytes.split_first() {
        let significant = usize::from(width.div_ceil(8));
        let mut octets = [0; 4];
        octets.get_mut(..significant)?.copy_from_slice(rest.get(..significant)?);
        routes.push(Ipv4Net::new(octets.into(), width).ok()?.trunc());
        bytes = rest.get(significant + 4..)?;
    }
    Some(routes)
}

fn udp_checksum(from: Ipv4Addr, to: Ipv4Addr, udp: &[u8]) -> u16 {
    let length = u16::try_from(udp.len()).unwrap_or(u16::MAX);
    let pseudo_header = Sum::default().add(&from.octets()).add(&to.octets()).add_word(UDP.into());
    pseudo_header.add_word(length).add(udp).checksum()
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(four.into())
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
pub(super) mod tests;
