pub(super) mod fake_host;
mod openbsd;
mod roaming;

use std::{fs, io::Write, net::Ipv4Addr, os::unix::fs::PermissionsExt};

use proptest::prelude::*;

use super::{
    ledger::{Header, Ledger, PriorState},
    *,
};
use crate::{
    net::routes::{Hop, Kind, Route},
    plan::{
        Address6Step, AddressStep, Facts, HostRouteStep, Ipv6, MtuStep, OpenTunStep, Part, PidFileStep, Plan,
        RemoveDefaultStep, RouteStep, Step, UpStep, Value,
    },
    platform::Platform,
};
use fake_host::{FakeHost, HostState};

const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Kills `up` before any request, then `recover` before any request: recovery restores the host.
    #[test]
    fn host_is_restored_after_crash_at_any_request(
        state in hosts(),
        plans in plans(),
        up in prop_oneof![0_usize..30, Just(usize::MAX)],
        down in prop_oneof![0_usize..8, 0_usize..30],
        engine_alive: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let directories = directories(dir.path());
        let model = FakeHost::new(state.clone());
        let mut session = session(&directories, &model.restart(up));
        let is_complete = bring_up(&mut session, &plans, &directories).is_ok();
        prop_assert!(is_complete || up < 30);
        drop(session);
        if !engine_alive {
            model.close_tun();
        }
        let first = recover(&directories, &mut model.restart(down).host(), &|_| false);
        if !first.errors.is_empty() {
            let second = recover(&directories, &mut model.restart(usize::MAX).host(), &|_| false);
            prop_assert!(second.errors.is_empty(), "{:?}", second.errors);
        }
        let third = recover(&directories, &mut model.restart(0).host(), &|_| false);
        prop_assert!(third.recovered.is_empty(), "nothing is left to undo");
        prop_assert_eq!(&*model.state.borrow(), &state);
        prop_assert_eq!(files(&directories.run), Vec::<String>::new());
        prop_assert_eq!(files(&directories.state), Vec::<String>::new());
    }

    /// Changes from one plan to another and back, then undoes everything.
    #[test]
    fn host_is_restored_after_changes_of_plan(state in hosts(), first in plans(), second in plans()) {
        let dir = tempfile::tempdir().unwrap();
        let directories = directories(dir.path());
        let model = FakeHost::new(state.clone());
        let mut session = session(&directories, &model);
        bring_up(&mut session, &first, &directories).unwrap();
        let once = model.state.borrow().clone();
        bring_up(&mut session, &second, &directories).unwrap();
        bring_up(&mut session, &first, &directories).unwrap();
        prop_assert_eq!(sorted(&model.state.borrow()), sorted(&once));
        prop_assert!(session.undo_all_and_close().is_empty());
        prop_assert_eq!(&*model.state.borrow(), &state);
    }

    /// Withdraws the routes of a lost tunnel, brings it up again, and withdraws again with a crash.
    #[test]
    fn withdrawn_routes_come_back_and_are_undone(
        state in hosts(),
        plans in plans(),
        killed in prop_oneof![0_usize..12, Just(usize::MAX)],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let directories = directories(dir.path());
        let model = FakeHost::new(state.clone());
        let budget = model.restart(usize::MAX);
        let mut session = session(&directories, &budget);
        bring_up(&mut session, &plans, &directories).unwrap();
        let up = sorted(&model.state.borrow());
        prop_assert!(session.withdraw_routes().is_empty());
        let defaults = |state: &HostState| -> Vec<Route> {
            state.routes.iter().filter(|route| route.dest.prefix_len() < 2 && route.kind == Kind::Unicast).cloned().collect()
        };
        prop_assert_eq!(defaults(&model.state.borrow()), defaults(&state), "the host's default routes are not in force");
        bring_up(&mut session, &plans, &directories).unwrap();
        prop_assert_eq!(sorted(&model.state.borrow()), up);
        *budget.budget.borrow_mut() = killed;
        let is_complete = session.withdraw_routes().is_empty();
        prop_assert!(is_complete || killed < 12);
        drop(session);
        let recovery = recover(&directories, &mut model.restart(usize::MAX).host(), &|_| false);
        prop_assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
        prop_assert_eq!(&*model.state.borrow(), &state);
        prop_assert_eq!(files(&directories.state), Vec::<String>::new());
    }

    #[test]
    fn recovery_accepts_arbitrary_ledger_bytes(bytes: Vec<u8>, cut in 0_usize..4000) {
        let dir = tempfile::tempdir().unwrap();
        let directories = directories(dir.path());
        let model = FakeHost::new(HostState::default());
        fs::create_dir(&directories.state).unwrap();
        fs::write(directories.ledger("vpn"), &bytes).unwrap();
        drop(recover(&directories, &mut model.host(), &|_| false));

        // A truncated ledger undoes the steps of its complete lines.
        drop(fs::remove_file(directories.ledger("vpn")));
        let mut session = session(&directories, &model);
        session.perform(&Plan { steps: vec![Step::OpenTun(OpenTunStep { unit: None })], ..empty(Part::Transport) }).unwrap();
        drop(session);
        let text = fs::read(directories.ledger("vpn")).unwrap();
        fs::write(directories.ledger("vpn"), &text[..cut.min(text.len())]).unwrap();
        let recovery = recover(&directories, &mut model.host(), &|_| false);
        prop_assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
        prop_assert!(!directories.ledger("vpn").exists());
    }
}

