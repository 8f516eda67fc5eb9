//! Undoes what dead supervisors left behind: the steps in their ledgers, and their files in the control
//! directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::ipc::{client, lock};
use crate::{
    apply::{self, ApplyError, Directories, RecoveredItem},
    net::host_route_record,
    os::process::Process,
    plan,
    platform::{self, CALL_MANAGER_DIR, Platform},
    profile::Profile,
};

/// How long a process may take to exit after its files are closed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// The result of a recovery.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Tunnels whose steps were undone.
    pub recovered: Vec<RecoveredItem>,
    /// Tunnels whose supervisors run.
    pub alive: Vec<String>,
    /// Removed sockets and locks of dead supervisors, and the control directory if it was empty.
    pub removed: Vec<PathBuf>,
    /// Host routes of call managers of pptp(8) that were killed, in words.
    pub host_routes: Vec<String>,
    /// What could not be undone.
    pub errors: Vec<ApplyError>,
}

/// Undoes the steps of all dead supervisors. `own` is the profile whose lock the caller holds: its ledger
/// belongs to a dead supervisor.
#[must_use]
pub fn recover(own: Option<&str>) -> Recovery {
    recover_keeping(own, None)
}

/// Does the same before an `up` of this profile, whose lock the caller holds. If its kill switch can stay meanwhile, it
/// does, and the new supervisor continues it.
#[must_use]
pub fn recover_before_up(profile: &Profile) -> Recovery {
    let name = profile.name.as_str();
    recover_keeping(Some(name), plan::kill_switch_stays(profile, Platform::host()).then_some(name))
}

fn recover_keeping(own: Option<&str>, guarded: Option<&str>) -> Recovery {
    let places = Directories::system(Platform::host());
    let steps = match apply::Host::system() {
        Ok(mut host) => {
            let alive = |header: &apply::ledger::Header| {
                (Some(header.profile.as_str()) != own && lock::is_held(&header.profile))
                    || outlives_its_lock(header)
            };
            apply::recover_keeping(&places, &mut host, &alive, guarded)
        }
        Err(error) => apply::Recovery { errors: vec![error], ..apply::Recovery::default() },
    };
    let mut errors = steps.errors;
    let host_routes = host_route_record::sweep(Path::new(CALL_MANAGER_DIR), None).unwrap_or_else(|error| {
        errors.push(ApplyError::observing(error));
        Vec::new()
    });
    Recovery {
        recovered: steps.recovered,
        alive: steps.alive,
        removed: remove_files(own),
        host_routes: host_routes.iter().map(ToString::to_string).collect(),
        errors,
    }
}

/// Lifts a kill switch whose ledger is lost, unless a supervisor runs, which may have lost its ledger too. Call it after
/// [`recover`].
#[must_use]
pub fn recover_strays() -> apply::Strays {
    if lock::names().iter().any(|name| lock::is_held(name)) {
        return apply::Strays::default();
    }
    match apply::Host::system() {
        Ok(mut host) => apply::remove_strays(&Directories::system(Platform::host()), &mut host),
        Err(error) => apply::Strays { errors: vec![error], ..apply::Strays::default() },
    }
}

/// Returns the pid of a supervisor that runs without its lock, which the caller holds. Waits for one that is exiting.
#[must_use]
pub fn supervisor_without_lock(name: &str) -> Option<u32> {
    let header = Directories::system(Platform::host()).ledger_header(name)?;
    outlives_its_lock(&header).then_some(header.pid)
}

/// Returns whether a supervisor runs without its lock: another program may have cleared the control
/// directory, but the tunnel must not be undone. A supervisor that is exiting has no lock either; it is given
/// time to exit.
fn outlives_its_lock(header: &apply::ledger::Header) -> bool {
    // Opened first, so that it is the process that is found running.
    let process = i32::try_from(header.pid).map_err(io::Error::other).and_then(Process::open);
    let ends = |process: Process| process.wait_until(Instant::now() + EXIT_TIMEOUT);
    header.is_process_running() && !process.and_then(ends).unwrap_or(false)
}

/// Removes files of dead supervisors: their locks are free, and the new holder may remove what is beside one.
fn remove_files(own: Option<&str>) -> Vec<PathBuf> {
    let mut removed = Vec::new();
    for name in lock::names() {
        if Some(name.as_str()) == own {
            continue;
        }
        let Ok(lock) = lock::Lock::acquire(&name) else { continue };
        // A running supervisor has lost its lock with its other files, and puts them back.
        if client::supervisor_in_ledger(&name).is_some() {
            lock.release();
            continue;
        }
        for socket in [platform::status_socket(&name), platform::control_socket(&name)] {
            if fs::remove_file(&socket).is_ok() {
                removed.push(socket);
            }
        }
        removed.push(platform::lock_file(&name));
        lock.release();
    }
    removed.extend(lock::remove_empty_dir());
    removed
}
