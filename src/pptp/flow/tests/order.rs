use super::*;

#[test]
fn in_order_packets_are_delivered_without_copying() {
    let mut receiver = Receiver::new(config());
    for seq in 1..1000 {
        let mut packet = packet(seq, 100);
        let inside = packet.as_ptr_range();
        let mut seen = 0;
        receiver
            .flow
            .receive(receiver.now, &mut packet, &mut |payload| {
                assert!(inside.contains(&payload.as_ptr()));
                assert_eq!((number(payload), payload.len()), (seq, 100));
                seen += 1;
            })
            .unwrap();
        assert_eq!(seen, 1);
    }
    assert_eq!(receiver.counters(), FlowCounters { rx_accepted: 999, ..FlowCounters::default() });
}

#[test]
fn expected_is_the_number_after_the_last_delivered_one() {
    let mut receiver = Receiver::new(config());
    assert_eq!(receiver.flow.expected(), 0);
    receiver.arrive_all([1, 2, 4]);
    assert_eq!(receiver.flow.expected(), 3, "4 waits for 3");
    receiver.arrive(3).unwrap();
    assert_eq!(receiver.flow.expected(), 5);
}

#[test]
fn packets_in_order_are_known_beforehand() {
    let mut receiver = Receiver::running();
    let mut other = packet(4, 70);
    other[6] ^= 1;
    let mut cut = packet(4, 70);
    cut.truncate(60);
    let batch = [
        packet(2, 10),
        packet(1, 20),
        packet(3, 30),
        packet(3, 40),
        other,
        cut,
        packet(4, 50),
        packet(6, 60),
    ];
    let found: Vec<usize> =
        receiver.flow.in_order(batch.iter().map(Vec::as_slice)).map(<[u8]>::len).collect();
    assert_eq!(found, [10, 30, 50]);
    receiver.arrive_all([2, 3, 4]);
    assert_eq!(receiver.delivered, [1, 2, 3, 4]);
}

#[test]
fn swapped_packets_are_reordered_without_waiting() {
    let mut receiver = Receiver::running();
    receiver.arrive_all([3, 2, 4]);
    assert_eq!(receiver.delivered, [1, 2, 3, 4]);
    assert_eq!((receiver.counters().rx_buffered, receiver.counters().rx_repaired), (1, 1));
    assert_eq!(receiver.counters().rx_lost, 0);
}

#[test]
fn duplicate_does_not_harm_the_buffered_packet() {
    let mut receiver = Receiver::running();
    receiver.arrive_all(2..=8);
    receiver.arrive(10).unwrap();
    assert_eq!(receiver.arrive(10), Err(DropReason::Duplicate));
    receiver.arrive_all([11, 9]);
    assert_eq!(receiver.delivered, (1..=11).collect::<Vec<_>>());
    for seq in 1..=11 {
        assert_eq!(receiver.arrive(seq), Err(DropReason::Duplicate), "{seq}");
    }
    // The same with the very first packets, where the defect was observed.
    let mut receiver = Receiver::new(config());
    receiver.arrive(10).unwrap();
    assert_eq!(receiver.arrive(10), Err(DropReason::Duplicate));
    receiver.arrive_all([11, 9]);
    receiver.pass(30 * MS);
    assert_eq!(receiver.delivered, [9, 10, 11]);
}

#[test]
fn truncated_packet_is_dropped() {
    let mut receiver = Receiver::running();
    for missing in 1..=20 {
        let mut packet = packet(2, 60);
        packet.truncate(packet.len() - missing);
        assert_eq!(receiver.receive(&mut packet), Err(DropReason::Gre(gre::GreDrop::Truncated)));
    }
    assert_eq!(receiver.delivered, [1]);
    assert_eq!(receiver.counters().rx_truncated, 20);
    assert_eq!(receiver.counters().rx_invalid(), 0, "counted as truncated only");
}

