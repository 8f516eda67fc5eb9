//! Crash points: lines of code at which a test can kill the process.
//!
//! A point is directly before each operation that outlives the process: a change to the kernel, a program
//! that is run, a file that is created, written, renamed or removed. In builds with debug assertions, and in
//! no others, a process counts the points that it passes, appends each to the file `PPTPCTL_TEST_POINTS`, and
//! kills itself (SIGKILL, which cannot be caught) at the number in `PPTPCTL_TEST_DIE_AT`. tests/crash_points
//! uses that. In a release build a point compiles to nothing, and neither name is in the program.
//!
//! The ledger, not this module, determines the recovery after a crash.

use std::fmt::Arguments;

/// Passes a crash point; `what` describes the operation that follows, for the reader of the test's output.
#[cfg(debug_assertions)]
pub fn point(what: Arguments<'_>) {
    armed::pass(what);
}

/// Does nothing in this build.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn point(_what: Arguments<'_>) {}

#[cfg(debug_assertions)]
mod armed {
    use std::{
        fmt::Arguments,
        fs::{File, OpenOptions},
        io::Write,
        os::unix::fs::OpenOptionsExt,
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    use nix::{
        sys::signal::{Signal, kill},
        unistd::{getpid, pause},
    };

    /// Points passed so far. A daemon continues the count of the process that forked it.
    static PASSED: AtomicU32 = AtomicU32::new(0);

    /// Settings from the environment, which helpers and programs that we start do not inherit.
    struct Settings {
        die_at: Option<u32>,
        /// Opened at the first point: a restricted supervisor could not do that.
        points: Option<File>,
    }

    fn settings() -> &'static Settings {
        static ORDERS: OnceLock<Settings> = OnceLock::new();
        ORDERS.get_or_init(|| Settings {
            die_at: std::env::var("PPTPCTL_TEST_DIE_AT").ok().and_then(|number| number.parse().ok()),
            // An error is ignored: a test that does not find its line fails.
            points: std::env::var_os("PPTPCTL_TEST_POINTS")
                .and_then(|path| OpenOptions::new().append(true).create(true).mode(0o600).open(path).ok()),
        })
    }

    pub(super) fn pass(what: Arguments<'_>) {
        let orders = settings();
        if orders.die_at.is_none() && orders.points.is_none() {
            return;
        }
        let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(mut file) = orders.points.as_ref() {
            let _written = file.write_all(format!("{number} {what}\n").as_bytes());
        }
        if orders.die_at == Some(number) {
            let _dead = kill(getpid(), Signal::SIGKILL);
            loop {
                pause();
            }
        }
    }
}
