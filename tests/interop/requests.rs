//! Commands in unusual order: twice, too early, two at a time, by signal, through the pid file.

use std::{fs, thread, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    client::{Client, Profile, pid, signal, tun_links},
    host_state::Snapshot,
    lab::{EVENT_TIMEOUT, Lab, wait_for},
    peer::{self, Peer, PeerFault},
    runner::Case,
    sessions::MPPE128,
    traffic,
};

pub const CASES: &[Case] = &[
    ("requests::dry_run", dry_run),
    ("requests::list_check_status_without_a_tunnel", list_check_status),
    ("requests::up_twice", up_twice),
    ("requests::up_twice_at_the_same_moment", up_twice_at_once),
    ("requests::down_twice", down_twice),
    ("requests::down_during_up", down_during_up),
    ("requests::interrupt_during_up", interrupt_during_up),
    ("requests::two_profiles_to_one_server", two_profiles),
    ("requests::sigterm_to_the_pid_file", sigterm_to_the_pid_file),
    ("requests::foreground", foreground),
    ("requests::up_and_down_ten_times", up_and_down_ten_times),
    ("requests::changes_of_other_programs_are_kept", foreign_changes_are_kept),
];

fn vpn() -> Profile {
    Profile::new("vpn", MPPE128)
}

fn dry_run(lab: &Lab) {
    let before = Snapshot::take();
    let done = Client::new(lab, &[vpn()]).run(&["up", "vpn", "--dry-run"]);
    assert_eq!(done.code, 0, "{}", done.text);
    assert!(done.text.contains("10.99.0.0/16"), "the plan lacks the route: {}", done.text);
    before.assert_restored(lab);
}

fn list_check_status(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn(), Profile::new("other", "vpn.lab.test")]);
    let names = client.run(&["list", "--names"]);
    let mut listed: Vec<&str> = names.text.lines().collect();
    listed.sort_unstable();
    assert_eq!((names.code, listed), (0, vec!["other", "vpn"]));
    assert_eq!(client.run(&["check"]).code, 0);
    assert_eq!(client.run(&["list"]).code, 0);
    assert_eq!(client.run(&["status", "vpn"]).code, 6);
    assert_eq!(client.run(&["recover"]).code, 0);
    before.assert_restored(lab);
}

fn up_twice(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn()]);
    client.up("vpn");
    let first = client.status("vpn");
    let during = Snapshot::take();
    let again = client.run(&["up", "vpn"]);
    assert_eq!(again.code, 5, "{}", again.text);
    during.assert_same();
    assert_eq!(
        pid(&client.status("vpn"), "engine_pid"),
        pid(&first, "engine_pid"),
        "the second `up` changed the first tunnel"
    );
    assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
    client.down("vpn");
    before.assert_restored(lab);
}

fn up_twice_at_once(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn()]);
    let (one, two) = (client.start(&["up", "vpn"]), client.start(&["up", "vpn"]));
    let mut codes = [one.finish().code, two.finish().code];
    codes.sort_unstable();
    assert_eq!(codes, [0, 5]);
    assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
    client.down("vpn");
    before.assert_restored(lab);
}

fn down_twice(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn()]);
    client.up("vpn");
    client.down("vpn");
    assert_eq!(client.run(&["down", "vpn"]).code, 6);
    before.assert_restored(lab);
}

fn down_during_up(lab: &Lab) {
    let before = Snapshot::take();
    let _peer = Peer::start(PeerFault::IgnoresCall);
    // Longer than any wait of this test, so that `up` cannot end by this timeout.
    let profile = Profile::new("vpn", peer::ADDRESS).set("timeouts.call", "\"10m\"");
    let client = Client::new(lab, &[profile]);
    let up = client.start(&["up", "vpn"]);
    client.wait_state("vpn", "connecting");
    let down = client.run(&["down", "vpn"]);
    assert_eq!(down.code, 0, "{}", down.text);
    let up = up.finish();
    assert_eq!(up.code, 24, "{}", up.text);
    before.assert_restored(lab);
}

