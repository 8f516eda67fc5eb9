//! `pptpctl` with `ppp.backend = "pppd"` and Debian's pppd, against the real pptpd, inside the lab's guest, whose kernel
//! has PPP: up, traffic, down; what goes wrong, with its exit status and words; deaths, and nothing left behind.
//!
//! Needs root and what `tests/lab/lab` needs; skipped where that is missing, unless nothing may be (CI).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and say what they saw"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Each case of `guest`, and the lines that it must print.
const CASES: &[(&str, &[&str])] = &[
    (
        "crypt",
        &[
            "up: 0",
            "status: crypt",
            "status: mppe",
            "status: auth",
            "status: device",
            "mtu 1300 ",
            "TCP segment sizes are not clamped",
            "password: nowhere",
            "route: there",
            "pid file: pppd's",
            " 0% packet loss",
            "4 MiB down: right",
            "4 MiB up: right",
            "down: 0",
            "nothing is left to complain of",
            "state: as before",
        ],
    ),
    (
        "clear",
        &[
            "up: 0",
            "status: device",
            "status: mppe",
            " 0% packet loss",
            "4 MiB down: right",
            "4 MiB up: right",
            "down: 0",
            "state: as before",
        ],
    ),
    ("two", &["up: 0", " 0% packet loss", " 0% packet loss still", "down: 0", "state: as before"]),
    ("self", &["up: 0", " 0% packet loss", "down: 0", "state: as before"]),
    ("odd", &["up: 0", "down: 0", "state: as before"]),
    ("default", &["up: 0", "default: tunnel", " 0% packet loss", "down: 0", "state: as before"]),
    ("wrong", &["up: 19", "state: as before"]),
    ("plain", &["up: 20", "MPPE required but peer negotiation failed", "state: as before"]),
    ("pap", &["up: 19", "no authentication protocol in common: the peer offered PAP", "state: as before"]),
    ("bad", &["up: 29", "state: as before"]),
    ("missing", &["up: 28", "/dev/ppp is missing", "state: as before"]),
    ("server", &["up: 0", "reconnected: 1", " 0% packet loss", "down: 0", "state: as before"]),
    (
        "pppd",
        &["up: 0", "reconnected: 1", "reconnected: 2", " 0% packet loss", "down: 0", "state: as before"],
    ),
    ("supervisor", &["up: 0", "recover: 0", "state: as before"]),
    ("all", &["up: 0", "recover: 0", "state: as before"]),
    ("stopped", &["up: 0", "down: 0", "state: as before"]),
];

#[test]
fn pppd_as_the_ppp_of_a_profile() {
    let lab = root().join("tests/lab/lab");
    if env::var_os("LAB").is_some() {
        return inside();
    }
    let missing = Command::new(&lab).arg("missing").output().unwrap().stdout;
    let usable = missing.is_empty() && nix::unistd::geteuid().is_root() && Path::new("/dev/net/tun").exists();
    if !usable {
        assert!(env::var_os("CI").is_none(), "missing: {}", String::from_utf8_lossy(&missing));
        println!("skipped: the lab is not installed, or this is not root");
        return;
    }
    let status = Command::new(&lab)
        .arg("run")
        .arg(env::current_exe().unwrap())
        .args(["--nocapture", "--test-threads", "1"])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

/// In the lab's client; what follows is in its guest.
fn inside() {
    fs::create_dir_all("/run/lab/bin").unwrap();
    fs::copy(env!("CARGO_BIN_EXE_pptpctl"), "/run/lab/bin/pptpctl").unwrap();
    fs::copy(root().join("tests/backend_lab/guest"), "/run/lab/bin/guest").unwrap();
    fs::copy(root().join("tests/lab/server"), "/run/lab/bin/server").unwrap();
    fs::copy(root().join("tests/lab/variants"), "/run/lab/bin/variants").unwrap();
    guest("prepare");
    let only = env::var("BACKEND_CASE").ok();
    let mut wrong = Vec::new();
    for (name, right) in CASES.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        let said = guest(&format!("case {name}"));
        println!("{name}:\n{said}");
        for line in *right {
            if !said.lines().any(|said| said == *line) {
                wrong.push(format!("{name}: no {line:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn guest(what: &str) -> String {
    let output = Command::new(env::var_os("LAB").unwrap())
        .arg("exec")
        .arg(format!("bash /run/lab/bin/guest {what}"))
        .env("LAB_TIMEOUT", "300")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if !output.status.success() {
        println!("in the guest: {what}: {}", output.status);
    }
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
