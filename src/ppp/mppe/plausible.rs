//! Whether decrypted bytes look like a packet. MPPE has no integrity check; this is what tells a right key from a
//! wrong one when the stream has to be found again.

use super::carries;

/// How many bytes of a packet the checks look at.
pub(super) const START: usize = 12;

/// In sequence, where the key is known to be right: a protocol that MPPE carries (IP, IPX or compressed TCP when its
/// field is compressed to one byte), or one of the control protocols that some peers encrypt although RFC 3078 §3
/// tells them not to. One in 60 random packets.
pub(super) fn carried(packet: &[u8]) -> bool {
    match packet {
        [low, ..] if low & 1 == 1 => matches!(low, 0x21 | 0x2b | 0x2d | 0x2f | 0x57),
        [0xc0, 0x21 | 0x23 | 0x25, ..] | [0xc2, 0x23, ..] | [0x80, 0x21 | 0x57 | 0xfd, ..] => true,
        _ => likely(packet),
    }
}

/// Two bytes of protocol field naming a protocol that MPPE carries: one in 600 random packets.
pub(super) fn likely(packet: &[u8]) -> bool {
    matches!(packet, [0, low, ..] if low & 1 == 1 && carries(u16::from(*low)))
}

/// An IPv4 or IPv6 packet whose header agrees with its length: one in a million random packets, or less.
pub(super) fn whole(packet: &[u8]) -> bool {
    let mut start = [0; START];
    for (slot, byte) in start.iter_mut().zip(packet) {
        *slot = *byte;
    }
    whole_start(&start, packet.len())
}

/// [`whole`], given the start of the packet and the length of all of it.
pub(super) fn whole_start(start: &[u8; START], length: usize) -> bool {
    match start {
        [0, 0x21, ip @ ..] => ip_v4(ip, length.saturating_sub(2)),
        [0x21, ip @ ..] => ip_v4(ip, length.saturating_sub(1)),
        [0, 0x57, ip @ ..] => ip_v6(ip, length.saturating_sub(2)),
        [0x57, ip @ ..] => ip_v6(ip, length.saturating_sub(1)),
        _ => false,
    }
}

fn ip_v4(header: &[u8], length: usize) -> bool {
    let [first, _, high, low, ..] = header else { return false };
    let header_length = usize::from(first & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*high, *low]));
    first >> 4 == 4 && header_length >= 20 && total >= header_length && total <= length
}

fn ip_v6(header: &[u8], length: usize) -> bool {
    let [first, _, _, _, high, low, ..] = header else { return false };
    first >> 4 == 6 && usize::from(u16::from_be_bytes([*high, *low])) + 40 <= length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_must_agree_with_the_length() {
        let mut packet = [0_u8; 42];
        packet[..6].copy_from_slice(&[0, 0x21, 0x45, 0, 0, 40]);
        assert!(whole(&packet));
        assert!(whole(&packet[1..]));
        assert!(!whole(&packet[..41]));
        packet[2] = 0x44;
        assert!(!whole(&packet));

        let mut packet = [0_u8; 42];
        packet[..8].copy_from_slice(&[0, 0x57, 0x60, 0, 0, 0, 0, 0]);
        assert!(whole(&packet));
        packet[7] = 1;
        assert!(!whole(&packet));
        assert!(!whole(&[]));
    }

    #[test]
    fn protocols_of_the_control_plane_are_accepted_in_sequence_only() {
        assert!(carried(&[0xc0, 0x21, 9]));
        assert!(!likely(&[0xc0, 0x21, 9]));
        assert!(carried(&[0x21, 9]) && !likely(&[0x21, 9]));
        assert!(carried(&[0, 0x2d]) && likely(&[0, 0x2d]));
        assert!(
            !carried(&[0, 0x1f])
                && !carried(&[0, 0xfd])
                && !carried(&[0xfd])
                && !carried(&[0])
                && !carried(&[])
        );
    }
}
