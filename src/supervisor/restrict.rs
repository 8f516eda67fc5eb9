//! The restrictions of a supervisor on Linux: it keeps the capabilities that the steps of its profile need, has system
//! calls refused that it does not need, and starts programs through a launcher, which has all of root's rights. On the BSDs
//! nothing is restricted.

use super::ipc::messages::Sandbox;
use crate::profile::Profile;

/// The restrictions that are in force.
#[derive(Debug, Default)]
pub(super) struct Restrictions {
    /// What `status` shows.
    pub sandbox: Option<Sandbox>,
    /// Why it has no filter of system calls.
    pub warning: Option<String>,
}

/// Restricts this process, which must have one thread.
///
/// # Errors
/// Returns why the supervisor cannot start.
#[cfg(target_os = "linux")]
pub(super) fn apply(profile: &Profile) -> Result<Restrictions, String> {
    use crate::{
        os::{capabilities, launch, privileges},
        profile::SandboxMode,
    };
    launch::launch_by(&format!("pptpctl: launcher {}", profile.name.as_str()), &linux::programs(profile))
        .map_err(|error| format!("the launcher, which starts programs, does not start: {error}"))?;
    capabilities::keep_only(&linux::capabilities(profile))
        .map_err(|error| format!("cannot give up capabilities: {error}"))?;
    let kept = capabilities::in_force().into_iter().map(capabilities::Capability::name).collect();
    let missing = match privileges::confine_supervisor(profile.link.netns.is_some()) {
        Err(error) if profile.sandbox == SandboxMode::Strict => {
            return Err(format!(
                "the kernel refuses the supervisor's filter of system calls: {error} (sandbox = \"best-effort\" does without)"
            ));
        }
        Err(error) => Some(error.to_string()),
        Ok(missing) => missing,
    };
    let sandbox = Sandbox { capabilities: kept, seccomp: missing.is_none() };
    tracing::debug!("restricted: {sandbox}");
    let warning = missing.map(|why| format!("the supervisor runs without its filter of system calls: {why}"));
    if let Some(warning) = &warning {
        tracing::warn!("{warning}");
    }
    Ok(Restrictions { sandbox: Some(sandbox), warning })
}

/// Returns no restrictions.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape on every platform")]
pub(super) fn apply(_profile: &Profile) -> Result<Restrictions, String> {
    Ok(Restrictions::default())
}

/// Returns why a supervisor that restricted itself for `started` cannot run a tunnel of `new`: it has given up rights that
/// the steps need.
#[cfg(target_os = "linux")]
pub(super) fn given_up(started: &Profile, new: &Profile) -> Option<String> {
    let (had, needed) = (linux::programs(started), linux::programs(new));
    let path =
        needed.paths.iter().find(|path| !had.paths.contains(path)).map(|path| path.display().to_string());
    let name = needed.names.into_iter().find(|name| !had.names.contains(name));
    if let Some(program) = path.or(name) {
        return Some(format!(
            "the running supervisor may not start {program}, which it did not need at `up`"
        ));
    }
    let had = linux::capabilities(started);
    let lacking = linux::capabilities(new).into_iter().find(|one| !had.contains(one))?;
    Some(format!("the running supervisor has given up {}, which it did not need at `up`", lacking.name()))
}

/// Returns nothing: no right was given up.
#[cfg(not(target_os = "linux"))]
pub(super) fn given_up(_started: &Profile, _new: &Profile) -> Option<String> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::{
        os::{capabilities::Capability, launch::Allowed},
        profile::{DnsBackend, PppBackend, Profile},
        supervisor::{backend::pppd, firewall::reading},
    };

    /// Returns the programs that a tunnel of this profile may start.
    pub(super) fn programs(profile: &Profile) -> Allowed {
        // Also without `nftables`: a dial that stalls asks what the host's firewall does.
        let mut names = reading::PROGRAMS.to_vec();
        if profile.dns.is_wanted() {
            names.extend(["resolvectl", "resolvconf"]);
        }
        let mut paths: Vec<_> =
            [&profile.hooks.up, &profile.hooks.down].into_iter().filter_map(|argv| argv.first()).collect();
        let pppd = pppd::PROGRAM.to_owned();
        if profile.ppp.backend == PppBackend::Pppd {
            paths.push(&pppd);
        }
        Allowed {
            names: names.into_iter().map(str::to_owned).collect(),
            paths: paths.into_iter().map(Into::into).collect(),
        }
    }

    /// Returns the capabilities that the steps of a tunnel of this profile need in the supervisor itself.
    pub(super) fn capabilities(profile: &Profile) -> Vec<Capability> {
        let mut needed = vec![Capability::NET_ADMIN, Capability::NET_RAW];
        // setns(2), before each request about devices and routes.
        if profile.link.netns.is_some() {
            needed.push(Capability::SYS_ADMIN);
        }
        // The status socket is made by its group, also after another program has removed it.
        if profile.control_group.is_some() {
            needed.push(Capability::SETGID);
        }
        // A resolv.conf(5) may belong to a daemon's user, and keeps its owner.
        let by_program = matches!(profile.dns.backend, DnsBackend::Resolved | DnsBackend::Resolvconf);
        if profile.dns.is_wanted() && !by_program {
            needed.extend([Capability::CHOWN, Capability::DAC_OVERRIDE, Capability::FOWNER]);
        }
        needed.sort_unstable();
        needed.dedup();
        needed
    }
}
