//! Turns the records of an engine into a pcapng file, within its limit. Pure.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{
    headers::{self, GRE},
    pcapng::{self, Direction, Packet, Statistics},
};
use crate::supervisor::ipc::capture::{Kind, Record};

/// Numbers of the interfaces.
const OUTER: u32 = 0;
const INNER: u32 = 1;

/// Bytes that are kept for the statistics at the end.
const END: u64 = 4096;

/// Notes that wait for a packet at most, and bytes of one.
const MOST_NOTES: usize = 8;

/// A file while it is written.
#[derive(Debug)]
pub struct File {
    /// The ends of the control connection.
    local: SocketAddrV4,
    server: SocketAddrV4,
    /// Bytes of the control connection in each direction, as sequence numbers.
    sent: u32,
    received: u32,
    /// Texts for the next packet.
    notes: Vec<String>,
    /// Packets that were not captured before the next one, and in total.
    lost: u64,
    all_lost: u64,
    /// Packets on each interface.
    packets: [u64; 2],
    inner: bool,
    size: u64,
    limit: u64,
}

/// The result of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// Bytes for the file, which may be none.
    Bytes(Vec<u8>),
    /// The packet does not fit any more.
    Full,
}

impl File {
    /// Begins a file, and returns its first bytes. `inner` tells whether it has the packets in the tunnel.
    pub fn begin(inner: bool, limit: u64) -> (Self, Vec<u8>) {
        let comment = "The IP and TCP headers of the control connection, and the IP headers of GRE packets that were sent, \
                       are made up: the engine sees what is in them. There is no TCP handshake and no retransmission. \
                       Comments begin with `dropped` where a packet was not passed on; the names are those of the \
                       counters in pptpctl(8). The log-in in this file can be used to find the password.";
        let program = concat!("pptpctl ", env!("CARGO_PKG_VERSION"));
        let mut bytes = pcapng::section(comment, std::env::consts::OS, program);
        bytes.extend(pcapng::interface(
            "outer",
            "the control connection and GRE, between this host and the server",
        ));
        if inner {
            bytes.extend(pcapng::interface("inner", "IP packets in the tunnel, not encrypted"));
        }
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let file = Self {
            local: nowhere,
            server: nowhere,
            sent: 1,
            received: 1,
            notes: Vec::new(),
            lost: 0,
            all_lost: 0,
            packets: [0; 2],
            inner,
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            limit,
        };
        (file, bytes)
    }

    /// Takes a record.
    pub fn take(&mut self, record: Record<Vec<u8>>) -> Written {
        let length = u32::try_from(record.data.len()).unwrap_or(0);
        let (local, server) = (*self.local.ip(), *self.server.ip());
        let (interface, direction, data) = match record.kind {
            Kind::GreIn => (OUTER, Direction::In, headers::with_true_length(record.data)),
            Kind::GreOut => (OUTER, Direction::Out, headers::with_ip(local, server, GRE, &record.data)),
            Kind::ControlIn => {
                let number = self.received;
                self.received = number.wrapping_add(length);
                let segment = headers::with_tcp(self.server, self.local, number, self.sent, &record.data);
                (OUTER, Direction::In, segment)
            }
            Kind::ControlOut => {
                let number = self.sent;
                self.sent = number.wrapping_add(length);
                let segment = headers::with_tcp(self.local, self.server, number, self.received, &record.data);
                (OUTER, Direction::Out, segment)
            }
            // An engine that sends them without having been asked has been taken over.
            Kind::InnerIn | Kind::InnerOut if !self.inner => return Written::Bytes(Vec::new()),
            Kind::InnerIn => (INNER, Direction::In, record.data),
            Kind::InnerOut => (INNER, Direction::Out, record.data),
            Kind::Note => {
                if self.notes.len() < MOST_NOTES {
                    self.notes.push(record.comment);
                }
                return Written::Bytes(Vec::new());
            }
            Kind::Connection => {
                if let Some((local, server)) = record.connection() {
                    (self.local, self.server, self.sent, self.received) = (local, server, 1, 1);
                }
                return Written::Bytes(Vec::new());
            }
            Kind::Lost => {
                self.lost = self.lost.saturating_add(record.lost());
                self.all_lost = self.all_lost.saturating_add(record.lost());
                return Written::Bytes(Vec::new());
            }
        };
        let mut comments = std::mem::take(&mut self.notes);
        if !record.comment.is_empty() {
            comments.push(record.comment);
        }
        let packet = Packet {
            interface,
            time: record.time,
            direction,
            comments: &comments,
            lost: self.lost,
            data: &data,
        };
        let block = pcapng::packet(&packet);
        let size = self.size.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        if size.saturating_add(END) > self.limit {
            return Written::Full;
        }
        self.size = size;
        self.lost = 0;
        if let Some(packets) = self.packets.get_mut(usize::from(interface == INNER)) {
            *packets = packets.saturating_add(1);
        }
        Written::Bytes(block)
    }

