//! The four verbs of a step: reading the state to record before, performing, renewing and undoing. Each kind
//! of step implements them in a file of its own; this file only dispatches.

use super::{
    ApplyError, Cause, Host,
    ledger::{Device, PriorState},
};
use crate::plan::Step;

/// How one kind of step is performed and undone.
pub(super) trait Perform {
    /// Reads the state that the step would replace.
    ///
    /// # Errors
    /// Returns [`Cause::Taken`] or [`Cause::CannotRestore`] if the step must not be performed.
    fn observe(&self, _host: &mut Host) -> Result<PriorState, Cause> {
        Ok(PriorState::Nothing)
    }

    /// Checks, without changing anything, what the step runs and reads on this host.
    ///
    /// # Errors
    /// Returns the cause with which performing it would fail.
    fn check(&self) -> Result<(), Cause> {
        Ok(())
    }

    /// Performs the step, which replaces `before`. Warnings for the user are added to `notes`.
    fn perform(&self, _host: &mut Host, _before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        Ok(())
    }

    /// Performs a step in force again if its effect is gone: a device that goes down takes its routes along.
    /// Returns whether a route or rule was missing.
    fn renew(&self, _host: &mut Host, _before: &PriorState) -> Result<bool, Cause> {
        Ok(false)
    }

    /// Undoes the step. An effect that is already gone is not an error; one that another program changed
    /// stays.
    fn undo(&self, _host: &mut Host, _before: &PriorState, _context: UndoContext<'_>) -> Result<(), Cause> {
        Ok(())
    }
}

/// What a step is undone with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UndoContext<'a> {
    /// The tun device that the step was performed on.
    pub(super) device: Option<&'a Device>,
    /// Whether another tunnel needs the result.
    pub(super) is_needed: bool,
}

/// Checks, without changing anything, what a step runs and reads on this host.
///
/// # Errors
/// Returns the error with which performing it would fail.
pub fn check(step: &Step) -> Result<(), ApplyError> {
    verbs(step).check().map_err(|cause| ApplyError::doing(step, cause))
}

/// Returns the implementation for the kind of a step.
pub(super) fn verbs(step: &Step) -> &dyn Perform {
    match step {
        Step::OpenTun(step) => step,
        Step::HostRoute(step) => step,
        Step::Mtu(step) => step,
        Step::Domain(step) => step,
        Step::Address(step) => step,
        Step::Address6(step) => step,
        Step::Up(step) => step,
        Step::PidFile(step) => step,
        Step::Route(step) => step,
        Step::RemoveDefault(step) => step,
        Step::AllowGre(step) => step,
        Step::Ppp(step) => step,
        Step::Policy(step) => step,
        Step::LeakFilter(step) => step,
        Step::Pause(step) => step,
        Step::Firewall(step) => step,
        Step::Dns(step) => step,
        Step::Hook(step) => step,
    }
}