#[test]
fn packet_of_another_call_is_dropped() {
    let mut receiver = Receiver::running();
    let mut foreign = packet(2, 4);
    foreign[6] ^= 1;
    assert_eq!(receiver.receive(&mut foreign), Err(DropReason::WrongCall));
    // Call ID 0 is valid: a quirk uses it.
    let mut receiver = Receiver::new(FlowConfig::new(0, PEER));
    let mut zero = packet(1, 4);
    zero[6..8].fill(0);
    receiver.receive(&mut zero).unwrap();
    assert_eq!(receiver.delivered, [1]);
}

#[test]
fn gap_on_a_quiet_link_waits_30_ms() {
    let mut receiver = Receiver::running();
    receiver.arrive(3).unwrap();
    assert_eq!(receiver.gap_timeout(), Some(30 * MS));
    receiver.pass(10 * MS);
    receiver.arrive(4).unwrap();
    assert_eq!(
        receiver.gap_timeout(),
        Some(20 * MS),
        "counted from the detection of the gap, not from the last packet"
    );
    receiver.pass(20 * MS - Duration::from_nanos(1));
    assert_eq!(receiver.delivered, [1]);
    receiver.pass(Duration::from_nanos(1));
    assert_eq!(receiver.delivered, [1, 3, 4]);
    assert_eq!(receiver.counters().rx_lost, 1);
    assert_eq!(receiver.arrive(2), Err(DropReason::UnderWindow), "order is kept");
    assert_eq!(receiver.arrive(2), Err(DropReason::Duplicate));
    assert_eq!(receiver.arrive(3), Err(DropReason::Duplicate));
}

#[test]
fn gap_on_a_busy_link_waits_2_ms() {
    let mut receiver = Receiver::running();
    for seq in 3..=22 {
        receiver.arrive(seq).unwrap();
        receiver.now += Duration::from_micros(100);
    }
    assert_eq!(receiver.delivered, [1]);
    receiver.arrive(23).unwrap();
    assert_eq!(receiver.delivered.len(), 22, "the next packet releases them, without a timer");
    assert_eq!(receiver.gap_timeout(), None);
    let mut receiver = Receiver::running();
    receiver.arrive_all(3..=30);
    assert_eq!(receiver.delivered, [1], "many packets at once do not end the wait");
    receiver.pass(2 * MS);
    assert_eq!(receiver.delivered.len(), 29);
}

#[test]
fn fifteen_packets_do_not_make_a_link_busy() {
    let mut receiver = Receiver::running();
    for seq in 3..=17 {
        receiver.arrive(seq).unwrap();
        receiver.pass(MS);
    }
    assert_eq!((&receiver.delivered[..], receiver.gap_timeout()), (&[1][..], Some(15 * MS)));
    receiver.arrive(18).unwrap();
    assert_eq!(receiver.delivered.len(), 17);
}

#[test]
fn limit_caps_the_wait() {
    let reorder = Reorder::Adaptive { max: 10 * MS };
    let mut receiver = Receiver::new(FlowConfig { reorder, ..config() });
    receiver.arrive_all([1, 3]);
    assert_eq!(receiver.gap_timeout(), Some(10 * MS));
}

#[test]
fn wait_grows_with_late_packets_and_shrinks_with_losses() {
    let mut receiver = Receiver::running();
    let mut late = 0;
    // Every second packet takes 100 ms longer than the one sent after it.
    for seq in (2..40).step_by(2) {
        receiver.arrive(seq + 1).unwrap();
        for _ in 0..100 {
            receiver.pass(MS);
        }
        late += u32::from(receiver.arrive(seq).is_err());
    }
    assert_eq!(late, 2, "too late for waits of 30 ms and 60 ms only");
    assert!(receiver.gap_timeout().is_none());
    receiver.arrive(42).unwrap();
    assert_eq!(receiver.gap_timeout(), Some(200 * MS));
    for seq in (44..200).step_by(2) {
        receiver.pass(300 * MS);
        receiver.arrive(seq).unwrap();
    }
    assert_eq!(receiver.gap_timeout(), Some(30 * MS));
}

