//! Finds the end of the first frame in bytes that may contain several frames without delimiters. No I/O.
//!
//! A boundary is accepted only where it is certain: at the length stated by a control packet or an IP packet,
//! if what follows looks like a frame too; and between MPPE frames, which state no length, at the next header
//! with the next coherency count (RFC 3078 §3.1). A stated length alone is not enough, as padding is allowed
//! (RFC 1661 §2): relying on it made the classic program lose encrypted, compressed and short frames.

use crate::ppp::wire::{ADDRESS_CONTROL, protocol};

/// The four flags before an MPPE packet's coherency count (RFC 3078 §3.1).
const FLAGS: u16 = 0xf000;
/// The flag for encrypted data.
const ENCRYPTED: u16 = 0x1000;
/// Most bytes of a frame that the Linux PPP driver abandons when the pty is full: it fills up the last
/// buffer, and buffer sizes are multiples of 256 bytes.
pub(super) const STUB: usize = 256;

/// The control protocols that PPP daemons use; in ciphertext, one position in eight would match some control
/// protocol number. The last is ECP (RFC 1968).
const CONTROL: [u16; 8] = [
    protocol::LCP,
    protocol::PAP,
    protocol::CHAP,
    protocol::EAP,
    protocol::CCP,
    protocol::IPCP,
    protocol::IPV6CP,
    0x8053,
];
/// Highest code of these protocols, LCP's and CCP's.
const HIGHEST_CODE: u8 = 15;

/// Equal bytes that identify the same frame: enough to include an IP packet's identification.
const AGAIN: usize = 10;

/// Below this many bytes, two frames that add up to the last one's length are likelier than a chance header.
const DOUBTFUL: usize = 512;

/// Result of searching for the end of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    /// A frame of this many bytes, followed by more.
    Frame(usize),
    /// A frame that takes up all bytes, by its length field or what follows.
    Whole,
    /// This many bytes of an unfinished frame, which begins again after them.
    Stub(usize),
    /// Undecided: a frame that takes up all bytes, or the beginning of one.
    Open,
}

/// The last encrypted frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastEncrypted {
    header: [u8; 4],
    width: usize,
    next: u16,
    length: usize,
}

impl LastEncrypted {
    /// Returns the state for a frame, if it is encrypted.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let head = FrameStart::read(frame).filter(|head| head.number == protocol::COMPRESSED)?;
        let mut header = [0; 4];
        header.get_mut(..head.length)?.copy_from_slice(frame.get(..head.length)?);
        Some(Self { header, width: head.length, next: next_count(count(frame, &head)?), length: frame.len() })
    }

    /// Returns whether a frame with this header and count begins here.
    fn begins(&self, bytes: &[u8], count: u16) -> bool {
        bytes.starts_with(self.header.get(..self.width).unwrap_or_default())
            && be16(bytes, self.width) == Some(count)
    }
}

/// Finds the first boundary in `bytes`, given the `last` encrypted frame. With `full`, the bytes may end
/// within a frame.
pub(super) fn find_boundary(bytes: &[u8], last: Option<&LastEncrypted>, full: bool) -> Boundary {
    let Some(head) = FrameStart::read(bytes) else { return unknown(bytes, last) };
    if head.number == protocol::COMPRESSED {
        return LastEncrypted::of(bytes).map_or(Boundary::Open, |this| encrypted(bytes, &this, last, full));
    }
    match end_by_length_field(bytes, &head) {
        Some(end) if end == bytes.len() => Boundary::Whole,
        Some(end) if bytes.get(end..).is_some_and(|rest| FrameStart::read(rest).is_some()) => {
            Boundary::Frame(end)
        }
        Some(_) => find_restart(bytes).map_or(Boundary::Open, Boundary::Stub),
        None => Boundary::Open,
    }
}

/// Returns where a frame with a wrong length field begins again, if it does.
fn find_restart(bytes: &[u8]) -> Option<usize> {
    let begin = bytes.get(..AGAIN)?;
    (AGAIN..STUB).find(|at| bytes.get(*at..).is_some_and(|rest| rest.starts_with(begin)))
}

