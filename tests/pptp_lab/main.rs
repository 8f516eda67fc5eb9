//! Debian's pppd with our `pptp` as its `pty`, and `pptp` starting pppd itself, against the real pptpd, in
//! the lab's guest, whose kernel supports PPP: asynchronous and synchronous, encrypted and not, 4 MiB in both
//! directions.
//!
//! Needs what `tests/lab/lab` needs; otherwise skipped, except in CI, where it fails.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and print what they received"
)]

#[path = "../lab/guest.rs"]
mod guest;

use guest::{Guest, in_the_lab};

/// The calls: how started, options of `pptp` and pppd, the server's last octet, and whether encrypted.
const CALLS: &[(&str, &str, &str, u8, bool)] = &[
    ("pty", "", "require-mppe-128", 10, true),
    ("pty", "", "nomppe noccp", 11, false),
    ("pty", "--sync", "sync require-mppe-128", 10, true),
    ("pty", "--sync", "sync nomppe noccp", 11, false),
    ("launch", "", "require-mppe-128", 10, true),
    ("launch", "--sync --debug", "sync require-mppe-128", 10, true),
];

const EXPECTED: &[&str] = &[
    "pid: pppd",
    "link: up",
    "host route: there",
    " 0% packet loss",
    "4 MiB down: right",
    "4 MiB up: right",
    "statistics: written",
    // 5: pppd was terminated by a signal.
    "pppd: 5",
    "processes: gone",
    "socket: gone",
    "routes: as before",
];

#[test]
fn pppd_and_pptp_interoperate_with_pptpd() {
    in_the_lab(|| {
        let guest = Guest { seconds: 600 };
        guest.prepare(&[env!("CARGO_BIN_EXE_pptp"), "tests/pptp_lab/guest"]);
        let mut failures = Vec::new();
        for (start_mode, pptp, pppd, octet, encrypted) in CALLS {
            let (stdout, _) = guest.run(&format!("call {start_mode} '{pptp}' '{pppd}' {octet}"));
            println!("{start_mode}, pptp {pptp}, pppd {pppd}:\n{stdout}");
            let mppe = Some(&"mppe: 128").filter(|_| *encrypted);
            for expected in EXPECTED.iter().chain(mppe) {
                if !stdout.lines().any(|line| line == *expected) {
                    failures.push(format!("{start_mode}, pptp {pptp}, pppd {pppd}: no {expected:?}"));
                }
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    });
}
