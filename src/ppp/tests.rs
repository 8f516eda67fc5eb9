//! Properties of the options of all four protocols: each side reads what the other writes, two sides that can
//! agree do so, and arbitrary bytes are accepted.

use std::net::Ipv4Addr;

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    auth::AuthProtocol,
    automaton::{OptionSet, Reply, Verdict},
    ccp::{Agreed, Ccp},
    ipcp::{self, Ipcp},
    ipv6cp::Ipv6cp,
    lcp::{AuthStance, Lcp, MagicSource, PeerOptions},
    mppe::{Demand, Policy, Strength},
    wire::{Options, push},
};

/// One operation on an option set, with a list from the peer.
#[derive(Clone, Debug)]
enum Operation {
    Restart,
    Acked,
    Nakked(Vec<u8>, bool),
    Rejected(Vec<u8>),
    /// A request, and whether Naks may still be sent.
    Requested(Vec<u8>, bool),
}

proptest! {
    #[test]
    fn lcp_request_is_read_as_written(
        mru in 128_u16..,
        demand in proptest::option::of(select(&AuthProtocol::ALL[..])),
        seed: [u8; 8],
        left_out in vec(select(&[1_u8, 2, 5, 7, 8][..]), 0..5),
    ) {
        let mut ours = Lcp::new(mru, AuthStance::Demand(demand.into_iter().collect()), MagicSource::new(seed));
        ours.restart();
        let all = request(&ours);
        let rejected: Vec<u8> = parsed(&all).iter().filter(|one| left_out.contains(&one.kind)).fold(
            Vec::new(),
            |mut list, one| {
                push(&mut list, one.kind, one.data);
                list
            },
        );
        ours.rejected(parsed(&rejected));
        let mut theirs = Lcp::new(1500, AuthStance::Prove(AuthProtocol::ALL.to_vec()), MagicSource::new([7; 8]));
        theirs.restart();
        let requested = request(&ours);
        prop_assume!(ours.magic() != theirs.magic());
        let has = |kind| !left_out.contains(&kind);
        // Without a magic number none is judged; a peer that accepts everything acknowledges the rest.
        prop_assert_eq!(answer(&mut theirs, &requested), Verdict::Ack);
        prop_assert_eq!(theirs.peer(), PeerOptions {
            mru: if has(1) { mru } else { 1500 },
            auth: demand,
            magic: has(5).then(|| ours.magic()),
            pfc: has(7),
            acfc: has(8),
        });
        prop_assert_eq!(ours.demanded(), demand);
    }

    #[test]
    fn ipcp_assigns_the_configured_addresses(
        local in host(),
        assigned in host(),
        wanted in prop_oneof![Just(Ipv4Addr::UNSPECIFIED), host()],
        dns in vec(host(), 0..3),
        wins in vec(host(), 0..3),
        (ask_dns, ask_wins) in any::<(bool, bool)>(),
    ) {
        let mut client = Ipcp::client(wanted, ask_dns, ask_wins);
        let mut server = Ipcp::server(local, assigned, &dns, &wins);
        prop_assert!(agree(&mut client, &mut server), "{client:?} {server:?}");
        prop_assert_eq!((client.local(), client.peer()), (assigned, Some(local)));
        prop_assert_eq!((server.local(), server.peer()), (local, Some(assigned)));
        prop_assert_eq!((client.refusal(), server.refusal()), (None, None));
        let each_once = |mut list: Vec<Ipv4Addr>, requested: bool| {
            list.dedup();
            if requested { list } else { Vec::new() }
        };
        prop_assert_eq!(client.dns(), each_once(dns, ask_dns));
        prop_assert_eq!(client.wins(), each_once(wins, ask_wins));
    }

    #[test]
    fn ipv6cp_exchanges_distinct_identifiers(ours: [[u8; 8]; 2], theirs: [[u8; 8]; 2], same: bool) {
        let mut one = Ipv6cp::new(ours);
        let mut other = Ipv6cp::new(if same { ours } else { theirs });
        prop_assert!(agree(&mut one, &mut other), "{one:?} {other:?}");
        prop_assert_eq!((one.peer(), other.peer()), (other.local(), one.local()));
        prop_assert!(one.local() != other.local() && one.local() != [0; 8] && other.local() != [0; 8]);
    }

    /// Both sides have the same parameters for each direction, and none that either policy forbids.
    #[test]
    fn ccp_agrees_only_within_both_policies(
        (ours, our_keys) in policy(),
        (theirs, their_keys) in policy(),
    ) {
        let mut one = Ccp::new(ours, our_keys);
        let mut other = Ccp::new(theirs, their_keys);
        let agreed = agree(&mut one, &mut other);
        if agreed {
            prop_assert_eq!((one.receive(), one.send()), (other.send(), other.receive()));
            for Agreed { strength, stateful } in one.receive().into_iter().chain(one.send()) {
                for (policy, keys) in [(ours, our_keys), (theirs, their_keys)] {
                    prop_assert!(policy.demand != Demand::Off);
                    prop_assert!((policy.min..=policy.max).contains(&strength) && keys & strength.bit() != 0);
                    prop_assert!(!stateful || policy.stateful, "stateful");
                }
            }
        }
        let allowed = |(policy, keys): (Policy, u32)| Strength::ALL.into_iter().filter(move |one| {
            policy.demand != Demand::Off && (policy.min..=policy.max).contains(one) && keys & one.bit() != 0
        });
        let common = allowed((ours, our_keys)).filter(|one| allowed((theirs, their_keys)).any(|all| all == *one)).max();
        if let Some(strongest) = common && agreed {
            let expected = Some(Agreed { strength: strongest, stateful: false });
            prop_assert_eq!((one.receive(), one.send()), (expected, expected));
        }
        if common.is_none() {
            prop_assert!(one.receive().is_none() && one.send().is_none(), "{one:?} {other:?}");
        }
    }

    #[test]
    fn lcp_accepts_arbitrary_options(operations in operations(&[1, 2, 3, 5, 7, 8]), server: bool, seed: [u8; 8]) {
        let list = AuthProtocol::ALL.to_vec();
        let stance = if server { AuthStance::Demand(list) } else { AuthStance::Prove(list) };
        let mut set = Lcp::new(1400, stance, MagicSource::new(seed));
        apply_all(&mut set, &operations)?;
        prop_assert!(set.offered().len() <= 8);
    }

    #[test]
    fn ipcp_accepts_arbitrary_options(operations in operations(&[3, 129, 130, 131, 132]), server: bool) {
        let [a, b] = [1, 2].map(|last| Ipv4Addr::new(10, 0, 0, last));
        let mut set =
            if server { Ipcp::server(a, b, &[a], &[b]) } else { Ipcp::client(Ipv4Addr::UNSPECIFIED, true, true) };
        apply_all(&mut set, &operations)?;
        prop_assert!(set.dns().iter().chain(&set.wins()).all(|address| ipcp::usable(*address)));
        if server {
            prop_assert_eq!(set.local(), a);
        }
    }

    #[test]
    fn ipv6cp_accepts_arbitrary_options(operations in operations(&[1]), random: [[u8; 8]; 2]) {
        let mut set = Ipv6cp::new(random);
        apply_all(&mut set, &operations)?;
        prop_assert!(set.local() != [0; 8]);
    }

    #[test]
    fn ccp_accepts_arbitrary_options(operations in operations(&[18]), (policy, keys) in policy()) {
        let mut set = Ccp::new(policy, keys);
        apply_all(&mut set, &operations)?;
        for agreed in set.receive().into_iter().chain(set.send()) {
            prop_assert!((policy.min..=policy.max).contains(&agreed.strength));
        }
    }
}