/// Decides, from the `bytes` of the next read, whether `before` is a whole frame or the beginning of one.
pub(super) fn classify_held(before: &[u8], bytes: &[u8]) -> Boundary {
    let Some(head) = FrameStart::read(before) else {
        return if FrameStart::read(bytes).is_some() { Boundary::Whole } else { Boundary::Open };
    };
    let again =
        before.len() >= 8 && bytes.starts_with(before.get(..before.len().min(16)).unwrap_or_default());
    if head.number == protocol::COMPRESSED {
        let Some(this) = LastEncrypted::of(before) else { return Boundary::Open };
        if this.begins(bytes, this.next) {
            return Boundary::Whole;
        }
        if again {
            return Boundary::Stub(before.len());
        }
        let control = FrameStart::read(bytes).is_some_and(|next| CONTROL.contains(&next.number));
        return if control { Boundary::Whole } else { Boundary::Open };
    }
    match end_by_length_field(before, &head) {
        Some(end) if end > before.len() && again => Boundary::Stub(before.len()),
        Some(end) if end > before.len() => Boundary::Open,
        _ if FrameStart::read(bytes).is_some() => Boundary::Whole,
        _ => Boundary::Open,
    }
}

/// The parsed start of a frame.
struct FrameStart {
    number: u16,
    /// Bytes before the information field.
    length: usize,
}

impl FrameStart {
    /// Accepts only protocols that occur between PPP daemons: anything else may be the middle of a frame.
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
        let body = rest.get(width..).unwrap_or_default();
        let known = match number {
            protocol::IPV4 => body.first().is_none_or(|first| (0x45..=0x4f).contains(first)),
            protocol::IPV6 => body.first().is_none_or(|first| first >> 4 == 6),
            protocol::COMPRESSED => true,
            number => width == 2 && CONTROL.contains(&number) && Self::is_control_packet(body),
        };
        known.then_some(Self { number, length: before + width })
    }

    /// Checks code, identifier and length (RFC 1661 §5).
    fn is_control_packet(body: &[u8]) -> bool {
        body.first().is_some_and(|code| (1..=HIGHEST_CODE).contains(code))
            && be16(body, 2).is_some_and(|length| (4..=body.len()).contains(&usize::from(length)))
    }
}

/// Returns the frame's end by its length field.
fn end_by_length_field(bytes: &[u8], head: &FrameStart) -> Option<usize> {
    let body = bytes.get(head.length..)?;
    let length = match head.number {
        protocol::IPV4 => usize::from(be16(body, 2)?),
        protocol::IPV6 => usize::from(be16(body, 4)?) + 40,
        number if CONTROL.contains(&number) => {
            be16(body, 2).map(usize::from).filter(|length| *length >= 4)?
        }
        _ => return None,
    };
    Some(head.length + length)
}

/// Finds the end of an encrypted frame: where the same header, the same flags and the next coherency count
/// follow. In the shortest form, with address and protocol compressed, that is 24 bits, which one in 12 000
/// full-size frames contains by chance. Such a header is accepted at once if it makes this frame as long as
/// the last one or if a third header follows, otherwise only if no better one is found. If all bytes may be
/// one frame of the last one's length, only a third header counts, unless they are fewer than [`DOUBTFUL`].
/// The same count again begins an abandoned frame's repetition if all bytes of the first part follow once more.
fn encrypted(bytes: &[u8], this: &LastEncrypted, last: Option<&LastEncrypted>, full: bool) -> Boundary {
    // The shortest encrypted frame has its count and one byte of protocol.
    let from = this.width + 3;
    let certain = this.width == 4;
    let mut found = None;
    for at in candidates(bytes, from, this) {
        let rest = bytes.get(at..).unwrap_or_default();
        match found {
            None if at < STUB
                && this.begins(rest, previous_count(this.next))
                && rest.starts_with(bytes.get(..at.min(rest.len())).unwrap_or_default()) =>
            {
                return Boundary::Stub(at);
            }
            None if is_lcp(rest) => return Boundary::Frame(at),
            _ if this.begins(rest, this.next) => {
                if certain || last.is_some_and(|last| last.length == at) {
                    return Boundary::Frame(at);
                }
                found = found.or(Some(at));
            }
            Some(first) if at >= first + from && this.begins(rest, next_count(this.next)) => {
                return Boundary::Frame(first);
            }
            _ => {}
        }
    }
    let one = last.is_some_and(|last| last.length == bytes.len() || (full && bytes.len() < last.length));
    found.filter(|_| !one || bytes.len() < DOUBTFUL).map_or(Boundary::Open, Boundary::Frame)
}

/// Treats unrecognized bytes as one frame up to the next encrypted frame, or the one after that, since these
/// bytes may be the rest of a truncated frame.
fn unknown(bytes: &[u8], last: Option<&LastEncrypted>) -> Boundary {
    let Some(last) = last else { return Boundary::Open };
    let mut found = candidates(bytes, 1, last).filter(|at| {
        let rest = bytes.get(*at..).unwrap_or_default();
        last.begins(rest, last.next) || last.begins(rest, next_count(last.next))
    });
    found.next().map_or(Boundary::Open, Boundary::Frame)
}

