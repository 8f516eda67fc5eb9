//! kill -9 at every point of `up`, of `down` and of `recover`.

use std::{cell::Cell, net::IpAddr, rc::Rc};

use pptpctl::{
    link::{Cause, FileDeed, Host, Output, Place, Program, ProgramError, Session, recover},
    net::{
        netlink::Netlink,
        routes::{Address, Error, Filter, Insert, Link, Route, RouteTo},
        tun::{self, Tun},
    },
    profile::{DefaultRoute, Nftables, Profile},
};

use crate::namespace::{Lab, assert_none, enter_new_namespace, split, with_default};
use crate::netns::Room;

#[test]
fn a_live_supervisors_ledger_is_left_alone() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Halves)).unwrap();
        let up = lab.state();
        let recovery = recover(&lab.places, &mut Netlink::open().unwrap(), &|header| header.process_lives());
        assert_eq!(recovery.alive, ["vpn"]);
        assert!(recovery.recovered.is_empty() && recovery.errors.is_empty());
        lab.assert_state(&up, "");
        assert!(matches!(
            Session::open(&lab.places, "vpn", Box::new(Netlink::open().unwrap())).unwrap_err().cause,
            Cause::LedgerExists
        ));
        assert_none(session.unwind());
    });
}

/// kill -9 of the supervisor after each kernel request and each step of `up`: before the deed that is in the
/// ledger already, and after it; with the engine (a second descriptor of the device) dead or alive.
#[test]
fn killed_at_every_point_of_up() {
    for (name, profile) in everything() {
        let all = Lab::run(|lab| requests_of_up(lab, &profile));
        assert!(all > 8, "{name}: only {all} requests");
        for point in 0..=all {
            for engine_alive in [false, true] {
                Lab::run(|lab| {
                    lab.two_uplinks();
                    let before = lab.state();
                    let budget = Budget::of(point);
                    let mut session = lab.session_with("vpn", budget.host());
                    let outcome = lab.bring_up(&mut session, &profile);
                    assert_eq!(outcome.is_ok(), point >= all, "{name} at {point}: {outcome:?}");
                    let engine = engine_alive.then(|| session.tun().map(|tun| tun.share().unwrap()));
                    drop(session);
                    lab.recover();
                    drop(engine);
                    lab.assert_state(
                        &before,
                        &format!("{name}: killed at request {point}, engine {engine_alive}"),
                    );
                });
            }
        }
    }
}

/// kill -9 in the middle of `down`, or of `recover`; then `recover`, twice.
#[test]
fn killed_at_every_point_of_down() {
    for (name, profile) in everything() {
        for point in 0.. {
            let finished = Lab::run(|lab| {
                lab.two_uplinks();
                let before = lab.state();
                let mut session = lab.session("vpn");
                lab.bring_up(&mut session, &profile).unwrap();
                let engine = session.tun().unwrap().share().unwrap();
                drop(session);
                let budget = Budget::of(point);
                let interrupted = recover(&lab.places, budget.host().as_mut(), &|_| false);
                drop(engine);
                lab.recover();
                lab.assert_state(&before, &format!("{name}: killed at request {point} of down"));
                lab.recover();
                interrupted.errors.is_empty()
            });
            if finished {
                assert!(point > 5, "{name}: only {point} requests");
                break;
            }
        }
    }
}

/// A ledger that was made in another namespace is undone there, or is void when that namespace is gone.
#[test]
fn another_namespaces_ledger_is_left_to_it() {
    Lab::run(|lab| {
        lab.two_uplinks();
        let before = lab.state();
        let (up, is_up) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let elsewhere = scope.spawn(move || {
                enter_new_namespace();
                lab.two_uplinks();
                let mut session = lab.session("vpn");
                lab.bring_up(&mut session, &with_default(DefaultRoute::Replace)).unwrap();
                drop(session);
                up.send(()).unwrap();
                let _ = stopped.recv();
            });
            is_up.recv().unwrap();
            let recovery = recover(&lab.places, &mut Netlink::open().unwrap(), &|_| false);
            assert!(recovery.errors[0].to_string().contains("another network namespace"), "{recovery:?}");
            assert!(lab.places.ledger("vpn").exists());
            drop(stop);
            elsewhere.join().unwrap();
        });
        let recovery = recover(&lab.places, &mut Netlink::open().unwrap(), &|_| false);
        assert!(recovery.errors.is_empty() && recovery.recovered[0].gone, "{recovery:?}");
        lab.assert_state(&before, "the pid file goes, the routes here stay");
    });
}

