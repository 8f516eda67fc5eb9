//! Two flows connected by a simulated network that loses, duplicates, delays and so reorders packets.

use std::collections::{BTreeMap, HashSet};

use proptest::{collection::vec, prelude::*};

use super::*;

/// What the network does to one packet.
#[derive(Clone, Copy, Debug)]
struct Fate {
    lost: bool,
    delay: Duration,
    /// The delay of a duplicate, if there is one.
    copy: Option<Duration>,
}

/// The result of a transfer.
struct Outcome {
    delivered: Vec<u32>,
    /// Time from sending to delivery, by sequence number.
    delay: BTreeMap<u32, Duration>,
    receiver: FlowCounters,
    sender: FlowCounters,
    /// Sequence numbers that the receiver accepted.
    accepted: HashSet<u32>,
}

/// Sends one packet per fate at intervals of `pace`, and runs until no packet and no timer is left.
fn transfer(config: FlowConfig, pace: Duration, fates: &[Fate]) -> Outcome {
    let start = Instant::now();
    let mut sender = Flow::new(FlowConfig::new(PEER, LOCAL), start);
    let mut receiver = Flow::new(config, start);
    // Ordered by arrival time, then by sending order.
    let mut wire: BTreeMap<(Instant, usize), Vec<u8>> = BTreeMap::new();
    let mut sent_at = BTreeMap::new();
    let mut at = start;
    for (index, fate) in fates.iter().enumerate() {
        let mut header = [0; MAX_HEADER];
        let length = sender.header(at, 4, &mut header).unwrap();
        let seq = sender.sent;
        let mut packet = header[..length].to_vec();
        packet.extend(seq.to_be_bytes());
        sent_at.insert(seq, at);
        if !fate.lost {
            wire.insert((at + fate.delay, 2 * index), packet.clone());
            if let Some(delay) = fate.copy {
                wire.insert((at + delay, 2 * index + 1), packet);
            }
        }
        at += pace;
    }

    let mut delivered = Vec::new();
    let mut delay = BTreeMap::new();
    let mut accepted = HashSet::new();
    let mut acks = Vec::new();
    loop {
        let timer = receiver.next_timeout().map(|(at, _)| at);
        let arrival = wire.first_key_value().map(|((at, _), _)| *at);
        let Some(now) = timer.into_iter().chain(arrival).min() else { break };
        let mut deliver = |payload: &mut [u8]| {
            let seq = number(payload);
            delivered.push(seq);
            delay.insert(seq, now - sent_at[&seq]);
        };
        if timer.is_some_and(|at| at <= now) {
            receiver.handle_timeout(now, &mut deliver);
        } else if let Some((_, mut packet)) = wire.pop_first() {
            let seq = u32::from_be_bytes(packet[8..12].try_into().unwrap());
            if receiver.receive(now, &mut packet, &mut deliver).is_ok() {
                assert!(accepted.insert(seq), "{seq} was accepted twice");
            }
        }
        acks.extend(receiver.poll_ack(now).map(|ack| (now, ack)));
        assert!(receiver.next_timeout().is_none_or(|(at, _)| at > now), "a timer stays due");
    }
    for (now, mut ack) in acks {
        sender.receive(now, &mut ack, &mut |_| panic!("an acknowledgement has no payload")).unwrap();
    }
    Outcome { delivered, delay, receiver: *receiver.counters(), sender: *sender.counters(), accepted }
}

fn on_time() -> Fate {
    Fate { lost: false, delay: 20 * MS, copy: None }
}

fn increasing(numbers: &[u32]) -> bool {
    numbers.windows(2).all(|pair| pair[0] < pair[1])
}

#[test]
fn single_loss_delays_later_packets_only_briefly() {
    // From a bulk transfer to sporadic packets.
    for pace in [20, 100, 1000, 5000, 20_000, 100_000].map(Duration::from_micros) {
        for lost in 1..60 {
            let mut fates = vec![on_time(); 120];
            fates[lost].lost = true;
            let outcome = transfer(config(), pace, &fates);
            assert_eq!(outcome.delivered.len(), 119);
            let worst = outcome.delay.values().max().unwrap();
            assert!(*worst <= 50 * MS, "{worst:?} behind {lost} at {pace:?}");
            if pace <= Duration::from_micros(100) {
                assert!(*worst <= 24 * MS, "{worst:?} behind {lost} at {pace:?}");
            }
        }
    }
}

#[test]
fn lossy_link_keeps_the_delay_low() {
    // One packet in ten is lost, at 1000 packets a second: no other packet waits for 300 ms.
    let fates: Vec<_> = (0..5000).map(|index| Fate { lost: index % 10 == 3, ..on_time() }).collect();
    let outcome = transfer(config(), MS, &fates);
    assert_eq!(outcome.delivered.len(), 4500);
    assert_eq!(outcome.receiver.rx_lost, 500);
    assert!(*outcome.delay.values().max().unwrap() <= 50 * MS);
}

