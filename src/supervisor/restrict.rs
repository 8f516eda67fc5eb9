//! The restrictions of a supervisor on Linux. It starts programs and opens files of the host through a launcher, which has
//! all of root's rights and a list of what it does; opens by itself only what its rules for Landlock name; keeps the
//! capabilities that the steps of its profile need; and has system calls refused that it does not need. On the BSDs nothing
//! is restricted.

#[cfg(target_os = "linux")]
mod lists;

use serde::{Deserialize, Serialize};

use super::ipc::messages::Sandbox;
use crate::profile::{Locations, Profile};

/// Where a profile is, for a launcher, which reads it again before a reload.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there is no launcher"))]
#[derive(Debug, Serialize, Deserialize)]
struct Origin {
    name: String,
    file: std::path::PathBuf,
    directory: std::path::PathBuf,
    as_root: bool,
}

/// The restrictions that are in force.
#[derive(Debug, Default)]
pub struct Restrictions {
    /// What `status` shows.
    pub sandbox: Option<Sandbox>,
    /// Why it has no filter of system calls.
    pub warning: Option<String>,
}

/// Restricts this process, which must have one thread, to a tunnel of this profile, which was read at these locations.
///
/// # Errors
/// Returns why the supervisor cannot start.
#[cfg(target_os = "linux")]
pub fn apply(profile: &Profile, locations: &Locations) -> Result<Restrictions, String> {
    use crate::{
        os::{
            capabilities,
            landlock::{self, Scope},
            launch, privileges,
        },
        platform::Platform,
        profile::{DataPath, SandboxMode},
    };
    // Whether a restriction that the kernel has, and refuses, is an error.
    let is_strict = profile.sandbox == SandboxMode::Strict;
    let refused = |what: &str, error: &std::io::Error| {
        format!(
            "the kernel refuses the supervisor's {what}: {error} (sandbox = \"best-effort\" does without)"
        )
    };
    let Locations { file, directory, as_root, .. } = locations.clone();
    let origin = Origin { name: profile.name.as_str().to_owned(), file, directory, as_root };
    let origin = serde_json::to_string(&origin).map_err(|error| error.to_string())?;
    let title = format!("pptpctl: launcher {}", profile.name.as_str());
    launch::launch_by(&title, &lists::allowed(profile, locations), &origin)
        .map_err(|error| format!("the launcher, which starts programs, does not start: {error}"))?;
    let scope = Scope::All { abstract_sockets: super::systemd::is_abstract() };
    let landlock = match landlock::restrict(&lists::rules(profile, locations), scope) {
        Err(error) if is_strict => return Err(refused("rules for Landlock", &error)),
        restricted => restricted,
    };
    capabilities::keep_only(&lists::capabilities(profile))
        .map_err(|error| format!("cannot give up capabilities: {error}"))?;
    let kept = capabilities::in_force().into_iter().map(capabilities::Capability::name).collect();
    let kernel_path = DataPath::userland_reason(profile, Platform::host()).is_none();
    let missing = match privileges::confine_supervisor(profile.link.netns.is_some(), kernel_path) {
        Err(error) if is_strict => return Err(refused("filter of system calls", &error)),
        Err(error) => Some(error.to_string()),
        Ok(missing) => missing,
    };
    let warnings = [
        landlock.as_ref().err().map(|error| format!("its rules for Landlock: {error}")),
        missing.as_ref().map(|why| format!("its filter of system calls: {why}")),
    ];
    let warnings: Vec<_> = warnings.into_iter().flatten().collect();
    let landlock = landlock.ok().flatten();
    let sandbox = Sandbox { capabilities: kept, seccomp: missing.is_none(), landlock };
    tracing::debug!("restricted: {sandbox}");
    let warning = (!warnings.is_empty())
        .then(|| format!("the supervisor runs without {}", warnings.join("; without ")));
    if let Some(warning) = &warning {
        tracing::warn!("{warning}");
    }
    Ok(Restrictions { sandbox: Some(sandbox), warning })
}

/// Returns no restrictions.
#[cfg(not(target_os = "linux"))]
pub fn apply(_profile: &Profile, _locations: &Locations) -> Result<Restrictions, String> {
    Ok(Restrictions::default())
}

/// Returns what a launcher does for the profile as it is in its files now.
///
/// # Errors
/// Returns what is wrong with the profile.
#[cfg(target_os = "linux")]
pub(super) fn renewed(origin: &str) -> Result<crate::os::launch::Allowed, String> {
    let Origin { name, file, directory, as_root } =
        serde_json::from_slice(origin.as_bytes()).map_err(|error| error.to_string())?;
    let locations = Locations { file, directory, as_root, is_explicit: true };
    let profiles = crate::profile::Profiles::load(&locations);
    let profile = profiles.get(&name).map_err(|_| format!("the profile {name} has errors"))?;
    Ok(lists::allowed(profile, &locations))
}

/// Returns why a supervisor that restricted itself for `started` cannot run a tunnel of `new`: it has given up rights that
/// the steps need.
#[cfg(target_os = "linux")]
pub(super) fn given_up(started: &Profile, new: &Profile) -> Option<String> {
    let (had, needed) = (lists::programs(started), lists::programs(new));
    let is_new = |file: &std::path::PathBuf| !had.iter().any(|program| program.file == *file);
    if let Some(program) = needed.into_iter().map(|program| program.file).find(is_new) {
        let program = program.display();
        return Some(format!(
            "the running supervisor may not start {program}, which it did not need at `up`"
        ));
    }
    let had = lists::capabilities(started);
    let lacking = lists::capabilities(new).into_iter().find(|one| !had.contains(one))?;
    Some(format!("the running supervisor has given up {}, which it did not need at `up`", lacking.name()))
}

/// Returns nothing: no right was given up.
#[cfg(not(target_os = "linux"))]
pub(super) fn given_up(_started: &Profile, _new: &Profile) -> Option<String> {
    None
}
