//! SIGKILL at every kernel request, every file operation and every program run.

use std::{fs, path::Path, process::Command};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use pptpctl::testing::{
    apply::recover,
    profile::{DefaultRoute, DnsBackend, DnsServers, Profile},
};

use crate::{
    crashing_host::Budget,
    namespace::{Lab, with_default},
    resolver_world::{RESOLV_CONF, install, private_etc, script},
    shown::assert_same,
};

const HOOK: &str = "/etc/pptpctl/hook";

#[test]
fn recover_restores_file_and_hooks_after_kill_anywhere() {
    kill_at_every_point(&with_backend(DnsBackend::File), || {});
}

#[test]
fn recover_restores_openresolv_and_hooks_after_kill_anywhere() {
    kill_at_every_point(&with_backend(DnsBackend::Resolvconf), || {
        install(&["openresolv"]);
        mount_empty("/run");
        fs::write("/etc/resolvconf.conf", "resolv_conf=/etc/resolv.conf\n").unwrap();
        // A record of the uplink, so that there is a state to restore.
        let status = Command::new("sh")
            .args(["-c", "echo nameserver 192.0.2.2 | resolvconf -a up0.dhclient"])
            .status()
            .unwrap();
        assert!(status.success());
    });
}

// Helpers.

fn with_backend(backend: DnsBackend) -> Profile {
    let mut profile = with_default(DefaultRoute::Halves);
    profile.dns.servers = DnsServers::Fixed(vec!["10.99.0.53".parse().unwrap()]);
    profile.dns.search = vec!["corp.example".to_owned()];
    profile.dns.backend = backend;
    profile.hooks.up = vec![HOOK.to_owned(), "up".to_owned()];
    profile.hooks.down = vec![HOOK.to_owned(), "down".to_owned()];
    profile
}

/// Kills `up` and then the undoing at every point. All points share one namespace: each starts with the host
/// that the recovery before it left.
fn kill_at_every_point(profile: &Profile, prepare: impl Fn() + Send + Sync) {
    let points = in_lab(&prepare, |lab| {
        let before = host_state(lab);
        let budget = Budget::of(usize::MAX);
        let mut session = lab.session_with("vpn", budget.host());
        lab.bring_up(&mut session, profile).unwrap();
        let up = budget.used(usize::MAX);
        let engine = session.tun().unwrap().share().unwrap();
        drop(session);
        let budget = Budget::of(usize::MAX);
        let recovery = recover(&lab.directories, &mut budget.host(), &|_| false);
        assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
        drop(engine);
        assert_same(&before, &host_state(lab), "after `up` and `recover`");
        (up, budget.used(usize::MAX))
    });
    println!("{} points of up, {} of down", points.0, points.1);
    assert!(points.0 > 8 && points.1 > 7, "{points:?}");
    in_lab(&prepare, |lab| {
        let before = host_state(lab);
        for point in 0..=points.0 {
            let mut session = lab.session_with("vpn", Budget::of(point).host());
            let outcome = lab.bring_up(&mut session, profile);
            assert_eq!(outcome.is_ok(), point >= points.0, "at {point}: {outcome:?}");
            drop(session);
            lab.recover();
            assert_same(&before, &host_state(lab), &format!("killed at request {point} of up"));
        }
        for point in 0..=points.1 {
            let mut session = lab.session("vpn");
            lab.bring_up(&mut session, profile).unwrap();
            // Keeps the device open, as an engine does that exits a little later.
            let engine = session.tun().unwrap().share().unwrap();
            drop(session);
            let interrupted = recover(&lab.directories, &mut Budget::of(point).host(), &|_| false);
            assert_eq!(interrupted.errors.is_empty(), point >= points.1, "at {point}: {interrupted:?}");
            drop(engine);
            lab.recover();
            assert_same(&before, &host_state(lab), &format!("killed at request {point} of down"));
        }
    });
}

fn in_lab<T: Send>(prepare: &(impl Fn() + Sync), test: impl FnOnce(&Lab) -> T + Send) -> T {
    Lab::run(|lab| {
        let none: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        private_etc();
        fs::write("/etc/resolv.conf", RESOLV_CONF).unwrap();
        script(HOOK, "#!/bin/sh\nexit 0\n");
        prepare();
        lab.two_uplinks();
        test(lab)
    })
}

fn mount_empty(dir: &str) {
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
}

/// Returns routes, addresses and links, and every resolver file.
fn host_state(lab: &Lab) -> String {
    let mut text = lab.state();
    let files = Command::new("sh")
        .args(["-c", "ls -la --time-style=+ /etc | grep -v ' \\.\\{1,2\\}$'; cat /etc/resolv.conf; cd /run && find resolvconf -type f 2>/dev/null | sort | xargs -r head -v -n 100"])
        .output()
        .unwrap();
    assert!(Path::new("/etc/resolv.conf").exists());
    text.push_str(&String::from_utf8_lossy(&files.stdout));
    text
}
