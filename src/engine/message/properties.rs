//! Every message round-trips through JSON, and any input from the engine is either refused or valid.

use std::{net::SocketAddrV4, time::Duration};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
};

use super::*;
use crate::engine::{
    resolver,
    spec::{AuthProtocol, Echo, Limits, Mss, Policy, Quirks, Remembered, Reorder},
};
use crate::{
    failure::FailureKind,
    ppp::mppe::{Demand, Strength},
};

proptest! {
    #[test]
    fn supervisor_messages_round_trip(message in to_engine()) {
        let bytes = serde_json::to_vec(&message).unwrap();
        prop_assert_eq!(serde_json::from_slice::<ToEngine>(&bytes).unwrap(), message);
    }

    #[test]
    fn engine_messages_round_trip(message in from_engine()) {
        let bytes = serde_json::to_vec(&message).unwrap();
        prop_assert_eq!(FromEngine::parse(&bytes), Ok(message));
    }

    /// Arbitrary bytes, and valid messages with a few bytes changed: refused with a plain-text reason, or
    /// valid.
    #[test]
    fn corrupted_messages_are_refused_or_valid(
        message in from_engine(),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        noise in vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = serde_json::to_vec(&message).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [bytes, noise] {
            match FromEngine::parse(&bytes) {
                Err(why) => prop_assert!(is_plain(&why), "{why:?}"),
                Ok(FromEngine::Up(link)) => prop_assert_eq!(link.check(), Ok(())),
                Ok(FromEngine::Offers(offers)) => {
                    prop_assert!(offers.auth.iter().chain(&offers.mppe).all(|words| is_plain(words)));
                }
                Ok(FromEngine::Phase { detail, .. }) => prop_assert!(is_plain(&detail)),
                Ok(FromEngine::Down(failure)) => prop_assert!(is_plain(&failure.detail)),
                Ok(FromEngine::PathMtu(path)) => prop_assert!((68..=1500).contains(&path.mtu) && is_plain(&path.warning)),
                Ok(FromEngine::PathSearched(_) | FromEngine::Attach(_) | FromEngine::Alive) => {}
                Ok(FromEngine::Unfiltered(why)) => prop_assert!(is_plain(&why)),
                Ok(FromEngine::Statistics(statistics)) => prop_assert!(statistics.counters.len() <= 256),
            }
            let _no_panic = serde_json::from_slice::<ToEngine>(&bytes).is_ok();
            match resolver::Answer::parse(&bytes) {
                resolver::Answer::Found(found) => prop_assert!(found.len() <= crate::net::lookup::MAX_ADDRESSES),
                resolver::Answer::Unreadable(files) => prop_assert!(files.len() <= 5),
                resolver::Answer::Failed(why) => prop_assert!(is_plain(&why), "{why:?}"),
            }
        }
    }

    /// The engine can send any text, of any length, once it is made plain.
    #[test]
    fn any_text_made_plain_is_accepted(text in any::<String>(), times in 1_usize..200) {
        let detail = plain(&text.repeat(times));
        let bytes = serde_json::to_vec(&FromEngine::Phase { phase: Phase::Lcp, detail: detail.clone() }).unwrap();
        prop_assert_eq!(FromEngine::parse(&bytes), Ok(FromEngine::Phase { phase: Phase::Lcp, detail }));
    }
}