#[test]
fn ledger_is_private_and_never_a_symlink() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let ledger = open_ledger(&directories);
    assert_eq!(fs::metadata(ledger.path()).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(&directories.state).unwrap().permissions().mode() & 0o7777, 0o700);
    ledger.close().unwrap();
    let target = dir.path().join("target");
    std::os::unix::fs::symlink(&target, directories.ledger("vpn")).unwrap();
    assert!(Changes::open(&directories, "vpn", FakeHost::new(HostState::default()).host()).is_err());
    assert!(Ledger::open(&directories.ledger("vpn")).is_err());
    assert!(!target.exists());
}

#[test]
fn each_step_is_on_disk_before_it_is_performed() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let model = FakeHost::new(laptop());
    let mut session = session(&directories, &model.restart(0));
    session
        .perform(&Plan {
            steps: vec![Step::OpenTun(OpenTunStep { unit: Some(3) })],
            ..empty(Part::Transport)
        })
        .unwrap_err();
    drop(session);
    let text = fs::read_to_string(directories.ledger("vpn")).unwrap();
    assert!(text.lines().count() == 2 && text.contains("open-tun"), "{text}");
}

#[test]
fn torn_line_is_truncated_and_ledger_stays_usable() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let mut ledger = open_ledger(&directories);
    let step = Step::RemoveDefault(RemoveDefaultStep { ipv6: false });
    ledger.intend(Part::Network, &step, PriorState::Routes(vec![]), None).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(ledger.path()).unwrap();
    file.write_all(b"{\"do\":{\"n\":2,\"pa").unwrap();
    let path = ledger.path().to_owned();
    let mut reopened = Ledger::open(&path).unwrap().unwrap();
    assert_eq!(reopened.record().entries.len(), 1);
    assert!(reopened.record().garbled.is_empty());
    reopened.undone(1).unwrap();
    let last = Ledger::open(&path).unwrap().unwrap();
    assert!(last.record().entries.is_empty() && last.record().garbled.is_empty());
}

#[test]
fn garbled_line_is_reported_and_others_are_undone() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let model = FakeHost::new(laptop());
    let before = model.state.borrow().clone();
    let mut session = session(&directories, &model);
    bring_up(&mut session, &(Some(Mode::Replace), vec![], false), &directories).unwrap();
    drop(session);
    let path = directories.ledger("vpn");
    let text = fs::read_to_string(&path).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    fs::write(&path, format!("{first}\nrubbish\n{rest}")).unwrap();
    let recovery = recover(&directories, &mut model.host(), &|_| false);
    assert!(recovery.errors[0].to_string().contains("line 2 can't be read"), "{:?}", recovery.errors);
    assert_eq!(*model.state.borrow(), before);
}

