//! `pptpctl demo`: a PPTP server and two temporary network namespaces.
//!
//! [`config`] is the server's configuration, `server` its process, and [`impairment`] the impaired path that
//! tests put between both ends. `world` creates the namespaces, and `tour` runs the demo with the help of
//! `ping` and `fetch`. The modules without I/O exist on every system; namespaces exist on Linux only, and
//! elsewhere the demo reports that.
//!
//! The client is not part of this module: the demo runs `pptpctl up` as a user does, in a process of its own.

pub mod call_table;
pub mod config;
#[cfg(target_os = "linux")]
mod fetch;
pub mod impairment;
#[cfg(target_os = "linux")]
mod ping;
pub mod pool;
#[cfg(target_os = "linux")]
pub mod server;
#[cfg(target_os = "linux")]
mod tour;
#[cfg(target_os = "linux")]
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
    #[cfg(target_os = "linux")]
    return tour::run();
    #[cfg(not(target_os = "linux"))]
    {
        use std::io::Write;
        let text = "pptpctl demo: it makes Linux network namespaces, which this system does not have\n";
        let _closed = std::io::stderr().lock().write_all(text.as_bytes());
        Outcome::NoNamespaces
    }
}

/// Runs the server if this process was started as one, by a demo or a test, and returns its exit status.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    #[cfg(target_os = "linux")]
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
