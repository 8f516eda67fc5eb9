//! SIGKILL at every point of `up`, of `down` and of `recover`.

use std::{
    fs,
    time::{Duration, Instant},
};

use pptpctl::testing::{
    apply::{Cause, Changes, Host, recover},
    profile::{DefaultRoute, Leak, Nftables, Profile},
};

use crate::{
    crashing_host::Budget,
    namespace::{Lab, assert_none, enter_new_namespace, split, with_default},
    netns::NamedNamespace,
};

#[test]
fn ledger_of_running_supervisor_is_not_recovered() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_default(DefaultRoute::Halves)).unwrap();
        let up = lab.state();
        let recovery =
            recover(&lab.directories, &mut Host::system().unwrap(), &|header| header.is_process_running());
        assert_eq!(recovery.alive, ["vpn"]);
        assert!(recovery.recovered.is_empty() && recovery.errors.is_empty());
        lab.assert_state(&up, "");
        assert!(matches!(
            Changes::open(&lab.directories, "vpn", Host::system().unwrap()).unwrap_err().cause,
            Cause::LedgerExists
        ));
        assert_none(session.undo_all_and_close());
    });
}

/// Kills the supervisor before and after each request of `up` to the host, with the step already in the ledger;
/// with the engine (a second descriptor of the device) dead or alive.
#[test]
fn recover_restores_host_after_kill_anywhere_in_up() {
    for (name, profile) in profiles_of_every_mode() {
        let all = Lab::run(|lab| requests_of_up(lab, &profile));
        assert!(all > 8, "{name}: only {all} requests");
        for point in 0..=all {
            // The engine only keeps the device open, which the kill switch does not affect: one variant is
            // enough.
            let engines = if profile.leak == Leak::Block { vec![point % 2 == 0] } else { vec![false, true] };
            for engine_alive in engines {
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

/// Kills the undoing of the steps (which `down` and `recover` share) before each request, then runs `recover`
/// twice.
#[test]
fn recover_restores_host_after_kill_anywhere_in_down() {
    for (name, profile) in profiles_of_every_mode() {
        for point in 0.. {
            let finished = Lab::run(|lab| {
                lab.two_uplinks();
                let before = lab.state();
                let mut session = lab.session("vpn");
                lab.bring_up(&mut session, &profile).unwrap();
                let engine = session.tun().unwrap().share().unwrap();
                drop(session);
                let budget = Budget::of(point);
                let interrupted = recover(&lab.directories, &mut budget.host(), &|_| false);
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

/// A ledger written in another network namespace is refused while that namespace exists, and discarded
/// afterwards.
#[test]
fn ledger_of_other_namespace_is_not_recovered() {
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
                up.send(nix::unistd::gettid()).unwrap();
                let _ = stopped.recv();
            });
            let thread = is_up.recv().unwrap();
            let recovery = recover(&lab.directories, &mut Host::system().unwrap(), &|_| false);
            assert!(recovery.errors[0].to_string().contains("another network namespace"), "{recovery:?}");
            assert!(lab.directories.ledger("vpn").exists());
            drop(stop);
            elsewhere.join().unwrap();
            // The kernel may release the namespaces of a thread shortly after it was joined.
            let deadline = Instant::now() + Duration::from_secs(20);
            while fs::exists(format!("/proc/self/task/{thread}")).unwrap() {
                assert!(Instant::now() < deadline, "the thread does not exit");
                std::thread::yield_now();
            }
        });
        let recovery = recover(&lab.directories, &mut Host::system().unwrap(), &|_| false);
        assert!(recovery.errors.is_empty() && recovery.recovered[0].gone, "{recovery:?}");
        lab.assert_state(&before, "the pid file is deleted, the routes in this namespace stay");
    });
}

/// The same for a tunnel in a network namespace: both that namespace and this one are restored.
#[test]
fn recover_restores_host_after_kill_anywhere_in_netns() {
    for down in [false, true] {
        for point in 0.. {
            assert!(point < 200, "down {down}: the last point is never reached");
            let finished = Lab::run(|lab| {
                lab.two_uplinks();
                let netns = NamedNamespace::new("crash");
                let (before, netns_before) = (lab.state(), netns.state());
                let budget = Budget::of(if down { usize::MAX } else { point });
                let host = budget.host().enter(&netns.name).unwrap();
                let mut session = lab.session_with("vpn", host);
                let mut finished = lab.bring_up(&mut session, &netns.profile()).is_ok();
                let engine = down.then(|| session.tun().unwrap().share().unwrap());
                drop(session);
                if down {
                    let interrupted = recover(&lab.directories, &mut Budget::of(point).host(), &|_| false);
                    finished = interrupted.errors.is_empty();
                }
                drop(engine);
                lab.recover();
                let when = format!("killed at request {point}, down {down}");
                lab.assert_state(&before, &when);
                assert_eq!(netns.state(), netns_before, "{when}");
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
    let used = budget.used(usize::MAX);
    assert_none(session.undo_all_and_close());
    used
}

/// Returns a profile for each default-route mode with and without the kill switch, each with split and
/// excluded routes of both address families.
fn profiles_of_every_mode() -> Vec<(String, Profile)> {
    let rules = crate::firewall::example("nftables.vpn");
    let modes = [DefaultRoute::Policy, DefaultRoute::Replace, DefaultRoute::Halves];
    let both = modes.into_iter().flat_map(|mode| [(mode, Leak::Allow), (mode, Leak::Block)]);
    both.map(|(mode, leak)| {
        let mut profile = with_default(mode);
        profile.leak = leak;
        profile.ppp.ipv6 = true;
        // Running nft(8) is slow and independent of the kill switch: one variant is enough.
        profile.nat = leak == Leak::Allow;
        profile.nftables = profile.nat.then(|| Nftables { file: rules.clone() });
        profile.routes = vec![split("10.42.0.0/16"), split("192.0.2.128/25"), split("2001:db8:42::/48")];
        profile.exclude = ["10.42.7.0/24", "198.18.0.0/15", "2001:db8:99::/48"]
            .map(|prefix| prefix.parse().unwrap())
            .to_vec();
        (format!("{} {leak:?}", mode.name()), profile)
    })
    .collect()
}