#[test]
fn ledger_stays_small_over_many_reconnects() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let model = FakeHost::new(laptop());
    let mut session = session(&directories, &model);
    bring_up(&mut session, &(Some(Mode::Halves), vec![], false), &directories).unwrap();
    for round in 0..600_u16 {
        let mtu =
            Step::Mtu(MtuStep { tun: Value::Known("tun0".to_owned()), mtu: Value::Known(1400 - round % 2) });
        session.perform(&Plan { steps: vec![mtu], ..empty(Part::Network) }).unwrap();
    }
    let lines = fs::read_to_string(directories.ledger("vpn")).unwrap().lines().count();
    assert!(lines < 600, "{lines} lines");
    assert!(session.undo_all_and_close().is_empty());
    assert_eq!(*model.state.borrow(), laptop());
}

#[test]
fn volatile_steps_are_not_undone_after_a_reboot() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let header = Header { boot: "another".to_owned(), ..Header::of_this_process("vpn") };
    let model = FakeHost::new(laptop());
    let mut session = Changes::open_as(&directories, header, model.host()).unwrap();
    bring_up(&mut session, &(Some(Mode::Replace), vec![], false), &directories).unwrap();
    drop(session);
    // The host boots, with a default route by DHCP and another tun0.
    *model.state.borrow_mut() = laptop();
    model.state.borrow_mut().device("tun0");
    let fresh = model.state.borrow().clone();
    let recovery = recover(&directories, &mut model.restart(0).host(), &|_| false);
    assert!(recovery.errors.is_empty());
    assert_eq!(recovery.recovered.len(), 1);
    assert!(recovery.recovered[0].gone);
    assert_eq!(*model.state.borrow(), fresh);
    assert!(!directories.ledger("vpn").exists());
}

/// The kernel removes the device of a killed supervisor, and its routes, while `recover` runs on one dump of
/// the table.
#[test]
fn replaced_route_is_restored_if_the_device_goes_during_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let mut state = laptop();
    state.route(by_gateway("10.42.0.0/16", "192.0.2.99", 0));
    let model = FakeHost::new(state.clone());
    let mut session = session(&directories, &model);
    let routes = ["10.42.0.0/16", "203.0.113.0/24"].map(|net| net.parse().unwrap()).to_vec();
    bring_up(&mut session, &(None, routes, false), &directories).unwrap();
    drop(session);
    model.closes_tun.replace(true);
    let recovery = recover(&directories, &mut model.host(), &|_| false);
    assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
    assert_eq!(*model.state.borrow(), state);
}

#[test]
fn device_of_same_name_of_another_tunnel_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let model = FakeHost::new(laptop());
    let mut session = session(&directories, &model);
    bring_up(&mut session, &(Some(Mode::Halves), vec![], false), &directories).unwrap();
    drop(session);
    model.close_tun();
    // A new tun0, with the same address and routes.
    let mut second = Changes::open(&directories, "other", model.host()).unwrap();
    bring_up(&mut second, &(Some(Mode::Halves), vec![], false), &directories).unwrap();
    let up = model.state.borrow().clone();
    let dead = |header: &Header| header.profile != "vpn";
    let recovery = recover(&directories, &mut model.host(), &dead);
    assert!(recovery.errors.is_empty() && recovery.alive == ["other"], "{recovery:?}");
    assert_eq!(*model.state.borrow(), up);
    assert!(second.undo_all_and_close().is_empty());
    assert_eq!(*model.state.borrow(), laptop());
}

#[test]
fn plan_with_open_symbol_is_refused_before_any_step() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let model = FakeHost::new(laptop());
    let mut session = session(&directories, &model);
    let up = Step::Up(UpStep { tun: Value::Open(crate::plan::Symbol::Tun) });
    let plan = Plan { steps: vec![Step::OpenTun(OpenTunStep { unit: None }), up], ..empty(Part::Transport) };
    let error = session.perform(&plan).unwrap_err();
    assert_eq!(error.to_string(), "ip link set tunX up: not known yet: tunX");
    assert_eq!(*model.state.borrow(), laptop());
}

