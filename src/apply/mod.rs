//! Effects on the host: performing and undoing the steps of a plan, with a ledger on disk.
//!
//! Owns the [`Ledger`](ledger::Ledger) (each step is in it, fsynced, before it is performed), the deeds behind
//! each step and their undoing, and [`recover()`] for what a dead supervisor left. Does not own the choice of
//! steps (`plan`) nor the talk with the kernel (`net`).
//!
//! The rules of undoing: walk backwards, collect every error, never stop early; compare before removing, so
//! that what someone else changed meanwhile stays; what is gone already is fine; doing it twice is harmless.

mod changes;
mod dns;
mod error;
mod files;
mod firewall;
mod gre_sysctl;
mod hook;
mod host;
pub mod ledger;
#[cfg(target_os = "linux")]
mod netns_host;
mod pidfile;
mod policy_routing;
pub mod ppp_daemon;
pub mod program;
mod recover;
mod route_cache;
mod routes;
mod server_route;
mod steps;
mod trace;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use self::{
    changes::Changes,
    dns::{SavedFile, detect as resolver_in_charge},
    error::{ApplyError, Cause, Operation},
    files::{FileOp, Ownership},
    hook::trusted as may_run,
    host::{Host, NamedNetns, device_mtu, enter, system as system_host},
    program::{Output, Program, ProgramError},
    recover::{RecoveredItem, Recovery, recover},
    trace::{AppliedRouting, Disposition, Trace},
};
use crate::plan::Platform;

/// The directories that this room writes to; tests give it others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// Where `tunX.pid` goes.
    pub run: PathBuf,
    /// Where the ledgers are; made (0700) when it is missing.
    pub state: PathBuf,
}

impl Directories {
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
