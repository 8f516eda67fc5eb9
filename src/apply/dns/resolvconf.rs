//! resolvconf(8): Debian's and openresolv.

use std::{net::IpAddr, path::Path};

use super::{
    parse,
    program::{programs, run},
};
use crate::{
    apply::{Cause, Host, Program, ProgramError, files},
    plan::{DnsStep, RESOLV_CONF},
};

pub(super) fn undo(host: &mut dyn Host, step: &DnsStep) -> Result<(), Cause> {
    for program in programs(step, &step.undo_programs()) {
        let output = match host.run(&program) {
            // It was removed from this host, and what it knew with it.
            Err(ProgramError::Missing { .. }) => return Ok(()),
            output => output?,
        };
        // openresolv says so when there is nothing to delete.
        if !output.stderr.contains("No resolv.conf for interface") {
            output.or_failed(&program)?;
        }
    }
    // A file that was made before a reboot, or by a run that was killed: resolvconf(8) sees no reason to write it anew.
    let found = nameservers();
    if step.servers.known().into_iter().flatten().any(|server| found.contains(server)) {
        run(host, &Program::find("resolvconf", &["-u"]))?;
    }
    Ok(())
}

/// Compares the first resolver in resolv.conf(5) with what resolvconf(8) was told.
pub(super) fn problem(servers: &[IpAddr]) -> Option<String> {
    let found = nameservers();
    // A resolver on this host that resolvconf(8) has told about ours.
    let local = found.first().is_some_and(IpAddr::is_loopback);
    let ours = found.first().is_some_and(|first| Some(first) == servers.first());
    (!ours && !local)
        .then(|| format!("{RESOLV_CONF} has {} first, not what resolvconf was told", parse::list(&found)))
}

/// The resolvers in resolv.conf(5), which programs of this host ask.
fn nameservers() -> Vec<IpAddr> {
    let target = files::target(Path::new(RESOLV_CONF));
    let found = target.and_then(|target| files::read(&target)).ok().flatten();
    found.map(|found| parse::nameservers(&found.content)).unwrap_or_default()
}