/// Ctrl-C (or SIGTERM) while `up` waits undoes the attempt.
fn interrupt_during_up(lab: &Lab) {
    for number in [Signal::SIGINT, Signal::SIGTERM] {
        let before = Snapshot::take();
        let _peer = Peer::start(PeerFault::IgnoresCall);
        let profile = Profile::new("vpn", peer::ADDRESS).set("timeouts.call", "\"10m\"");
        let client = Client::new(lab, &[profile]);
        let up = client.start(&["up", "vpn"]);
        client.wait_state("vpn", "connecting");
        signal(up.pid(), number);
        let up = up.finish();
        assert_eq!(up.code, 24, "{number}: {}", up.text);
        before.assert_restored(lab);
    }
}

fn two_profiles(lab: &Lab) {
    let before = Snapshot::take();
    let client =
        Client::new(lab, &[vpn(), Profile::new("second", MPPE128).set("routes", "[\"10.99.0.53/32\"]")]);
    let (one, two) = (client.start(&["up", "vpn"]), client.start(&["up", "second"]));
    assert_eq!((one.finish().code, two.finish().code), (0, 0));
    let (first, second) = (client.status("vpn"), client.status("second"));
    for key in ["tun", "local", "engine_pid", "supervisor_pid"] {
        assert_ne!(first[key], second[key], "{key}");
    }
    assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
    traffic::assert_dns();
    client.down("vpn");
    // The other tunnel's route and the host route to the server must still be there.
    traffic::assert_dns();
    client.down("second");
    before.assert_restored(lab);
}

fn sigterm_to_the_pid_file(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn()]);
    client.up("vpn");
    let tun = client.status("vpn")["tun"].as_str().unwrap().to_owned();
    let pid_in_file: i32 = fs::read_to_string(format!("/run/{tun}.pid")).unwrap().trim().parse().unwrap();
    signal(pid_in_file, Signal::SIGTERM);
    assert!(wait_for(EVENT_TIMEOUT, || client.try_status("vpn").is_none().then_some(())).is_some());
    before.assert_restored(lab);
}

fn foreground(lab: &Lab) {
    for number in [Signal::SIGINT, Signal::SIGTERM] {
        let before = Snapshot::take();
        let client = Client::new(lab, &[vpn()]);
        let mut up = client.start(&["up", "vpn", "--foreground"]);
        let status = client.wait_state("vpn", "up");
        assert!(up.is_running());
        assert_eq!(pid(&status, "supervisor_pid"), up.pid(), "the foreground process is not the supervisor");
        assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
        signal(up.pid(), number);
        let done = up.finish();
        assert_eq!(done.code, 0, "{number}: {}", done.text);
        before.assert_restored(lab);
    }
}

fn up_and_down_ten_times(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn()]);
    for _ in 0..10 {
        client.up("vpn");
        assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
        client.down("vpn");
        before.assert_restored(lab);
    }
}

/// Changes made by other programs while the tunnel was up stay, and `down` undoes everything else.
fn foreign_changes_are_kept(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn()]);
    client.up("vpn");
    let tun = client.status("vpn")["tun"].as_str().unwrap().to_owned();
    let ip = |args: &str| {
        assert!(
            std::process::Command::new("ip").args(args.split(' ')).status().unwrap().success(),
            "ip {args}"
        )
    };
    ip(&format!("route del 10.99.0.0/16 dev {tun}"));
    ip("route add 10.99.0.0/16 via 192.0.2.1");
    let done = client.run(&["down", "vpn"]);
    assert_eq!(done.code, 0, "{}", done.text);
    assert!(tun_links().is_empty());
    let differences = before.differences(&Snapshot::take());
    assert!(
        differences.contains("+ ") && differences.contains("10.99.0.0/16 via 192.0.2.1"),
        "the foreign route was removed"
    );
    ip("route del 10.99.0.0/16 via 192.0.2.1");
    before.assert_restored(lab);

    // The device is deleted: the supervisor must detect it, or at least undo everything on `down` or
    // `recover`.
    client.up("vpn");
    let tun = client.status("vpn")["tun"].as_str().unwrap().to_owned();
    ip(&format!("link del {tun}"));
    thread::sleep(Duration::from_millis(300));
    let done = client.run(&["down", "vpn"]);
    assert!([0, 6].contains(&done.code), "{}", done.text);
    client.run(&["recover"]);
    before.assert_restored(lab);
}
