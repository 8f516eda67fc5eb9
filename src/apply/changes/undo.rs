//! Undoes the entries of a ledger, for a running tunnel and for a dead supervisor's.
//!
//! Owns the order, and the check whether another tunnel still needs a step. Does not own how one step is
//! undone (`steps`) or the choice of the ledger (`changes`, `recover`).

use crate::apply::{
    ApplyError, Directories, Host,
    ledger::{self, Entry, Ledger, PriorState, StateLock},
    steps::{self, UndoContext},
};
use crate::{net::tun::Tun, plan::Step};

/// Undoes the steps of a ledger for which `which` holds, network before transport, the last step first.
/// `lock` is released while a hook runs; recovery passes `None` and keeps its lock, or two processes could
/// undo one ledger at once. `tun` is closed before its step is undone, because
/// FreeBSD removes only a closed device.
pub(in crate::apply) fn undo_entries(
    host: &mut Host,
    ledger: &mut Ledger,
    places: &Directories,
    mut lock: Option<&mut StateLock>,
    tun: &mut Option<Tun>,
    which: impl Fn(&Step) -> bool,
) -> Vec<ApplyError> {
    host.cache.begin();
    // Also after a bug has ended a look.
    host.refuses_changes = false;
    let mut entries = ledger.record().entries.clone();
    entries.retain(|entry| which(&entry.step));
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.part, entry.number)));
    let errors = entries
        .iter()
        .filter_map(|entry| {
            if let Step::OpenTun(_) = entry.step {
                drop(tun.take());
            }
            undo_entry(host, ledger, places, entry, lock.as_deref_mut()).err()
        })
        .collect();
    host.cache.end();
    errors
}

pub(in crate::apply) fn undo_entry(
    host: &mut Host,
    ledger: &mut Ledger,
    places: &Directories,
    entry: &Entry,
    lock: Option<&mut StateLock>,
) -> Result<(), ApplyError> {
    let is_needed = entry.step.traits().is_shared && needed_elsewhere(places, ledger, &entry.step);
    let device = ledger.record().device.clone();
    let context = UndoContext { device: device.as_ref(), is_needed };
    let mut undo = || steps::verbs(&entry.step).undo(host, &entry.before, context);
    let (undone, again) = match (&entry.step, lock) {
        (Step::Hook(_), Some(lock)) => lock.while_released(undo),
        _ => (undo(), Ok(())),
    };
    let outcome = undone.map_err(|cause| ApplyError::undoing(&entry.step, cause));
    let settled = outcome.as_ref().err().is_none_or(ApplyError::is_final);
    let noted = if settled { ledger.undone(entry.number) } else { Ok(()) };
    outcome.and(noted).and(again)
}

/// Returns whether another tunnel's ledger holds a step with the same key.
fn needed_elsewhere(places: &Directories, own: &Ledger, step: &Step) -> bool {
    let key = step.key();
    let ledgers = ledger::list(&places.state).unwrap_or_default();
    ledgers.iter().filter(|path| *path != own.path()).filter_map(|path| ledger::peek(path)).any(|record| {
        let here = record.header.boot == own.record().header.boot
            && record.header.namespace().same_as(own.record().header.namespace());
        // `Same`: the other tunnel does not own the route. For GRE, this tunnel may have changed the setting.
        let needs = |entry: &Entry| entry.before != PriorState::Same || matches!(step, Step::AllowGre(_));
        here && record.entries.iter().any(|entry| entry.step.key() == key && needs(entry))
    })
}
