//! Checks whether decrypted bytes look like a packet. MPPE has no integrity check; these heuristics tell a
//! correct key from a wrong one when the stream is resynchronized.

use super::carries;

/// Leading bytes of a packet that the checks read.
pub(super) const START: usize = 12;

/// Returns whether a packet in sequence, where the key is assumed correct, is plausible: a protocol that MPPE
/// carries (IP, IPX or compressed TCP if its field is compressed to one byte), or a control protocol that
/// some peers encrypt against RFC 3078 §3. One in 60 random packets passes.
pub(super) fn plausible_in_sequence(packet: &[u8]) -> bool {
    match packet {
        [low, ..] if low & 1 == 1 => matches!(low, 0x21 | 0x2b | 0x2d | 0x2f | 0x57),
        [0xc0, 0x21 | 0x23 | 0x25, ..] | [0xc2, 0x23, ..] | [0x80, 0x21 | 0x57 | 0xfd, ..] => true,
        _ => plausible_protocol(packet),
    }
}

/// Returns whether a two-byte protocol field names a protocol that MPPE carries: one in 600 random packets
/// passes.
pub(super) fn plausible_protocol(packet: &[u8]) -> bool {
    matches!(packet, [0, low, ..] if low & 1 == 1 && carries(u16::from(*low)))
}

/// Returns whether this is an IPv4 or IPv6 packet whose header agrees with its length: at most one in a
/// million random packets passes.
pub(super) fn plausible_ip(packet: &[u8]) -> bool {
    let mut start = [0; START];
    for (slot, byte) in start.iter_mut().zip(packet) {
        *slot = *byte;
    }
    plausible_ip_start(&start, packet.len())
}

/// Like [`plausible_ip`], from the start of the packet and its total length.
pub(super) fn plausible_ip_start(start: &[u8; START], length: usize) -> bool {
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
    fn ip_header_must_agree_with_the_length() {
        let mut packet = [0_u8; 42];
        packet[..6].copy_from_slice(&[0, 0x21, 0x45, 0, 0, 40]);
        assert!(plausible_ip(&packet));
        assert!(plausible_ip(&packet[1..]));
        assert!(!plausible_ip(&packet[..41]));
        packet[2] = 0x44;
        assert!(!plausible_ip(&packet));

        let mut packet = [0_u8; 42];
        packet[..8].copy_from_slice(&[0, 0x57, 0x60, 0, 0, 0, 0, 0]);
        assert!(plausible_ip(&packet));
        packet[7] = 1;
        assert!(!plausible_ip(&packet));
        assert!(!plausible_ip(&[]));
    }

    #[test]
    fn control_protocols_are_accepted_only_in_sequence() {
        assert!(plausible_in_sequence(&[0xc0, 0x21, 9]));
        assert!(!plausible_protocol(&[0xc0, 0x21, 9]));
        assert!(plausible_in_sequence(&[0x21, 9]) && !plausible_protocol(&[0x21, 9]));
        assert!(plausible_in_sequence(&[0, 0x2d]) && plausible_protocol(&[0, 0x2d]));
        assert!(
            !plausible_in_sequence(&[0, 0x1f])
                && !plausible_in_sequence(&[0, 0xfd])
                && !plausible_in_sequence(&[0xfd])
                && !plausible_in_sequence(&[0])
                && !plausible_in_sequence(&[])
        );
    }
}
