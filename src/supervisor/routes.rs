//! Which way packets go while a tunnel is there: read from its ledger and the kernel, without asking its supervisor,
//! so that it can be told of one that has died, too.

use std::net::IpAddr;

pub use crate::apply::{Disposition, Trace};
use crate::{
    apply::{self, AppliedRouting, ApplyError, Directories},
    plan::Platform,
};

/// What is in force for one tunnel, and the ways that were asked for.
#[derive(Debug)]
pub struct Routes {
    /// The tunnel's device.
    pub device: Option<String>,
    /// Its routing steps in the words of the system's own tools.
    pub steps: Vec<String>,
    /// The ways, in the order of the question.
    pub traces: Vec<Trace>,
}

/// Where packets to these destinations go. `None` when the profile has no ledger: it is not up.
///
/// # Errors
/// When the kernel could not be asked.
pub fn routes(name: &str, destinations: &[IpAddr]) -> Result<Option<Routes>, ApplyError> {
    let platform = Platform::host();
    let Some(in_force) = AppliedRouting::of(&Directories::system(platform), name) else { return Ok(None) };
    let mut host = apply::system_host()?;
    let traces = destinations.iter().map(|to| in_force.trace(host.as_mut(), *to));
    Ok(Some(Routes {
        traces: traces.collect::<Result<_, _>>()?,
        device: in_force.device().map(str::to_owned),
        steps: in_force.lines(platform).collect(),
    }))
}