/// Returns the offsets at which a frame like this one, or LCP, may begin, judged by its first byte. Tests 16
/// bytes at a time, as most have neither.
fn candidates(bytes: &[u8], from: usize, like: &LastEncrypted) -> impl Iterator<Item = usize> {
    let [a, b] = [like.header[0], ADDRESS_CONTROL[0]];
    let rest = bytes.get(from..).unwrap_or_default();
    rest.chunks(16)
        .enumerate()
        .filter(move |(_, chunk)| chunk.iter().fold(false, |any, byte| any | (*byte == a) | (*byte == b)))
        .flat_map(move |(number, chunk)| {
            let start = from + 16 * number;
            chunk
                .iter()
                .enumerate()
                .filter(move |(_, byte)| **byte == a || **byte == b)
                .map(move |(at, _)| start + at)
        })
}

/// Returns whether an LCP frame begins here. LCP never compresses its header (RFC 1661 §6.6); in addition,
/// its length must lead to another frame or to the end.
fn is_lcp(rest: &[u8]) -> bool {
    rest.starts_with(&[0xff, 0x03, 0xc0, 0x21])
        && be16(rest, 6).filter(|length| *length >= 4).is_some_and(|length| {
            rest.get(4 + usize::from(length)..)
                .is_some_and(|rest| rest.is_empty() || FrameStart::read(rest).is_some())
        })
}

/// Returns the flags and count of an encrypted frame.
fn count(bytes: &[u8], head: &FrameStart) -> Option<u16> {
    be16(bytes, head.length).filter(|count| count & ENCRYPTED != 0)
}

/// Flags and count of the next frame.
const fn next_count(count: u16) -> u16 {
    (count & FLAGS) | (count.wrapping_add(1) & !FLAGS)
}

