use super::*;

const US: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

fn sent(inform: &mut InformExchange) -> Vec<Ipv4Addr> {
    std::iter::from_fn(|| inform.poll_packet())
        .map(|packet| <[u8; 4]>::try_from(&packet[16..20]).unwrap().into())
        .collect()
}

#[test]
fn asks_three_times_and_gives_up() {
    let began = Instant::now();
    let mut inform = InformExchange::new(US, PEER, 7, began);
    let mut requests = vec![sent(&mut inform)];
    let mut now = began;
    while !inform.is_over(now) {
        now = inform.next_timeout().unwrap().0;
        inform.handle_timeout(now);
        requests.push(sent(&mut inform));
    }
    let both = vec![Ipv4Addr::BROADCAST, PEER];
    assert_eq!(requests, [vec![Ipv4Addr::BROADCAST], both.clone(), both, vec![]]);
    assert_eq!((now - began, inform.counters().sent), (LIMIT, 5));
    assert_eq!(inform.into_routes(), None);
}

#[test]
fn answer_ends_the_exchange_and_is_not_passed_on() {
    let now = Instant::now();
    let mut inform = InformExchange::new(US, Ipv4Addr::UNSPECIFIED, 7, now);
    let none = wire::tests::reply(&wire::tests::acknowledged(&[]));
    let other = InformExchange::new(US, PEER, 8, now);
    assert!({ other }.take(&none), "a reply to another transaction was passed on");
    assert!(!inform.take(&wire::encode_inform(PEER, US, 7)) && !inform.is_over(now));
    let value = [
        16, 10, 50, 0, 0, 0, 0, 16, 10, 50, 0, 0, 0, 0, 8, 127, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 172, 16, 0, 0,
        0, 0,
    ];
    assert!(inform.take(&wire::tests::reply(&wire::tests::acknowledged(&[(121, &value)]))));
    assert!(inform.is_over(now) && sent(&mut inform).is_empty());
    // A second answer changes nothing.
    assert!(inform.take(&none));
    assert_eq!(inform.counters().routes_refused, 2);
    let expected = ["10.50.0.0/16", "172.16.0.0/12"].map(|net| net.parse().unwrap());
    assert_eq!(inform.into_routes().unwrap(), expected);
}
