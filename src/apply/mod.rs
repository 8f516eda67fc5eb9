//! Effects on the host: performs and undoes the steps of a plan, and records them in a ledger on disk.
//!
//! Owns the [`Ledger`](ledger::Ledger) (each step is written and fsynced before it is performed), how each
//! step is performed and undone, and [`recover()`], which undoes what a dead supervisor left. Does not own
//! the choice of steps (`plan`) or the kernel interfaces (`net`).
//!
//! Rules for undoing: walk backwards, collect every error, never stop early. Compare before removing, so that
//! changes made by other programs stay. An object that is already gone is not an error. Undoing twice is
//! harmless.

mod changes;
mod coexistence;
mod device;
mod device_watch;
mod dns;
mod error;
mod files;
mod firewall;
mod gateways;
mod gre_sysctl;
mod hook;
mod host;
mod kernel;
mod leak_filter;
pub mod ledger;
mod local_networks;
mod observe;
mod on_link;
mod others;
mod pause;
mod pidfile;
mod policy_routing;
pub mod ppp_daemon;
pub mod program;
mod recover;
mod route_cache;
mod routes;
mod server_route;
mod state_lock;
mod steps;
mod strays;
mod surroundings;
mod taken_traffic;
mod trace;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use self::{
    changes::Changes,
    device_watch::DeviceLoss,
    dns::{SavedFile, detect as resolver_in_charge},
    error::{ApplyError, Cause, Operation},
    files::FileOp,
    hook::trusted as may_run,
    host::{Host, NamedNetns, device_mtu},
    kernel::{Kernel, KernelOp},
    others::device_holder,
    program::{Output, Program, ProgramError},
    recover::{RecoveredItem, Recovery, recover, recover_keeping},
    steps::check as check_step,
    strays::{Strays, remove_strays},
    surroundings::{resolver_sources, surroundings},
    trace::{AppliedRouting, Disposition, Trace},
};
#[cfg(target_os = "linux")]
pub use self::{dns::NSSWITCH, surroundings::RESOLVED_UPSTREAM};
use crate::platform::Platform;
#[cfg(any(feature = "fuzzing", test))]
pub use dns::fuzz::resolv_conf as resolv_conf_fuzz;

/// The directories that this module writes to; tests use temporary ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// Directory of `tunX.pid`.
    pub run: PathBuf,
    /// Directory of the ledgers; created with mode 0700 if missing.
    pub state: PathBuf,
}

impl Directories {
    /// Returns the default directories of a platform.
    #[must_use]
    pub fn system(platform: Platform) -> Self {
        Self { run: platform.run_dir().into(), state: platform.state_dir().into() }
    }

    /// Returns the path of a profile's ledger.
    #[must_use]
    pub fn ledger(&self, profile: &str) -> PathBuf {
        self.state.join(format!("{profile}.ledger"))
    }

    /// Returns the header of a profile's ledger, if there is one that this user can read.
    #[must_use]
    pub fn ledger_header(&self, profile: &str) -> Option<ledger::Header> {
        ledger::peek(&self.ledger(profile)).map(|record| record.header)
    }

    /// Returns the device of a tunnel, if this user can read its ledger.
    #[must_use]
    pub fn ledger_device(&self, profile: &str) -> Option<String> {
        ledger::peek(&self.ledger(profile))?.device.map(|device| device.name)
    }

    /// Returns the profiles that have a ledger; none if this user cannot read the directory.
    #[must_use]
    pub fn profiles_with_ledger(&self) -> Vec<String> {
        let paths = ledger::list(&self.state).unwrap_or_default();
        paths.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    }
}
