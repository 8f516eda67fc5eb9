//! Failures of `up`: each with its exit status and message, within the profile's timeout, and nothing left
//! behind.

use std::{path::Path, process::Command};

use crate::{
    capture::Capture,
    client::{Client, Finished, Profile, Running},
    host_state::Snapshot,
    lab::Lab,
    peer::{self, Peer, PeerFault},
    runner::Case,
    sessions::MPPE128,
};

pub const CASES: &[Case] = &[
    ("failures::usage", usage),
    ("failures::profile", profile),
    ("failures::not_root", not_root),
    ("failures::name_not_resolved", |lab| {
        drop(assert_up_fails(lab, at("nowhere.lab.test"), 10, &["nowhere.lab.test"]))
    }),
    ("failures::connection_refused", |lab| drop(assert_up_fails(lab, at("198.51.100.32"), 11, &["refused"]))),
    ("failures::connect_timeout", |lab| {
        let done = assert_up_fails(lab, at("198.51.100.31").set("timeouts.connect", "\"12s\""), 12, &["TCP"]);
        assert_within(&done, 12.0);
    }),
    ("failures::no_route", |lab| drop(assert_up_fails(lab, at("100.64.0.1"), 25, &["no route"]))),
    ("failures::server_silent", |lab| {
        let profile = at_peer().set("timeouts.control", "\"12s\"");
        let done = with_peer(lab, PeerFault::Silent, profile, 13, &["PPTP"]);
        assert_within(&done, 12.0);
    }),
    ("failures::server_hangs_up", |lab| drop(with_peer(lab, PeerFault::HangsUp, at_peer(), 14, &["closed"]))),
    ("failures::other_service_is_recognised", |lab| {
        let profile = at_peer().set("timeouts.control", "\"2s\"");
        let _peer = Peer::start(PeerFault::SpeaksHttp);
        let done = run_failing_up(lab, profile);
        assert!([13, 14].contains(&done.code), "{} is neither silence nor refusal", done.code);
    }),
    ("failures::control_refused", |lab| {
        // Result 4: the requester is not authorized (RFC 2637 §2.2).
        drop(with_peer(lab, PeerFault::RefusesControl(4), at_peer(), 14, &["refused", "authori"]));
    }),
    ("failures::call_refused_busy", |lab| {
        drop(with_peer(lab, PeerFault::RefusesCall(4, 0, 17), at_peer(), 15, &["refused", "busy"]));
    }),
    ("failures::call_refused_by_policy", |lab| {
        drop(with_peer(lab, PeerFault::RefusesCall(7, 0, 0), at_peer(), 15, &["refused", "prohibited"]));
    }),
    ("failures::call_ignored", |lab| {
        let done =
            with_peer(lab, PeerFault::IgnoresCall, at_peer().set("timeouts.call", "\"2s\""), 16, &["call"]);
        assert_within(&done, 2.0);
    }),
    ("failures::call_without_gre", |lab| {
        let done =
            with_peer(lab, PeerFault::NoGre, at_peer().set("timeouts.gre", "\"12s\""), 17, &["GRE", "47"]);
        assert_within(&done, 12.0);
    }),
    ("failures::gre_filtered_on_the_way", |lab| {
        let done =
            assert_up_fails(lab, at("198.51.100.30").set("timeouts.gre", "\"2s\""), 17, &["GRE", "47"]);
        assert_within(&done, 2.0);
    }),
    ("failures::lcp_never_agrees", |lab| {
        // Long enough to receive the peer's packets even on a stalled machine: no packets at all is another
        // failure.
        let profile = at_peer().set("timeouts.lcp", "\"8s\"");
        let done = with_peer(lab, PeerFault::NeverAgrees, profile, 18, &["LCP"]);
        assert_within(&done, 8.0);
    }),
    ("failures::gre_blocked_towards_the_server", |lab| {
        let profile = at_peer().set("timeouts.lcp", "\"8s\"");
        let words = ["GRE", "does not hear", "acknowledges none", "outbound"];
        let done = with_peer(lab, PeerFault::NeverHears, profile, 17, &words);
        assert_within(&done, 8.0);
    }),
    ("failures::wrong_password_mschapv2", |lab| wrong_password(lab, at(MPPE128), &["691"])),
    ("failures::wrong_password_mschapv1", |lab| {
        wrong_password(lab, at("198.51.100.14").set("auth", "[\"mschap\"]"), &["691"]);
    }),
    ("failures::wrong_password_chap", |lab| {
        wrong_password(lab, at("198.51.100.13").set("auth", "[\"chap\"]").set("mppe", "\"off\""), &[]);
    }),
    ("failures::wrong_password_pap", |lab| {
        wrong_password(lab, at("198.51.100.12").set("auth", "[\"pap\"]").set("mppe", "\"off\""), &[]);
    }),
    ("failures::no_common_authentication", |lab| {
        // The server requires PAP and the profile MS-CHAPv2: the password must not be sent.
        drop(assert_up_fails(lab, at("198.51.100.12"), 19, &["pap"]));
    }),
    ("failures::encryption_not_offered", |lab| {
        drop(assert_up_fails(lab, at("198.51.100.11"), 20, &["encryption"]))
    }),
    ("failures::encryption_too_weak", |lab| {
        drop(assert_up_fails(lab, at("198.51.100.15"), 20, &["encryption"]))
    }),
    ("failures::encryption_demanded_by_the_server", |lab| {
        drop(assert_up_fails(lab, at(MPPE128).set("mppe", "\"off\""), 20, &["encryption"]));
    }),
    ("failures::no_address", |lab| {
        // The server rejects the negotiation of an address: `up` fails without waiting for the timeout.
        drop(assert_up_fails(lab, at("198.51.100.18").set("timeouts.network", "\"10m\""), 21, &["address"]));
    }),
    ("failures::no_tun_device", no_tun_device),
    ("failures::link_step", link_step),
];