/// Bursts of twelve packets every 12 ms, as of a TCP stream with 1 % loss: once the path is known to keep the order, the
/// packets behind a loss wait for 2 ms.
#[test]
fn losses_in_small_bursts_delay_packets_only_briefly() {
    let mut fates = Vec::new();
    for index in 0..6000_u32 {
        // The pace is 1 ms: the first of twelve is sent on time, the others 1 ms earlier each.
        let early = (index % 12) * MS;
        fates.push(Fate { lost: index % 100 == 40, delay: 40 * MS - early, copy: None });
    }
    let outcome = transfer(config(), MS, &fates);
    assert_eq!(outcome.delivered.len(), 5940);
    let waited = |seq: &u32| outcome.delay[seq] - fates[usize::try_from(*seq).unwrap() - 1].delay;
    let (learning, known) = outcome.delivered.split_at(2000);
    assert_eq!(learning.iter().map(waited).max(), Some(24 * MS), "until the next burst has passed");
    assert_eq!(known.iter().map(waited).max(), Some(2 * MS));
}

#[test]
fn acknowledgements_reach_the_sender() {
    let outcome = transfer(config(), MS, &[on_time(); 100]);
    assert_eq!(outcome.sender.rx_acks, outcome.receiver.tx_acks);
    assert_eq!(outcome.sender.rx_acks_invalid, 0);
    assert!((50..=51).contains(&outcome.receiver.tx_acks), "one for two packets");
    // Packet 1 is timed; the acknowledgement of packet 2 covers it.
    assert!(outcome.sender.round_trip.is_some());
}

fn fate(delay_us: impl Strategy<Value = u64>, loss: f64) -> impl Strategy<Value = Fate> {
    let copy = prop::option::weighted(0.1, 0_u64..100_000);
    (prop::bool::weighted(loss), delay_us, copy).prop_map(|(lost, delay, copy)| Fate {
        lost,
        delay: Duration::from_micros(delay),
        copy: copy.map(Duration::from_micros),
    })
}

fn pace() -> impl Strategy<Value = Duration> {
    prop::sample::select(vec![10_u64, 100, 1000, 10_000, 50_000]).prop_map(Duration::from_micros)
}

fn any_reorder() -> impl Strategy<Value = Reorder> {
    prop_oneof![
        Just(Reorder::Off),
        (10_u64..300).prop_map(|max| Reorder::Adaptive { max: Duration::from_millis(max) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In any network, packets are delivered in order, none twice, and every accepted packet is delivered.
    #[test]
    fn order_is_kept_in_any_network(
        fates in vec(fate(0_u64..400_000, 0.2), 1..300),
        pace in pace(),
        reorder in any_reorder(),
    ) {
        let outcome = transfer(FlowConfig { reorder, ..config() }, pace, &fates);
        prop_assert!(increasing(&outcome.delivered), "{:?}", outcome.delivered);
        prop_assert_eq!(outcome.delivered.len(), outcome.accepted.len());
        let counters = outcome.receiver;
        prop_assert_eq!(counters.rx_accepted, outcome.delivered.len() as u64);
        let span = outcome.delivered.last().map_or(0, |last| last - outcome.delivered[0] + 1);
        prop_assert_eq!(counters.rx_accepted + counters.rx_lost, u64::from(span));
    }

    /// Reordering within the initial waits loses nothing: the delays differ by less than 2 ms at any pace, or
    /// by less than 30 ms where fewer than 16 packets are sent in that time.
    #[test]
    fn moderate_reordering_loses_nothing(
        quick in vec(fate(0_u64..2000, 0.0), 1..300),
        quiet in vec(fate(0_u64..30_000, 0.0), 1..300),
        pace in pace(),
    ) {
        for (fates, pace) in [(&quick, pace), (&quiet, pace.max(2 * MS))] {
            let outcome = transfer(config(), pace, fates);
            let first = outcome.delivered[0];
            let expected: Vec<_> = (first..=u32::try_from(fates.len()).unwrap()).collect();
            prop_assert_eq!(outcome.delivered, expected);
            prop_assert_eq!(outcome.receiver.rx_lost, 0);
            // A first packet above 1 waits for earlier ones, so delivery starts at 1.
            prop_assert!(first == 1, "began at {first}");
        }
    }

    /// However late a packet arrives, no other packet waits longer than the limit.
    #[test]
    fn no_packet_waits_beyond_the_limit(
        fates in vec(fate(0_u64..1_000_000, 0.1), 1..300),
        pace in pace(),
        max in 10_u64..500,
    ) {
        let reorder = Reorder::Adaptive { max: Duration::from_millis(max) };
        let outcome = transfer(FlowConfig { reorder, ..config() }, pace, &fates);
        for (seq, delay) in outcome.delay {
            let fate = fates[usize::try_from(seq).unwrap() - 1];
            let slowest = fate.delay.max(fate.copy.unwrap_or_default());
            prop_assert!(delay <= slowest + Duration::from_millis(max), "{seq}: {delay:?}");
        }
    }
}