#[test]
fn pptp_test_types_lose_nothing() {
    // pptp(8)'s --test-type 1 swaps two packets, 2 sends the 11th before the first ten, 3 reverses eleven.
    let disorders: [fn(u32) -> Vec<u32>; 3] = [
        |at| vec![at + 1, at],
        |at| std::iter::once(at + 10).chain(at..at + 10).collect(),
        |at| (at..=at + 10).rev().collect(),
    ];
    for disorder in disorders {
        for gap in [Duration::from_micros(20), MS, 100 * MS, Duration::from_secs(2)] {
            let mut receiver = Receiver::new(config());
            let mut next = 1;
            while next < 2000 {
                for seq in next..next + 20 {
                    receiver.pass(gap);
                    receiver.arrive(seq).unwrap();
                }
                next += 20;
                let burst = disorder(next);
                next += u32::try_from(burst.len()).unwrap();
                receiver.pass(gap);
                receiver.arrive_all(burst);
            }
            assert_eq!(receiver.delivered, (1..next).collect::<Vec<_>>(), "every {gap:?}");
        }
    }
}

#[test]
fn sequence_numbers_wrap() {
    let mut receiver = Receiver::new(config());
    let start = u32::MAX - 300;
    receiver.arrive(start).unwrap();
    receiver.pass(30 * MS);
    for step in (1..600).step_by(2) {
        receiver.arrive_all([start.wrapping_add(step + 1), start.wrapping_add(step)]);
    }
    assert_eq!(receiver.delivered, (0..=600).map(|step| start.wrapping_add(step)).collect::<Vec<_>>());
    assert_eq!(receiver.counters().rx_lost, 0);
}

#[test]
fn first_packet_sets_the_base() {
    for first in [0, 1] {
        let mut receiver = Receiver::new(config());
        receiver.arrive(first).unwrap();
        assert_eq!(receiver.delivered, [first], "at once");
    }
    let mut receiver = Receiver::new(config());
    receiver.arrive_all([2, 1]);
    receiver.pass(30 * MS);
    assert_eq!(receiver.delivered, [1, 2]);
    // Any number of packets may be overtaken at the start.
    let mut receiver = Receiver::new(config());
    receiver.arrive_all((1..=200).rev());
    receiver.pass(30 * MS);
    assert_eq!(receiver.delivered, (1..=200).collect::<Vec<_>>());
    let mut receiver = Receiver::new(config());
    receiver.arrive_all([5000, 4999, 5001]);
    receiver.pass(30 * MS);
    receiver.arrive_all([5003]);
    receiver.pass(30 * MS);
    assert_eq!(receiver.delivered, [4999, 5000, 5001, 5003]);
    assert_eq!(receiver.counters().rx_lost, 1, "packets before the first are counted as lost");
    assert_eq!(receiver.arrive(4998), Err(DropReason::UnderWindow));
    // Once the first is delivered, even the one just before it is dropped, to keep the order.
    let mut receiver = Receiver::running();
    assert_eq!(receiver.arrive(0), Err(DropReason::UnderWindow));
    // A narrow window does not exclude the first packet.
    let mut receiver = Receiver::new(FlowConfig { missing_window: Some(1), ..config() });
    receiver.arrive_all([5000, 5001]);
    assert_eq!(receiver.delivered, [5000, 5001]);
}

#[test]
fn unbuffered_flow_skips_gaps_and_drops_late_packets() {
    let mut receiver = Receiver::new(FlowConfig { reorder: Reorder::Off, ..config() });
    receiver.arrive_all([7, 9, 10, 1000, 1001]);
    assert_eq!(receiver.delivered, [7, 9, 10, 1000, 1001]);
    assert_eq!(receiver.counters().rx_lost, 1 + 989);
    assert_eq!(receiver.counters().rx_buffered, 0);
    assert_eq!(receiver.arrive(8), Err(DropReason::UnderWindow));
    assert_eq!(receiver.arrive(999), Err(DropReason::UnderWindow));
    assert_eq!(receiver.arrive(1000), Err(DropReason::Duplicate));
    assert_eq!(receiver.gap_timeout(), None);
}

