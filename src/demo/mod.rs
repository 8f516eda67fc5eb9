//! The throw-away world of `pptpctl demo`: two network namespaces and the server side of the machines.
//!
//! [`config`] is what a server is told, `server` is the process that obeys them, [`impairment`] is the bad road that
//! tests put between the two ends. `world` makes the namespaces, `story` is what a newcomer sees, with `ping` and
//! `fetch` as its tools. The pure parts are the same everywhere; namespaces are Linux's, and elsewhere the demo
//! says so.
//!
//! Not here: the client. The demo runs the real `pptpctl up` as a person would, in a process of its own.

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

/// How the demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was shown.
    Shown,
    /// It needs root.
    NotRoot,
    /// There is no tunnel device.
    NoTun,
    /// This system does not let us make namespaces, or has none.
    NoNamespaces,
    /// Something that should have worked did not; it has been said what.
    Failed,
}

/// The whole of `pptpctl demo`.
#[must_use]
pub fn main() -> Outcome {
    #[cfg(target_os = "linux")]
    return tour::tell();
    #[cfg(not(target_os = "linux"))]
    {
        use std::io::Write;
        let text = "pptpctl demo: it makes Linux network namespaces, which this system does not have\n";
        let _closed = std::io::stderr().lock().write_all(text.as_bytes());
        Outcome::NoNamespaces
    }
}

/// If this process was started as the server of a demo or of a test: its whole life, and its exit status.
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
