//! One process per tunnel: state machine, retry policy, control socket, status, readiness.
//!
//! [`machine`] decides, without I/O; [`run`](fn@run) is the loop that performs its decisions. `status`,
//! `down` and a waiting `up` reach that process through [`ipc`]. [`recover`] undoes the steps of supervisors
//! that were killed.

mod address_cache;
pub mod backend;
pub mod backoff;
mod connections;
mod data_path;
pub mod debounce;
pub mod doctor;
mod dry_run;
mod engine_spec;
pub mod firewall;
mod gre_strays;
pub mod hints;
mod host_files;
mod interruptible;
pub mod invoker;
pub mod ipc;
pub mod log;
mod log_tail;
mod login_limit;
mod login_record;
pub mod machine;
mod name_lookup;
mod name_verdict;
mod network_verdict;
pub mod password;
mod path_hints;
mod preview;
mod recovery;
mod redial_memory;
mod restore_limit;
mod restrict;
pub mod routes;
mod run;
pub mod systemd;
mod unreadable;

use std::{path::PathBuf, process::ExitCode};

pub use self::{
    dry_run::{Here, here},
    host_files::{failure as host_failure, need_proc},
    interruptible::unless_ended,
    ipc::{
        client::ClientError,
        lock::{Lock, LockError},
        messages::Status,
        progress::{Progress, Reporter},
    },
    log_tail::parts as log_parts,
    name_lookup::look_up,
    recovery::{Recovery, recover, recover_before_up, recover_strays, supervisor_without_lock},
    restrict::apply as restrict,
    run::{ProfileSource, TunnelJob, run},
};
pub use crate::failure::{Failure, FailureKind, Phase, Remedy};
pub use crate::{
    apply::{RecoveredItem, may_run},
    net::forwarding::ipv4 as forwards_ipv4,
    os::{
        descriptors::Inherited,
        local_time,
        privileges::{disable_core_files, missing_capabilities},
        screen,
        setuid::is_setuid,
        signals::{Signals, reset_inherited},
        user::window_size,
        wait,
    },
};
use crate::{
    engine::{child, handle, resolver},
    platform,
    profile::LogLevel,
};

/// Runs this process as a child of a supervisor, if it was started as one, and returns its exit status.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    // Before anything changes the directory. An error shows when a child is started.
    let _found = crate::os::child::own_program();
    // Arguments from the user may not be UTF-8, on which `args` panics.
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next()?;
    let loglevel = arguments.next().and_then(|level| level.to_str()?.parse().ok()).unwrap_or(1);
    let ended = match role.to_str()? {
        #[cfg(target_os = "linux")]
        crate::os::launch::ROLE => crate::os::launch::main(&restrict::renewed),
        handle::ENGINE => child::main(loglevel),
        handle::RESOLVER => resolver::main(),
        handle::NAME_CHECK => resolver::check_main(),
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

/// Writes trace events of this process to the log of a profile; to syslog if the file cannot be opened, as on a
/// read-only file system. Returns a note about that.
#[must_use]
pub fn open_log(name: &str, level: LogLevel) -> Option<String> {
    let path = platform::log_file(name);
    let error = log::to_file(&path, level).err()?;
    log::to_syslog(level);
    let note = format!("no log file {}: {error}; the log goes to syslog", path.display());
    tracing::warn!("{note}");
    Some(note)
}

/// Returns the path of a profile's log.
#[must_use]
pub fn log_path(name: &str) -> PathBuf {
    platform::log_file(name)
}