#[test]
fn losses_beyond_the_ring_size_do_not_stall() {
    for jump in [255, 256, 257, 301, 1000, 60_000] {
        for mut receiver in [Receiver::running(), {
            let mut receiver = Receiver::running();
            receiver.arrive_all([3, 5]);
            receiver
        }] {
            let waiting = receiver.counters().rx_buffered;
            receiver.arrive(1 + jump).unwrap();
            receiver.arrive(2 + jump).unwrap();
            receiver.pass(60 * MS);
            assert_eq!(receiver.delivered[receiver.delivered.len() - 2..], [1 + jump, 2 + jump]);
            assert_eq!(receiver.delivered.len() as u64, 3 + waiting);
            assert_eq!(receiver.counters().rx_lost, u64::from(jump) - 1 - waiting);
        }
    }
}

#[test]
fn single_stray_is_dropped_but_four_move_the_flow() {
    let mut receiver = Receiver::running();
    assert_eq!(receiver.arrive(1_000_000), Err(DropReason::OverWindow));
    receiver.arrive_all(2..10);
    for seq in [1_000_000, 2_000_000, 1_000_000, 2_000_000, 2_000_000, 2_000_000] {
        assert_eq!(
            receiver.arrive(seq),
            Err(DropReason::OverWindow),
            "repeated or scattered numbers moved the flow"
        );
    }
    receiver.arrive(10).unwrap();
    for seq in [3_000_000, 3_000_001, 3_000_003] {
        assert_eq!(receiver.arrive(seq), Err(DropReason::OverWindow));
    }
    receiver.arrive_all([3_000_004, 3_000_005]);
    assert_eq!(receiver.delivered[9..], [10, 3_000_004, 3_000_005]);
    assert_eq!((receiver.counters().rx_lost, receiver.counters().rx_restarts), (0, 1));
}

#[test]
fn strays_between_expected_packets_do_not_add_up() {
    let mut receiver = Receiver::running();
    for number in 0..20 {
        assert_eq!(receiver.arrive(3_000_000 + number), Err(DropReason::OverWindow));
        receiver.arrive(number + 2).unwrap();
    }
    assert_eq!(receiver.counters().rx_restarts, 0);
}

#[test]
fn missing_window_does_not_stall_the_flow() {
    let mut receiver = Receiver::new(FlowConfig { missing_window: Some(300), ..config() });
    receiver.arrive(1).unwrap();
    receiver.arrive(300).unwrap();
    receiver.pass(30 * MS);
    assert_eq!(receiver.delivered, [1, 300]);
    for seq in 1000..1003 {
        assert_eq!(receiver.arrive(seq), Err(DropReason::OverWindow));
    }
    receiver.arrive_all(1003..1010);
    assert_eq!(receiver.delivered[2..], (1003..1010).collect::<Vec<_>>());
    assert_eq!(receiver.counters().rx_lost, 298 + 702);
}

#[test]
fn restarted_peer_is_followed_after_a_silence() {
    let mut receiver = Receiver::running();
    receiver.arrive_all(2..=1000);
    for seq in 1..=4 {
        assert_eq!(
            receiver.arrive(seq),
            Err(DropReason::UnderWindow),
            "a restart was accepted without a silence"
        );
    }
    receiver.pass(Duration::from_secs(1));
    for seq in 1..=3 {
        assert_eq!(receiver.arrive(seq), Err(DropReason::UnderWindow));
    }
    receiver.arrive_all(4..=10);
    assert_eq!(receiver.delivered[1000..], (4..=10).collect::<Vec<_>>());
    assert_eq!(receiver.counters().rx_restarts, 1);
    // Late duplicates of delivered packets never count as a restart.
    receiver.pass(Duration::from_secs(5));
    for seq in 4..=10 {
        assert_eq!(receiver.arrive(seq), Err(DropReason::Duplicate));
    }
}

#[test]
fn oversized_payload_gives_up_the_gap_before_it() {
    let mut receiver = Receiver::running();
    receiver.arrive_all([3, 5]);
    receiver.receive(&mut packet(8, 8000)).unwrap();
    receiver.arrive(9).unwrap();
    assert_eq!(receiver.delivered, [1, 3, 5, 8, 9]);
    assert_eq!(receiver.counters().rx_lost, 4);
    receiver.receive(&mut packet(10, 8000)).unwrap();
    assert_eq!(receiver.delivered.last(), Some(&10), "in order, any length is delivered");
    // The same for a payload that closes a gap in the middle.
    receiver.arrive_all([12, 15]);
    receiver.receive(&mut packet(14, 8000)).unwrap();
    assert_eq!(receiver.delivered[6..], [12, 14, 15]);
}

