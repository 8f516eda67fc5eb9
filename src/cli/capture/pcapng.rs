//! The pcapng format (draft-ietf-opsawg-pcapng), as far as a capture needs it: blocks as bytes. Pure.

/// Link type of packets that begin with their IP header (LINKTYPE_RAW).
const RAW: u16 = 101;

/// The unit of times: 10^-9 seconds.
const NANOSECONDS: u8 = 9;

/// A direction of a packet, as in the option `epb_flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To this host.
    In = 1,
    /// From this host.
    Out = 2,
}

/// A packet.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// Number of the interface block, from 0.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub time: u64,
    pub direction: Direction,
    pub comments: &'a [String],
    /// Packets that were not captured since the one before.
    pub lost: u64,
    pub data: &'a [u8],
}

/// Statistics of an interface.
#[derive(Clone, Debug)]
pub struct Statistics<'a> {
    pub interface: u32,
    pub time: u64,
    /// Packets that were captured.
    pub captured: u64,
    /// Packets that were not.
    pub lost: u64,
    pub comments: &'a [String],
}

/// Returns the first block of a file.
pub fn section(comment: &str, system: &str, program: &str) -> Vec<u8> {
    let mut body = Vec::new();
    // Byte order, version 1.0, unknown length.
    body.extend(0x1a2b_3c4d_u32.to_le_bytes());
    body.extend(1_u16.to_le_bytes());
    body.extend(0_u16.to_le_bytes());
    body.extend((-1_i64).to_le_bytes());
    option(&mut body, 1, comment.as_bytes());
    option(&mut body, 3, system.as_bytes());
    option(&mut body, 4, program.as_bytes());
    block(0x0a0d_0d0a, body)
}

/// Returns the description of an interface; they are numbered in the order of their blocks.
pub fn interface(name: &str, description: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(RAW.to_le_bytes());
    body.extend([0; 2]);
    // No limit of the length.
    body.extend([0; 4]);
    option(&mut body, 2, name.as_bytes());
    option(&mut body, 3, description.as_bytes());
    option(&mut body, 9, &[NANOSECONDS]);
    block(1, body)
}

/// Returns an enhanced packet block.
pub fn packet(packet: &Packet<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(packet.data.len() + 64);
    let length = u32::try_from(packet.data.len()).unwrap_or(u32::MAX).to_le_bytes();
    body.extend(packet.interface.to_le_bytes());
    time(&mut body, packet.time);
    body.extend(length);
    body.extend(length);
    body.extend(packet.data);
    pad(&mut body);
    for comment in packet.comments {
        option(&mut body, 1, comment.as_bytes());
    }
    option(&mut body, 2, &(packet.direction as u32).to_le_bytes());
    if packet.lost > 0 {
        option(&mut body, 4, &packet.lost.to_le_bytes());
    }
    block(6, body)
}

/// Returns an interface statistics block.
pub fn statistics(statistics: &Statistics<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(statistics.interface.to_le_bytes());
    time(&mut body, statistics.time);
    for comment in statistics.comments {
        option(&mut body, 1, comment.as_bytes());
    }
    option(&mut body, 4, &statistics.captured.saturating_add(statistics.lost).to_le_bytes());
    option(&mut body, 5, &statistics.lost.to_le_bytes());
    option(&mut body, 8, &statistics.captured.to_le_bytes());
    block(5, body)
}

/// Appends a time: its upper half first.
fn time(body: &mut Vec<u8>, time: u64) {
    let [a, b, c, d, e, f, g, h] = time.to_le_bytes();
    body.extend([e, f, g, h, a, b, c, d]);
}

/// Appends an option; a value that is too long is cut.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Returns a block with its type and lengths, and the end of its options.
fn block(kind: u32, mut body: Vec<u8>) -> Vec<u8> {
    body.extend([0; 4]);
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    let mut block = Vec::with_capacity(body.len() + 12);
    block.extend(kind.to_le_bytes());
    block.extend(length);
    block.append(&mut body);
    block.extend(length);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(block: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(block[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn blocks_have_their_lengths_at_both_ends() {
        let comments = ["dropped: gre.rx_duplicate".to_owned(), "b".to_owned()];
        for length in 0..9 {
            let data = vec![7; length];
            let one = Packet {
                interface: 1,
                time: 1,
                direction: Direction::In,
                comments: &comments,
                lost: 2,
                data: &data,
            };
            let statistics = Statistics { interface: 0, time: 1, captured: 1, lost: 2, comments: &comments };
            let blocks = [
                section("c", "Linux", "pptpctl"),
                interface("outer", "d"),
                packet(&one),
                super::statistics(&statistics),
            ];
            for block in blocks {
                assert_eq!(block.len() % 4, 0);
                let length = u32::try_from(block.len()).unwrap();
                assert_eq!((word(&block, 4), word(&block, block.len() - 4)), (length, length));
            }
        }
    }

    #[test]
    fn packet_has_time_data_and_options_at_their_places() {
        let comments = ["why".to_owned()];
        let time = 0x0123_4567_89ab_cdef;
        let block = packet(&Packet {
            interface: 1,
            time,
            direction: Direction::Out,
            comments: &comments,
            lost: 0,
            data: b"abcde",
        });
        assert_eq!((word(&block, 0), word(&block, 8)), (6, 1));
        assert_eq!((word(&block, 12), word(&block, 16)), (0x0123_4567, 0x89ab_cdef));
        assert_eq!((word(&block, 20), word(&block, 24)), (5, 5));
        assert_eq!(&block[28..36], b"abcde\0\0\0");
        assert_eq!(&block[36..44], b"\x01\0\x03\0why\0");
        assert_eq!(&block[44..56], [2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    }
}
