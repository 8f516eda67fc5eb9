//! Effects on the host: performing and undoing the steps of a plan, with a ledger on disk.
//!
//! Owns the [`Ledger`](ledger::Ledger) (each step is in it, fsynced, before it is performed), the deeds behind
//! each step and their undoing, and [`recover()`] for what a dead supervisor left. Does not own the choice of
//! steps (`plan`) nor the talk with the kernel (`net`).
//!
//! The rules of undoing: walk backwards, collect every error, never stop early; compare before removing, so
//! that what someone else changed meanwhile stays; what is gone already is fine; doing it twice is harmless.

pub mod daemon;
mod deeds;
mod dns;
mod error;
mod files;
mod firewall;
mod gre;
mod hook;
mod host;
#[cfg(target_os = "linux")]
mod inside;
pub mod ledger;
mod pidfile;
mod policy;
pub mod program;
mod recent;
mod recover;
mod session;
mod trace;
mod undo;
mod way;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use self::{
    dns::{SavedFile, detect as resolver_in_charge},
    error::{Cause, Deed, LinkError},
    files::{FileDeed, Looks},
    hook::trusted as may_run,
    host::{Host, Place, device_mtu, enter, system as system_host},
    program::{Output, Program, ProgramError},
    recover::{Recovered, Recovery, recover},
    session::Session,
    trace::{Goes, InForce, Trace},
};
use crate::plan::Platform;

/// The directories that this room writes to; tests give it others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Where `tunX.pid` goes.
    pub run: PathBuf,
    /// Where the ledgers are; made (0700) when it is missing.
    pub state: PathBuf,
}

impl Places {
    /// The platform's own.
    #[must_use]
    pub fn system(platform: Platform) -> Self {
        Self { run: platform.run_dir().into(), state: platform.state_dir().into() }
    }

    /// The ledger of a profile.
    #[must_use]
    pub fn ledger(&self, profile: &str) -> PathBuf {
        self.state.join(format!("{profile}.ledger"))
    }
}
