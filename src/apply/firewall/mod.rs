//! Packet filters: loads the nftables tables and pf anchors of a plan with nft(8) and pfctl(8). The rules
//! themselves are composed by `plan`.

mod leak;
pub(super) mod nft;
mod pf;
mod states;
#[cfg(test)]
mod tests;

use std::{io, os::unix::fs::MetadataExt, path::Path};

pub(super) use self::leak::{kill_states_to, problems as leak_problems};

use super::{
    Cause, Host, Program, ProgramError,
    ledger::PriorState,
    steps::{Perform, UndoContext},
};
use crate::{
    os::kernel_module,
    plan::{Clamp, FirewallStep, PfRules},
    platform::Platform,
};

/// Part of the message for a kernel without the helper.
const NO_HELPER: &str = "this kernel has no nf_conntrack_pptp, which conntrack = \"helper\" needs";

impl Perform for FirewallStep {
    fn check(&self) -> Result<(), Cause> {
        let checked = match self {
            Self::Nft { file, .. } => {
                file.as_deref().map_or(Ok(()), check_nft_file).and_then(|()| Ok(Program::need("nft")?))
            }
            Self::Helper { .. } => {
                Program::need("nft")?;
                // Loading the rules decides in the end; the lists of modules can only show that it will fail.
                match kernel_module::is_available("nf_conntrack_pptp") {
                    Some(false) => Err(Cause::Taken(NO_HELPER.to_owned())),
                    Some(true) | None => Ok(()),
                }
            }
            Self::Pf { rules, .. } => {
                if let PfRules::File(file) = rules {
                    check_file(file)?;
                }
                Ok(Program::need("pfctl")?)
            }
        };
        tolerate_default_clamp(self, checked).map(drop)
    }

    /// Checks that the table or anchor is free.
    fn observe(&self, host: &mut Host) -> Result<PriorState, Cause> {
        let seen = match self {
            Self::Nft { table, .. } => nft::observe(host, "inet", table),
            Self::Helper { table, .. } => nft::observe(host, "ip", table),
            Self::Pf { anchor, .. } => pf::observe(host, anchor),
        };
        tolerate_default_clamp(self, seen)?;
        Ok(PriorState::Nothing)
    }

    fn perform(&self, host: &mut Host, _before: &PriorState, notes: &mut Vec<String>) -> Result<(), Cause> {
        match self {
            Self::Nft { file, .. } => {
                file.as_deref().map_or(Ok(()), check_nft_file)?;
                if let Some(error) = tolerate_default_clamp(self, nft::load(host, self))? {
                    notes.push(format!(
                        "TCP segment sizes are not clamped ({error}): TCP connections that this host forwards into the tunnel may stall; \
                         mss = \"off\" disables this"
                    ));
                }
            }
            Self::Helper { .. } => nft::load(host, self).map_err(without_helper)?,
            Self::Pf { anchor, rules, macros } => {
                if let PfRules::File(file) = rules {
                    check_file(file)?;
                }
                pf::load(host, anchor, rules, macros)?;
                notes.extend(pf::warnings(host, anchor, rules, Platform::host()));
            }
        }
        Ok(())
    }

    /// Loads a missing table again: reloading the host's own rules flushes all tables.
    fn renew(&self, host: &mut Host, _before: &PriorState) -> Result<bool, Cause> {
        let (family, table) = match self {
            Self::Nft { table, .. } => ("inet", table),
            Self::Helper { table, .. } => ("ip", table),
            // `pfctl -F rules` does not flush anchors.
            Self::Pf { .. } => return Ok(false),
        };
        let renewed = match nft::is_there(host, family, table) {
            Ok(false) => nft::load(host, self),
            seen => seen.map(drop),
        };
        tolerate_default_clamp(self, renewed)?;
        Ok(false)
    }

    fn undo(&self, host: &mut Host, _before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        match self {
            Self::Helper { table, .. } => nft::remove(host, "ip", table),
            Self::Nft { table, .. } => match nft::remove(host, "inet", table) {
                Ok(()) => Ok(()),
                // A kernel without tables of this family has none of this name.
                Err(refused) => match nft::is_there(host, "inet", table) {
                    Ok(false) => Ok(()),
                    Ok(true) => Err(refused),
                    // The tables can't be listed either: the table of a default clamp most likely never existed.
                    Err(_) => tolerate_default_clamp(self, Err(refused)).map(drop),
                },
            },
            Self::Pf { anchor, macros, .. } => pf::flush(host, anchor, macros, context.device),
        }
    }
}

/// Tolerates the failure of a step that the user did not request (the default MSS clamp for pppd(8)) on a
/// host whose nft(8) or kernel does not support it; returns that error.
fn tolerate_default_clamp(
    step: &FirewallStep,
    outcome: Result<(), Cause>,
) -> Result<Option<ProgramError>, Cause> {
    let by_default =
        matches!(step, FirewallStep::Nft { file: None, nat: false, mss: Some(Clamp::Mtu(_)), .. });
    match outcome {
        Err(Cause::Program(error)) if by_default => Ok(Some(error)),
        outcome => outcome.map(|()| None),
    }
}

/// Says what nft(8) means by `No such file or directory` if the kernel lacks the helper.
fn without_helper(cause: Cause) -> Cause {
    match cause {
        Cause::Program(ProgramError::Failed { program, code, words }) if words.contains("No such file") => {
            let words = format!("{NO_HELPER}\n{words}");
            Cause::Program(ProgramError::Failed { program, code, words })
        }
        other => other,
    }
}

fn check_nft_file(path: &Path) -> Result<(), Cause> {
    check_file(path)?;
    nft::stays_inside(path)
}

/// Root loads the rules: a user who may write the file could act as root.
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