/// Applies all operations, and checks every list that the set writes: it can be parsed, Naks and Rejects
/// contain requested options in the order of the request (RFC 1661 §5.3, §5.4), and an acknowledged list is
/// taken over.
fn apply_all<S: OptionSet>(set: &mut S, operations: &[Operation]) -> Result<(), TestCaseError> {
    set.restart();
    for operation in operations {
        match operation {
            Operation::Restart => set.restart(),
            Operation::Acked => set.acked(),
            Operation::Nakked(bytes, insists) => {
                if let Some(list) = Options::parse(bytes) {
                    set.nakked(list, *insists);
                }
            }
            Operation::Rejected(bytes) => {
                if let Some(list) = Options::parse(bytes) {
                    set.rejected(list);
                }
            }
            Operation::Requested(bytes, persuading) => {
                let Some(list) = Options::parse(bytes) else { continue };
                let mut reply = Reply::new(*persuading);
                set.judge(list, &mut reply);
                match reply.verdict() {
                    Verdict::Ack => set.accept(list),
                    Verdict::Nak(naks) => {
                        prop_assert!(*persuading && !naks.is_empty());
                        let mut requested = list.iter();
                        for nak in parsed(&naks) {
                            // Options that the peer left out come last.
                            let hint = list.find(nak.kind).is_none();
                            prop_assert!(
                                hint || requested.any(|one| one.kind == nak.kind),
                                "{nak:?} of {list:?}"
                            );
                            if hint {
                                requested.by_ref().for_each(drop);
                            }
                        }
                    }
                    Verdict::Reject(rejects) => {
                        let mut requested = list.iter();
                        for reject in parsed(&rejects) {
                            prop_assert!(requested.any(|one| one == reject), "{reject:?} of {list:?}");
                        }
                    }
                }
            }
        }
        prop_assert!(Options::parse(&request(set)).is_some());
    }
    Ok(())
}

