use super::*;
use crate::ppp::automaton::Verdict;

fn client(accept: &[AuthProtocol]) -> Lcp {
    let mut lcp = Lcp::new(1500, AuthStance::Prove(accept.to_vec()), MagicSource::new([1; 8]));
    lcp.restart();
    lcp
}

fn server(demand: &[AuthProtocol]) -> Lcp {
    let mut lcp = Lcp::new(1400, AuthStance::Demand(demand.to_vec()), MagicSource::new([2; 8]));
    lcp.restart();
    lcp
}

fn verdict(lcp: &mut Lcp, list: &[u8]) -> Verdict {
    let mut reply = Reply::new(true);
    lcp.judge(Options::parse(list).unwrap(), &mut reply);
    reply.verdict()
}

fn request(lcp: &Lcp) -> Vec<u8> {
    let mut out = Vec::new();
    lcp.request(&mut out);
    out
}

const EAP: [u8; 4] = [3, 4, 0xC2, 0x27];
const PAP: [u8; 4] = [3, 4, 0xC0, 0x23];
const MD5: [u8; 5] = [3, 5, 0xC2, 0x23, 5];
const V1: [u8; 5] = [3, 5, 0xC2, 0x23, 0x80];
const V2: [u8; 5] = [3, 5, 0xC2, 0x23, 0x81];

#[test]
fn unsupported_options_are_rejected() {
    for option in [
        &[4, 8, 0xC0, 0x25, 0, 0, 0, 0][..],
        &[13, 3, 6],
        &[17, 4, 6, 0x4E],
        &[18, 2],
        &[19, 9, 1, 1, 2, 3, 4, 5, 6],
        &[0, 2],
        &[99, 2],
        &[7, 3, 1],
    ] {
        assert_eq!(verdict(&mut client(&[]), option), Verdict::Reject(option.to_vec()));
    }
}

#[test]
fn unacceptable_auth_is_nakked_with_the_strongest_first() {
    let mut lcp = client(&[AuthProtocol::MsChapV1, AuthProtocol::MsChapV2]);
    // Next to an option to be rejected it is not counted: only the Reject is sent.
    let mut both = EAP.to_vec();
    both.extend([13, 3, 6]);
    assert_eq!(verdict(&mut lcp, &both), Verdict::Reject(vec![13, 3, 6]));
    assert_eq!(verdict(&mut lcp, &EAP), Verdict::Nak(V2.to_vec()));
    assert_eq!(verdict(&mut lcp, &PAP), Verdict::Nak(V1.to_vec()));
    assert_eq!(verdict(&mut lcp, &V1), Verdict::Ack);
    assert_eq!(lcp.offered(), ["EAP", "PAP"]);
    assert_eq!(lcp.deadlock(), None);
}

/// RFC 1661 §5.3, §5.4; pppd discards an answer in another order.
#[test]
fn answer_keeps_the_order_of_the_request() {
    let zero = [5, 6, 0, 0, 0, 0];
    let Verdict::Nak(naks) = verdict(&mut client(&[AuthProtocol::MsChapV2]), &[&EAP[..], &zero].concat())
    else {
        panic!("not nakked");
    };
    assert_eq!(naks[..7], [&V2[..], &[5, 6]].concat());
    let requested = [&V2[..], &[13, 3, 6]].concat();
    assert_eq!(verdict(&mut server(&[]), &requested), Verdict::Reject(requested));
}

#[test]
fn repeated_unacceptable_auth_is_no_common_auth() {
    let mut lcp = client(&[AuthProtocol::MsChapV2]);
    for _ in 0..4 {
        assert_eq!(verdict(&mut lcp, &MD5), Verdict::Nak(V2.to_vec()));
    }
    assert_eq!(verdict(&mut lcp, &MD5), Verdict::Reject(MD5.to_vec()));
    assert_eq!(lcp.deadlock(), Some(LcpDeadlock::NoCommonAuth));
    // A client that accepts no protocol rejects every proposal.
    let mut lcp = client(&[]);
    assert_eq!(verdict(&mut lcp, &V2), Verdict::Reject(V2.to_vec()));
    assert_eq!(lcp.deadlock(), Some(LcpDeadlock::NoCommonAuth));
}