/// The same for a tunnel in a namespace of its own: it is as before, and so is this one.
#[test]
fn killed_at_every_point_inside_of_a_namespace() {
    for down in [false, true] {
        for point in 0.. {
            let finished = Lab::run(|lab| {
                lab.two_uplinks();
                let room = Room::new("crash");
                let (before, inside) = (lab.state(), room.state());
                let budget = Budget::of(if down { usize::MAX } else { point });
                let host = budget.host().enter(&room.name).unwrap();
                let mut session = lab.session_with("vpn", host);
                let mut finished = lab.bring_up(&mut session, &room.profile()).is_ok();
                let engine = down.then(|| session.tun().unwrap().share().unwrap());
                drop(session);
                if down {
                    let interrupted = recover(&lab.places, Budget::of(point).host().as_mut(), &|_| false);
                    finished = interrupted.errors.is_empty();
                }
                drop(engine);
                lab.recover();
                let when = format!("killed at request {point}, down {down}");
                lab.assert_state(&before, &when);
                assert_eq!(room.state(), inside, "{when}");
                finished
            });
            if finished {
                assert!(point > 3, "only {point} requests");
                break;
            }
        }
    }
}

// Helpers.

fn requests_of_up(lab: &Lab, profile: &Profile) -> usize {
    lab.two_uplinks();
    let budget = Budget::of(usize::MAX);
    let mut session = lab.session_with("vpn", budget.host());
    lab.bring_up(&mut session, profile).unwrap();
    let used = usize::MAX - budget.0.get();
    assert_none(session.unwind());
    used
}

fn everything() -> [(&'static str, Profile); 2] {
    let rules = crate::firewall::example("nftables.vpn");
    [DefaultRoute::Replace, DefaultRoute::Halves].map(|mode| {
        let mut profile = with_default(mode);
        profile.ppp.ipv6 = true;
        profile.nat = true;
        profile.nftables = Some(Nftables { file: rules.clone() });
        profile.routes = vec![split("10.42.0.0/16"), split("192.0.2.128/25"), split("2001:db8:42::/48")];
        (mode.name(), profile)
    })
}

/// A process that dies after so many changes to the kernel: every later request fails.
#[derive(Clone)]
struct Budget(Rc<Cell<usize>>);

impl Budget {
    fn of(requests: usize) -> Self {
        Self(Rc::new(Cell::new(requests)))
    }

    fn host(&self) -> Box<dyn Host> {
        self.of_host(Box::new(Netlink::open().unwrap()))
    }

    fn of_host(&self, host: Box<dyn Host>) -> Box<dyn Host> {
        Box::new(Mortal { host, budget: self.clone() })
    }

    fn spend(&self) -> Result<(), Error> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(Error::other("killed", "killed")),
        }
    }
}

struct Mortal {
    host: Box<dyn Host>,
    budget: Budget,
}

impl Host for Mortal {
    fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>) -> Result<RouteTo, Error> {
        self.host.route_to(to, source)
    }

    fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        self.host.routes(filter)
    }

    fn add_route(&mut self, route: &Route, insert: Insert) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.add_route(route, insert)
    }

    fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.delete_route(route)
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        self.host.link(name)
    }

    fn set_mtu(&mut self, dev: &str, mtu: u32) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.set_mtu(dev, mtu)
    }

    fn set_up(&mut self, dev: &str, up: bool) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.set_up(dev, up)
    }

    fn delete_link(&mut self, dev: &str, index: u32) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.delete_link(dev, index)
    }

    fn add_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.add_address(dev, address)
    }

    fn delete_address(&mut self, dev: &str, address: &Address) -> Result<(), Error> {
        self.budget.spend()?;
        self.host.delete_address(dev, address)
    }

    fn enter(&self, netns: &str) -> Result<Box<dyn Host>, Error> {
        Ok(self.budget.of_host(self.host.enter(netns)?))
    }

    fn place(&self) -> Option<Place> {
        self.host.place()
    }

    fn forwards(&mut self) -> Option<bool> {
        self.host.forwards()
    }

    fn open_tun(&mut self, unit: Option<u32>) -> Result<Tun, tun::Error> {
        self.budget.spend().map_err(|error| tun::Error::Other(std::io::Error::other(error)))?;
        self.host.open_tun(unit)
    }

    fn run(&mut self, program: &Program) -> Result<Output, ProgramError> {
        self.budget.spend().map_err(|error| ProgramError::Spawn {
            program: program.name(),
            error: std::io::Error::other(error),
        })?;
        self.host.run(program)
    }

    fn file(&mut self, deed: &FileDeed<'_>) -> std::io::Result<()> {
        self.budget.spend().map_err(std::io::Error::other)?;
        deed.perform()
    }
}