/// Runs requests in both directions until each side has acknowledged the other's; returns false if that takes
/// more than ten rounds.
fn agree<A: OptionSet, B: OptionSet>(one: &mut A, other: &mut B) -> bool {
    one.restart();
    other.restart();
    let (mut ours, mut theirs) = (false, false);
    for round in 0..10 {
        ours = ours || request_once(one, other, round);
        theirs = theirs || request_once(other, one, round);
    }
    ours && theirs
}

/// Sends one Configure-Request, handles its answer, and returns whether it was acknowledged.
fn request_once<A: OptionSet, B: OptionSet>(requester: &mut A, responder: &mut B, round: u32) -> bool {
    match answer(responder, &request(requester)) {
        Verdict::Ack => requester.acked(),
        Verdict::Nak(naks) => {
            requester.nakked(parsed(&naks), round > 5);
            return false;
        }
        Verdict::Reject(rejects) => {
            requester.rejected(parsed(&rejects));
            return false;
        }
    }
    true
}

fn answer(set: &mut impl OptionSet, requested: &[u8]) -> Verdict {
    let mut reply = Reply::new(true);
    set.judge(parsed(requested), &mut reply);
    let verdict = reply.verdict();
    if verdict == Verdict::Ack {
        set.accept(parsed(requested));
    }
    verdict
}

fn request(set: &impl OptionSet) -> Vec<u8> {
    let mut out = Vec::new();
    set.request(&mut out);
    out
}

fn parsed(list: &[u8]) -> Options<'_> {
    Options::parse(list).unwrap()
}

fn host() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>()
        .prop_map(Ipv4Addr::from)
        .prop_filter("usable as a host address", |address| ipcp::usable(*address))
}

fn policy() -> impl Strategy<Value = (Policy, u32)> {
    let strength = || select(&Strength::ALL[..]);
    let demand = select(&[Demand::Off, Demand::Allow, Demand::Require][..]);
    (demand, strength(), strength(), any::<bool>(), vec(strength(), 0..4)).prop_map(
        |(demand, one, other, stateful, keys)| {
            let policy = Policy { demand, min: one.min(other), max: one.max(other), stateful };
            (policy, keys.into_iter().fold(0, |bits, key| bits | key.bit()))
        },
    )
}

/// Operations with lists of arbitrary bytes, and with well-formed lists of these and other kinds whose
/// lengths are often right.
fn operations(kinds: &'static [u8]) -> impl Strategy<Value = Vec<Operation>> {
    let kind = prop_oneof![4 => select(kinds), 1 => any::<u8>()];
    let length = select(&[0_usize, 1, 2, 3, 4, 4, 8, 8, 9, 253][..]);
    let byte =
        prop_oneof![3 => any::<u8>(), 1 => Just(0), 1 => select(&[0xC2, 0x23, 0xC0, 0x80, 0x81, 5][..])];
    let option = (kind, length.prop_flat_map(move |length| vec(byte.clone(), length)));
    let formed = vec(option, 0..6).prop_map(|options| {
        let mut list = Vec::new();
        options.iter().for_each(|(kind, data)| push(&mut list, *kind, data));
        list
    });
    let list = prop_oneof![4 => formed, 1 => vec(any::<u8>(), 0..64)].boxed();
    let operation = prop_oneof![
        1 => Just(Operation::Restart),
        1 => Just(Operation::Acked),
        3 => (list.clone(), any::<bool>()).prop_map(|(list, insists)| Operation::Nakked(list, insists)),
        2 => list.clone().prop_map(Operation::Rejected),
        4 => (list, any::<bool>()).prop_map(|(list, persuading)| Operation::Requested(list, persuading)),
    ];
    vec(operation, 0..16)
}
