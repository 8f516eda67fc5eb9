//! Interoperability: the built `pptpctl` against real servers on a real network stack, with the host's state
//! compared before and after.
//!
//! This program contains the cases and their driver. `tests/lab/lab` provides the servers and namespaces;
//! this program runs itself inside it, once for all cases. Without root or the lab's packages it prints what
//! is missing and passes, or fails if `CI=true`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program: a panic fails the case"
)]

mod broken;
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
