//! Any step survives a write and a read of the ledger, and any bytes in the file are handled.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::MetadataExt,
};

use ipnet::IpNet;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
};

use super::*;
use crate::{
    net::routes::{Hop, Kind},
    plan::{
        Address6Step, AddressStep, HostRouteStep, MtuStep, NextHop, OpenTunStep, PidFileStep, PolicyRule,
        PolicyStep, RemoveDefaultStep, RouteStep, Symbol, UpStep, Value,
    },
};

#[derive(Clone, Debug)]
enum Operation {
    Intend(Part, Box<Step>, PriorState, Option<Index>),
    Device(Device),
    Undone(Index),
    /// Rewrites the file with the steps in force.
    Compact,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ledger_round_trips_through_json(profile in "[a-z0-9-]{1,20}", operations in vec(operation(), 0..12)) {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = new_ledger(dir.path(), &profile);
        for operation in operations {
            let numbers: Vec<u64> = ledger.record().entries.iter().map(|entry| entry.number).collect();
            let pick = |index: Index| if numbers.is_empty() { None } else { Some(*index.get(&numbers)) };
            match operation {
                Operation::Intend(part, step, before, instead) => {
                    let n = ledger.intend(part, &step, before.clone(), instead.and_then(pick)).unwrap();
                    let entry = Entry { number: n, part, step: *step, before };
                    prop_assert_eq!(ledger.record().entries.last(), Some(&entry));
                }
                Operation::Device(device) => ledger.device(device).unwrap(),
                Operation::Undone(index) => {
                    if let Some(n) = pick(index) {
                        ledger.undone(n).unwrap();
                    }
                }
                Operation::Compact => ledger.compact().unwrap(),
            }
        }
        let read = Ledger::open(ledger.path()).unwrap().unwrap();
        let (written, reread) = (ledger.record(), read.record());
        prop_assert_eq!(&reread.header, &written.header);
        prop_assert_eq!(&reread.entries, &written.entries);
        prop_assert_eq!(&reread.device, &written.device);
        prop_assert_eq!(&reread.garbled, &[0_usize; 0]);
    }

    /// A corrupted ledger is parsed as far as possible or refused; lines appended to it can be read.
    #[test]
    fn corrupted_ledger_stays_appendable(
        operations in vec((step(), before()), 1..5),
        changes in vec((any::<Index>(), any::<u8>()), 1..6),
        tail in vec(any::<u8>(), 0..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = new_ledger(dir.path(), "vpn");
        for (step, before) in operations {
            ledger.intend(Part::Network, &step, before, None).unwrap();
        }
        let mut bytes = fs::read(ledger.path()).unwrap();
        let header = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        for (at, byte) in changes {
            let at = header + at.index(bytes.len() - header);
            bytes[at] = byte;
        }
        bytes.extend(tail);
        fs::write(ledger.path(), bytes).unwrap();
        // Only a corrupted line end can corrupt the header; it is then refused, or counts as incomplete.
        let Ok(Some(mut corrupted)) = Ledger::open(ledger.path()) else { return Ok(()) };
        let step = Step::RemoveDefault(RemoveDefaultStep { ipv6: true });
        corrupted.intend(Part::Network, &step, PriorState::Nothing, None).unwrap();
        let read = Ledger::open(ledger.path()).unwrap().unwrap();
        prop_assert_eq!(&read.record().entries, &corrupted.record().entries);
        prop_assert_eq!(&read.record().garbled, &corrupted.record().garbled);
    }

    #[test]
    fn reader_accepts_arbitrary_bytes(bytes in vec(any::<u8>(), 0..300)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vpn.ledger");
        fs::write(&path, &bytes).unwrap();
        let _read_or_refused = Ledger::open(&path);
        prop_assert!(peek(&path).is_none_or(|record| record.entries.is_empty()));
    }
}

fn new_ledger(dir: &Path, profile: &str) -> Ledger {
    let directories = Directories { run: dir.to_owned(), state: dir.to_owned() };
    Ledger::create(&directories, Header::of_this_process(profile)).unwrap()
}

fn operation() -> impl Strategy<Value = Operation> {
    let part = select(&[Part::Transport, Part::Network][..]);
    let device = ("tun[0-9]{1,3}", any::<u32>(), any::<bool>()).prop_map(|(name, index, existed)| Device {
        name,
        index,
        existed,
    });
    prop_oneof![
        8 => (part, step(), before(), option::weighted(0.2, any::<Index>()))
            .prop_map(|(part, step, before, instead)| Operation::Intend(part, Box::new(step), before, instead)),
        1 => device.prop_map(Operation::Device),
        2 => any::<Index>().prop_map(Operation::Undone),
        1 => Just(Operation::Compact),
    ]
}

/// Boxed: a strategy of all alternatives inline overflows a test's stack.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![9 => plain_step().boxed(), 3 => policy().prop_map(Step::Policy).boxed()]
}

