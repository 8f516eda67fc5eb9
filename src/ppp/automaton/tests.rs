use proptest::{collection::vec, prelude::*};

use super::*;
use crate::ppp::{
    auth::AuthProtocol,
    ccp::Ccp,
    ipcp::Ipcp,
    ipv6cp::Ipv6cp,
    lcp::{AuthStance, Lcp, MagicSource},
    mppe::Policy,
    wire::{Options, Packet, push},
};

/// The table of RFC 1661 §4.1. The flags behind a state are r (restart), p (passive) and x (crossed). Left out
/// is RXR, the event of Echo: the link answers it.
const TABLE: &str = "
    Up    |  2    irc,scr/6   -         -         -         -         -         -         -         -
    Down  |  -        -       0       tls/1       0         1         1         1         1       tld/1
    Open  | tls/1     1     irc,scr/6   3r        5r        5r        6         7         8         9r
    Close |  0      tlf/0     2         2         4         4     irc,str/4 irc,str/4 irc,str/4 tld,irc,str/4
    TO+   |  -        -       -         -       str/4     str/5     scr/6     scr/6     scr/8       -
    TO-   |  -        -       -         -       tlf/2     tlf/3     tlf/3p    tlf/3p    tlf/3p      -
    RCR+  |  -        -     sta/2  irc,scr,sca/8  4         5       sca/8   sca,tlu/9   sca/8   tld,scr,sca/8
    RCR-  |  -        -     sta/2  irc,scr,scn/6  4         5       scn/6     scn/7     scn/6   tld,scr,scn/6
    RCA   |  -        -     sta/2     sta/3       4         5       irc/7     scr/6x  irc,tlu/9 tld,scr/6x
    RCN   |  -        -     sta/2     sta/3       4         5     irc,scr/6   scr/6x  irc,scr/8 tld,scr/6x
    RTR   |  -        -     sta/2     sta/3     sta/4     sta/5     sta/6     sta/6     sta/6   tld,zrc,sta/5
    RTA   |  -        -       2         3       tlf/2     tlf/3       6         6         8     tld,scr/6
    RUC   |  -        -     scj/2     scj/3     scj/4     scj/5     scj/6     scj/7     scj/8     scj/9
    RXJ+  |  -        -       2         3         4         5         6         6         8         9
    RXJ-  |  -        -     tlf/2     tlf/3     tlf/2     tlf/3     tlf/3     tlf/3     tlf/3 tld,irc,str/5
";

/// The columns of the table.
const STATES: [State; 10] = [
    State::Initial,
    State::Starting,
    State::Closed,
    State::Stopped,
    State::Closing,
    State::Stopping,
    State::ReqSent,
    State::AckRcvd,
    State::AckSent,
    State::Opened,
];

/// The rows of the table.
const EVENTS: [Event; 15] = [
    Event::Up,
    Event::Down,
    Event::Open,
    Event::Close,
    Event::TimeoutRetry,
    Event::TimeoutFinal,
    Event::RequestGood,
    Event::RequestBad,
    Event::Ack,
    Event::NakOrReject,
    Event::TerminateRequest,
    Event::TerminateAck,
    Event::UnknownCode,
    Event::RejectHarmless,
    Event::RejectFatal,
];

#[test]
fn transition_table_matches_rfc_1661() {
    let rows: Vec<_> = TABLE.trim().lines().collect();
    assert_eq!(rows.len(), EVENTS.len());
    for (row, event) in rows.iter().zip(EVENTS) {
        let cells: Vec<_> = row.split_once('|').unwrap().1.split_whitespace().collect();
        assert_eq!(cells.len(), STATES.len(), "{row}");
        for (cell, state) in cells.iter().zip(STATES) {
            assert_eq!(
                cell_text(state, event),
                cell.trim_end_matches(['r', 'p', 'x']),
                "{event:?} in {state:?}"
            );
        }
    }
}

