//! What a profile names on this host, looked at before it is used: password file, rules files, hooks.
//!
//! What is not there yet is a warning, for `check` may run where the profile is written; what will never do is an error.
//! What we may not look at is nothing: root will see it.

use std::{fs::Metadata, io::ErrorKind, os::unix::fs::MetadataExt, path::Path};

use super::{Profile, SecretError, Severity};

/// Something that a profile names and that will not do.
pub(super) struct Problem {
    /// The key that names it.
    pub(super) key: &'static str,
    pub(super) severity: Severity,
    pub(super) wrong: String,
}

/// Whether root may run a program, or why not.
pub type MayRun<'a> = &'a dyn Fn(&Path) -> Result<(), String>;

pub(super) fn look(profile: &Profile, may_run: MayRun<'_>) -> Vec<Problem> {
    let hooks = [("hooks.up", &profile.hooks.up), ("hooks.down", &profile.hooks.down)];
    let hooks = hooks.into_iter().filter_map(|(key, argv)| hook(key, argv.first()?, may_run));
    password(profile).into_iter().chain(rules(profile)).chain(hooks).collect()
}

fn password(profile: &Profile) -> Option<Problem> {
    let wrong = profile.password.probe().err()?;
    let severity = match &wrong {
        SecretError::Read { error, .. } if error.kind() == ErrorKind::PermissionDenied => return None,
        SecretError::Missing { .. } => Severity::Warning,
        _ => Severity::Error,
    };
    Some(Problem { key: "password.file", severity, wrong: wrong.to_string() })
}

/// Whether nobody but its owner can change what root will load. Whether it loads is only known when the tunnel is up.
fn rules(profile: &Profile) -> Option<Problem> {
    let (key, path) = if cfg!(target_os = "linux") {
        ("nftables.file", &profile.nftables.as_ref()?.file)
    } else {
        ("pf.file", &profile.pf.as_ref()?.file)
    };
    file(key, path, |found| {
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
    file(key, path, |_| may_run(path))
}

/// What is there is judged.
fn file(
    key: &'static str,
    path: &Path,
    judge: impl FnOnce(&Metadata) -> Result<(), String>,
) -> Option<Problem> {
    let (severity, wrong) = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => (Severity::Warning, format!("{}: {error}", path.display())),
        Ok(found) => (Severity::Error, judge(&found).err()?),
    };
    Some(Problem { key, severity, wrong })
}