fn plain_step() -> impl Strategy<Value = Step> {
    let tun = || value("tun[0-9]{1,4}");
    let (v4, v6) = (|| value(any::<Ipv4Addr>()), || value(any::<Ipv6Addr>()));
    prop_oneof![
        option::of(any::<u32>()).prop_map(|unit| Step::OpenTun(OpenTunStep { unit })),
        (value(any::<IpAddr>()), value(way()), vec(net(), 0..4))
            .prop_map(|(server, way, within)| Step::HostRoute(HostRouteStep { server, way, within })),
        (tun(), value(any::<u16>())).prop_map(|(tun, mtu)| Step::Mtu(MtuStep { tun, mtu })),
        (tun(), v4(), option::of(v4())).prop_map(|(tun, local, peer)| Step::Address(AddressStep {
            tun,
            local,
            peer
        })),
        (tun(), v6(), v6()).prop_map(|(tun, local, peer)| Step::Address6(Address6Step { tun, local, peer })),
        tun().prop_map(|tun| Step::Up(UpStep { tun })),
        (any::<String>(), tun(), value(any::<u32>()))
            .prop_map(|(dir, tun, pid)| Step::PidFile(PidFileStep { dir: dir.into(), tun, pid })),
        (
            tun(),
            net(),
            option::of(any::<u32>()),
            option::of(value(any::<u32>())),
            option::of(v4()),
            option::of(any::<String>())
        )
            .prop_map(|(tun, dest, metric, table, peer, label)| Step::Route(RouteStep {
                tun,
                dest,
                metric,
                table,
                peer,
                label
            })),
        any::<bool>().prop_map(|ipv6| Step::RemoveDefault(RemoveDefaultStep { ipv6 })),
    ]
}

fn policy() -> impl Strategy<Value = PolicyStep> {
    let rule = prop_oneof![
        (value(any::<IpAddr>()), any::<u8>(), option::of(any::<u16>()))
            .prop_map(|(server, protocol, port)| PolicyRule::Server { server, protocol, port }),
        any::<u8>().prop_map(|protocol| PolicyRule::Names { protocol }),
        Just(PolicyRule::Dhcp),
        value(net()).prop_map(|dest| PolicyRule::Connected { dest }),
        value(net()).prop_map(|dest| PolicyRule::Answered { dest }),
        any::<u8>().prop_map(|protocol| PolicyRule::Carried { protocol }),
        Just(PolicyRule::Main),
        Just(PolicyRule::Tunnel),
    ];
    prop_oneof![
        (rule, any::<bool>(), value(any::<u32>())).prop_map(|(rule, ipv6, table)| PolicyStep::Rule {
            rule,
            ipv6,
            table
        }),
        (net(), option::of(value(any::<u32>()))).prop_map(|(dest, table)| PolicyStep::Block { dest, table }),
        (net(), value(any::<u32>())).prop_map(|(dest, table)| PolicyStep::Throw { dest, table }),
        (net(), value(way())).prop_map(|(dest, way)| PolicyStep::Outside { dest, way }),
    ]
}

fn before() -> impl Strategy<Value = PriorState> {
    prop_oneof![
        Just(PriorState::Nothing),
        Just(PriorState::Same),
        Just(PriorState::Shared),
        route().prop_map(|route| PriorState::Route(Box::new(route))),
        vec(route(), 0..3).prop_map(PriorState::Routes),
        any::<u32>().prop_map(PriorState::Number),
    ]
}

fn value<T: Clone + std::fmt::Debug>(known: impl Strategy<Value = T>) -> impl Strategy<Value = Value<T>> {
    let symbols = [
        Symbol::Server,
        Symbol::Gateway,
        Symbol::Tun,
        Symbol::Mtu,
        Symbol::Local,
        Symbol::Peer,
        Symbol::Local6,
        Symbol::Peer6,
        Symbol::Pid,
        Symbol::Table,
    ];
    prop_oneof![3 => known.prop_map(Value::Known), 1 => select(symbols.to_vec()).prop_map(Value::Open)]
}

