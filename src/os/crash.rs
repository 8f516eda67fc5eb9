//! Crash points: the places between which a process of ours may die, and its death at one of them on request.
//!
//! A point stands right before each deed that outlives the process: a change to the kernel, a program that is run, a
//! file that is made, written, renamed or removed. In builds with debug assertions, and in no others, a process
//! counts the points that it passes, writes each down in the file `PPTPCTL_TEST_POINTS`, and kills itself (SIGKILL,
//! which nothing can catch) at the one that `PPTPCTL_TEST_DIE_AT` names. tests/crash_points uses that. In a release
//! build a point is nothing, and neither name is in the program.
//!
//! Does not own what is undone afterwards: that is the ledger's.

use std::fmt::Arguments;

/// A deed is about to be done; `what` is for people.
#[cfg(debug_assertions)]
pub fn point(what: Arguments<'_>) {
    armed::pass(what);
}

/// A deed is about to be done.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn point(_what: Arguments<'_>) {}

#[cfg(debug_assertions)]
mod armed {
    use std::{
        fmt::Arguments,
        fs::OpenOptions,
        io::Write,
        os::unix::fs::OpenOptionsExt,
        path::PathBuf,
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    use nix::{
        sys::signal::{Signal, kill},
        unistd::{getpid, pause},
    };

    /// A daemon goes on counting where the process began that it was forked from.
    static PASSED: AtomicU32 = AtomicU32::new(0);

    /// What the environment says; the helpers and programs that we start get none of it.
    struct Orders {
        die_at: Option<u32>,
        points: Option<PathBuf>,
    }

    fn orders() -> &'static Orders {
        static ORDERS: OnceLock<Orders> = OnceLock::new();
        ORDERS.get_or_init(|| Orders {
            die_at: std::env::var("PPTPCTL_TEST_DIE_AT").ok().and_then(|number| number.parse().ok()),
            points: std::env::var_os("PPTPCTL_TEST_POINTS").map(PathBuf::from),
        })
    }

    pub(super) fn pass(what: Arguments<'_>) {
        let orders = orders();
        if orders.die_at.is_none() && orders.points.is_none() {
            return;
        }
        let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(path) = &orders.points {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            // A test that does not find its line fails.
            let _written = file.and_then(|mut file| file.write_all(format!("{number} {what}\n").as_bytes()));
        }
        if orders.die_at == Some(number) {
            let _dead = kill(getpid(), Signal::SIGKILL);
            loop {
                pause();
            }
        }
    }
}
