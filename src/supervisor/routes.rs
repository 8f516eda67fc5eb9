//! Where packets go while a tunnel is there. Read from its ledger and from the kernel, without querying its
//! supervisor, so that it works for a dead supervisor, too.

use std::net::IpAddr;

pub use crate::apply::Trace;
use crate::{
    apply::{AppliedRouting, ApplyError, Directories, Host},
    platform::Platform,
};

/// The routing of one tunnel, and the requested traces.
#[derive(Debug)]
pub struct Routes {
    /// Name of the tunnel device.
    pub device: Option<String>,
    /// Routing steps in force, as commands of the system's own tools.
    pub steps: Vec<String>,
    /// The traces, in the order of the destinations.
    pub traces: Vec<Trace>,
}

/// Returns where packets to these destinations go. `None` if the profile has no ledger, that is, is not up.
///
/// # Errors
/// Returns an error if the kernel cannot be queried.
pub fn routes(name: &str, destinations: &[IpAddr]) -> Result<Option<Routes>, ApplyError> {
    let platform = Platform::host();
    let Some(in_force) = AppliedRouting::of(&Directories::system(platform), name) else { return Ok(None) };
    let mut host = Host::system()?;
    let traces = destinations.iter().map(|to| in_force.trace(&mut host, *to));
    Ok(Some(Routes {
        traces: traces.collect::<Result<_, _>>()?,
        device: in_force.device().map(str::to_owned),
        steps: in_force.lines(platform).collect(),
    }))
}
