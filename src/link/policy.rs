//! Policy routing on Linux: rules, tables of our own, and what keeps traffic from leaving by another way (the kill switch).

use super::{
    Cause, Host,
    ledger::{Before, Device},
};
use crate::plan::PolicyStep;

/// What is at the place of a step now.
///
/// # Errors
/// Why the step must not be performed.
pub(super) fn observe(_host: &mut dyn Host, _step: &PolicyStep) -> Result<Before, Cause> {
    Ok(Before::Nothing)
}

/// Performs a step whose place holds `before`.
pub(super) fn perform(_host: &mut dyn Host, _step: &PolicyStep, _before: &Before) -> Result<(), Cause> {
    Ok(())
}

/// Performs a step again that is in force, if something took its effect away meanwhile.
pub(super) fn renew(_host: &mut dyn Host, _step: &PolicyStep, _before: &Before) -> Result<(), Cause> {
    Ok(())
}

/// Undoes a step. What is gone already is fine; what someone else changed meanwhile stays.
pub(super) fn undo(
    _host: &mut dyn Host,
    _step: &PolicyStep,
    _before: &Before,
    _device: Option<&Device>,
) -> Result<(), Cause> {
    Ok(())
}
