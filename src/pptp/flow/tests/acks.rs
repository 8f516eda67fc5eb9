use super::*;

#[test]
fn single_packet_is_acknowledged_after_500_ms() {
    let mut receiver = Receiver::running();
    assert_eq!(receiver.flow.next_timeout(), Some((receiver.now + 500 * MS, "acknowledgement")));
    receiver.now += 499 * MS;
    assert_eq!(receiver.flow.poll_ack(receiver.now), None);
    receiver.now += MS;
    let ack = [0x20, 0x81, 0x88, 0x0B, 0, 0, 0x22, 0x22, 0, 0, 0, 1];
    assert_eq!(receiver.flow.poll_ack(receiver.now), Some(ack));
    assert_eq!(receiver.flow.poll_ack(receiver.now), None);
    assert_eq!(receiver.flow.next_timeout(), None);
    assert_eq!(receiver.counters().tx_acks, 1);
}

#[test]
fn packets_may_be_sent_while_the_window_of_the_peer_has_room() {
    assert!(Receiver::new(config()).flow.may_send(), "no window is obeyed");
    let mut receiver = Receiver::new(FlowConfig { peer_window: Some(2), ..config() });
    let mut out = [0; MAX_HEADER];
    for _ in 0..2 {
        assert!(receiver.flow.may_send());
        receiver.flow.header(receiver.now, 4, &mut out).unwrap();
    }
    assert!(!receiver.flow.may_send());
}

#[test]
fn window_of_three_acknowledges_two_packets_at_once() {
    let mut receiver = Receiver::running();
    receiver.arrive(2).unwrap();
    assert_eq!(receiver.flow.poll_ack(receiver.now).unwrap()[8..], [0, 0, 0, 2]);
    assert_eq!(receiver.flow.next_timeout(), None);
}

#[test]
fn wide_window_is_acknowledged_by_quarter_or_after_20_ms() {
    let mut receiver = Receiver::new(FlowConfig { window: 64, ..config() });
    receiver.arrive_all(1..=15);
    assert_eq!(receiver.flow.poll_ack(receiver.now), None);
    assert_eq!(receiver.flow.next_timeout(), Some((receiver.now + 20 * MS, "acknowledgement")));
    receiver.arrive(16).unwrap();
    assert_eq!(receiver.flow.poll_ack(receiver.now).unwrap()[8..], [0, 0, 0, 16]);
    receiver.arrive_all([17, 18]);
    assert_eq!(receiver.flow.poll_ack(receiver.now + 20 * MS).unwrap()[8..], [0, 0, 0, 18]);
}

#[test]
fn data_carries_pending_ack_and_sequence_starts_at_one() {
    let mut receiver = Receiver::new(config());
    let mut out = [0; MAX_HEADER];
    assert_eq!(receiver.flow.header(receiver.now, 5, &mut out), Some(12));
    assert_eq!(out[..12], [0x30, 0x01, 0x88, 0x0B, 0, 5, 0x22, 0x22, 0, 0, 0, 1]);
    receiver.arrive_all([1, 2]);
    assert_eq!(receiver.flow.header(receiver.now, 5, &mut out), Some(16));
    assert_eq!(out, [0x30, 0x81, 0x88, 0x0B, 0, 5, 0x22, 0x22, 0, 0, 0, 2, 0, 0, 0, 2]);
    assert_eq!(receiver.flow.poll_ack(receiver.now + 1000 * MS), None);
    assert_eq!(receiver.flow.header(receiver.now, 5, &mut out), Some(12));
    assert_eq!((receiver.counters().tx_sent, receiver.counters().tx_acks), (3, 0));
}

#[test]
fn header_of_full_length_repeats_the_last_acknowledgement() {
    let mut receiver = Receiver::running();
    receiver.arrive(2).unwrap();
    for seq in 1..4 {
        let mut out = [0; MAX_HEADER];
        assert_eq!(receiver.flow.put_full_header(receiver.now, 0, &mut out), Some(0..MAX_HEADER));
        assert_eq!(out[8..], [0, 0, 0, seq, 0, 0, 0, 2]);
        assert_eq!(receiver.flow.poll_ack(receiver.now + 1000 * MS), None);
    }
}

#[test]
fn buffered_packets_are_acknowledged_but_strays_are_not() {
    let mut receiver = Receiver::running();
    receiver.arrive(3).unwrap();
    receiver.arrive(1_000_000).unwrap_err();
    receiver.arrive(1).unwrap_err();
    assert_eq!(receiver.flow.poll_ack(receiver.now).unwrap()[8..], [0, 0, 0, 3]);
    receiver.arrive_all([2, 4]);
    assert_eq!(receiver.flow.poll_ack(receiver.now).unwrap()[8..], [0, 0, 0, 4], "never backwards");
}

#[test]
fn payload_above_65535_bytes_gets_no_header() {
    let mut receiver = Receiver::new(config());
    let mut out = [0; MAX_HEADER];
    assert_eq!(receiver.flow.header(receiver.now, 65_536, &mut out), None);
    assert_eq!(receiver.flow.header(receiver.now, 65_535, &mut out), Some(12));
    assert_eq!(out[8..12], [0, 0, 0, 1], "the oversized payload used a sequence number");
    assert_eq!(receiver.counters().tx_oversize, 1);
}

#[test]
fn acknowledgements_measure_the_round_trip() {
    let mut receiver = Receiver::new(config());
    let mut out = [0; MAX_HEADER];
    receiver.flow.header(receiver.now, 5, &mut out);
    receiver.now += 10 * MS;
    receiver.flow.header(receiver.now, 5, &mut out);
    receiver.now += 10 * MS;
    let mut ack = |ack: u32, now: Instant| {
        let mut out = [0; MAX_HEADER];
        let length = gre::emit(Header { call_id: LOCAL, seq: None, ack: Some(ack) }, 0, &mut out);
        receiver.flow.receive(now, &mut out[..length], &mut |_| panic!()).unwrap();
        *receiver.flow.counters()
    };
    let now = receiver.now;
    assert_eq!(ack(3, now).rx_acks_invalid, 1, "acknowledges an unsent packet");
    assert_eq!(ack(3, now).round_trip, None);
    assert_eq!(ack(2, now).round_trip, Some(20 * MS), "covers the timed packet");
    assert_eq!(
        ack(2, now + 50 * MS).round_trip,
        Some(20 * MS),
        "a repeated acknowledgement changed the round trip"
    );
    assert_eq!(ack(1, now + 50 * MS).rx_acks, 3);
}
