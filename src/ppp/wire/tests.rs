use proptest::{collection::vec, prelude::*};

use super::*;

#[test]
fn split_reads_each_header_compression() {
    for (frame, number, length) in [
        (&[0xFF, 0x03, 0xC0, 0x21, 9][..], protocol::LCP, 1),
        (&[0xC0, 0x21, 9], protocol::LCP, 1),
        (&[0xFF, 0x03, 0x00, 0x21], protocol::IPV4, 0),
        (&[0x00, 0x21, 9, 9], protocol::IPV4, 2),
        (&[0x21, 9], protocol::IPV4, 1),
        (&[0xFF, 0x03, 0xFD, 9], protocol::COMPRESSED, 1),
    ] {
        let mut copy = frame.to_vec();
        let (found, information) = split(&mut copy).unwrap();
        assert_eq!((found, information.len()), (number, length), "{frame:02x?}");
        let information = (number == protocol::COMPRESSED).then_some(&*information);
        assert_eq!(compressed(frame), information, "{frame:02x?}");
    }
}

#[test]
fn split_rejects_invalid_frames() {
    for (frame, error) in [
        (&[][..], FrameError::Short),
        (&[0xFF, 0x03], FrameError::Short),
        (&[0xC0], FrameError::Short),
        (&[0xFF, 0x03, 0x00], FrameError::Short),
        (&[0xC0, 0x20], FrameError::Protocol),
        (&[0xFF, 0x03, 0x00, 0x00, 0x21], FrameError::Protocol),
    ] {
        assert_eq!(split(&mut frame.to_vec()), Err(error), "{frame:02x?}");
    }
}

#[test]
fn lcp_header_is_never_compressed() {
    let mut out = [0; FRAME_HEADER_MAX];
    let header = FrameHeader { acfc: true, pfc: true };
    assert_eq!(header.emit(protocol::LCP, &mut out), Some(4));
    assert_eq!(out, [0xFF, 0x03, 0xC0, 0x21]);
    assert_eq!(header.emit(protocol::IPCP, &mut out), Some(2));
    assert_eq!(header.emit(protocol::IPV4, &mut out), Some(1));
    assert_eq!(FrameHeader::default().emit(protocol::IPV4, &mut out[..3]), None);
}

#[test]
fn packet_padding_is_cut_off() {
    let packet = Packet::parse(&[1, 7, 0, 5, 0xAA, 0, 0, 0]).unwrap();
    assert_eq!(packet, Packet { code: 1, id: 7, data: &[0xAA] });
}

#[test]
fn impossible_lengths_are_rejected() {
    for bytes in [&[][..], &[1, 1, 0], &[1, 1, 0, 3], &[1, 1, 0, 0], &[1, 1, 0, 5], &[1, 1, 0xFF, 0xFF, 1]] {
        assert_eq!(Packet::parse(bytes), None, "{bytes:02x?}");
    }
    for list in [&[1][..], &[1, 0], &[1, 1], &[1, 3], &[1, 2, 1], &[1, 4, 0, 0, 3, 0]] {
        assert_eq!(Options::parse(list), None, "{list:02x?}");
    }
}

#[test]
fn is_control_separates_control_from_data() {
    for number in [protocol::LCP, protocol::CCP, protocol::IPCP, protocol::CHAP] {
        assert!(is_control(number));
    }
    for number in [protocol::IPV4, protocol::COMPRESSED, protocol::IPV6] {
        assert!(!is_control(number));
    }
}

proptest! {
    #[test]
    fn packet_round_trips(code: u8, id: u8, data in vec(any::<u8>(), 0..2000)) {
        let packet = Packet { code, id, data: &data };
        let bytes = packet.to_vec();
        prop_assert_eq!(Packet::parse(&bytes), Some(packet));
    }

    #[test]
    fn option_list_round_trips(list in vec((any::<u8>(), vec(any::<u8>(), 0..=253)), 0..20)) {
        let mut bytes = Vec::new();
        for (kind, data) in &list {
            push(&mut bytes, *kind, data);
        }
        let options = Options::parse(&bytes).unwrap();
        let back: Vec<_> = options.iter().map(|option| (option.kind, option.data.to_vec())).collect();
        prop_assert_eq!(back, list);
    }

    #[test]
    fn frame_header_round_trips(number in any::<u16>(), acfc: bool, pfc: bool, data in vec(any::<u8>(), 0..50)) {
        // RFC 1661 §2: the low byte is odd, the high byte even.
        let number = (number | 1) & 0xFEFF;
        let mut frame = vec![0; FRAME_HEADER_MAX];
        let length = FrameHeader { acfc, pfc }.emit(number, &mut frame).unwrap();
        frame.truncate(length);
        frame.extend(&data);
        // A frame without address and control bytes never starts with FF: no protocol number begins with it.
        let (found, information) = split(&mut frame).unwrap();
        prop_assert_eq!(found, number);
        prop_assert_eq!(information, data);
    }

    #[test]
    fn decoders_accept_arbitrary_bytes(bytes in vec(any::<u8>(), 0..100)) {
        if let Ok((_, information)) = split(&mut bytes.clone()) {
            prop_assert!(information.len() < bytes.len());
        }
        if let Some(packet) = Packet::parse(&bytes) {
            prop_assert!(packet.data.len() + HEADER_LEN <= bytes.len());
            if let Some(options) = Options::parse(packet.data) {
                prop_assert!(options.iter().count() <= packet.data.len() / 2);
            }
        }
    }
}
