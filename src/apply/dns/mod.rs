//! The resolvers of this host: which program manages them, and how they are set and restored.
//!
//! Owns the detection ([`detect()`]) and one file per backend: running resolvectl(1), resolvconf(8) and
//! route(8) and verifying the result, and editing resolv.conf(5). The command lines are composed by `plan`.

mod detect;
mod openbsd;
mod parse;
mod program;
mod resolv_conf;
mod resolvconf;
mod resolved;

use std::path::Path;

pub use self::{detect::detect, resolv_conf::SavedFile};
use super::{
    Cause, Host,
    error::known,
    files,
    ledger::{Device, PriorState},
};
use crate::plan::{DnsStep, RESOLV_CONF, Resolver, Value, split_dns_refusal};

/// Reads the state that a step would replace.
///
/// # Errors
/// Returns why the step must not be performed.
pub(super) fn observe(_host: &mut Host, step: &DnsStep) -> Result<PriorState, Cause> {
    let resolver = *known(&step.resolver)?;
    if let Some(why) = split_dns_refusal(resolver, &step.domains, known(&step.servers)?) {
        return Err(Cause::Taken(why));
    }
    match resolver {
        Resolver::File => resolv_conf::observe(step).map(|saved| PriorState::File(Box::new(saved))),
        Resolver::Resolvd | Resolver::Unwind => openbsd::observe(resolver),
        Resolver::Resolved | Resolver::Resolvconf => Ok(PriorState::Nothing),
    }
}

/// Performs a step that replaces `before`, and verifies the result.
pub(super) fn perform(host: &mut Host, step: &DnsStep, before: &PriorState) -> Result<(), Cause> {
    if let PriorState::File(saved) = before {
        return resolv_conf::perform(host, step, saved);
    }
    program::run_all(host, step, &step.programs())?;
    match problem(host, step)? {
        Some(why) => Err(Cause::Taken(why)),
        None => Ok(()),
    }
}

/// Performs a step in force again if its effect is gone. A file that another program has written since is
/// left alone: the content to restore would no longer be the one in the ledger.
pub(super) fn renew(host: &mut Host, step: &DnsStep, before: &PriorState) -> Result<(), Cause> {
    match before {
        PriorState::File(_) => Ok(()),
        _ if problem(host, step)?.is_none() => Ok(()),
        _ => perform(host, step, before),
    }
}

/// Undoes a step. A setting that is already gone is not an error; one that another program changed stays.
pub(super) fn undo(
    host: &mut Host,
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

/// Returns why a performed step is not in force, if so.
///
/// # Errors
/// Returns an error if the state could not be read.
pub(super) fn problem(host: &mut Host, step: &DnsStep) -> Result<Option<String>, Cause> {
    let servers = known(&step.servers)?;
    match known(&step.resolver)? {
        Resolver::File => Ok(resolv_conf::problem(step, servers)),
        Resolver::Resolvconf => Ok(resolvconf::problem(servers)),
        Resolver::Resolved => resolved::problem(host, step, servers),
        // resolvd(8) processes the proposal asynchronously.
        Resolver::Resolvd | Resolver::Unwind => Ok(None),
    }
}

/// Returns the file whose change can disable a step in force, if there is one.
pub(super) fn watched(step: &DnsStep) -> Option<std::path::PathBuf> {
    match step.resolver {
        Value::Known(Resolver::File) => files::target(&step.file).ok(),
        Value::Known(Resolver::Resolvconf) => files::target(Path::new(RESOLV_CONF)).ok(),
        _ => None,
    }
}