fn cell_text(state: State, event: Event) -> String {
    let Some((actions, next)) = transition(state, event) else { return "-".to_owned() };
    let names: Vec<_> = actions
        .iter()
        .map(|action| match action {
            Action::LayerUp => "tlu",
            Action::LayerDown => "tld",
            Action::LayerStarted => "tls",
            Action::LayerFinished => "tlf",
            Action::InitRestart => "irc",
            Action::ZeroRestart => "zrc",
            Action::SendRequest => "scr",
            Action::SendAck => "sca",
            Action::SendNak => "scn",
            Action::SendTerminate => "str",
            Action::SendTerminateAck => "sta",
            Action::SendCodeReject => "scj",
        })
        .collect();
    let number = STATES.iter().position(|one| *one == next).unwrap();
    if names.is_empty() { number.to_string() } else { format!("{}/{number}", names.join(",")) }
}

/// One option, number 7, which each side limits to a maximum.
#[derive(Debug)]
struct Toy {
    ask: u8,
    limit: u8,
    agreed: Option<u8>,
    stubborn: bool,
    /// How many requests were judged.
    judged: u32,
}

impl OptionSet for Toy {
    const NAME: &'static str = "toy";
    fn restart(&mut self) {
        self.agreed = None;
    }
    fn request(&self, out: &mut Vec<u8>) {
        push(out, 7, &[self.ask]);
    }
    fn acked(&mut self) {}
    fn nakked(&mut self, options: Options<'_>, _insists: bool) {
        if !self.stubborn {
            self.ask = options.find(7).unwrap().data[0];
        }
    }
    fn rejected(&mut self, _options: Options<'_>) {}
    fn judge(&mut self, options: Options<'_>, reply: &mut Reply) {
        self.judged += 1;
        for option in options {
            if option.data[0] > self.limit {
                reply.nak(option, &[self.limit]);
            }
        }
    }
    fn accept(&mut self, options: Options<'_>) {
        self.agreed = options.find(7).map(|option| option.data[0]);
    }
}

fn toy(ask: u8, limit: u8, now: Instant) -> Automaton<Toy> {
    let mut automaton =
        Automaton::new(Toy { ask, limit, agreed: None, stubborn: false, judged: 0 }, Timing::default());
    automaton.open(now);
    automaton.lower_up(now);
    automaton
}

fn exchange(a: &mut Automaton<Toy>, b: &mut Automaton<Toy>, now: Instant) {
    for _ in 0..100 {
        let (to_b, to_a) = (a.poll_output(), b.poll_output());
        if to_a.is_none() && to_b.is_none() {
            return;
        }
        to_b.inspect(|packet| assert_eq!(b.handle_input(now, packet), Input::Done));
        to_a.inspect(|packet| assert_eq!(a.handle_input(now, packet), Input::Done));
    }
    panic!("the exchange does not end");
}

#[test]
fn two_automata_open_and_terminate() {
    let now = Instant::now();
    let (mut a, mut b) = (toy(9, 5, now), toy(4, 6, now));
    exchange(&mut a, &mut b, now);
    assert!(a.is_opened() && b.is_opened());
    assert_eq!((a.options().agreed, b.options().agreed), (Some(4), Some(6)));
    assert_eq!(a.next_timeout(), None);
    a.close(now, "enough");
    exchange(&mut a, &mut b, now);
    assert_eq!((a.state(), b.state()), (State::Closed, State::Stopping));
    let signals: Vec<_> = std::iter::from_fn(|| a.poll_signal()).collect();
    assert_eq!(signals, [Signal::Started, Signal::Up, Signal::Down, Signal::Finished(Finish::Terminated)],);
    let signals: Vec<_> = std::iter::from_fn(|| b.poll_signal()).collect();
    assert!(signals.contains(&Signal::TerminateRequested(b"enough".to_vec())));
}

/// Options of a request that is not answered do not count (RFC 1661 §4.1: in Closing and Stopping it is discarded).
#[test]
fn request_after_the_end_is_not_judged() {
    let now = Instant::now();
    let (mut a, mut b) = (toy(9, 5, now), toy(4, 6, now));
    exchange(&mut a, &mut b, now);
    let before = a.options().judged;
    let request = Packet { code: code::CONFIGURE_REQUEST, id: 77, data: &[7, 3, 1] }.to_vec();
    a.close(now, "enough");
    assert_eq!(a.state(), State::Closing);
    a.poll_output();
    assert_eq!(a.handle_input(now, &request), Input::Done);
    assert_eq!((a.options().judged, a.poll_output(), a.state()), (before, None, State::Closing));
}

#[test]
fn silent_peer_gets_max_configure_requests_with_backoff() {
    let now = Instant::now();
    let mut automaton = toy(1, 1, now);
    let mut times = Vec::new();
    while let Some((at, "toy")) = automaton.next_timeout() {
        times.push((at - now).as_secs());
        automaton.handle_timeout(at);
    }
    assert_eq!(times, [1, 3, 6, 9, 12, 15, 18, 21, 24, 27]);
    let packets: Vec<_> = std::iter::from_fn(|| automaton.poll_output()).collect();
    assert_eq!(packets.len(), 10);
    assert!(packets.iter().all(|packet| *packet == packets[0]), "a retransmission is the same packet");
    assert_eq!(
        std::iter::from_fn(|| automaton.poll_signal()).last(),
        Some(Signal::Finished(Finish::Timeout))
    );
}

#[test]
fn slow_peer_lengthens_retransmission_timeout() {
    let now = Instant::now();
    let (mut a, mut b) = (toy(1, 9, now), toy(1, 9, now));
    let request = a.poll_output().unwrap();
    b.handle_input(now, &request);
    b.poll_output();
    let ack = b.poll_output().unwrap();
    let late = now + Duration::from_millis(1200);
    a.handle_input(late, &ack);
    assert_eq!(a.response_time(), Duration::from_millis(1200));
    // Later requests wait for two response times.
    a.handle_input(late, &[1, 1, 0, 7, 7, 3, 1]);
    a.handle_input(late, &[1, 2, 0, 7, 7, 3, 1]);
    assert_eq!(a.state(), State::AckSent);
    assert_eq!(a.next_timeout().map(|(at, _)| at - late), Some(Duration::from_millis(2400)));
}

#[test]
fn negotiation_ends_when_it_does_not_converge() {
    let now = Instant::now();
    let (mut a, mut b) = (toy(9, 9, now), toy(1, 5, now));
    a.options.stubborn = true;
    exchange(&mut a, &mut b, now);
    assert!(!a.is_opened());
    assert_eq!(std::iter::from_fn(|| a.poll_signal()).last(), Some(Signal::Finished(Finish::NotConverging)));
}

#[test]
fn naks_become_rejects_after_max_failure() {
    let now = Instant::now();
    let mut b = toy(1, 5, now);
    b.poll_output();
    for id in 0..7 {
        b.handle_input(now, &[1, id, 0, 7, 7, 3, 200]);
        let answer = b.poll_output().unwrap();
        assert_eq!(answer[0], if id < 5 { code::CONFIGURE_NAK } else { code::CONFIGURE_REJECT }, "{id}");
    }
}

#[test]
fn replies_that_do_not_match_the_request_are_dropped() {
    let now = Instant::now();
    let mut a = toy(9, 9, now);
    let request = a.poll_output().unwrap();
    let id = request[1];
    for (invalid, reason) in [
        (vec![2, id ^ 1, 0, 7, 7, 3, 9], PacketDrop::Unmatched),
        (vec![2, id, 0, 7, 7, 3, 8], PacketDrop::Unmatched),
        (vec![2, id, 0, 4], PacketDrop::Unmatched),
        (vec![4, id, 0, 7, 7, 3, 8], PacketDrop::Unmatched),
        (vec![4, id, 0, 6, 8, 2], PacketDrop::Unmatched),
        (vec![3, id, 0, 6, 7, 9], PacketDrop::BadOptions),
        (vec![1, id, 0, 5, 7], PacketDrop::BadOptions),
        (vec![7, id, 0, 4], PacketDrop::Malformed),
        (vec![2, id, 0, 200], PacketDrop::Malformed),
    ] {
        assert_eq!(a.handle_input(now, &invalid), Input::Dropped(reason), "{invalid:?}");
        assert_eq!(a.state(), State::ReqSent);
    }
    let mut ack = request;
    ack[0] = 2;
    assert_eq!(a.handle_input(now, &ack), Input::Done);
    assert_eq!(a.handle_input(now, &ack), Input::Dropped(PacketDrop::Unmatched), "a second Ack was accepted");
    assert_eq!(a.state(), State::AckRcvd);
}

#[test]
fn three_copies_of_opening_request_are_tolerated() {
    let now = Instant::now();
    let (mut a, mut b) = (toy(1, 9, now), toy(1, 9, now));
    let request = a.poll_output().unwrap();
    a.handle_input(now, &b.poll_output().unwrap());
    b.handle_input(now, &request);
    exchange(&mut a, &mut b, now);
    assert!(b.is_opened());
    for copy in 0..4 {
        b.handle_input(now, &request);
        assert_eq!(b.is_opened(), copy < 3);
        let answers: Vec<_> = std::iter::from_fn(|| b.poll_output()).map(|packet| packet[0]).collect();
        assert!(answers.contains(&code::CONFIGURE_ACK));
    }
    // Any other request starts a new negotiation at once.
    let (mut a, mut b) = (toy(1, 9, now), toy(1, 9, now));
    exchange(&mut a, &mut b, now);
    b.handle_input(now, &[1, 99, 0, 7, 7, 3, 1]);
    assert_eq!(b.state(), State::AckSent);
}

#[test]
fn code_reject_is_cut_to_the_limit() {
    let now = Instant::now();
    let mut a = toy(1, 1, now);
    a.poll_output();
    a.set_reject_limit(12);
    a.handle_input(now, &[99, 5, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0xEE, 0xEE]);
    let reject = a.poll_output().unwrap();
    assert_eq!((reject[0], reject.len()), (code::CODE_REJECT, 12));
    assert_eq!(reject[4..], [99, 5, 0, 20, 1, 2, 3, 4]);
    assert_eq!(a.state(), State::ReqSent);
}

#[test]
fn packets_without_a_lower_layer_are_dropped() {
    let now = Instant::now();
    let mut a =
        Automaton::new(Toy { ask: 1, limit: 1, agreed: None, stubborn: false, judged: 0 }, Timing::default());
    assert_eq!(a.handle_input(now, &[1, 1, 0, 4]), Input::Dropped(PacketDrop::NotReady));
    a.lower_up(now);
    // Closed: everything is answered with Terminate-Ack.
    a.handle_input(now, &[1, 9, 0, 4]);
    assert_eq!(a.poll_output(), Some(vec![6, 9, 0, 4]));
}

#[derive(Clone, Debug)]
enum Op {
    Open,
    Close,
    Up,
    Down,
    ProtocolReject,
    Pass(u16),
    Packet { code: u8, near: bool, id: u8, options: Vec<(u8, Vec<u8>)> },
    Echo(u8),
    Bytes(Vec<u8>),
}

fn op() -> impl Strategy<Value = Op> {
    let kinds = prop_oneof![1..9_u8, Just(18_u8), 129..133_u8, any::<u8>()];
    prop_oneof![
        Just(Op::Open),
        Just(Op::Close),
        Just(Op::Up),
        Just(Op::Down),
        Just(Op::ProtocolReject),
        (0..5000_u16).prop_map(Op::Pass),
        (0..18_u8, any::<bool>(), any::<u8>(), vec((kinds, vec(any::<u8>(), 0..9)), 0..5))
            .prop_map(|(code, near, id, options)| Op::Packet { code, near, id, options }),
        (2..5_u8).prop_map(Op::Echo),
        vec(any::<u8>(), 0..30).prop_map(Op::Bytes),
    ]
}

/// Applies `ops` and checks that nothing panics, that each event sends at most three packets, and that the
/// timer runs exactly in the states in which the RFC has one.
fn check_invariants<O: OptionSet>(mut automaton: Automaton<O>, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut now = Instant::now();
    let mut last = Vec::new();
    for op in ops {
        match op {
            Op::Open => automaton.open(now),
            Op::Close => automaton.close(now, "why"),
            Op::Up => automaton.lower_up(now),
            Op::Down => automaton.lower_down(now),
            Op::ProtocolReject => automaton.protocol_rejected(now),
            Op::Pass(millis) => {
                now += Duration::from_millis(u64::from(*millis));
                automaton.handle_timeout(now);
            }
            Op::Packet { code, near, id, options } => {
                let mut data = Vec::new();
                for (kind, value) in options {
                    push(&mut data, *kind, value);
                }
                let id = if *near { last.get(1).copied().unwrap_or(0) } else { *id };
                automaton.handle_input(now, &Packet { code: *code, id, data: &data }.to_vec());
            }
            Op::Echo(code) => {
                // Our own request as its answer: an Ack, a Nak or a Reject of everything.
                let mut packet: Vec<u8> = last.clone();
                if let Some(first) = packet.first_mut() {
                    *first = *code;
                }
                automaton.handle_input(now, &packet);
            }
            Op::Bytes(bytes) => {
                automaton.handle_input(now, bytes);
            }
        }
        let sent: Vec<_> = std::iter::from_fn(|| automaton.poll_output()).collect();
        prop_assert!(sent.len() <= 3, "{sent:?}");
        prop_assert!(sent.iter().all(|packet| Packet::parse(packet).is_some()));
        last = sent.into_iter().rfind(|packet| packet[0] == 1).unwrap_or(last);
        prop_assert!(std::iter::from_fn(|| automaton.poll_signal()).count() <= 4);
        prop_assert_eq!(automaton.next_timeout().is_some(), automaton.state().timed());
    }
    Ok(())
}

proptest! {
    #[test]
    fn lcp_accepts_arbitrary_operations(ops in vec(op(), 0..80), seed: [u8; 8], server: bool) {
        let list = vec![AuthProtocol::MsChapV2, AuthProtocol::Pap];
        let stance = if server { AuthStance::Demand(list) } else { AuthStance::Prove(list) };
        check_invariants(Automaton::new(Lcp::new(1400, stance, MagicSource::new(seed)), Timing::default()), &ops)?;
    }

    #[test]
    fn ccp_accepts_arbitrary_operations(ops in vec(op(), 0..80), stateful: bool) {
        let policy = Policy { stateful, ..Policy::default() };
        check_invariants(Automaton::new(Ccp::new(policy, 0xE0), Timing::default()), &ops)?;
    }

    #[test]
    fn ipcp_accepts_arbitrary_operations(ops in vec(op(), 0..80), server: bool) {
        let [a, b] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(std::net::Ipv4Addr::from);
        let set = if server { Ipcp::server(a, b, &[a], &[]) } else { Ipcp::client([0; 4].into(), true, true) };
        check_invariants(Automaton::new(set, Timing::default()), &ops)?;
    }

    #[test]
    fn ipv6cp_accepts_arbitrary_operations(ops in vec(op(), 0..80), ids: [[u8; 8]; 2]) {
        check_invariants(Automaton::new(Ipv6cp::new(ids), Timing::default()), &ops)?;
    }
}