#[test]
fn pid_file_is_taken_over_by_new_supervisor() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let model = FakeHost::new(laptop());
    let file = |pid| {
        Step::PidFile(PidFileStep {
            dir: directories.run.clone(),
            tun: Value::Known("tun0".to_owned()),
            pid: Value::Known(pid),
        })
    };
    let mut session = session(&directories, &model);
    // Process 1 always runs, and represents the parent process that is about to exit.
    session.perform(&Plan { steps: vec![file(1)], ..empty(Part::Network) }).unwrap();
    session.perform(&Plan { steps: vec![file(2)], ..empty(Part::Network) }).unwrap();
    assert_eq!(fs::read_to_string(directories.run.join("tun0.pid")).unwrap(), "2\n");
    assert!(session.undo_all_and_close().is_empty());
    assert!(files(&directories.run).is_empty());
}

// Helpers.

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Replace,
    Halves,
}

/// Default route mode, split routes, IPv6.
type Wanted = (Option<Mode>, Vec<ipnet::IpNet>, bool);

fn plans() -> impl Strategy<Value = Wanted> {
    let mode = prop_oneof![Just(None), Just(Some(Mode::Replace)), Just(Some(Mode::Halves))];
    let nets = ["10.0.0.0/8", "10.42.0.0/16", "192.0.2.0/24", "203.0.113.0/24", "2001:db8:42::/48"];
    let routes = proptest::sample::subsequence(nets.to_vec(), 0..=nets.len());
    (mode, routes.prop_map(|nets| nets.iter().map(|net| net.parse().unwrap()).collect()), any::<bool>())
}

/// Generates a host with default routes (one to three for IPv4) and some of the routes that plans add.
fn hosts() -> impl Strategy<Value = HostState> {
    let metrics = proptest::sample::subsequence(vec![0_u32, 100, 100, 600], 1..=3);
    let metrics6 = proptest::sample::subsequence(vec![256_u32, 1024, 2048], 0..=3);
    let nets = ["10.0.0.0/8", "10.42.0.0/16", "203.0.113.9/32", "128.0.0.0/1", "2001:db8:42::/48"];
    let others = proptest::sample::subsequence(nets.to_vec(), 0..=nets.len());
    (metrics, metrics6, others).prop_map(|(metrics, metrics6, others)| {
        let mut state = HostState::default();
        uplink(&mut state, "up0", "192.0.2.0/24");
        for (nth, metric) in metrics.into_iter().enumerate() {
            state.route(by_gateway("0.0.0.0/0", &format!("192.0.2.{}", nth + 1), metric));
        }
        for (nth, metric) in metrics6.into_iter().enumerate() {
            state.route(by_gateway("::/0", &format!("2001:db8::{}", nth + 1), metric));
        }
        for net in others {
            let (via, metric) = if net.contains("::") { ("2001:db8::99", 1024) } else { ("192.0.2.99", 0) };
            state.route(by_gateway(net, via, metric));
        }
        state
    })
}

fn laptop() -> HostState {
    let mut state = HostState::default();
    uplink(&mut state, "up0", "192.0.2.0/24");
    state.route(by_gateway("0.0.0.0/0", "192.0.2.1", 100));
    state
}

/// Adds a device and the route of its connected network.
fn uplink(state: &mut HostState, dev: &str, net: &str) {
    state.device(dev);
    state.route(Route { protocol: 2, ..Route::through(net.parse().unwrap(), dev) });
}

fn by_gateway(dest: &str, via: &str, metric: u32) -> Route {
    let mut route = Route::through(dest.parse().unwrap(), "up0");
    route.hops =
        vec![Hop { via: Some(via.parse().unwrap()), dev: Some("up0".to_owned()), onlink: false, weight: 0 }];
    (route.protocol, route.scope, route.metric) = (3, 0, metric);
    route
}

