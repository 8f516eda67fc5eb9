//! One process per tunnel: state machine, retry policy, control socket, status, readiness.
//!
//! [`machine`] decides and is pure; [`run`](fn@run) is the loop that performs what it decides. [`client`] is the
//! other half, for `status` and `down`; [`report`] is how a waiting `up` hears how it goes; [`recover`] undoes
//! what a supervisor left that died.

pub mod backend;
pub mod backoff;
pub mod client;
mod contest;
pub mod control;
pub mod debounce;
mod dial;
pub mod hints;
pub mod lock;
pub mod log;
pub mod machine;
mod names;
pub mod notify;
mod patience;
mod recovery;
pub mod report;
pub mod routes;
mod run;
pub mod status;

use std::{io, path::PathBuf, process::ExitCode};

pub use self::{
    client::ClientError,
    lock::{Lock, LockError},
    patience::unless_ended,
    recovery::{Recovery, recover},
    report::{Progress, Reporter},
    run::{Job, run},
    status::Status,
};
pub use crate::engine::failure::{Failure, FailureKind, Phase};
use crate::{
    engine::{child, parent, resolver},
    os::paths,
    profile::LogLevel,
};
pub use crate::{
    link::{Recovered, may_run},
    net::signals::Signals,
    os::{
        descriptors::Inherited,
        privileges::{lacking, no_core},
    },
};

/// If this process was started as a child of a supervisor: its whole life, and its exit status.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    // A person's arguments may be no text at all, which `args` would not survive.
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next()?;
    let loglevel = arguments.next().and_then(|level| level.to_str()?.parse().ok()).unwrap_or(1);
    let ended = match role.to_str()? {
        parent::ENGINE => child::main(loglevel),
        parent::RESOLVER => resolver::main(),
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