#[test]
fn server_demands_next_protocol_after_refusal() {
    let mut lcp = server(&[AuthProtocol::MsChapV2, AuthProtocol::ChapMd5, AuthProtocol::Pap]);
    assert_eq!(lcp.demanded(), Some(AuthProtocol::MsChapV2));
    lcp.nakked(Options::parse(&PAP).unwrap(), false);
    assert_eq!(lcp.demanded(), Some(AuthProtocol::Pap), "the protocol that the peer proposed");
    lcp.nakked(Options::parse(&EAP).unwrap(), false);
    assert_eq!(lcp.deadlock(), Some(LcpDeadlock::NoCommonAuth), "no protocol is left");
    let mut lcp = server(&[AuthProtocol::MsChapV2]);
    lcp.rejected(Options::parse(&V2).unwrap());
    assert_eq!(lcp.deadlock(), Some(LcpDeadlock::NoCommonAuth));
    // A server rejects a client's demand for authentication.
    assert_eq!(verdict(&mut server(&[]), &V2), Verdict::Reject(V2.to_vec()));
}

#[test]
fn own_magic_number_is_nakked_and_counted_as_loop() {
    let mut lcp = client(&[]);
    let own = lcp.magic().to_be_bytes();
    let looped: Vec<u8> = [5, 6].into_iter().chain(own).collect();
    for round in 0..LOOPS_MAX {
        assert_eq!(lcp.deadlock(), None, "{round}");
        assert!(matches!(verdict(&mut lcp, &looped), Verdict::Nak(_)));
    }
    assert_eq!(lcp.deadlock(), Some(LcpDeadlock::Looped));
    // Zero is no magic number (RFC 1661 §6.4), but no loop either.
    let mut lcp = client(&[]);
    assert!(matches!(verdict(&mut lcp, &[5, 6, 0, 0, 0, 0]), Verdict::Nak(_)));
    assert_eq!(lcp.loops, 0);
}

#[test]
fn nak_of_the_magic_number_draws_another() {
    let mut lcp = client(&[]);
    let before = lcp.magic();
    lcp.nakked(Options::parse(&[5, 6, 1, 2, 3, 4]).unwrap(), false);
    assert_ne!(lcp.magic(), before);
    assert_eq!(lcp.loops, 0);
    // Our own suggestion comes back (RFC 1661 §6.4).
    let looped: Vec<u8> = [5, 6].into_iter().chain(lcp.magic().to_be_bytes()).collect();
    let Verdict::Nak(suggestion) = verdict(&mut lcp, &looped) else { panic!("not a Nak") };
    let loops = lcp.loops;
    lcp.nakked(Options::parse(&suggestion).unwrap(), false);
    assert_eq!(lcp.loops, loops + 1);
}

#[test]
fn sensible_naks_are_followed() {
    let mut lcp = server(&[]);
    lcp.nakked(Options::parse(&[1, 4, 0x05, 0x00, 2, 6, 0, 0x0A, 0, 0]).unwrap(), false);
    let now = request(&lcp);
    assert!(now.starts_with(&[1, 4, 0x05, 0x00, 2, 6, 0, 0x0A, 0, 0]), "{now:?}");
    // A too small MRU is not taken over; without the option the default applies.
    lcp.nakked(Options::parse(&[1, 4, 0, 1]).unwrap(), false);
    assert!(!request(&lcp).starts_with(&[1]));
    lcp.rejected(Options::parse(&[2, 6, 0, 0x0A, 0, 0, 7, 2, 8, 2]).unwrap());
    assert_eq!(request(&lcp)[..2], [5, 6], "only the magic number is left");
    lcp.rejected(Options::parse(&request(&lcp)).unwrap());
    assert_eq!((request(&lcp).len(), lcp.magic()), (0, 0));
}