#[test]
fn ring_preserves_payloads_of_any_length_that_fits() {
    let mut receiver = Receiver::running();
    let mut seen = Vec::new();
    for (seq, length) in [(4, 2048), (3, 4), (5, 1532)] {
        receiver.receive(&mut packet(seq, length)).unwrap();
    }
    let mut first = packet(2, 10);
    receiver
        .flow
        .receive(receiver.now, &mut first, &mut |payload| {
            assert!(payload[4..].iter().all(|byte| *byte == 0x5A));
            seen.push((number(payload), payload.len()));
        })
        .unwrap();
    assert_eq!(seen, [(2, 10), (3, 4), (4, 2048), (5, 1532)]);
}

#[test]
fn empty_packet_uses_its_number_but_is_not_delivered() {
    let mut receiver = Receiver::running();
    let mut empty = packet(2, 4);
    empty[5] = 0;
    receiver.receive(&mut empty).unwrap();
    let mut later = packet(4, 4);
    later[5] = 0;
    receiver.receive(&mut later).unwrap();
    receiver.arrive(3).unwrap();
    assert_eq!(receiver.delivered, [1, 3]);
    assert_eq!((receiver.counters().rx_empty, receiver.counters().rx_accepted), (2, 4));
}

#[test]
fn losing_every_second_packet_uses_bounded_memory() {
    let mut receiver = Receiver::running();
    for seq in (3..20_001).step_by(2) {
        receiver.now += Duration::from_micros(50);
        receiver.arrive(seq).unwrap();
    }
    receiver.pass(30 * MS);
    assert_eq!(receiver.delivered.len(), 10_000);
    // The packets of 2 ms at 20 000 a second wait at once, plus a few.
    assert!(receiver.flow.ring.buffers() <= 42, "{}", receiver.flow.ring.buffers());
}

/// The receiving process was descheduled between the overtaking packet and the overtaken ones. These arrived
/// in time but are read late, as one batch with one timestamp.
#[test]
fn packets_queued_while_descheduled_are_not_given_up() {
    for reversed in [false, true] {
        let mut receiver = Receiver::running();
        receiver.arrive(12).unwrap();
        receiver.now += 100 * MS;
        let mut held: Vec<u32> = (2..=11).collect();
        if reversed {
            held.reverse();
        }
        receiver.arrive_all(held);
        receiver.arrive_all([13]);
        assert_eq!(receiver.delivered, (1..=13).collect::<Vec<_>>());
        assert_eq!(receiver.counters().rx_lost, 0);
    }
}

#[test]
fn filling_a_gap_does_not_extend_the_limit() {
    let mut receiver = Receiver::running();
    receiver.arrive(100).unwrap();
    for seq in (50..99).rev() {
        receiver.now += 20 * MS;
        // Packets after the limit are dropped as too late.
        let _dropped = receiver.arrive(seq);
    }
    assert_eq!(receiver.delivered.last(), Some(&100), "after 0.3 s");
    // Filling another gap does not restart the wait.
    let mut receiver = Receiver::running();
    receiver.arrive(3).unwrap();
    receiver.now += 20 * MS;
    receiver.arrive_all([5, 4]);
    assert_eq!(receiver.gap_timeout(), Some(10 * MS));
}

#[test]
fn losses_lie_between_those_counted_and_all_that_are_waited_for() {
    let mut receiver = Receiver::running();
    assert_eq!(receiver.flow.lost_when_due(), (0, 0));
    receiver.arrive_all([3, 6]);
    // 2, 4 and 5 are missing; 3 and 6 wait.
    assert_eq!(receiver.flow.lost_when_due(), (0, 5));
    receiver.pass(Duration::from_secs(10));
    assert_eq!((receiver.delivered.as_slice(), receiver.counters().rx_lost), (&[1, 3, 6][..], 3));
    assert_eq!(receiver.flow.lost_when_due(), (3, 3));
}
