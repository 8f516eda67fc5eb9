//! resolvconf(8): Debian's and openresolv.

use std::{net::IpAddr, path::Path};

use super::{backup, parse, program::programs, resolv_conf::SavedFile};
use crate::{
    apply::{Cause, Host, Program, ProgramError, files},
    plan::{DnsStep, RESOLV_CONF},
};

pub(super) fn undo(host: &mut Host, step: &DnsStep, saved: &[SavedFile]) -> Result<(), Cause> {
    for program in programs(step, &step.undo_programs()) {
        let output = match host.run(&program) {
            // resolvconf(8) was removed from this host, and its data with it.
            Err(ProgramError::Missing { .. }) => return Ok(()),
            output => output?,
        };
        // openresolv reports this if there is nothing to delete.
        if !output.stderr.contains("No resolv.conf for interface") {
            output.or_failed(&program)?;
        }
    }
    // Force a rewrite: resolvconf(8) skips it for a file from before a reboot or from a killed run.
    let found = nameservers();
    if step.servers.known().into_iter().flatten().any(|server| found.contains(server)) {
        host.run_successfully(&Program::find("resolvconf", &["-u"]))?;
    }
    backup::undo(host, saved)
}

/// Compares the first resolver in resolv.conf(5) with the one passed to resolvconf(8).
pub(super) fn problem(servers: &[IpAddr]) -> Option<String> {
    let found = nameservers();
    // A resolver on this host, to which resolvconf(8) has forwarded ours.
    let local = found.first().is_some_and(IpAddr::is_loopback);
    let ours = found.first().is_some_and(|first| Some(first) == servers.first());
    (!ours && !local).then(|| {
        format!("{RESOLV_CONF} has {} first, not the resolver that resolvconf was given", parse::list(&found))
    })
}

/// Returns the resolvers in resolv.conf(5), which programs on this host query.
fn nameservers() -> Vec<IpAddr> {
    let target = files::target(Path::new(RESOLV_CONF));
    let found = target.and_then(|target| files::read(&target)).ok().flatten();
    found.map(|found| parse::nameservers(&found.content)).unwrap_or_default()
}
