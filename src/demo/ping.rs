//! ICMP Echo (RFC 792) over a raw socket, as ping(8) does it.

use std::{
    io::{self, Read},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::net::{checksum::Sum, transport};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// Bytes of payload in a request, as in ping(8).
const PAYLOAD: usize = 56;

/// Sends an echo request and returns the round-trip time.
///
/// # Errors
/// Returns `TimedOut` after `limit`, or the kernel's error.
pub fn ping(host: Ipv4Addr, sequence: u16, limit: Duration) -> io::Result<Duration> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.connect(&SocketAddrV4::new(host, 0).into())?;
    let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or(1);
    let sent = Instant::now();
    socket.send(&request(identifier, sequence))?;
    loop {
        let left = limit.saturating_sub(sent.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let mut buffer = [0; 512];
        let size = match (&socket).read(&mut buffer) {
            Ok(size) => size,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let datagram = buffer.get_mut(..size).unwrap_or_default();
        if transport::strip_ip_header(datagram).is_some_and(|icmp| answers(icmp, identifier, sequence)) {
            return Ok(sent.elapsed());
        }
    }
}

fn request(identifier: u16, sequence: u16) -> Vec<u8> {
    let mut packet = vec![ECHO_REQUEST, 0, 0, 0];
    packet.extend_from_slice(&identifier.to_be_bytes());
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.resize(8 + PAYLOAD, 0x55);
    let [high, low] = Sum::default().add(&packet).checksum().to_be_bytes();
    if let [_, _, first, second, ..] = packet.as_mut_slice() {
        (*first, *second) = (high, low);
    }
    packet
}

fn answers(icmp: &[u8], identifier: u16, sequence: u16) -> bool {
    let &[kind, _, _, _, i0, i1, s0, s1, ..] = icmp else { return false };
    kind == ECHO_REPLY
        && u16::from_be_bytes([i0, i1]) == identifier
        && u16::from_be_bytes([s0, s1]) == sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_checksum_verifies() {
        let packet = request(0x1234, 7);
        assert_eq!(packet.len(), 64);
        assert_eq!(Sum::default().add(&packet).checksum(), 0);
    }

    #[test]
    fn reply_must_match_identifier_and_sequence() {
        let mut reply = request(1, 2);
        assert!(!answers(&reply, 1, 2), "a request is no answer");
        reply[0] = ECHO_REPLY;
        assert!(answers(&reply, 1, 2));
        assert!(!answers(&reply, 2, 2) && !answers(&reply, 1, 3) && !answers(&reply[..7], 1, 2));
    }
}
