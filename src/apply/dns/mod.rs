//! The resolvers of this host: which program is in charge of them, and what it is told.
//!
//! Owns the finding out ([`detect()`]) and one file per backend: runs of resolvectl(1), resolvconf(8) and route(8) with
//! reading back, and the editing of resolv.conf(5). The words that the programs are given are `plan`'s.

mod detect;
mod openbsd;
mod parse;
mod program;
mod resolv_conf;
mod resolvconf;
mod resolved;

use std::path::Path;

use self::program::known;
pub use self::{detect::detect, resolv_conf::SavedFile};
use super::{
    Cause, Host, files,
    ledger::{Device, PriorState},
};
use crate::plan::{DnsStep, RESOLV_CONF, Resolver, Value, no_split};

/// What is at the place of a step now.
///
/// # Errors
/// Why the step must not be performed.
pub(super) fn observe(_host: &mut dyn Host, step: &DnsStep) -> Result<PriorState, Cause> {
    let resolver = known(&step.resolver)?;
    if let Some(why) = no_split(resolver, &step.domains, &known(&step.servers)?) {
        return Err(Cause::Taken(why));
    }
    match resolver {
        Resolver::File => resolv_conf::observe(step).map(|saved| PriorState::File(Box::new(saved))),
        Resolver::Resolvd | Resolver::Unwind => openbsd::observe(resolver),
        Resolver::Resolved | Resolver::Resolvconf => Ok(PriorState::Nothing),
    }
}

/// Performs a step whose place holds `before`, and reads back what came of it.
pub(super) fn perform(host: &mut dyn Host, step: &DnsStep, before: &PriorState) -> Result<(), Cause> {
    if let PriorState::File(saved) = before {
        return resolv_conf::perform(host, step, saved);
    }
    program::run_all(host, step, &step.programs())?;
    match problem(host, step)? {
        Some(why) => Err(Cause::Taken(why)),
        None => Ok(()),
    }
}

/// Performs a step again that is in force, if something took its effect away meanwhile. A file that another program
/// has written since is left alone: what would have to be put back is no longer what the ledger says.
pub(super) fn renew(host: &mut dyn Host, step: &DnsStep, before: &PriorState) -> Result<(), Cause> {
    match before {
        PriorState::File(_) => Ok(()),
        _ if problem(host, step)?.is_none() => Ok(()),
        _ => perform(host, step, before),
    }
}

/// Undoes a step. What is gone already is fine; what someone else changed meanwhile stays.
pub(super) fn undo(
    host: &mut dyn Host,
    step: &DnsStep,
    before: &PriorState,
    device: Option<&Device>,
) -> Result<(), Cause> {
    if let PriorState::File(saved) = before {
        return resolv_conf::undo(host, step, saved);
    }
    match known(&step.resolver)? {
        Resolver::Resolved => resolved::undo(host, step, device),
        Resolver::Resolvd | Resolver::Unwind => openbsd::undo(host, step, device),
        Resolver::Resolvconf => resolvconf::undo(host, step),
        Resolver::File => Ok(()),
    }
}

/// Why a step that was performed is not in force, if so.
///
/// # Errors
/// When it could not be found out.
pub(super) fn problem(host: &mut dyn Host, step: &DnsStep) -> Result<Option<String>, Cause> {
    let servers = known(&step.servers)?;
    match known(&step.resolver)? {
        Resolver::File => Ok(resolv_conf::problem(step, &servers)),
        Resolver::Resolvconf => Ok(resolvconf::problem(&servers)),
        Resolver::Resolved => resolved::problem(host, step, &servers),
        // resolvd(8) reads the proposal in its own time.
        Resolver::Resolvd | Resolver::Unwind => Ok(None),
    }
}

/// The file whose change can take a step in force out of force, if there is one.
pub(super) fn watched(step: &DnsStep) -> Option<std::path::PathBuf> {
    match step.resolver {
        Value::Known(Resolver::File) => files::target(&step.file).ok(),
        Value::Known(Resolver::Resolvconf) => files::target(Path::new(RESOLV_CONF)).ok(),
        _ => None,
    }
}
