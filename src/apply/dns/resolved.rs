//! systemd-resolved, by resolvectl(1).

use std::net::IpAddr;

use super::{detect, parse, program::programs};
use crate::{
    apply::{Cause, Host, Program, error::known, ledger::Device, routes::device_still_exists},
    plan::DnsStep,
};

/// Reverts the settings of the device; for a device that is gone, systemd-resolved drops them by itself.
pub(super) fn undo(host: &mut Host, step: &DnsStep, device: Option<&Device>) -> Result<(), Cause> {
    if !device_still_exists(host, device, known(&step.tun)?)? {
        return Ok(());
    }
    for program in programs(step, &step.undo_programs()) {
        match host.run_successfully(&program) {
            // A daemon that has exited has dropped the settings too.
            Err(_) if !detect::resolved_runs() => {}
            outcome => drop(outcome?),
        }
    }
    Ok(())
}

/// Compares the resolvers and domains that resolvectl(1) shows for the device with those that were set.
pub(super) fn problem(host: &mut Host, step: &DnsStep, servers: &[IpAddr]) -> Result<Option<String>, Cause> {
    let tun = known(&step.tun)?;
    let mut ask = |what: &str| {
        let said = host.run_successfully(&Program::find("resolvectl", &[what, tun]))?;
        Ok::<_, Cause>(parse::of_link(&said.stdout, tun))
    };
    let (found, domains) = (ask("dns")?, ask("domain")?);
    let lacks_server = servers.iter().any(|server| !parse::has_address(&found, *server));
    let lacks_domain = step.routing_domains().iter().any(|domain| !domains.contains(domain));
    Ok((lacks_server || lacks_domain).then(|| {
        format!(
            "systemd-resolved has resolvers [{}] and domains [{}] for {tun}, not those that pptpctl set",
            found.join(" "),
            domains.join(" ")
        )
    }))
}
