//! `check`: reports errors and doubtful settings of all profiles.

use std::{
    env,
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use nix::unistd::{Uid, User};

use super::{
    exit::{self, Code},
    output::{self, complain, data, line},
};
use crate::{
    platform::{PROGRAM_PATH, Platform},
    profile::{Finding, HostView, ProfileName, Profiles, Severity},
    supervisor,
};

/// A rules file is not read beyond this many bytes.
const RULES_MAX: u64 = 1 << 20;

pub fn main(config: Option<&Path>, platform: Option<Platform>, json: bool) -> Code {
    let platform = platform.unwrap_or_else(Platform::host);
    let mut profiles = match output::profiles_for(config, platform) {
        Ok(profiles) => profiles,
        Err(code) => return code,
    };
    profiles.probe(&supervisor::may_run);
    review(&mut profiles, platform);
    let report = profiles.report();
    let code = if report.errors.is_empty() { exit::OK } else { exit::PROFILE };
    if json {
        let findings: Vec<_> = report.errors.iter().chain(&report.warnings).map(to_json).collect();
        let names: Vec<_> = profiles.names().map(ProfileName::as_str).collect();
        data(serde_json::json!({ "profiles": names, "findings": findings }));
        return code;
    }
    if !report.is_empty() {
        complain(report.render(output::style()));
    }
    let (errors, warnings) = (report.errors.len(), report.warnings.len());
    let count = profiles.names().count();
    line(format_args!(
        "{}, {}, {}",
        output::many(count, "profile"),
        output::many(errors, "error"),
        output::many(warnings, "warning")
    ));
    code
}

fn to_json(finding: &Finding) -> serde_json::Value {
    let at = finding.at.as_ref();
    serde_json::json!({
        "severity": match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "profile": finding.profile.as_ref().map(ProfileName::as_str),
        "title": finding.title,
        "file": at.map(|at| at.file.to_string_lossy()),
        "line": at.map(|at| at.line),
        "column": at.map(|at| at.column),
        "label": finding.label,
        "help": finding.help,
    })
}

/// Compares the profiles with each other and with this host.
fn review(profiles: &mut Profiles, platform: Platform) {
    // What this host has says nothing about a host with another system.
    let here = platform == Platform::host();
    profiles.review(&HostView {
        forwarding: here.then(supervisor::forwards_ipv4).flatten(),
        caller: here.then(caller).flatten(),
        no_invoker: here.then(no_invoker).flatten(),
        has_program: &|program| !here || has_program(program),
        read: &read,
    });
}

/// Returns the warnings of this comparison that concern a profile, one line each, for the dry run.
pub fn warnings_about(config: Option<&Path>, name: &ProfileName, platform: Platform) -> Vec<String> {
    let Ok(mut profiles) = output::profiles_for(config, platform) else { return Vec::new() };
    let others = profiles.report().warnings.len();
    review(&mut profiles, platform);
    let quoted = format!("`{name}`");
    let found = profiles.report().warnings.iter().skip(others);
    let concerns = found.filter(|one| one.profile.as_ref() == Some(name) || one.title.contains(&quoted));
    concerns.map(|one| format!("{}: {}", one.title, one.label)).collect()
}

/// Returns the user behind sudo(8) or doas(1), unless commands of root see that user's home directory.
fn caller() -> Option<String> {
    if !Uid::effective().is_root() {
        return None;
    }
    let name = ["SUDO_USER", "DOAS_USER"].into_iter().find_map(|name| env::var(name).ok())?;
    let user = User::from_name(&name).ok().flatten()?;
    let sees_it = env::var_os("HOME").is_some_and(|home| Path::new(&home) == user.dir);
    (!user.uid.is_root() && !sees_it).then_some(user.name)
}

/// Returns why the user behind this call is not known; `None` without root, as `up` will then be called in another way.
fn no_invoker() -> Option<String> {
    let error = supervisor::invoker::find().err()?;
    Uid::effective().is_root().then(|| error.to_string())
}

/// Returns whether a program exists, by its path or by its name in the `PATH` of `up`.
fn has_program(program: &Path) -> bool {
    let is_program = |path: &Path| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        return is_program(program);
    }
    env::split_paths(PROGRAM_PATH).any(|directory| is_program(&directory.join(program)))
}

/// Returns the beginning of a text file, if this user can read it.
fn read(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(RULES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
