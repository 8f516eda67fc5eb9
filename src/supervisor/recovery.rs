//! What dead supervisors have left: the steps in their ledgers, and their files in the control directory.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::ipc::lock;
use crate::{
    apply::{self, ApplyError, Directories, RecoveredItem},
    os::paths,
    plan::Platform,
};

/// How long the end of a process may take once its files are closed, and how often it is looked for.
const DYING: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);

/// What was found and done.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Tunnels whose steps were undone.
    pub recovered: Vec<RecoveredItem>,
    /// Tunnels that are alive.
    pub alive: Vec<String>,
    /// Sockets and locks of dead supervisors that were removed, and the directory if they had died without them.
    pub removed: Vec<PathBuf>,
    /// What could not be undone.
    pub errors: Vec<ApplyError>,
}

/// Undoes what every dead supervisor left. `own` is the profile whose lock the caller itself holds: its ledger
/// is a dead one's.
#[must_use]
pub fn recover(own: Option<&str>) -> Recovery {
    let places = Directories::system(Platform::host());
    let steps = match apply::system_host() {
        Ok(mut host) => {
            let alive = |header: &apply::ledger::Header| {
                (Some(header.profile.as_str()) != own && lock::is_held(&header.profile))
                    || outlives_its_lock(header)
            };
            apply::recover(&places, host.as_mut(), &alive)
        }
        Err(error) => apply::Recovery { errors: vec![error], ..apply::Recovery::default() },
    };
    Recovery {
        recovered: steps.recovered,
        alive: steps.alive,
        removed: remove_files(own),
        errors: steps.errors,
    }
}

/// Someone may have cleared the control directory, and the lock with it, under a live supervisor: its tunnel must not be
/// taken apart. One that is just dying has let go of its lock, and is there for a moment still.
fn outlives_its_lock(header: &apply::ledger::Header) -> bool {
    let patience = Instant::now() + DYING;
    while header.process_lives() {
        if Instant::now() >= patience {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
}

/// The lock of a dead supervisor is free: whoever takes it may remove what the dead one left beside it.
fn remove_files(own: Option<&str>) -> Vec<PathBuf> {
    let mut removed = Vec::new();
    for name in lock::names() {
        if Some(name.as_str()) == own {
            continue;
        }
        let Ok(lock) = lock::Lock::acquire(&name) else { continue };
        let socket = paths::control_socket(&name);
        if fs::remove_file(&socket).is_ok() {
            removed.push(socket);
        }
        removed.push(paths::lock_file(&name));
        lock.release();
    }
    removed.extend(lock::remove_empty_dir());
    removed
}
