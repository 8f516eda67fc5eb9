//! Debian's pppd with our `pptp` in its `pty`, and `pptp` that starts pppd itself, against the real pptpd, inside the
//! lab's guest, whose kernel has PPP: asynchronous and synchronous, encrypted and clear, 4 MiB both ways.
//!
//! Needs what `tests/lab/lab` needs; skipped where that is missing, unless nothing may be (CI).

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

/// What is run, and whether it is encrypted.
const CALLS: &[(&str, &str, &str, u8, bool)] = &[
    ("pty", "", "require-mppe-128", 10, true),
    ("pty", "", "nomppe noccp", 11, false),
    ("pty", "--sync", "sync require-mppe-128", 10, true),
    ("pty", "--sync", "sync nomppe noccp", 11, false),
    ("launch", "", "require-mppe-128", 10, true),
    ("launch", "--sync --debug", "sync require-mppe-128", 10, true),
];

const RIGHT: &[&str] = &[
    "pid: pppd",
    "link: up",
    "host route: there",
    " 0% packet loss",
    "4 MiB down: right",
    "4 MiB up: right",
    "statistics: written",
    // 5: pppd was ended by a signal.
    "pppd: 5",
    "processes: gone",
    "socket: gone",
    "routes: as before",
];

#[test]
fn a_real_pppd_against_a_real_pptpd() {
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
    fs::copy(env!("CARGO_BIN_EXE_pptp"), "/run/lab/bin/pptp").unwrap();
    fs::copy(root().join("tests/pptp_lab/guest"), "/run/lab/bin/guest").unwrap();
    guest("prepare");
    let mut wrong = Vec::new();
    for (how, pptp, pppd, octet, encrypted) in CALLS {
        let said = guest(&format!("call {how} '{pptp}' '{pppd}' {octet}"));
        println!("{how}, pptp {pptp}, pppd {pppd}:\n{said}");
        let mppe = Some(&"mppe: 128").filter(|_| *encrypted);
        for right in RIGHT.iter().chain(mppe) {
            if !said.lines().any(|line| line == *right) {
                wrong.push(format!("{how}, pptp {pptp}, pppd {pppd}: no {right:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn guest(what: &str) -> String {
    let output = Command::new(env::var_os("LAB").unwrap())
        .arg("exec")
        .arg(format!("bash /run/lab/bin/guest {what}"))
        .env("LAB_TIMEOUT", "60")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        println!("in the guest: {what}: {}\n{errors}", output.status);
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