#[test]
fn peer_options_apply_once_acknowledged() {
    let mut lcp = client(&[AuthProtocol::MsChapV2]);
    let list = [1, 4, 0x05, 0x78, 3, 5, 0xC2, 0x23, 0x81, 5, 6, 9, 9, 9, 9, 7, 2, 8, 2];
    assert_eq!(verdict(&mut lcp, &list), Verdict::Ack);
    assert_eq!(lcp.peer(), PeerOptions::DEFAULT);
    lcp.accept(Options::parse(&list).unwrap());
    let auth = Some(AuthProtocol::MsChapV2);
    assert_eq!(lcp.peer(), PeerOptions { mru: 1400, auth, magic: Some(0x0909_0909), pfc: true, acfc: true });
    assert_eq!(verdict(&mut lcp, &[1, 4, 0, 127]), Verdict::Nak(vec![1, 4, 0x05, 0xDC]));
    assert_eq!(verdict(&mut lcp, &[1, 3, 0]), Verdict::Nak(vec![1, 4, 0x05, 0xDC]));
}

#[test]
fn magic_numbers_are_nonzero_and_distinct() {
    let mut source = MagicSource::new([0; 8]);
    let mut numbers: Vec<_> = (0..1000).map(|_| source.draw()).collect();
    assert!(!numbers.contains(&0));
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 1000);
}

/// The first three numbers of SplitMix64 with the seed 1234567, as its authors' code prints them; their upper halves.
#[test]
fn magic_numbers_are_those_of_split_mix_64() {
    let mut source = MagicSource::new(1_234_567_u64.to_be_bytes());
    let expected = [6_457_827_717_110_365_317_u64, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
    for number in expected {
        assert_eq!(u64::from(source.draw()), number >> 32);
    }
}

/// A client's first request is short, and follows the peer's until it has been answered.
#[test]
fn short_request_follows_the_peer() {
    let short = |mru, follow_mru| {
        let mut lcp = Lcp::new(mru, AuthStance::Prove(Vec::new()), MagicSource::new([1; 8]));
        lcp = lcp.requesting(RequestStyle::Short { follow_mru });
        lcp.restart();
        lcp
    };
    let full = [1, 4, 0x05, 0x78, 2, 6, 0, 0x0A, 0, 0, 3, 4, 0xC0, 0x23, 7, 2, 8, 2];
    let mut lcp = short(1460, true);
    assert_eq!(request(&lcp)[..6], [1, 4, 0x05, 0xB4, 5, 6]);
    assert_eq!(request(&lcp).len(), 10);
    assert!(lcp.follow(Options::parse(&full).unwrap()));
    assert!(request(&lcp).starts_with(&[1, 4, 0x05, 0x78, 2, 6, 0, 0, 0, 0, 5, 6]), "{:?}", request(&lcp));
    assert!(request(&lcp).ends_with(&[7, 2, 8, 2]) && lcp.mru() == 1400);
    assert!(!lcp.follow(Options::parse(&full).unwrap()), "nothing new");
    // Not to a larger or impossible MRU, not to a malformed option, and not at all if the profile sets the MRU.
    let mut lcp = short(1400, true);
    for other in [&[1, 4, 0x05, 0xDC][..], &[1, 4, 0, 1], &[7, 3, 1], &[5, 6, 1, 2, 3, 4]] {
        assert!(!lcp.follow(Options::parse(other).unwrap()), "{other:?}");
    }
    assert!(!short(1460, false).follow(Options::parse(&full[..4]).unwrap()));
    // A peer that has answered has chosen; one that requires an option suggests it.
    let mut lcp = short(1500, true);
    lcp.nakked(Options::parse(&[2, 6, 0, 0x0A, 0, 0, 7, 2]).unwrap(), false);
    assert!(!lcp.follow(Options::parse(&full).unwrap()));
    assert!(request(&lcp).starts_with(&[2, 6, 0, 0x0A, 0, 0, 5, 6]) && request(&lcp).ends_with(&[7, 2]));
}
