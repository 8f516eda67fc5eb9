//! The file systems that `up` needs, and the files and the network namespace that a profile names.

use super::finding::Finding;
use crate::{
    apply,
    failure::{Failure, FailureKind, Phase},
    platform::Platform,
    profile::{Profile, unusable_files},
    supervisor::{host_files, run::steps::step_failure},
};

/// Checks that /proc is mounted (Linux).
pub(super) fn check_proc() -> Option<Finding> {
    host_files::need_proc().err().map(|failure| Finding::failure(&failure))
}

/// Checks that lock, control socket and ledger of a profile can be written. Writes nothing.
pub(super) fn check_writable(name: &str) -> Finding {
    match host_files::read_only(name) {
        Some(failure) => Finding::failure(&failure),
        None if nix::unistd::geteuid().is_root() => {
            Finding::ok("files", "the file systems of lock, socket and ledger are writable")
        }
        None => Finding::skipped("files", "only root can write lock, socket and ledger"),
    }
}

/// Returns the findings about rules, hooks and network namespace of a profile that `up` could not use.
pub(super) fn check_named(profile: &Profile) -> Vec<Finding> {
    let files = unusable_files(profile, Platform::host(), &apply::may_run);
    let files = files.into_iter().map(|(key, words)| file(key, &words));
    files.chain(namespace(profile)).collect()
}

fn file(key: &'static str, words: &str) -> Finding {
    let detail = format!("{key}: {words}");
    if key == "hooks.down" {
        // Its failure ends no tunnel.
        return Finding::warning("files", detail);
    }
    let failure = Failure::new(Phase::Routes, FailureKind::LinkStep, detail);
    Finding { subject: "files", ..Finding::failure(&failure) }
}

/// Checks the network namespace of a profile, if this process may enter it.
fn namespace(profile: &Profile) -> Option<Finding> {
    let name = profile.link.netns.as_ref().filter(|_| nix::unistd::geteuid().is_root())?;
    let error = apply::Host::system().and_then(|host| host.enter(name)).err()?;
    Some(Finding { subject: "netns", ..Finding::failure(&step_failure(Phase::Resolve, &error)) })
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    #[test]
    fn unusable_hook_stops_up_unless_it_is_for_down() {
        let up = file("hooks.up", "/etc/hook: No such file");
        assert_eq!((up.subject, up.severity), ("files", Severity::Failure));
        assert_eq!(up.evidence, "a step on this host failed: hooks.up: /etc/hook: No such file");
        assert_eq!(file("hooks.down", "/etc/hook: No such file").severity, Severity::Warning);
    }
}
