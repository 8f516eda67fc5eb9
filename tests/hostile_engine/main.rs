//! A malicious engine: it speaks the channel to its supervisor, and does its worst with what it has there. And a captured
//! supervisor, which does so with its launcher (`captured`).
//!
//! This test program takes the place of pptpctl: run under that name it is pptpctl, and as the engine of its own
//! supervisor it plays the part that the profile's `user` names (`engine`). Each case has its own namespaces. Needs
//! root, /dev/net/tun, ip(8).

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]
#![expect(clippy::print_stdout, reason = "the output of `up` shows the cause of a failure")]

mod captured;
mod cases;
mod engine;
#[path = "../lab/shown.rs"]
mod shown;
#[path = "../phases/world.rs"]
#[expect(dead_code, reason = "shared with the test program `phases`")]
mod world;

use std::{env, process::ExitCode};

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().collect();
    if arguments.get(1).is_some_and(|role| role == "__engine") {
        engine::main();
        return ExitCode::SUCCESS;
    }
    if arguments.get(1).is_some_and(|role| role == captured::ROLE) {
        captured::main();
        return ExitCode::SUCCESS;
    }
    // Its launcher, too, is this program.
    if arguments.get(1).is_some_and(|role| role == "__launcher") {
        return pptpctl::pptpctl_main();
    }
    if arguments.first().is_some_and(|name| name == world::World::PROGRAM) {
        return pptpctl::pptpctl_main();
    }
    let trials = cases::CASES.iter().map(|(name, case)| {
        Trial::test(*name, || {
            case();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