fn to_engine() -> impl Strategy<Value = ToEngine> {
    prop_oneof![
        1 => Just(()).prop_map(|()| ToEngine::Stop),
        1 => Just(()).prop_map(|()| ToEngine::Query),
        1 => Just(()).prop_map(|()| ToEngine::Alive),
        1 => Just(()).prop_map(|()| ToEngine::Probe),
        1 => any::<bool>().prop_map(|inner| ToEngine::Capture { inner }),
        8 => spec().prop_map(|spec| ToEngine::Start(Box::new(spec))),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    let who =
        (any::<String>(), 0_u8..3, option::of(any::<String>()), any::<String>(), option::of(any::<String>()));
    let call = (
        any::<(u32, u16)>(),
        vec(any::<Duration>(), 9),
        option::of(any::<Duration>()),
        option::of(any::<Duration>()),
        option::of(any::<u32>()),
    );
    let link = (
        vec(select(&AuthProtocol::ALL[..]), 0..5),
        policy(),
        option::of(any::<(Duration, u32)>()),
        option::of(any::<u16>()),
        any::<u16>(),
    );
    let quirks = select(&[Quirks::None, Quirks::BezeqIsrael][..]);
    (who, call, link, quirks, any::<(bool, bool, bool, bool)>(), clamp()).prop_map(
        |(who, call, link, quirks, (ipv6, want_dns, external, peer_routes), mss)| {
            let (name, loglevel, phone, user, domain) = who;
            let ((address, port), times, idle_wait, reorder, missing_window) = call;
            let (auth, mppe, echo, mru, mtu_limit) = link;
            let lcp_echo = echo.map(|(interval, failures)| Echo { interval, failures });
            let reorder = reorder.map_or(Reorder::Off, |max| Reorder::Adaptive { max });
            let limits = Limits {
                connect: times[0],
                control: times[1],
                call: times[2],
                gre: times[3],
                lcp: times[4],
                auth: times[5],
                network: times[6],
                stop: times[7],
            };
            let server = SocketAddrV4::new(address.into(), port);
            let max_echo_wait = times[8];
            Spec {
                name,
                loglevel,
                server,
                call_id: mtu_limit,
                limits,
                quirks,
                phone,
                idle_wait,
                max_echo_wait,
                reorder,
                missing_window,
                transmit_window: peer_routes,
                user,
                domain,
                auth,
                unauthenticated: want_dns,
                prefer_stronger: ipv6,
                mppe,
                lcp_echo,
                mru,
                mtu_limit,
                follow_path: external,
                ipv6,
                remembered: mru.map(|mru| Remembered {
                    address: address.into(),
                    dns: vec![address.into()],
                    mru: Some(mru),
                }),
                want_dns,
                external,
                kernel: ipv6,
                mss,
                was_up: peer_routes,
                best_effort: peer_routes,
                peer_routes,
            }
        },
    )
}

fn clamp() -> impl Strategy<Value = Mss> {
    prop_oneof![Just(Mss::Off), Just(Mss::Auto), any::<u16>().prop_map(Mss::Bytes)]
}

fn policy() -> impl Strategy<Value = Policy> {
    let demand = select(&[Demand::Off, Demand::Allow, Demand::Require][..]);
    let strength = || select(&Strength::ALL[..]);
    (demand, strength(), strength(), any::<bool>()).prop_map(|(demand, min, max, stateful)| Policy {
        demand,
        min,
        max,
        stateful,
    })
}

fn from_engine() -> impl Strategy<Value = FromEngine> {
    let phases = [
        Phase::Resolve,
        Phase::Connect,
        Phase::Control,
        Phase::Call,
        Phase::Lcp,
        Phase::Authentication,
        Phase::Encryption,
        Phase::Addresses,
        Phase::Routes,
        Phase::Up,
    ];
    let phase = select(phases.to_vec());
    let counters = vec(("[a-z_.]{0,64}", any::<u64>()), 0..=256);
    prop_oneof![
        (phase.clone(), words()).prop_map(|(phase, detail)| FromEngine::Phase { phase, detail }),
        (vec(words(), 0..=8), option::of(words()))
            .prop_map(|(auth, mppe)| FromEngine::Offers(Offers { auth, mppe })),
        link_up().prop_map(FromEngine::Up),
        (68_u16..=1500, words()).prop_map(|(mtu, warning)| FromEngine::PathMtu(PathMtu { mtu, warning })),
        phase.clone().prop_map(|_| FromEngine::Alive),
        proptest::sample::select(vec![
            PathSearchEnd::Full,
            PathSearchEnd::Limited,
            PathSearchEnd::Unanswered,
            PathSearchEnd::Unknown
        ])
        .prop_map(FromEngine::PathSearched),
        words().prop_map(FromEngine::Unfiltered),
        (counters, any::<(u64, u64)>(), any::<u64>(), any::<Option<u64>>()).prop_map(
            |(counters, cpu_micros, sleeps, round_trip_micros)| {
                FromEngine::Statistics(Statistics { counters, cpu_micros, sleeps, round_trip_micros })
            }
        ),
        (phase, select(&FailureKind::ALL[..]), words(), vec(words(), 0..=8)).prop_map(
            |(phase, kind, detail, hints)| {
                let failure = Failure::new(phase, kind, detail);
                FromEngine::Down(hints.into_iter().fold(failure, Failure::hint))
            }
        ),
    ]
}

fn link_up() -> impl Strategy<Value = LinkUp> {
    let host =
        || any::<u32>().prop_map(Ipv4Addr::from).prop_filter("a host has it", |address| is_host(*address));
    let peer = prop_oneof![4 => host(), 1 => Just(Ipv4Addr::UNSPECIFIED)];
    (
        (host(), peer, vec(host(), 0..=2), vec(host(), 0..=2)),
        (option::of(any::<(u64, u64)>()), 68_u16..=1500, words(), words()),
        (option::of(vec(offered(), 0..=MAX_ROUTES)), option::of(any::<u16>())),
    )
        .prop_map(
            |((local, peer, dns, wins), (ipv6, mtu, encryption, authentication), (routes, mru))| LinkUp {
                local,
                peer,
                dns,
                wins,
                ipv6,
                mtu,
                mru,
                encryption,
                authentication,
                routes,
            },
        )
}

fn offered() -> impl Strategy<Value = Ipv4Net> {
    (any::<u32>(), 8_u8..=32)
        .prop_map(|(bits, width)| Ipv4Net::new(bits.into(), width).unwrap().trunc())
        .prop_filter("a server may offer it", |route| is_acceptable_route(*route))
}

fn words() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| plain(&text))
}
