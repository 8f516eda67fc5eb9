//! `pptpctl demo`: a PPTP server and two temporary network namespaces.
//!
//! [`config`] is the server's configuration, `server` its process, and [`impairment`] the impaired path that
//! tests put between both ends. `world` creates the namespaces, and `tour` runs the demo with the help of
//! `ping` and `fetch`. Linux only, as the namespaces are.
//!
//! The client is not part of this module: the demo runs `pptpctl up` as a user does, in a process of its own.

pub mod call_table;
pub mod config;
mod fetch;
pub mod impairment;
mod ping;
pub mod pool;
pub mod server;
mod tour;
pub mod world;

use std::process::ExitCode;

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

/// Runs `pptpctl demo`.
#[must_use]
pub fn main() -> Outcome {
    tour::run()
}

/// Runs the server if this process was started as one, by a demo or a test, and returns its exit status.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    if std::env::args_os().nth(1).is_some_and(|role| role == server::ROLE) {
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
