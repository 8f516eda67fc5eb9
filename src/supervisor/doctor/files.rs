//! The file systems that `up` needs, and the files and the network namespace that a profile names.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use super::finding::Finding;
use crate::{
    apply::{self, ApplyError, Cause},
    failure::Phase,
    plan::{self, Facts, Plan, Step},
    platform::Platform,
    profile::Profile,
    supervisor::{host_files, run::steps::step_failure},
};

/// Checks that /proc is mounted (Linux).
pub(super) fn check_proc() -> Option<Finding> {
    host_files::need_proc().err().map(|failure| Finding::failure(&failure))
}

/// Checks that lock, control socket and ledger of a profile can be written. Writes nothing.
pub(super) fn check_writable(name: &str) -> Finding {
    match host_files::unusable(name) {
        Some(failure) => Finding::failure(&failure),
        None if nix::unistd::geteuid().is_root() => {
            Finding::ok("files", "the file systems of lock, socket and ledger are writable")
        }
        None => Finding::skipped("files", "only root can write lock, socket and ledger"),
    }
}

/// Returns the findings about programs, rules, hooks and network namespace of a profile that `up` could not use: what its
/// steps themselves check.
pub(super) fn check_named(profile: &Profile) -> Vec<Finding> {
    let transport = plan::transport(profile, Platform::host());
    let is_root = nix::unistd::geteuid().is_root();
    let checked = [(Phase::Connect, transport), (Phase::Routes, network(profile, None))];
    let checked = checked.into_iter().flat_map(|(phase, plan)| {
        // Whether only root can change a hook is for root to see.
        let steps = plan.steps.into_iter().filter(move |step| is_root || !matches!(step, Step::Hook(_)));
        steps.filter_map(move |step| unusable(phase, &step, apply::check_step(&step), is_root))
    });
    checked.chain(namespace(profile)).collect()
}

/// Returns the findings about the resolvers that a server has named.
pub(super) fn check_link(profile: &Profile, dns: &[Ipv4Addr]) -> Vec<Finding> {
    let steps = network(profile, Some(dns)).steps.into_iter().filter(|step| matches!(step, Step::Dns(_)));
    steps.filter_map(|step| unusable(Phase::Routes, &step, apply::check_step(&step), true)).collect()
}

fn network(profile: &Profile, dns: Option<&[Ipv4Addr]>) -> Plan {
    let platform = Platform::host();
    let dns = dns.map(|dns| dns.iter().copied().map(IpAddr::V4).collect());
    let resolver = profile.dns.is_wanted().then(apply::resolver_in_charge);
    let facts = Facts { resolver, dns, ..Facts::default() };
    plan::network(profile, platform, Path::new(platform.run_dir())).resolve(&facts)
}

/// Returns the finding for a step that cannot be performed.
fn unusable(phase: Phase, step: &Step, checked: Result<(), ApplyError>, is_root: bool) -> Option<Finding> {
    let error = checked.err()?;
    let is_hidden =
        matches!(&error.cause, Cause::File { error, .. } if error.kind() == ErrorKind::PermissionDenied);
    let failure = step_failure(phase, &error);
    // A server that names no resolvers needs none of this.
    let is_possible = matches!(step, Step::Dns(dns) if dns.servers.known().is_none());
    let finding = match is_possible {
        true => Finding::overcome(&failure)
            .next("`up` fails so if the server names resolvers; `--dial` finds out"),
        false => Finding::failure(&failure),
    };
    (is_root || !is_hidden).then_some(Finding { subject: "files", ..finding })
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
    use crate::apply::Operation;

    #[test]
    fn unreadable_rules_stop_up_for_root_alone() {
        let step = Step::OpenTun(plan::OpenTunStep { unit: None });
        let failed = |kind| {
            let cause = Cause::File { path: "/etc/rules".into(), error: std::io::Error::from(kind) };
            Err(ApplyError { operation: Operation::Observe, cause })
        };
        for (kind, is_root, is_found) in [
            (ErrorKind::PermissionDenied, false, false),
            (ErrorKind::PermissionDenied, true, true),
            (ErrorKind::NotFound, false, true),
        ] {
            let found = unusable(Phase::Routes, &step, failed(kind), is_root);
            assert_eq!(found.is_some(), is_found, "{kind} {is_root}");
            assert!(
                found.is_none_or(|found| found.severity == Severity::Failure && found.subject == "files")
            );
        }
        assert_eq!(unusable(Phase::Routes, &step, Ok(()), true), None);
    }
}
