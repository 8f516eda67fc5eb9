//! Synchronous mode: where one frame ends that nothing marks the end of.
//!
//! A pty or a stream socket carries bytes. With `--sync` each end writes one frame with one write(2), and as long
//! as the reader keeps up each read(2) gives one frame back: that is all the framing there is, and frames of
//! any content and length pass. When the reader was late, one read gives several frames. Then the first is cut off
//! only where that is certain: by the length that a control packet or an IP packet states, if what follows
//! looks like a frame too; and between MPPE frames, which state none, at the next header with the next
//! coherency count (RFC 3078 §3.1). Whatever is not certain goes on whole: a length inside the frame alone
//! is never believed (padding is allowed, RFC 1661 §2), which is what made the classic program lose encrypted,
//! compressed and short frames. Pure.

use crate::ppp::wire::{ADDRESS_CONTROL, is_control, protocol};

/// The four flags before an MPPE packet's coherency count (RFC 3078 §3.1).
const FLAGS: usize = 0xf000;
/// One of them: not just compressed.
const ENCRYPTED: usize = 0x1000;

/// The length of the first frame in what one read gave. Never 0 for bytes that are not empty.
#[must_use]
pub fn first_frame(bytes: &[u8]) -> usize {
    let whole = bytes.len();
    let Some(head) = Head::read(bytes) else { return whole };
    let body = bytes.get(head.length..).unwrap_or_default();
    let stated = match head.number {
        protocol::IPV4 => be16(body, 2),
        protocol::IPV6 => be16(body, 4).map(|length| length + 40),
        protocol::COMPRESSED => return next_after_encrypted(bytes, &head).unwrap_or(whole),
        number if is_control(number) => be16(body, 2).filter(|length| *length >= 4),
        _ => None,
    };
    match stated.map(|length| head.length + length) {
        Some(end) if end < whole && bytes.get(end..).is_some_and(|rest| Head::read(rest).is_some()) => end,
        _ => whole,
    }
}

/// Whether what one read gave begins with a new frame and does not continue `before`, the end of what another gave.
#[must_use]
pub fn follows(before: &[u8], bytes: &[u8]) -> bool {
    let Some(next) = Head::read(bytes) else { return false };
    match Head::read(before) {
        Some(head) if head.number == protocol::COMPRESSED && next.number == protocol::COMPRESSED => {
            before.get(..head.length).is_some_and(|header| bytes.starts_with(header))
                && next_count(before, &head) == be16(bytes, head.length)
        }
        Some(head) if head.number == protocol::COMPRESSED => is_control(next.number),
        _ => true,
    }
}

/// How a frame begins.
struct Head {
    number: u16,
    /// Bytes up to the information field.
    length: usize,
}

impl Head {
    /// Only of protocols that occur between PPP daemons: anything else may be the middle of something.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (before, rest) = match bytes.strip_prefix(&ADDRESS_CONTROL) {
            Some(rest) => (2, rest),
            None => (0, bytes),
        };
        let (number, width) = match rest {
            [first, ..] if first & 1 == 1 => (u16::from(*first), 1),
            [first, second, ..] if second & 1 == 1 => (u16::from_be_bytes([*first, *second]), 2),
            _ => return None,
        };
        let known = matches!(number, protocol::IPV4 | protocol::IPV6 | protocol::COMPRESSED)
            || (is_control(number) && width == 2 && Self::states_its_length(rest));
        known.then_some(Self { number, length: before + width })
    }

    fn states_its_length(rest: &[u8]) -> bool {
        be16(rest, 4).is_some_and(|length| (4..=rest.len() - 2).contains(&length))
    }
}