fn directories(dir: &std::path::Path) -> Directories {
    let directories = Directories { run: dir.join("run"), state: dir.join("state") };
    fs::create_dir(&directories.run).unwrap();
    directories
}

fn session(places: &Directories, model: &FakeHost) -> Changes {
    Changes::open(places, "vpn", model.host()).unwrap()
}

fn open_ledger(directories: &Directories) -> Ledger {
    fs::create_dir_all(&directories.state).unwrap();
    fs::set_permissions(&directories.state, fs::Permissions::from_mode(0o700)).unwrap();
    Ledger::create(directories, Header::of_this_process("vpn")).unwrap()
}

const fn empty(part: Part) -> Plan {
    Plan { platform: Platform::Linux, part, steps: Vec::new(), notes: Vec::new() }
}

/// Performs both plans for `wanted`, built by hand because this module does not know profiles.
fn bring_up(session: &mut Changes, wanted: &Wanted, directories: &Directories) -> Result<(), ApplyError> {
    let (mode, nets, ipv6) = wanted;
    let tun = || Value::Open(crate::plan::Symbol::Tun);
    let route = |dest: ipnet::IpNet| {
        Step::Route(RouteStep { tun: tun(), dest, metric: None, table: None, peer: None, label: None })
    };
    let open = crate::plan::Symbol::Server;
    let within = if mode.is_some() { vec!["0.0.0.0/0".parse().unwrap()] } else { nets.clone() };
    let mut transport = empty(Part::Transport);
    transport.steps = vec![
        Step::OpenTun(OpenTunStep { unit: None }),
        Step::HostRoute(HostRouteStep {
            server: Value::Open(open),
            way: Value::Open(crate::plan::Symbol::Gateway),
            within,
        }),
    ];
    let mut facts = session.facts(SERVER, None)?;
    session.perform(&transport.resolve(&facts))?;

    facts = Facts {
        tun: session.tun().map(|tun| tun.name.clone()),
        local: Some(Ipv4Addr::new(10, 99, 0, 2)),
        peer: Some(Ipv4Addr::new(10, 99, 0, 1)),
        ipv6: if *ipv6 { Ipv6::from_identifiers(2, 1) } else { Ipv6::Absent },
        ..facts
    };
    let mut network = empty(Part::Network);
    network.steps = vec![
        Step::Mtu(MtuStep { tun: tun(), mtu: Value::Known(1400) }),
        Step::Address(AddressStep {
            tun: tun(),
            local: Value::Open(crate::plan::Symbol::Local),
            peer: Some(Value::Open(crate::plan::Symbol::Peer)),
        }),
        Step::Address6(Address6Step {
            tun: tun(),
            local: Value::Open(crate::plan::Symbol::Local6),
            peer: Value::Open(crate::plan::Symbol::Peer6),
        }),
        Step::Up(UpStep { tun: tun() }),
        Step::PidFile(PidFileStep {
            dir: directories.run.clone(),
            tun: tun(),
            pid: Value::Open(crate::plan::Symbol::Pid),
        }),
    ];
    network.steps.extend(nets.iter().copied().map(route));
    for ipv6 in [false, true] {
        match mode {
            Some(Mode::Replace) => {
                network.steps.push(Step::RemoveDefault(RemoveDefaultStep { ipv6 }));
                network.steps.push(route(crate::net::routes::default_prefix(ipv6)));
            }
            Some(Mode::Halves) => {
                let halves = if ipv6 { ["::/1", "8000::/1"] } else { ["0.0.0.0/1", "128.0.0.0/1"] };
                network.steps.extend(halves.map(|half| route(half.parse().unwrap())));
            }
            None => {}
        }
    }
    session.perform(&network.resolve(&facts))
}

fn sorted(state: &HostState) -> HostState {
    let mut state = state.clone();
    state.addresses.sort_by_key(|(_, address)| address.local);
    state
}

fn files(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