fn way() -> impl Strategy<Value = NextHop> {
    let by = (option::of(any::<IpAddr>()), any::<String>(), option::of(any::<IpAddr>()));
    prop_oneof![
        1 => Just(NextHop::ThisHost),
        4 => by.prop_map(|(gateway, dev, source)| NextHop::By { gateway, dev, source }),
    ]
}

fn net() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), 0_u8..=128).prop_map(|(address, length)| {
        let max = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, length.min(max)).unwrap()
    })
}

fn route() -> impl Strategy<Value = Route> {
    let kinds = [Kind::Unicast, Kind::Local, Kind::Blackhole, Kind::Unreachable, Kind::Prohibit, Kind::Throw];
    let kind = prop_oneof![6 => select(kinds.to_vec()), 1 => any::<u8>().prop_map(Kind::Other)];
    let hop = (option::of(any::<IpAddr>()), option::of(any::<String>()), any::<bool>(), any::<u8>())
        .prop_map(|(via, dev, onlink, weight)| Hop { via, dev, onlink, weight });
    (
        (net(), any::<(u32, u32)>(), any::<(u8, u8, u8)>(), kind, vec(hop, 0..3)),
        (
            option::of(any::<IpAddr>()),
            vec(any::<(u16, u32)>(), 0..4),
            option::of(any::<u8>()),
            option::of(any::<(u16, u16)>()),
            option::of(any::<String>()),
            vec(any::<String>(), 0..2),
        ),
    )
        .prop_map(|(key, rest)| {
            let (dest, (table, metric), (tos, scope, protocol), kind, hops) = key;
            let (source, metrics, preference, realm, label, unrestorable) = rest;
            Route {
                dest,
                table,
                metric,
                tos,
                kind,
                scope,
                protocol,
                hops,
                source,
                metrics,
                preference,
                realm,
                label,
                unrestorable,
            }
        })
}

/// A crash before the rename of a compaction leaves a draft, which is removed with the ledger.
#[test]
fn close_removes_draft_of_interrupted_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = new_ledger(dir.path(), "vpn");
    let path = ledger.path().to_owned();
    fs::write(ledger.draft(), "half a li").unwrap();
    drop(ledger);
    Ledger::open(&path).unwrap().unwrap().close().unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
}

/// A writable state directory would let another user choose what root undoes.
#[test]
fn state_directory_writable_by_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    StateLock::take(dir.path()).unwrap();
    for mode in [0o777, 0o770, 0o702] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        let refused = StateLock::take(dir.path()).unwrap_err().to_string();
        let expected = format!("{}: only root may have write access: ", dir.path().display());
        assert!(refused.starts_with(&expected), "{refused}");
    }
}

#[test]
fn invalid_ledger_error_says_to_remove_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vpn.ledger");
    fs::write(&path, "\u{fffd}garbage\n").unwrap();
    let refused = Ledger::open(&path).unwrap_err().to_string();
    assert!(refused.contains("not a ledger") && refused.contains("remove it"), "{refused}");
}

/// As with a country's list of networks: the ledger is not rewritten for each of its routes.
#[test]
fn long_ledger_is_not_compacted_for_every_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = new_ledger(dir.path(), "vpn");
    let inode = |ledger: &Ledger| fs::metadata(ledger.path()).unwrap().ino();
    let (mut before, mut rewrites) = (inode(&ledger), 0);
    for _ in 0..3 * COMPACT_LINES {
        ledger
            .intend(
                Part::Network,
                &Step::RemoveDefault(RemoveDefaultStep { ipv6: false }),
                PriorState::Nothing,
                None,
            )
            .unwrap();
        let now = inode(&ledger);
        rewrites += usize::from(now != before);
        before = now;
    }
    assert_eq!(ledger.record().entries.len(), 3 * COMPACT_LINES);
    assert!(rewrites < 3, "{rewrites} times");
}

/// A ledger written by version 0.1.0, with each kind of step and prior state, is read completely, and each
/// line is written back unchanged. A renamed field or variant would leave steps on an upgraded host that
/// can't be undone.
#[test]
fn ledger_of_0_1_0_is_read_and_written_unchanged() {
    let text = include_str!("format-1.ledger");
    for line in text.lines().skip(1) {
        let parsed: Line = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), line);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("office.ledger");
    fs::write(&path, text).unwrap();
    let record = peek(&path).unwrap();
    assert_eq!(record.garbled, [0_usize; 0]);
    // 34 steps, of which one replaced another and one was undone.
    assert_eq!(record.entries.len(), 32);
    assert_eq!(serde_json::to_string(&record.header).unwrap(), text.lines().next().unwrap());
}
