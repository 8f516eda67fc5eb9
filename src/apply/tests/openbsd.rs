//! Properties of the routes of OpenBSD and FreeBSD, on the fake host and down to the bytes for the routing socket.

use super::*;
use crate::{
    net::rtsock::{Action, Layout, Request, from_route},
    plan::DomainStep,
};

/// As on FreeBSD: routes that were added while the device had another address go with that address.
#[test]
fn routes_are_there_after_the_address_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let model = FakeHost::new(laptop());
    model.routes_go_with_address.replace(true);
    let mut session = session(&directories, &model);
    let transport =
        Plan { steps: vec![Step::OpenTun(OpenTunStep { unit: Some(0) })], ..empty(Part::Transport) };
    session.perform(&transport).unwrap();
    let tun = || Value::Known("tun0".to_owned());
    let network = |last: u8| {
        let peer = Value::Known(Ipv4Addr::new(10, 99, 0, 1));
        let local = Value::Known(Ipv4Addr::new(10, 99, 0, last));
        let address = AddressStep { tun: tun(), local, peer: Some(peer.clone()) };
        let dest = "192.168.77.0/24".parse().unwrap();
        let route = RouteStep { tun: tun(), dest, metric: None, table: None, peer: Some(peer), label: None };
        let steps = vec![Step::Address(address), Step::Up(UpStep { tun: tun() }), Step::Route(route)];
        Plan { steps, ..empty(Part::Network) }
    };
    session.perform(&network(2)).unwrap();
    session.perform(&network(3)).unwrap();
    let state = model.state.borrow().clone();
    assert_eq!(state.addresses.len(), 1);
    assert_eq!(state.routes.iter().filter(|route| route.leaves_by("tun0")).count(), 1);
}

/// As on OpenBSD: the device is moved to its domain before it gets an address, its routes are in the domain's
/// table, and all state is removed with the device, wherever up or down was interrupted.
#[test]
fn routing_domain_is_undone_after_crash_at_any_request() {
    let tun = || Value::Known("tun0".to_owned());
    let route = |dest: &str| {
        Step::Route(RouteStep {
            tun: tun(),
            dest: dest.parse().unwrap(),
            metric: None,
            table: Some(Value::Known(3)),
            peer: Some(Value::Known(Ipv4Addr::new(10, 99, 0, 1))),
            label: None,
        })
    };
    let transport =
        Plan { steps: vec![Step::OpenTun(OpenTunStep { unit: Some(0) })], ..empty(Part::Transport) };
    let address = Step::Address(AddressStep {
        tun: tun(),
        local: Value::Known(Ipv4Addr::new(10, 99, 0, 2)),
        peer: Some(Value::Known(Ipv4Addr::new(10, 99, 0, 1))),
    });
    let steps = vec![
        Step::Domain(DomainStep { tun: tun(), number: 3 }),
        address,
        Step::Up(UpStep { tun: tun() }),
        route("0.0.0.0/1"),
        route("128.0.0.0/1"),
    ];
    let network = Plan { steps, ..empty(Part::Network) };
    for budget in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let directories = directories(dir.path());
        let model = FakeHost::new(laptop());
        let mut session = session(&directories, &model.restart(budget));
        let done = session.perform(&transport).and_then(|()| session.perform(&network)).is_ok();
        if done {
            // After a reconnection nothing is left to do; the budget would not allow it.
            session.perform(&network).unwrap();
            let state = model.state.borrow().clone();
            assert_eq!(state.domains, [("tun0".to_owned(), 3)]);
            assert_eq!(state.addresses.len(), 1, "the address was set before the domain");
            let inside: Vec<u32> = state
                .routes
                .iter()
                .filter(|route| route.leaves_by("tun0"))
                .map(|route| route.table)
                .collect();
            assert_eq!(inside, [3, 3]);
        }
        drop(session);
        let recovery = recover(&directories, &mut model.host(), &|_| false);
        assert!(recovery.errors.is_empty(), "killed at {budget}: {:?}", recovery.errors);
        assert_eq!(*model.state.borrow(), laptop(), "killed at {budget}");
        if done {
            assert!(budget >= 6, "{budget}");
            break;
        }
    }
}

