//! Adds to a failure what this host's firewall has to do with it. No I/O but for the readings.

use super::{DialPath, Explanation, Finding, Reading, Traffic, explain};
use crate::{
    engine::verdict::{HOST_FORBIDS, HOST_REFUSES},
    failure::{Failure, FailureKind, Phase},
    profile::{Conntrack, Profile},
    supervisor::path_hints,
};

/// The first hint if `conntrack = "helper"` of the profile would let the packets pass, but its table is not loaded, as
/// in a dial of `doctor`.
pub const HELPER_NOT_LOADED: &str =
    "conntrack = \"helper\" of the profile lets it pass, but its table is not loaded now: only `up` loads it";

/// Returns the failure with what this host's firewall has to do with it. `earlier` is a reading from before the
/// failure.
#[must_use]
pub fn explained(failure: Failure, path: &DialPath, profile: &Profile, earlier: Option<&Reading>) -> Failure {
    let offers_helper = profile.conntrack == Conntrack::Off && profile.link.netns.is_none();
    let told = |failure, traffic, finding| told(failure, traffic, finding, path, offers_helper);
    match (failure.phase, failure.kind) {
        (Phase::Connect, FailureKind::ConnectionRefused | FailureKind::NoRoute) => {
            told(failure, Traffic::TcpOut, explain(Traffic::TcpOut, path, None))
        }
        (Phase::Connect, FailureKind::ConnectTimeout) => {
            let (traffic, finding) = match explain(Traffic::TcpOut, path, None) {
                Finding::Clear => (Traffic::TcpIn, explain(Traffic::TcpIn, path, earlier)),
                found => (Traffic::TcpOut, found),
            };
            told(failure, traffic, finding)
        }
        (_, FailureKind::GreFiltered) if failure.detail.starts_with(HOST_REFUSES) => {
            told(failure, Traffic::GreOut, explain(Traffic::GreOut, path, None))
        }
        // A failure with hints was seen to have another cause.
        (_, FailureKind::GreFiltered) if failure.hints.is_empty() => {
            let finding = explain(Traffic::GreIn, path, earlier);
            let not_loaded = profile.conntrack == Conntrack::Helper
                && profile.link.netns.is_none()
                && matches!(&finding, Finding::Blocked(found) if found.helper_would_help);
            let mut failure = told(failure, Traffic::GreIn, finding);
            if not_loaded {
                failure.hints.insert(0, HELPER_NOT_LOADED.to_owned());
            }
            failure
        }
        _ => failure,
    }
}

/// Adds a finding to a failure.
pub(super) fn told(
    mut failure: Failure,
    traffic: Traffic,
    finding: Finding,
    path: &DialPath,
    offers_helper: bool,
) -> Failure {
    match (finding, traffic) {
        (Finding::Blocked(found), _) => {
            failure.detail.push_str(&sentence(failure.kind, traffic, &found));
            if found.helper_would_help && offers_helper {
                failure.hints = vec![
                    "conntrack = \"helper\" in the profile makes the kernel recognise this GRE as part of the connection, so that the rules let it pass"
                        .to_owned(),
                ];
            } else {
                failure.hints.clear();
            }
            failure.hints.extend(found.remedies);
        }
        (Finding::Clear, Traffic::GreIn) => {
            failure.detail.push_str("; this host's own firewall does not drop it (its rules were read)");
            // The path remains, and what is behind its routers.
            let server = path.server.ip().to_string();
            failure.hints = vec![path_hints::PASSTHROUGH.to_owned(), path_hints::another_client(&server)];
        }
        (Finding::Unknown(reason), _) => tracing::debug!("this host's firewall: {reason}"),
        // No packet was sent: connect(2) itself was refused.
        (Finding::Clear, Traffic::TcpOut) if failure.detail.contains(HOST_FORBIDS) => {
            failure.hints = vec![
                "no rule of this host's firewall drops it: probably a cgroup program (systemd: IPAddressDeny=) or a security module; `bpftool cgroup tree`, dmesg"
                    .to_owned(),
            ];
        }
        (Finding::Clear, _) => {}
    }
    failure
}

fn sentence(kind: FailureKind, traffic: Traffic, found: &Explanation) -> String {
    match (kind, traffic) {
        _ if found.is_kill_switch => format!("; dropped by {found}"),
        (FailureKind::ConnectionRefused, _) => format!(", by this host's own firewall: {found}"),
        (_, Traffic::TcpOut) => format!("; this host's own firewall drops packets to it: {found}"),
        (_, Traffic::TcpIn) => format!("; this host's own firewall drops its answers: {found}"),
        (_, Traffic::GreOut) if found.certain => format!("; dropped by {}", found.rule),
        (_, Traffic::GreOut) => format!("; dropped probably by {}", found.rule),
        (_, Traffic::GreIn) => format!("; this host's own firewall drops it: {found}"),
    }
}
