//! One process per tunnel: state machine, retry policy, control socket, status, readiness.
//!
//! [`machine`] decides and is pure; [`run`](fn@run) is the loop that performs what it decides. [`ipc`] is how
//! `status`, `down` and a waiting `up` reach that process; [`recover`] undoes
//! what a supervisor left that died.

mod address_cache;
pub mod backend;
pub mod backoff;
pub mod debounce;
mod engine_spec;
pub mod hints;
mod interruptible;
pub mod ipc;
pub mod log;
pub mod machine;
mod recovery;
mod restore_limit;
pub mod routes;
mod run;
pub mod systemd;

use std::{io, path::PathBuf, process::ExitCode};

pub use self::{
    interruptible::unless_ended,
    ipc::{
        client::ClientError,
        lock::{Lock, LockError},
        messages::Status,
        progress::{Progress, Reporter},
    },
    recovery::{Recovery, recover},
    run::{TunnelJob, run},
};
pub use crate::engine::failure::{Failure, FailureKind, Phase};
pub use crate::{
    apply::{RecoveredItem, may_run},
    net::signals::Signals,
    os::{
        descriptors::Inherited,
        privileges::{lacking, no_core},
    },
};
use crate::{
    engine::{child, handle, resolver},
    os::paths,
    profile::LogLevel,
};

/// If this process was started as a child of a supervisor: its whole life, and its exit status.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    // A person's arguments may be no text at all, which `args` would not survive.
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next()?;
    let loglevel = arguments.next().and_then(|level| level.to_str()?.parse().ok()).unwrap_or(1);
    let ended = match role.to_str()? {
        handle::ENGINE => child::main(loglevel),
        handle::RESOLVER => resolver::main(),
        _ => return None,
    };
    Some(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    })
}

/// Sends what this process traces to the log of a profile.
///
/// # Errors
/// When the file cannot be had.
pub fn log_to_file(name: &str, level: LogLevel) -> io::Result<()> {
    let path = paths::log_file(name);
    log::to_file(&path, level).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}

/// The log of a profile.
#[must_use]
pub fn log_path(name: &str) -> PathBuf {
    paths::log_file(name)
}
