//! `pptpctl` with the kernel's data path against the real pptpd, in the lab's guest, whose kernel has PPTP sockets, the PPP
//! driver and MPPE: up, traffic, redials and down; encrypted; fallback to the engine; nothing is left.
//!
//! Needs root and what `tests/lab/lab` needs; otherwise skipped, except in CI, where it fails. `KERNEL_CASE=clear` runs one
//! case. `KERNEL_RATIO=5` measures both paths alternately so many times instead, and prints medians and their ratio.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and print what they received"
)]

#[path = "../lab/cases.rs"]
mod cases;
#[path = "../lab/guest.rs"]
mod guest;

use std::{collections::BTreeMap, env};

use cases::check_cases;
use guest::{Guest, in_the_lab};

/// Cases of the `guest` script, and the lines that each must print.
const CASES: &[(&str, &[&str])] = &[
    (
        "clear",
        &[
            "up: 0",
            "status: path",
            "device: ppp",
            "pid file: ours",
            " 0% packet loss",
            "4 MiB down: right",
            "4 MiB up: right",
            "counters: of the kernel",
            "engine: no data",
            "reconnected: 1",
            "reconnected: 2",
            "down: 0",
            "state: as before",
        ],
    ),
    (
        "crypt",
        &[
            "up: 0",
            "status: path",
            "status: mppe",
            "device: ppp",
            " 0% packet loss",
            "4 MiB down: right",
            "4 MiB up: right",
            "counters: of the kernel",
            "engine: no data",
            "down: 0",
            "state: as before",
        ],
    ),
    ("short", &["up: 0", "status: mppe", "device: ppp", " 0% packet loss", "down: 0", "state: as before"]),
    ("auto", &["up: 0", "status: path", " 0% packet loss", "down: 0", "state: as before"]),
    (
        "missing",
        &[
            "up: 0",
            "status: path",
            " 0% packet loss",
            "down: 0",
            "up: 22",
            "data-path = \"kernel\": this kernel has no PPTP sockets",
            "state: as before",
        ],
    ),
    ("killed", &["up: 0", "recover: 0", "state: as before"]),
];

#[test]
fn kernel_moves_the_packets_of_a_tunnel() {
    in_the_lab(|| {
        let guest = Guest { seconds: 900 };
        guest.prepare(&[
            env!("CARGO_BIN_EXE_pptpctl"),
            "tests/kernel_lab/guest",
            "tests/lab/server",
            "tests/lab/variants",
        ]);
        if let Ok(runs) = env::var("KERNEL_RATIO") {
            return ratio(&guest, runs.parse().unwrap());
        }
        check_cases(&guest, CASES, "KERNEL_CASE", |stdout, _| stdout);
    });
}

/// Prints the throughput of both paths, one TCP stream in each direction, as medians with the smallest and the largest.
fn ratio(guest: &Guest, runs: u32) {
    let (stdout, errors) = guest.run(&format!("ratio {runs}"));
    let mut measured: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    for line in stdout.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            [way, path, kilobits] if kilobits.parse::<u32>().is_ok() => {
                measured.entry((way, path)).or_default().push(kilobits.parse().unwrap());
            }
            _ => println!("{line}"),
        }
    }
    println!("{errors}");
    let mut median = |way, path| {
        let mut all = measured.remove(&(way, path)).unwrap_or_default();
        all.sort_unstable();
        let middle = all.get(all.len() / 2).copied().unwrap_or_default();
        println!("{way}, {path}: {middle} kbit/s ({all:?})");
        f64::from(middle)
    };
    for way in ["up", "down"] {
        let (kernel, engine) = (median(way, "clear"), median(way, "engine"));
        println!("{way}: kernel {:.2} of userland", kernel / engine);
    }
}
