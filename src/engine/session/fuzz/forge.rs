//! What another host puts into a session: frames and messages that look as if the server had sent them.

use super::checks::{FORGED, ip_packet};
use crate::{
    ppp::{
        link::fuzz::PROTOCOLS,
        wire::{PacketBuilder, control_frame, protocol},
    },
    pptp::{fuzzing::Script, gre},
};

/// Distances of a sequence number from the one that is expected.
const AHEAD: [u32; 8] = [0, 0, 0, 1, 5, 300, 0x0001_0001, u32::MAX];

/// Returns a PPP frame: any bytes of any protocol, or one of those that end or change a link.
pub(super) fn frame(script: &mut Script<'_>) -> Vec<u8> {
    let choice = script.byte();
    let id = script.byte();
    let ready = |number, code, data: &[u8]| {
        let mut packet = PacketBuilder::new(code, id);
        packet.bytes(data);
        control_frame(number, &packet.finish())
    };
    match choice % 24 {
        0 => ready(protocol::CCP, 5, b""),
        1 => ready(protocol::LCP, 8, &[0x80, 0xfd]),
        2 => ready(protocol::LCP, 8, &[0x00, 0xfd, 0, 0]),
        3 => ready(protocol::LCP, 8, &[0xc0, 0x21]),
        4 => ready(protocol::LCP, 8, &[0x80, 0x21]),
        5 => ready(protocol::LCP, 1, &[5, 6, 1, 2, 3, 4]),
        6 => ready(protocol::LCP, 1, &[3, 5, 0xc2, 0x23, 0x81, 5, 6, 1, 2, 3, id]),
        7 => ready(protocol::LCP, 1, &[3, 4, 0xc0, 0x23]),
        8 => ready(protocol::LCP, 5, b""),
        9 => ready(protocol::CHAP, 1, &[16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, b's']),
        10 => ready(protocol::CHAP, 4, b"E=691 R=0 C=00000000000000000000000000000000 V=3 M=no"),
        11 => ready(protocol::CHAP, 3, b"S=0123456789012345678901234567890123456789"),
        12 => ready(protocol::CCP, 1, &[18, 6, 0, 0, 0, 0]),
        13 => ready(protocol::CCP, 1, &[18, 6, 1, 0, 0, 0x40]),
        14 => ready(protocol::CCP, 4, &[18, 6, 1, 0, 0, 0x40]),
        15 => ready(protocol::CCP, 14 + (id & 1), b""),
        16 => ready(protocol::IPCP, 1, &[3, 6, 10, 0, 0, id]),
        17 => ready(protocol::IPCP, 3, &[3, 6, 10, 0, 0, id]),
        18 => ready(protocol::LCP, 10, &[0, 0, 0, 0]),
        19 | 20 => control_frame(protocol::IPV4, &ip_packet(FORGED, 40)),
        21 => {
            let count = usize::from(script.byte());
            control_frame(protocol::COMPRESSED, &[&[0x90 | id & 0x0f], script.bytes(count)].concat())
        }
        22 => {
            let count = usize::from(script.byte());
            script.bytes(count).to_vec()
        }
        _ => {
            let number =
                PROTOCOLS.get(usize::from(script.byte()) % PROTOCOLS.len()).copied().unwrap_or_default();
            let code = script.byte() % 18;
            let count = usize::from(script.byte() & 0x3f);
            ready(number, code, script.bytes(count))
        }
    }
}

/// Returns a GRE packet with this payload and a sequence number near the expected one.
pub(super) fn packet(script: &mut Script<'_>, call_id: u16, expected: u32, payload: &[u8]) -> Vec<u8> {
    let choice = script.byte();
    let ahead = AHEAD.get(usize::from(choice & 7)).copied().unwrap_or_default();
    let seq = Some(expected.wrapping_add(ahead));
    let ack = (choice & 0x80 != 0).then(|| script.u32());
    let mut header = [0; gre::MAX_HEADER];
    let size = u16::try_from(payload.len()).unwrap_or_default();
    let length = gre::emit(gre::Header { call_id, seq, ack }, size, &mut header);
    [header.get(..length).unwrap_or_default(), payload].concat()
}