/// Flags and count of the preceding frame.
const fn previous_count(count: u16) -> u16 {
    (count & FLAGS) | (count.wrapping_sub(1) & !FLAGS)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut frames, mut last) = (Vec::new(), None);
        while !bytes.is_empty() {
            let end = match find_boundary(bytes, last.as_ref(), false) {
                Boundary::Frame(end) => end,
                Boundary::Whole | Boundary::Open => bytes.len(),
                Boundary::Stub(end) => {
                    bytes = &bytes[end..];
                    continue;
                }
            };
            let (frame, rest) = bytes.split_at(end);
            last = LastEncrypted::of(frame).or(last);
            frames.push(frame.to_vec());
            bytes = rest;
        }
        frames
    }

    pub fn ipv4(length: u8) -> Vec<u8> {
        let mut frame = vec![0xff, 0x03, 0x00, 0x21, 0x45, 0, 0, length];
        frame.resize(4 + usize::from(length), 7);
        frame
    }

    pub fn encrypted(header: &[u8], count: u16, length: usize) -> Vec<u8> {
        let mut frame = header.to_vec();
        frame.extend((0x9000 | count).to_be_bytes());
        frame.extend((0..length).map(|n| u8::try_from(n * 37 % 251).unwrap()));
        frame
    }

    pub const FULL: [u8; 4] = [0xff, 0x03, 0x00, 0xfd];
    const LCP: [u8; 12] = [0xff, 0x03, 0xc0, 0x21, 9, 1, 0, 8, 1, 2, 3, 4];

    #[test]
    fn joined_frames_of_every_kind_are_separated() {
        let (lcp, ipcp) = (LCP.to_vec(), vec![0x80, 0x21, 1, 1, 0, 4]);
        for frames in [
            vec![ipv4(40), ipv4(84)],
            vec![lcp.clone(), ipcp, ipv4(20)],
            vec![encrypted(&FULL, 0xffe, 60), encrypted(&FULL, 0xfff, 1), encrypted(&FULL, 0, 1400)],
            vec![encrypted(&[0x00, 0xfd], 5, 60), encrypted(&[0x00, 0xfd], 6, 90)],
            vec![encrypted(&[0xfd], 5, 60), encrypted(&[0xfd], 6, 90), encrypted(&[0xfd], 7, 1)],
            vec![encrypted(&FULL, 5, 60), lcp.clone()],
            vec![encrypted(&[0xfd], 5, 60), lcp.clone(), encrypted(&[0xfd], 6, 1400), lcp],
        ] {
            assert_eq!(cut(&frames.concat()), frames);
        }
    }

    #[test]
    fn single_frame_is_not_split() {
        for frame in [
            vec![0x80, 0x21, 1, 1, 0, 4],
            vec![0xff, 0x03, 0x80, 0x21, 1, 1, 0, 4],
            vec![0x21, 0x45, 0, 0, 0xff],
            vec![0xfd, 0x90, 0x01, 0x33],
            vec![1],
            encrypted(&FULL, 7, 1400),
            [ipv4(40), vec![0; 10]].concat(),
        ] {
            assert_eq!(cut(&frame), [frame]);
        }
    }

    #[test]
    fn chance_header_in_ciphertext_does_not_split_frame() {
        let mut frames: Vec<_> = (0..4).map(|count| encrypted(&[0xfd], count, 1400)).collect();
        frames[1][700..703].copy_from_slice(&[0xfd, 0x90, 2]);
        frames[2][30..33].copy_from_slice(&[0xfd, 0x90, 3]);
        assert_eq!(cut(&frames.concat()), frames);
        // No better header follows: one frame alone, and the beginning of one.
        let last = LastEncrypted::of(&frames[0]);
        assert_eq!(find_boundary(&frames[1], last.as_ref(), false), Boundary::Open);
        assert_eq!(find_boundary(&frames[1][..1000], last.as_ref(), true), Boundary::Open);
        assert_eq!(find_boundary(&frames[1][..1000], last.as_ref(), false), Boundary::Frame(700));
    }

    /// Without comparing what follows, one in 65 000 frames was cut.
    #[test]
    fn chance_header_with_the_same_count_is_no_repetition() {
        let mut frames: Vec<_> = (0..3).map(|count| encrypted(&[0xfd], count, 1400)).collect();
        frames[0][255..258].copy_from_slice(&[0xfd, 0x90, 0]);
        frames[1][4..7].copy_from_slice(&[0xfd, 0x90, 1]);
        frames[2][40..43].copy_from_slice(&[0xfd, 0x90, 2]);
        assert_eq!(cut(&frames.concat()), frames);
        for frame in frames {
            assert_eq!(cut(&frame), [frame]);
        }
    }

    #[test]
    fn truncated_frames_do_not_damage_other_frames() {
        let frames: Vec<_> = (0..4).map(|count| encrypted(&[0xfd], count, 90)).collect();
        // As the kernel's PPP driver does: the beginning, later the whole frame.
        let again =
            [&frames[0], &frames[1][..50], &frames[1], &frames[2], &frames[3]].map(|part| part.to_vec());
        assert_eq!(cut(&again.concat()), frames);
        let ip = [ipv4(60)[..30].to_vec(), ipv4(60), ipv4(40)].concat();
        assert_eq!(cut(&ip), [ipv4(60), ipv4(40)]);
        // The rest of a frame whose beginning was dropped: alone, and after the preceding frame.
        let torn = [&frames[0], &frames[1][..50], &frames[2], &frames[3]].map(|part| part.to_vec());
        assert_eq!(cut(&torn.concat()), torn);
        let (rest, last) = (&frames[1][50..], LastEncrypted::of(&frames[1][..50]));
        let bytes = [rest, &frames[2], &frames[3]].concat();
        assert_eq!(find_boundary(&bytes, last.as_ref(), false), Boundary::Frame(rest.len()));
    }

    #[test]
    fn next_read_completes_continues_or_restarts_held_frame() {
        let this = encrypted(&[0xfd], 5, 90);
        let next = encrypted(&[0xfd], 6, 90);
        for (before, bytes, expected) in [
            (&this[..], &next[..], Boundary::Whole),
            (&this[..40], &this[40..], Boundary::Open),
            (&this[..40], &this[..], Boundary::Stub(40)),
            (&this[..], &LCP[..], Boundary::Whole),
            // These bytes were once mistaken for a control packet, which split two frames.
            (&this[..40], &[0xfa, 0xc3, 0xac, 0x31, 0, 9, 1, 2, 3, 4, 5, 6, 7], Boundary::Open),
            (&ipv4(60)[..], &ipv4(40)[..], Boundary::Whole),
            (&ipv4(60)[..30], &ipv4(60)[30..], Boundary::Open),
            (&ipv4(60)[..30], &ipv4(60)[..], Boundary::Stub(30)),
            (&ipv4(60)[..30], &[0x21, 0x45][..], Boundary::Open),
        ] {
            assert_eq!(classify_held(before, bytes), expected, "{before:x?} {bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn boundary_is_inside_the_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 1..300),
            last in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            for last in [None, LastEncrypted::of(&last), LastEncrypted::of(&encrypted(&[bytes[0]], 1, 9))] {
                if let Boundary::Frame(end) | Boundary::Stub(end) = find_boundary(&bytes, last.as_ref(), bytes.len() % 2 == 0) {
                    prop_assert!((1..bytes.len()).contains(&end));
                }
            }
        }
    }
}
