//! Undoes what a dead supervisor left: for `pptpctl recover`, and for every `up`.

use std::path::Path;

use super::{
    ApplyError, Cause, Directories, Host,
    changes::undo,
    ledger::{self, Header, Ledger, StateLock},
};
use crate::{
    os::{boot, crash, namespace::Namespace},
    plan::Step,
};

/// The result of [`recover`].
#[derive(Debug, Default)]
pub struct Recovery {
    /// Tunnels whose steps were undone, sorted by name.
    pub recovered: Vec<RecoveredItem>,
    /// Tunnels with a running supervisor, which were left alone.
    pub alive: Vec<String>,
    /// Steps that could not be undone, and ledgers that could not be read.
    pub errors: Vec<ApplyError>,
}

/// A tunnel that was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredItem {
    /// The profile.
    pub profile: String,
    /// Number of steps that were in its ledger.
    pub steps: usize,
    /// Whether the host was rebooted since, or the network namespace is gone: nothing was left to undo there.
    pub gone: bool,
    /// Number of steps that stay in force: the kill switch, for a supervisor that continues it.
    pub kept: usize,
}

/// Undoes the steps of every ledger whose supervisor is dead. `alive` returns whether the supervisor of a
/// header still runs (preferably judged by its lock). Repeating or interrupting a recovery is harmless.
pub fn recover(places: &Directories, host: &mut Host, alive: &dyn Fn(&Header) -> bool) -> Recovery {
    recover_keeping(places, host, alive, None)
}

/// Does the same, but leaves the kill switch of this profile in force, for [`super::Changes::open`] to continue:
/// nothing leaves past the tunnel between two supervisors.
pub fn recover_keeping(
    places: &Directories,
    host: &mut Host,
    alive: &dyn Fn(&Header) -> bool,
    guarded: Option<&str>,
) -> Recovery {
    let mut recovery = Recovery::default();
    if !places.state.exists() {
        return recovery;
    }
    let lock = StateLock::take(&places.state);
    let paths = ledger::list(&places.state).map_err(|error| {
        ApplyError::ledger(&places.state, Cause::File { path: places.state.clone(), error })
    });
    match (lock, paths) {
        (Ok(_lock), Ok(paths)) => {
            for path in paths {
                if let Err(error) = recover_one(places, host, alive, guarded, &path, &mut recovery) {
                    recovery.errors.push(error);
                }
            }
        }
        (lock, paths) => recovery.errors.extend(lock.err().into_iter().chain(paths.err())),
    }
    recovery
}

fn recover_one(
    places: &Directories,
    host: &mut Host,
    alive: &dyn Fn(&Header) -> bool,
    guarded: Option<&str>,
    path: &Path,
    recovery: &mut Recovery,
) -> Result<(), ApplyError> {
    let Some(mut ledger) = Ledger::open(path)? else {
        // The header never reached the disk: no step was begun.
        crash::point(format_args!("remove the empty ledger"));
        return std::fs::remove_file(path)
            .map_err(|error| ApplyError::ledger(path, Cause::File { path: path.to_owned(), error }));
    };
    let header = ledger.record().header.clone();
    if alive(&header) {
        recovery.alive.push(header.profile);
        return Ok(());
    }
    for line in ledger.record().garbled.clone() {
        let text = format!("line {line} can't be read; the step in it is not undone");
        recovery.errors.push(ApplyError::ledger(path, Cause::Ledger(text)));
    }
    let steps = ledger.record().entries.len();
    let rebooted = header.boot != boot::id();
    // A namespace that was recreated under the same name is another one.
    let mut inside = match &header.netns_name {
        Some(name) if !rebooted => host.enter(name).ok(),
        _ => None,
    };
    inside = inside.filter(|inside| {
        inside.named_netns().is_some_and(|place| place.namespace.same_as(header.namespace()))
    });
    let elsewhere = !rebooted && inside.is_none() && !header.namespace().same_as(Namespace::current());
    if elsewhere && header.netns_name.is_none() && ledger::netns_exists(header.namespace()) {
        let text = format!(
            "written in another network namespace (inode {}); run `pptpctl recover` there",
            header.netns
        );
        return Err(ApplyError::ledger(path, Cause::Ledger(text)));
    }
    // Skip steps that went away with the kernel or namespace: undoing them would change the current state.
    for entry in ledger.record().entries.clone() {
        let traits = entry.step.traits();
        if (rebooted && traits.volatile) || (elsewhere && traits.in_namespace) {
            ledger.undone(entry.number)?;
        }
    }
    let host = inside.as_mut().unwrap_or(host);
    // A line that can't be read may have been a step of another kind, so that the ledger can't be continued.
    let keeps = guarded == Some(header.profile.as_str()) && ledger.record().garbled.is_empty();
    let which = |step: &Step| !(keeps && step.is_of_kill_switch());
    recovery.errors.extend(undo::undo_entries(host, &mut ledger, places, None, &mut None, which));
    let kept = if keeps { ledger.record().entries.len() } else { 0 };
    let steps = steps - kept;
    recovery.recovered.push(RecoveredItem {
        profile: header.profile,
        steps,
        gone: rebooted || elsewhere,
        kept,
    });
    ledger.close()
}
