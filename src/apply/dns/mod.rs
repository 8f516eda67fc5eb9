//! The resolvers of this host: which program manages them, and how they are set and restored.
//!
//! Owns the detection ([`detect()`]) and one file per backend: running resolvectl(1), resolvconf(8) and
//! route(8) and verifying the result, and editing resolv.conf(5). The command lines are composed by `plan`.

mod backup;
mod detect;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
mod openbsd;
mod parse;
mod program;
mod resolv_conf;
mod resolvconf;
mod resolved;

use std::{collections::BTreeSet, path::Path};

#[cfg(target_os = "linux")]
pub use self::detect::NSSWITCH;
pub(super) use self::parse::nameservers;
pub use self::{detect::detect, resolv_conf::SavedFile};
use super::{
    Cause, Host, Program,
    error::known,
    files,
    ledger::PriorState,
    steps::{Perform, UndoContext},
};
use crate::plan::{DnsStep, RESOLV_CONF, Resolver, Value, split_dns_refusal};

impl Perform for DnsStep {
    fn observe(&self, _host: &mut Host) -> Result<PriorState, Cause> {
        let resolver = *known(&self.resolver)?;
        if let Some(why) = split_dns_refusal(resolver, &self.domains, known(&self.servers)?) {
            return Err(Cause::Taken(why));
        }
        match resolver {
            Resolver::File => resolv_conf::observe(self).map(|saved| PriorState::File(Box::new(saved))),
            Resolver::Resolvd | Resolver::Unwind => openbsd::observe(resolver),
            Resolver::Resolvconf => Ok(PriorState::Files(backup::observe(Path::new(RESOLV_CONF)))),
            Resolver::Resolved => Ok(PriorState::Nothing),
        }
    }

    fn check(&self) -> Result<(), Cause> {
        let names = self.programs().into_iter().filter_map(|argv| argv.into_iter().next());
        Ok(names.collect::<BTreeSet<_>>().iter().try_for_each(|name| Program::need(name))?)
    }

    /// Performs the step, and verifies the result.
    fn perform(&self, host: &mut Host, before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        if let PriorState::File(saved) = before {
            return resolv_conf::perform(host, self, saved);
        }
        program::run_all(host, self, &self.programs())?;
        match problem(host, self)? {
            Some(why) => Err(Cause::Taken(why)),
            None => Ok(()),
        }
    }

    /// Leaves a file alone that another program has written since: the content to restore would no longer be
    /// the one in the ledger.
    fn renew(&self, host: &mut Host, before: &PriorState) -> Result<bool, Cause> {
        if !matches!(before, PriorState::File(_)) && problem(host, self)?.is_some() {
            self.perform(host, before, &mut Vec::new())?;
        }
        Ok(false)
    }

    fn undo(&self, host: &mut Host, before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        if let PriorState::File(saved) = before {
            return resolv_conf::undo(host, self, saved);
        }
        match known(&self.resolver)? {
            Resolver::Resolved => resolved::undo(host, self, context.device),
            Resolver::Resolvd | Resolver::Unwind => openbsd::undo(host, self, context.device),
            Resolver::Resolvconf => match before {
                PriorState::Files(saved) => resolvconf::undo(host, self, saved),
                _ => resolvconf::undo(host, self, &[]),
            },
            Resolver::File => Ok(()),
        }
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
