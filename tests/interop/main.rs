//! Interoperability: the built `pptpctl` against real servers, on a real network stack, with everything compared afterwards.
//!
//! Owns the cases and their driver. The servers, the namespaces and their removal belong to `tests/lab/lab`, into which this
//! program executes itself; it boots once for all cases. Without root or without the lab's packages it says so and
//! passes, unless `CI=true`: then it fails.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program: a surprise is a failed case"
)]

mod capture;
mod client;
mod failures;
mod host_state;
mod killed_processes;
mod lab;
mod peer;
mod reconnects;
mod requests;
mod roaming;
mod runner;
mod self_test;
mod sessions;
mod traffic;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        self_test::CASES,
        sessions::CASES,
        failures::CASES,
        requests::CASES,
        killed_processes::CASES,
        reconnects::CASES,
        roaming::CASES,
    ];
    runner::main(&cases.concat())
}
