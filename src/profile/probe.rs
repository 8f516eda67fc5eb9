//! Checks the files that a profile names on this host before they are used: password file, rules files,
//! hooks.
//!
//! A missing file is a warning, because `check` may run on another host; an unusable file is an error. Files
//! that only root can access are skipped; root checks them.

use std::{fs::Metadata, io::ErrorKind, os::unix::fs::MetadataExt, path::Path};

use super::{Profile, SecretError, Severity};
use crate::platform::Platform;

/// A file of a profile that is missing or unusable.
pub(super) struct Problem {
    /// The key that names the file.
    pub(super) key: &'static str,
    pub(super) severity: Severity,
    pub(super) message: String,
}

/// A function that returns whether root may run a program; the error says why not.
pub type MayRun<'a> = &'a dyn Fn(&Path) -> Result<(), String>;

pub(super) fn check_profile(profile: &Profile, platform: Platform, may_run: MayRun<'_>) -> Vec<Problem> {
    let hooks = [("hooks.up", &profile.hooks.up), ("hooks.down", &profile.hooks.down)];
    let hooks = hooks.into_iter().filter_map(|(key, argv)| hook(key, argv.first()?, may_run));
    password(profile).into_iter().chain(rules(profile, platform)).chain(hooks).collect()
}

fn password(profile: &Profile) -> Option<Problem> {
    let wrong = profile.password.probe().err()?;
    let severity = match &wrong {
        SecretError::Read { error, .. } if error.kind() == ErrorKind::PermissionDenied => return None,
        SecretError::Missing { .. } => Severity::Warning,
        _ => Severity::Error,
    };
    Some(Problem { key: "password.file", severity, message: wrong.to_string() })
}

/// Checks that only its owner can write the rules file. Its syntax is checked when the tunnel is up.
fn rules(profile: &Profile, platform: Platform) -> Option<Problem> {
    let (key, path) = if platform == Platform::Linux {
        ("nftables.file", &profile.nftables.as_ref()?.file)
    } else {
        ("pf.file", profile.pf.as_ref()?.file.as_ref()?)
    };
    check_file(key, path, |found| {
        if !found.is_file() {
            Err(format!("{}: not a file", path.display()))
        } else if found.mode() & 0o022 != 0 {
            Err(format!("{}: others than its owner may write it; chmod go-w", path.display()))
        } else {
            Ok(())
        }
    })
}

fn hook(key: &'static str, program: &str, may_run: MayRun<'_>) -> Option<Problem> {
    let path = Path::new(program);
    check_file(key, path, |_| may_run(path))
}

/// Checks one path; `judge` runs if it exists.
fn check_file(
    key: &'static str,
    path: &Path,
    judge: impl FnOnce(&Metadata) -> Result<(), String>,
) -> Option<Problem> {
    let (severity, wrong) = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => (Severity::Warning, format!("{}: {error}", path.display())),
        Ok(found) => (Severity::Error, judge(&found).err()?),
    };
    Some(Problem { key, severity, message: wrong })
}