/// Where the frame after an encrypted one begins: at a header of the same form, with the same flags and the next
/// coherency count. In its shortest form, address and protocol compressed, that is 24 bits, which ciphertext holds by
/// chance in one of 12 000 frames of full size; the two frames that this costs are fewer than those that not cutting
/// would, for a reader is late more often than that.
fn next_after_encrypted(bytes: &[u8], head: &Head) -> Option<usize> {
    let header = bytes.get(..head.length)?;
    let next = next_count(bytes, head)?;
    // The shortest encrypted frame has its count and one byte of protocol.
    let from = head.length + 3;
    (from..bytes.len()).find(|at| {
        let rest = bytes.get(*at..).unwrap_or_default();
        let encrypted = rest.starts_with(header) && be16(rest, head.length) == Some(next);
        encrypted || is_last_lcp(rest)
    })
}

/// Flags and count of the encrypted frame after this one.
fn next_count(bytes: &[u8], head: &Head) -> Option<usize> {
    let first = be16(bytes, head.length).filter(|first| first & ENCRYPTED != 0)?;
    Some((first & FLAGS) | ((first + 1) & !FLAGS))
}

/// LCP goes without compression of its header always (RFC 1661 §6.6), so it can be told by it and by a length that
/// takes up exactly the rest.
fn is_last_lcp(rest: &[u8]) -> bool {
    rest.starts_with(&[0xff, 0x03, 0xc0, 0x21])
        && be16(rest, 6).is_some_and(|length| length + 4 == rest.len())
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    let pair = bytes.get(at..at + 2)?;
    Some(usize::from(u16::from_be_bytes(pair.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (frame, rest) = bytes.split_at(first_frame(bytes));
            frames.push(frame.to_vec());
            bytes = rest;
        }
        frames
    }

    fn ipv4(length: u8) -> Vec<u8> {
        let mut frame = vec![0xff, 0x03, 0x00, 0x21, 0x45, 0, 0, length];
        frame.resize(4 + usize::from(length), 7);
        frame
    }

    fn encrypted(header: &[u8], count: u16, length: usize) -> Vec<u8> {
        let mut frame = header.to_vec();
        frame.extend((0x9000 | count).to_be_bytes());
        frame.extend((0..length).map(|n| u8::try_from(n * 37 % 251).unwrap()));
        frame
    }

    #[test]
    fn frames_of_every_kind_are_told_apart_when_they_come_together() {
        let full = [0xff, 0x03, 0x00, 0xfd];
        let lcp = vec![0xff, 0x03, 0xc0, 0x21, 9, 1, 0, 8, 1, 2, 3, 4];
        let ipcp = vec![0x80, 0x21, 1, 1, 0, 4];
        for frames in [
            vec![ipv4(40), ipv4(84)],
            vec![lcp.clone(), ipcp.clone(), ipv4(20)],
            vec![encrypted(&full, 0xffe, 60), encrypted(&full, 0xfff, 1), encrypted(&full, 0, 1400)],
            vec![encrypted(&[0x00, 0xfd], 5, 60), encrypted(&[0x00, 0xfd], 6, 90)],
            vec![encrypted(&[0xfd], 5, 60), encrypted(&[0xfd], 6, 90), encrypted(&[0xfd], 7, 1)],
            vec![encrypted(&full, 5, 60), lcp],
        ] {
            assert_eq!(cut(&frames.concat()), frames);
        }
    }

    #[test]
    fn one_frame_stays_one() {
        for frame in [
            vec![0x80, 0x21, 1, 1, 0, 4],
            vec![0xff, 0x03, 0x80, 0x21, 1, 1, 0, 4],
            vec![0x21, 0x45, 0, 0, 0xff],
            vec![0xfd, 0x90, 0x01, 0x33],
            vec![1],
            encrypted(&[0xff, 0x03, 0x00, 0xfd], 7, 1400),
            [ipv4(40), vec![0; 10]].concat(),
        ] {
            assert_eq!(cut(&frame), [frame]);
        }
    }

    proptest! {
        #[test]
        fn all_bytes_come_out_again(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(cut(&bytes).concat(), bytes);
        }
    }
}