/// A device that the administrator made keeps its MTU and its routing domain, wherever up or down was interrupted.
#[test]
fn existing_device_is_as_before_after_crash_at_any_request() {
    let tun = || Value::Known("tun0".to_owned());
    let transport =
        Plan { steps: vec![Step::OpenTun(OpenTunStep { unit: Some(0) })], ..empty(Part::Transport) };
    let network = |mtu| {
        let address = Step::Address(AddressStep {
            tun: tun(),
            local: Value::Known(Ipv4Addr::new(10, 99, 0, 2)),
            peer: Some(Value::Known(Ipv4Addr::new(10, 99, 0, 1))),
        });
        let mtu = Step::Mtu(MtuStep { tun: tun(), mtu: Value::Known(mtu) });
        let domain = Step::Domain(DomainStep { tun: tun(), number: 3 });
        let steps = vec![mtu, domain, address, Step::Up(UpStep { tun: tun() })];
        Plan { steps, ..empty(Part::Network) }
    };
    let mut before = laptop();
    before.device("tun0");
    let device = before.links.last_mut().unwrap();
    (device.mtu, device.up) = (1400, false);
    before.domains.push(("tun0".to_owned(), 7));
    for budget in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let directories = directories(dir.path());
        let model = FakeHost::new(before.clone());
        model.opens_existing.replace(true);
        let mut session = session(&directories, &model.restart(budget));
        let mut perform = |plan: &Plan| session.perform(plan);
        // The second connection agrees on another MTU.
        let done =
            perform(&transport).and_then(|()| perform(&network(1456))).and_then(|()| perform(&network(1300)));
        let done = done.is_ok();
        if done {
            assert_eq!(model.state.borrow().links.last().unwrap().mtu, 1300);
        }
        drop(session);
        let recovery = recover(&directories, &mut model.host(), &|_| false);
        assert!(recovery.errors.is_empty(), "killed at {budget}: {:?}", recovery.errors);
        assert_eq!(*model.state.borrow(), before, "killed at {budget}");
        if done {
            break;
        }
    }
}

/// A kill switch that stays would keep the host offline: its routes are found although the kernel lists them
/// with another priority.
#[test]
fn kill_switch_is_lifted_whatever_priority_the_kernel_lists() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let model = FakeHost::new(laptop());
    let mut session = session(&directories, &model);
    let block = |dest: &str| {
        Step::Policy(crate::plan::PolicyStep::Block { dest: dest.parse().unwrap(), table: None })
    };
    let steps = ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"].map(block).to_vec();
    session.perform(&Plan { steps, ..empty(Part::Transport) }).unwrap();
    let mut refusing = 0;
    for route in &mut model.state.borrow_mut().routes {
        if route.kind == crate::net::routes::Kind::Unreachable {
            route.metric = 8;
            refusing += 1;
        }
    }
    assert_eq!(refusing, 4);
    drop(session);
    let recovery = recover(&directories, &mut model.host(), &|_| false);
    assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
    assert_eq!(*model.state.borrow(), laptop());
}

/// From the step to the bytes that OpenBSD's headers define, and back: a labelled route that was replaced
/// gets its label back.
#[test]
fn labelled_route_is_encoded_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    let directories = directories(dir.path());
    let mut host = laptop();
    let mut old = Route::through("10.0.0.0/8".parse().unwrap(), "up0");
    (old.table, old.metric, old.protocol, old.label) = (5, 12, 3, Some("office".to_owned()));
    host.route(old);
    let model = FakeHost::new(host.clone());
    let mut session = session(&directories, &model);
    let route = |label: &str| {
        Step::Route(RouteStep {
            tun: Value::Known("tun0".to_owned()),
            dest: "10.0.0.0/8".parse().unwrap(),
            metric: Some(12),
            table: Some(Value::Known(5)),
            peer: Some(Value::Known(Ipv4Addr::new(192, 0, 2, 1))),
            label: Some(label.to_owned()),
        })
    };
    let plan = |label: &str| Plan { steps: vec![route(label)], ..empty(Part::Network) };
    let transport =
        Plan { steps: vec![Step::OpenTun(OpenTunStep { unit: Some(0) })], ..empty(Part::Transport) };
    session.perform(&transport).unwrap();
    session.perform(&plan("other")).unwrap();
    session.perform(&plan("pptpctl")).unwrap();
    let into_tunnel: Vec<Route> =
        model.state.borrow().routes.iter().filter(|route| route.leaves_by("tun0")).cloned().collect();
    let [made] = into_tunnel.as_slice() else { panic!("{into_tunnel:?}") };
    let request = from_route(&Layout::OPENBSD, Action::Add, made, 0, &|_| Some(3)).unwrap();
    let bytes = Request { seq: 13, ..request }.encode(&Layout::OPENBSD).unwrap();
    let vectors: Vec<u8> = include_str!("../../../tests/rtsock/openbsd.hex")
        .split_whitespace()
        .map(|two| u8::from_str_radix(two, 16).unwrap())
        .collect();
    let offset = vectors.windows(12).position(|part| part == b"add_labelled").unwrap();
    // A record is a name of 24 bytes, a length of 8 bytes, and the message.
    assert_eq!(vectors[offset + 32..].iter().take(bytes.len()).copied().collect::<Vec<_>>(), bytes);
    drop(session);
    let recovery = recover(&directories, &mut model.host(), &|_| false);
    assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
    assert_eq!(*model.state.borrow(), host);
}