    /// Returns the last bytes of the file.
    pub fn end(&mut self, time: u64) -> Vec<u8> {
        let mut comments = std::mem::take(&mut self.notes);
        if self.all_lost > 0 {
            comments.push(format!("{} packets not captured", self.all_lost));
        }
        let [outer, inner] = self.packets;
        let statistics =
            Statistics { interface: OUTER, time, captured: outer, lost: self.all_lost, comments: &comments };
        let mut bytes = pcapng::statistics(&statistics);
        if self.inner {
            let statistics = Statistics { interface: INNER, time, captured: inner, lost: 0, comments: &[] };
            bytes.extend(pcapng::statistics(&statistics));
        }
        bytes
    }

    /// Returns the number of packets in the file, and of those that were not captured.
    pub fn packets(&self) -> (u64, u64) {
        (self.packets.iter().sum(), self.all_lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, comment: &str, data: &[u8]) -> Record<Vec<u8>> {
        Record { kind, time: 5, comment: comment.to_owned(), data: data.to_vec() }
    }

    fn bytes(written: Written) -> Vec<u8> {
        match written {
            Written::Bytes(bytes) => bytes,
            Written::Full => panic!("full"),
        }
    }

    #[test]
    fn notes_and_losses_are_with_the_next_packet() {
        let (mut file, _) = File::begin(true, 1 << 20);
        assert!(bytes(file.take(record(Kind::Note, "phase lcp has begun", b""))).is_empty());
        assert!(bytes(file.take(record(Kind::Lost, "", &7_u64.to_le_bytes()))).is_empty());
        let packet = bytes(file.take(record(Kind::GreOut, "dropped: x", b"gre")));
        let has = |packet: &[u8], part: &[u8]| packet.windows(part.len()).any(|window| window == part);
        assert!(has(&packet, b"phase lcp has begun") && has(&packet, b"dropped: x"));
        // epb_dropcount.
        assert!(has(&packet, &[4, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0]));
        let next = bytes(file.take(record(Kind::InnerIn, "", b"ip")));
        assert!(!has(&next, b"phase lcp") && !has(&next, &[4, 0, 8, 0, 7]));
        assert_eq!(file.packets(), (2, 7));
        assert!(has(&file.end(9), b"7 packets not captured"));
    }

    #[test]
    fn inner_packets_need_leave_and_limit_holds() {
        let (mut file, begin) = File::begin(false, 10_000);
        assert!(bytes(file.take(record(Kind::InnerIn, "", b"secret"))).is_empty());
        let mut size = begin.len();
        while let Written::Bytes(block) = file.take(record(Kind::ControlIn, "", &[1; 100])) {
            size += block.len();
        }
        assert!((5_000..=10_000).contains(&(size + file.end(1).len())), "{size}");
    }

    #[test]
    fn sequence_numbers_follow_the_bytes() {
        let (mut file, _) = File::begin(false, 1 << 20);
        let ends = [192, 0, 2, 7, 0x12, 0x67, 198, 51, 100, 1, 6, 187];
        bytes(file.take(record(Kind::Connection, "", &ends)));
        let mut numbers = |kind| {
            let block = bytes(file.take(record(kind, "", &[0; 156])));
            let word = |at: usize| u32::from_be_bytes(block[28 + at..32 + at].try_into().unwrap());
            (word(12), word(24), word(28))
        };
        assert_eq!(numbers(Kind::ControlOut), (0xc000_0207, 1, 1));
        assert_eq!(numbers(Kind::ControlIn), (0xc633_6401, 1, 157));
        assert_eq!(numbers(Kind::ControlOut), (0xc000_0207, 157, 157));
    }
}
