//! `pptpctl demo`: a PPTP server and two temporary network namespaces (Linux) or jails (FreeBSD).
//!
//! [`config`] is the server's configuration, `server` its process, and [`impairment`] the impaired path that
//! tests put between both ends. `world` creates the namespaces, and `tour` runs the demo with the help of
//! `ping` and `fetch`.
//!
//! The client is not part of this module: the demo runs `pptpctl up` as a user does, in a process of its own.

pub mod call_table;
pub mod config;
mod fetch;
pub mod impairment;
mod ping;
pub mod pool;
pub mod server;
mod snapshot;
mod tour;
pub mod world;

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

/// Result of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every step succeeded.
    Shown,
    /// It needs root.
    NotRoot,
    /// There is no tunnel device.
    NoTun,
    /// The system has no namespaces, or does not permit their creation.
    NoNamespaces,
    /// A step failed that should have worked; the error has been printed.
    Failed,
}

#[cfg(target_os = "freebsd")]
impl Outcome {
    /// The outcomes in the order of their exit statuses between the demo's processes.
    const ALL: [Self; 5] = [Self::Shown, Self::NotRoot, Self::NoTun, Self::NoNamespaces, Self::Failed];
    /// The exit status of the first of them: none that a process has by accident.
    const FIRST: u8 = 60;

    /// Returns the exit status of a process of the demo.
    fn code(self) -> u8 {
        let place = Self::ALL.iter().position(|outcome| *outcome == self);
        place.and_then(|place| u8::try_from(place).ok()).map_or(1, |place| Self::FIRST + place)
    }

    /// Returns the outcome of a process of the demo.
    fn of(status: std::process::ExitStatus) -> Self {
        let place = status.code().and_then(|code| usize::try_from(code - i32::from(Self::FIRST)).ok());
        place.and_then(|place| Self::ALL.get(place).copied()).unwrap_or(Self::Failed)
    }
}

/// Prints an error; ignores errors of the write, as the reader may have closed the pipe.
fn complain(text: impl Display) {
    let _closed = writeln!(io::stderr().lock(), "pptpctl demo: {text}");
}

/// Runs `pptpctl demo`.
#[must_use]
pub fn main() -> Outcome {
    tour::run()
}

/// Runs the server if this process was started as one, by a demo or a test, and returns its exit status.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    let role = std::env::args_os().nth(1)?;
    #[cfg(target_os = "freebsd")]
    if role == world::jail::KEEPER {
        return Some(world::jail::keep());
    } else if role == world::jail::INSIDE {
        return Some(tour::inside().code().into());
    }
    if role == server::ROLE {
        return Some(match server::main() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error}");
                ExitCode::FAILURE
            }
        });
    }
    None
}
