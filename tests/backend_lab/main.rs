//! `pptpctl` with `ppp.backend = "pppd"` and Debian's pppd against the real pptpd, in the lab's guest, whose
//! kernel supports PPP: up, traffic and down; failures with their exit statuses and messages; killed
//! processes, and that nothing is left.
//!
//! Needs root and what `tests/lab/lab` needs; otherwise skipped, except in CI, where it fails.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and print what they received"
)]

#[path = "../lab/cases.rs"]
mod cases;
#[path = "../lab/guest.rs"]
mod guest;

use cases::check_cases;
use guest::{Guest, in_the_lab};

/// Cases of the `guest` script, and the lines that each must print.
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
        "refused",
        &[
            "up: 0",
            "ended by itself",
            "refusals: 2",
            "the server has refused them twice in a row",
            "state: as before",
        ],
    ),
    (
        "pppd",
        &["up: 0", "reconnected: 1", "reconnected: 2", " 0% packet loss", "down: 0", "state: as before"],
    ),
    ("supervisor", &["up: 0", "recover: 0", "state: as before"]),
    ("all", &["up: 0", "recover: 0", "state: as before"]),
    ("stopped", &["up: 0", "down: 0", "state: as before"]),
    // The last one: the kernel tracks connections from then on.
    (
        "full",
        &[
            "up: 17",
            "this host refuses to send it",
            "dropped probably by the connection tracking table, which is full (200 of 200 entries)",
            "advice: sysctl net.netfilter.nf_conntrack_max=400",
            "doctor: 12",
            "probably the connection tracking table, which is full",
            "up: 0",
            " 0% packet loss",
            "down: 0",
            "state: as before",
        ],
    ),
];

#[test]
fn profile_with_pppd_backend_works() {
    in_the_lab(|| {
        let guest = Guest { seconds: 900 };
        guest.prepare(&[
            env!("CARGO_BIN_EXE_pptpctl"),
            "tests/backend_lab/guest",
            "tests/lab/server",
            "tests/lab/variants",
        ]);
        check_cases(&guest, CASES, "BACKEND_CASE", |stdout, errors| format!("{stdout}\n{errors}"));
    });
}
