//! Performs steps again whose effect another program, or a device that went down, has taken away.
//!
//! Every tunnel looks after every change of the network, and nearly always nothing is missing. It therefore looks without
//! the lock on the state directory first: with hundreds of tunnels each would wait for all others.

use super::Changes;
use crate::{
    apply::{
        ApplyError,
        ledger::{Entry, PriorState},
        steps,
    },
    plan::{RemoveDefaultStep, Step},
};

impl Changes {
    /// Restores the routes and rules of ours that have disappeared: a device that goes down takes its routes
    /// along. Returns how many were missing, and the first error; the remaining entries are checked despite
    /// an error.
    pub fn renew_routes(&mut self) -> (usize, Result<(), ApplyError>) {
        let (missing, renewed) = self.renew(|entry| entry.step.traits().is_routing);
        (missing.len(), renewed)
    }

    /// Performs steps in force again whose effect is gone, with the lock if there are any. Returns as
    /// [`Changes::renew_entries`].
    pub(in crate::apply) fn renew(
        &mut self,
        which: impl Fn(&Entry) -> bool,
    ) -> (Vec<Step>, Result<(), ApplyError>) {
        self.host.refuses_changes = true;
        let (missing, seen) = self.renew_entries(&which);
        self.host.refuses_changes = false;
        if missing.is_empty() && seen.is_ok() {
            return (missing, Ok(()));
        }
        match self.lock() {
            Ok(_lock) => self.renew_entries(which),
            Err(error) => (Vec::new(), Err(error)),
        }
    }

    /// Performs steps in force again whose effect is gone. Returns those, in order, and the first error; the remaining
    /// entries are checked despite an error.
    pub(super) fn renew_entries(
        &mut self,
        which: impl Fn(&Entry) -> bool,
    ) -> (Vec<Step>, Result<(), ApplyError>) {
        let (mut missing, mut first) = (Vec::new(), None);
        self.with_route_cache(|session| {
            for entry in session.ledger.record().entries.clone() {
                if which(&entry) && !session.half_done.contains(&entry.number) {
                    match session.renew_entry(&entry) {
                        Ok(false) => {}
                        Ok(true) => missing.push(entry.step),
                        Err(error) => drop(first.get_or_insert(error)),
                    }
                }
            }
        });
        (missing, first.map_or(Ok(()), Err))
    }

    /// Creates the pid file again if another program has removed it.
    ///
    /// # Errors
    /// Returns the file system's error.
    pub fn renew_pid_file(&mut self) -> Result<(), ApplyError> {
        let mut entries = self.ledger.record().entries.clone();
        entries.retain(|entry| matches!(entry.step, Step::PidFile(_)));
        entries.iter().try_for_each(|entry| {
            steps::verbs(&entry.step)
                .perform(&mut self.host, &entry.before, &mut self.notes)
                .map_err(|cause| ApplyError::doing(&entry.step, cause))
        })
    }

    /// Returns whether the step's effect was missing.
    pub(super) fn renew_entry(&mut self, entry: &Entry) -> Result<bool, ApplyError> {
        if let (Step::RemoveDefault(RemoveDefaultStep { ipv6 }), PriorState::Routes(kept)) =
            (&entry.step, &entry.before)
        {
            return self.remove_new_defaults(entry, *ipv6, kept);
        }
        steps::verbs(&entry.step)
            .renew(&mut self.host, &entry.before)
            .map_err(|cause| ApplyError::doing(&entry.step, cause))
    }
}
