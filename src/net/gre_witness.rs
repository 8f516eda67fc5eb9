//! A second GRE socket for a dial that stalls. The tunnel's own socket is connected to the server and filters its
//! call id; this one shows packets that it does not get: those of the call from another address, and those of the
//! server with another call id.
//!
//! Reads the IPv4 and GRE headers of such packets and nothing else.

use std::{
    io::{self, Read},
    net::Ipv4Addr,
};

use socket2::Socket;

use super::transport::{self, Options};

/// Bytes of a packet that are read: the longest IPv4 header, and the GRE header as far as the call id.
const HEADERS: usize = 60 + 8;

/// Packets that are read at most.
const MOST_PACKETS: usize = 256;

/// Different packets that are told apart at most.
const MOST_STRAYS: usize = 8;

/// GRE packets that the tunnel's socket does not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The sender.
    pub from: Ipv4Addr,
    /// The call id in their key, which is the receiver's (RFC 2637 §4.1).
    pub call_id: u16,
    /// Number of packets.
    pub count: u32,
}

/// The socket.
#[derive(Debug)]
pub struct GreWitness {
    socket: Socket,
    server: Ipv4Addr,
    call_id: u16,
}

impl GreWitness {
    /// Opens the socket for a call with this id of this host to this server.
    ///
    /// # Errors
    /// Returns the kernel's error; `EPERM` without root.
    pub fn open(server: Ipv4Addr, call_id: u16, options: &Options) -> io::Result<Self> {
        let socket = transport::raw_gre(options)?;
        filter(&socket, server, call_id);
        Ok(Self { socket, server, call_id })
    }

    /// Returns the packets that have arrived, by sender and call id, in the order of the first of each.
    #[must_use]
    pub fn take(&self) -> Vec<Stray> {
        let mut found: Vec<Stray> = Vec::new();
        let mut packet = [0; HEADERS];
        for _ in 0..MOST_PACKETS {
            let Ok(size) = (&self.socket).read(&mut packet) else { break };
            let Some(stray) = stray(packet.get(..size).unwrap_or_default(), self.server, self.call_id) else {
                continue;
            };
            let same = |one: &&mut Stray| (one.from, one.call_id) == (stray.from, stray.call_id);
            if let Some(known) = found.iter_mut().find(same) {
                known.count += 1;
            } else if found.len() < MOST_STRAYS {
                found.push(stray);
            }
        }
        found
    }
}

/// Reads a packet with its IPv4 header; returns `None` for one that is not PPTP's GRE, that the tunnel's socket gets,
/// or that has nothing to do with the call.
fn stray(packet: &[u8], server: Ipv4Addr, call_id: u16) -> Option<Stray> {
    let first = *packet.first()?;
    let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let from = Ipv4Addr::from(from);
    let gre = packet.get(usize::from(first & 0x0f) * 4..)?.first_chunk::<8>()?;
    // Key present, no routing, version 1, protocol 0x880b (RFC 2637 §4.1).
    let [f0, f1, 0x88, 0x0b, _, _, c0, c1] = *gre else { return None };
    let is_pptp = first >> 4 == 4 && f0 & 0x20 != 0 && f1 & 0x07 == 1;
    let found = u16::from_be_bytes([c0, c1]);
    // One of the two, but not both.
    (is_pptp && (found == call_id) != (from == server)).then_some(Stray { from, call_id: found, count: 1 })
}

/// Attaches a filter that passes only packets for which [`stray`] returns something (Linux), so that those of other
/// tunnels do not fill the socket's buffer. Failure is ignored.
fn filter(socket: &Socket, server: Ipv4Addr, call_id: u16) {
    #[cfg(target_os = "linux")]
    {
        use super::bpf::{AND, JUMP_IF_EQUAL, LOAD_HALF_AT_X, LOAD_HEADER_LENGTH, LOAD_WORD, RETURN};
        use socket2::SockFilter;
        /// [`HEADERS`]; the kernel cuts the rest off.
        const HEADERS_PASSED: u32 = 68;
        let server = u32::from(server);
        let filter = [
            SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0),
            SockFilter::new(LOAD_HALF_AT_X, 0, 0, 0),
            SockFilter::new(AND, 0, 0, 0x2007),
            SockFilter::new(JUMP_IF_EQUAL, 0, 9, 0x2001),
            SockFilter::new(LOAD_HALF_AT_X, 0, 0, 2),
            SockFilter::new(JUMP_IF_EQUAL, 0, 7, 0x880b),
            SockFilter::new(LOAD_HALF_AT_X, 0, 0, 6),
            SockFilter::new(JUMP_IF_EQUAL, 2, 0, u32::from(call_id)),
            // Another call id: only from the server.
            SockFilter::new(LOAD_WORD, 0, 0, 12),
            SockFilter::new(JUMP_IF_EQUAL, 2, 3, server),
            // This call: only from another address.
            SockFilter::new(LOAD_WORD, 0, 0, 12),
            SockFilter::new(JUMP_IF_EQUAL, 1, 0, server),
            SockFilter::new(RETURN, 0, 0, HEADERS_PASSED),
            SockFilter::new(RETURN, 0, 0, 0),
        ];
        if let Err(error) = socket.attach_filter(&filter) {
            tracing::debug!(%error, "no filter on the second GRE socket");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, server, call_id);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

    /// A packet with this many words of IPv4 header.
    fn packet(words: u8, from: Ipv4Addr, call_id: u16) -> Vec<u8> {
        let mut packet = vec![0; usize::from(words) * 4];
        packet[0] = 0x40 | words;
        packet[9] = 47;
        packet[12..16].copy_from_slice(&from.octets());
        packet.extend([0x30, 0x01, 0x88, 0x0b, 0, 4]);
        packet.extend(call_id.to_be_bytes());
        packet.extend([0, 0, 0, 1, 0xff, 0x03, 0xc0, 0x21]);
        packet
    }

    #[test]
    fn packets_that_the_tunnel_does_not_get_are_recognised() {
        let found = |packet: &[u8]| stray(packet, SERVER, 77).map(|one| (one.from, one.call_id));
        for words in [5, 6, 15] {
            assert_eq!(found(&packet(words, OTHER, 77)), Some((OTHER, 77)));
            assert_eq!(found(&packet(words, SERVER, 78)), Some((SERVER, 78)));
            assert_eq!(found(&packet(words, SERVER, 77)), None, "the tunnel's own");
            assert_eq!(found(&packet(words, OTHER, 78)), None, "another tunnel's");
        }
        // Version 0, no key, another protocol, IPv6, and every prefix.
        for (at, byte) in [(21, 0x00), (20, 0x10), (23, 0x00), (0, 0x65)] {
            let mut other = packet(5, OTHER, 77);
            other[at] = byte;
            assert_eq!(found(&other), None, "{at}");
        }
        let whole = packet(5, OTHER, 77);
        for length in 0..28 {
            assert_eq!(found(&whole[..length]), None);
        }
        assert!(found(&whole[..28]).is_some());
    }
}
