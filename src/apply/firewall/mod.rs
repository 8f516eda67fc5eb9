//! Packet filters: the tables of nftables and the anchors of pf that a plan asks for, loaded by nft(8) and
//! pfctl(8). What they hold is `plan`'s.

mod nft;
mod pf;
#[cfg(test)]
mod tests;

use std::{io, os::unix::fs::MetadataExt, path::Path};

use super::{
    Cause, Host, ProgramError,
    ledger::{Device, PriorState},
};
use crate::plan::{Clamp, FirewallStep, Platform};

/// What is at the place of a step now.
///
/// # Errors
/// [`Cause::Taken`] when there is something that we did not put there; that the filter could not be asked.
pub(super) fn observe(host: &mut dyn Host, step: &FirewallStep) -> Result<PriorState, Cause> {
    let seen = match step {
        FirewallStep::Nft { table, .. } => nft::observe(host, table),
        FirewallStep::Pf { anchor, .. } => pf::observe(host, anchor),
    };
    unless_by_default(step, seen)?;
    Ok(PriorState::Nothing)
}

/// Performs a step. What a person should know about how it went is added to `notes`.
pub(super) fn perform(
    host: &mut dyn Host,
    step: &FirewallStep,
    notes: &mut Vec<String>,
) -> Result<(), Cause> {
    match step {
        FirewallStep::Nft { file, .. } => {
            file.as_deref().map_or(Ok(()), check_file)?;
            if let Some(error) = unless_by_default(step, nft::load(host, step))? {
                notes.push(format!(
                    "TCP segment sizes are not clamped ({error}): what this host forwards into the tunnel may stall; \
                     mss = \"off\" does without"
                ));
            }
            Ok(())
        }
        FirewallStep::Pf { anchor, rules, macros } => {
            if let crate::plan::PfRules::File(file) = rules {
                check_file(file)?;
            }
            pf::load(host, anchor, rules, macros)?;
            notes.extend(pf::doubts(host, anchor, rules, Platform::host()));
            Ok(())
        }
    }
}

/// Performs a step again that is in force, if someone has taken its effect away meanwhile (a reload of the host's
/// own rules flushes all of them).
pub(super) fn renew(host: &mut dyn Host, step: &FirewallStep) -> Result<(), Cause> {
    match step {
        FirewallStep::Nft { table, .. } => {
            let renewed = match nft::is_there(host, table) {
                Ok(false) => nft::load(host, step),
                seen => seen.map(drop),
            };
            unless_by_default(step, renewed).map(drop)
        }
        // pfctl -F rules leaves anchors alone.
        FirewallStep::Pf { .. } => Ok(()),
    }
}

/// Undoes a step. What is gone already is fine.
pub(super) fn undo(host: &mut dyn Host, step: &FirewallStep, device: Option<&Device>) -> Result<(), Cause> {
    match step {
        FirewallStep::Nft { table, .. } => match nft::remove(host, table) {
            Ok(()) => Ok(()),
            // Not every kernel has tables of this family, and then it has none of this name.
            Err(refused) => match nft::is_there(host, table) {
                Ok(false) => Ok(()),
                Ok(true) => Err(refused),
                // Nor could it be looked at: what was tried by default was most likely never there.
                Err(_) => unless_by_default(step, Err(refused)).map(drop),
            },
        },
        FirewallStep::Pf { anchor, macros, .. } => pf::flush(host, anchor, macros, device),
    }
}

/// What nobody has asked for in so many words (clamping where pppd(8) moves the packets) is done without, on a host
/// whose nft(8) or kernel can't do it: the reason, when it is.
fn unless_by_default(step: &FirewallStep, outcome: Result<(), Cause>) -> Result<Option<ProgramError>, Cause> {
    let by_default =
        matches!(step, FirewallStep::Nft { file: None, nat: false, mss: Some(Clamp::Mtu(_)), .. });
    match outcome {
        Err(Cause::Program(error)) if by_default => Ok(Some(error)),
        outcome => outcome.map(|()| None),
    }
}

/// The rules are loaded by root: whoever may write the file is as good as root.
fn check_file(path: &Path) -> Result<(), Cause> {
    let failed = |error| Cause::File { path: path.to_owned(), error };
    let found = std::fs::metadata(path).map_err(failed)?;
    let wrong = if !found.is_file() {
        "not a file"
    } else if found.mode() & 0o022 != 0 {
        "others than its owner may write it, and root would load what they write; chmod go-w"
    } else if found.uid() != 0 && found.uid() != nix::unistd::geteuid().as_raw() {
        "it does not belong to root, and root would load what its owner writes; chown root"
    } else {
        return Ok(());
    };
    Err(failed(io::Error::other(wrong)))
}
