//! resolvd(8) and unwind(8) of OpenBSD, which use the proposals that route(8) sends for a device.

use super::program::run_all;
use crate::{
    apply::{
        Cause, Host,
        error::known,
        ledger::{Device, PriorState},
        routes::device_still_exists,
    },
    plan::{DnsStep, Resolver},
    platform::Platform,
};

pub(super) fn observe(resolver: Resolver) -> Result<PriorState, Cause> {
    match Platform::host() {
        Platform::OpenBsd => Ok(PriorState::Nothing),
        _ => Err(Cause::Taken(format!(
            "{resolver} exists on OpenBSD only; dns.backend = \"auto\" selects what this host has"
        ))),
    }
}

/// Withdraws the proposals, unless the device is gone: both daemons then drop them by themselves.
pub(super) fn undo(host: &mut Host, step: &DnsStep, device: Option<&Device>) -> Result<(), Cause> {
    if device_still_exists(host, device, known(&step.tun)?)? {
        run_all(host, step, &step.undo_programs())?;
    }
    Ok(())
}