fn at(server: &str) -> Profile {
    Profile::new("vpn", server)
}

fn at_peer() -> Profile {
    at(peer::ADDRESS)
}

/// Checks that `up` fails with this status and a message with these words (ignoring case), and leaves nothing
/// behind.
fn assert_up_fails(lab: &Lab, profile: Profile, code: i32, words: &[&str]) -> Finished {
    let done = run_failing_up(lab, profile);
    assert_eq!(done.code, code, "{}", done.text);
    let text = done.text.to_lowercase();
    let missing: Vec<_> = words.iter().filter(|word| !text.contains(&word.to_lowercase())).collect();
    assert!(missing.is_empty(), "the message lacks {missing:?}: {}", done.text);
    done
}

fn run_failing_up(lab: &Lab, profile: Profile) -> Finished {
    let before = Snapshot::take();
    let capture = Capture::start(lab);
    let done = Client::new(lab, &[profile]).run(&["up", "vpn"]);
    assert!(done.code != 0, "`up` succeeded");
    for password in ["labpass", "not this"] {
        assert!(!done.text.contains(&format!("{password}\n")), "the output contains the password");
    }
    before.assert_restored(lab);
    let report = capture.finish();
    report.assert_no_faults();
    assert_eq!(report.clear, 0, "a tunnel that never came up carried packets");
    assert!(report.attempts <= 1, "`up` made more than one attempt");
    done
}

fn with_peer(lab: &Lab, fault: PeerFault, profile: Profile, code: i32, words: &[&str]) -> Finished {
    let peer = Peer::start(fault);
    let done = assert_up_fails(lab, profile, code, words);
    assert_eq!(
        peer.received_types().iter().filter(|kind| **kind == 1).count(),
        1,
        "more than one attempt: {:?}",
        peer.received_types()
    );
    done
}

/// Checks that `up` took the profile's timeout and at most 17 s more (the rest of `up`, graceful shutdown, a
/// slow machine). The default timeout of the phase, 30 s or 10 s, is outside this interval.
fn assert_within(done: &Finished, limit: f32) {
    let took = done.took.as_secs_f32();
    assert!(took >= limit * 0.9 && took < limit + 17.0, "took {took:.1} s, the profile says {limit} s");
}

fn wrong_password(lab: &Lab, profile: Profile, words: &[&str]) {
    // One attempt only: retries may lock the account.
    assert_up_fails(lab, profile.set("password.file", "\"/run/lab/secret/wrong\""), 19, words);
}

fn usage(lab: &Lab) {
    let client = Client::new(lab, &[at(MPPE128)]);
    for args in [&["up"][..], &["upp", "vpn"], &["up", "vpn", "--no-such-option"], &["down"]] {
        assert_eq!(client.run(args).code, 2, "{args:?}");
    }
}

fn profile(lab: &Lab) {
    let unknown = Client::new(lab, &[at(MPPE128)]).run(&["up", "vpm"]);
    assert_eq!(unknown.code, 3, "{}", unknown.text);
    assert!(unknown.text.contains("vpn"), "the message does not suggest the nearest name: {}", unknown.text);
    let invalid =
        assert_up_fails(lab, at(MPPE128).set("mppe", "\"require-129\""), 3, &["profiles.toml", "mppe"]);
    assert!(
        invalid.text.contains("require-128"),
        "the message does not list the accepted values: {}",
        invalid.text
    );
    assert_up_fails(lab, at(MPPE128).set("leek", "\"block\""), 3, &["unknown key", "`leak`"]);
}

fn not_root(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[at(MPPE128)]);
    let nobody = |args: &[&str]| {
        let pptpctl = client.command(args);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]);
        command.arg(pptpctl.get_program()).args(pptpctl.get_args());
        Running::spawn(command, format!("{} (as nobody)", args.join(" "))).finish()
    };
    let up = nobody(&["up", "vpn"]);
    assert_eq!(up.code, 4, "{}", up.text);
    assert!(up.text.contains("root"), "{}", up.text);
    assert_eq!(nobody(&["down", "vpn"]).code, 4);
    assert_eq!(nobody(&["recover"]).code, 4);
    before.assert_restored(lab);
}

/// A host without tun support, simulated by an empty /dev/net for this process.
fn no_tun_device(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[at(MPPE128)]);
    let up = client.command(&["up", "vpn"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs -o ro none /dev/net && exec \"$@\"", "sh"]);
    command.arg(up.get_program()).args(up.get_args());
    let done = Running::spawn(command, "up vpn (without /dev/net/tun)".to_owned()).finish();
    assert_eq!(done.code, 22, "{}", done.text);
    assert!(done.text.contains("/dev/net/tun"), "{}", done.text);
    before.assert_restored(lab);
}

/// If a directory has the name of the pid file, `up` fails, undoes the earlier steps and leaves the
/// directory.
fn link_step(lab: &Lab) {
    let obstacle = Path::new("/run/tun9.pid");
    std::fs::create_dir(obstacle).unwrap();
    assert_up_fails(lab, at(MPPE128).set("unit", "9"), 23, &["tun9"]);
    assert!(obstacle.is_dir(), "the foreign directory was removed");
    std::fs::remove_dir(obstacle).unwrap();
}
