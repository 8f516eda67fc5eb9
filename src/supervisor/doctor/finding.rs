//! What one check has found: a line for the user, and the exit status that it leads to.

use serde::Serialize;

use crate::{
    failure::{Failure, FailureKind, Phase},
    supervisor::password::PasswordError,
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it has to be.
    Ok,
    /// Not checked; the evidence says why.
    Skipped,
    /// Works, but may not be intended, or fails under conditions that the evidence names.
    Warning,
    /// `up` fails because of this.
    Failure,
}

/// Why `up` fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// This process lacks rights.
    NotRoot,
    /// The profile cannot be used, as its password cannot be obtained.
    Profile,
    /// The failure that `up` reports.
    Failure(Phase, FailureKind),
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// One word for what was checked.
    pub subject: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was observed.
    pub evidence: String,
    /// The next step for the user, if there is one.
    pub next: Option<String>,
    /// More to check, each a sentence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// Why `up` fails, with the severity [`Severity::Failure`] only.
    #[serde(skip)]
    pub blocker: Option<Blocker>,
}

impl Finding {
    /// Returns a finding without a next step.
    pub fn new(subject: &'static str, severity: Severity, evidence: impl Into<String>) -> Self {
        Self { subject, severity, evidence: evidence.into(), next: None, hints: Vec::new(), blocker: None }
    }

    /// Returns a finding that all is well.
    pub fn ok(subject: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(subject, Severity::Ok, evidence)
    }

    /// Returns a warning.
    pub fn warning(subject: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(subject, Severity::Warning, evidence)
    }

    /// Returns a finding about something that was not checked.
    pub fn skipped(subject: &'static str, why: impl Into<String>) -> Self {
        Self::new(subject, Severity::Skipped, why)
    }

    /// Returns the finding that there is no password.
    pub fn password(error: &PasswordError) -> Self {
        Self::blocked("password", error.to_string(), Blocker::Profile)
    }

    /// Returns a finding that stops `up`.
    pub fn blocked(subject: &'static str, evidence: impl Into<String>, by: Blocker) -> Self {
        Self { blocker: Some(by), ..Self::new(subject, Severity::Failure, evidence) }
    }

    /// Returns the failure that `up` reports, with its hints.
    pub fn failure(failure: &Failure) -> Self {
        Self::blocked(subject_of(failure), words_of(failure), Blocker::Failure(failure.phase, failure.kind))
            .hinted(failure)
    }

    /// Returns a failure that `up` overcomes with another address or server.
    pub fn overcome(failure: &Failure) -> Self {
        Self::warning(subject_of(failure), words_of(failure)).hinted(failure)
    }

    /// Sets the next step.
    pub fn next(self, step: impl Into<String>) -> Self {
        Self { next: Some(step.into()), ..self }
    }

    fn hinted(self, failure: &Failure) -> Self {
        let mut hints = failure.hints.iter().cloned();
        Self { next: hints.next(), hints: hints.collect(), ..self }
    }
}

/// Returns the failure's class and detail, without the phase.
fn words_of(failure: &Failure) -> String {
    let text = failure.to_string();
    text.strip_prefix(&format!("{}: ", failure.phase)).unwrap_or(&text).to_owned()
}

fn subject_of(failure: &Failure) -> &'static str {
    match failure.kind {
        FailureKind::NameNotResolved => "name",
        FailureKind::NoRoute => "route",
        FailureKind::NoTun => "tun",
        FailureKind::NoPpp | FailureKind::PppFailed => "ppp",
        FailureKind::GreFiltered => "gre",
        FailureKind::Collision => "collisions",
        FailureKind::HostFiles | FailureKind::UnsafeFiles => "files",
        _ => failure.phase.word(),
    }
}

/// Returns the finding that stops `up` first, of several: `up` checks its rights, uses its files, reads the password,
/// looks for collisions, and then goes through the phases, in which it opens the tun device after it has found the route.
#[must_use]
pub fn first_blocker(findings: &[Finding]) -> Option<Blocker> {
    let order = |blocker: &Blocker| match blocker {
        Blocker::NotRoot => (0, None, 0),
        Blocker::Failure(_, FailureKind::HostFiles | FailureKind::UnsafeFiles) => (0, None, 1),
        Blocker::Profile => (1, None, 0),
        Blocker::Failure(_, FailureKind::Collision) => (2, None, 0),
        Blocker::Failure(phase, kind) => {
            let later = matches!(kind, FailureKind::NoTun | FailureKind::NoPpp);
            (3, Some(*phase), u8::from(later))
        }
    };
    findings.iter().filter_map(|finding| finding.blocker).min_by_key(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_blocker_is_the_one_that_up_meets_first() {
        let failed = |phase, kind| Finding::failure(&Failure::new(phase, kind, ""));
        let tun = failed(Phase::Connect, FailureKind::NoTun);
        let route = failed(Phase::Connect, FailureKind::NoRoute);
        let name = failed(Phase::Resolve, FailureKind::NameNotResolved);
        let collision = failed(Phase::Routes, FailureKind::Collision);
        let password = Finding::blocked("password", "", Blocker::Profile);
        let rights = Finding::blocked("rights", "", Blocker::NotRoot);
        let files = failed(Phase::Resolve, FailureKind::HostFiles);
        let mut all = vec![Finding::ok("clock", ""), tun, route, name, collision, password, files, rights];
        let mut order = Vec::new();
        while let Some(first) = first_blocker(&all) {
            all.retain(|finding| finding.blocker != Some(first));
            order.push(first);
        }
        assert_eq!(
            order,
            [
                Blocker::NotRoot,
                Blocker::Failure(Phase::Resolve, FailureKind::HostFiles),
                Blocker::Profile,
                Blocker::Failure(Phase::Routes, FailureKind::Collision),
                Blocker::Failure(Phase::Resolve, FailureKind::NameNotResolved),
                Blocker::Failure(Phase::Connect, FailureKind::NoRoute),
                Blocker::Failure(Phase::Connect, FailureKind::NoTun),
            ]
        );
    }

    #[test]
    fn failure_keeps_the_words_and_hints_of_up() {
        let failure = Failure::new(Phase::Lcp, FailureKind::GreFiltered, "none came")
            .hint("look here")
            .hint("or there");
        let finding = Finding::failure(&failure);
        assert_eq!(finding.subject, "gre");
        assert_eq!(finding.evidence, "GRE, IP protocol 47, is filtered: none came");
        assert_eq!(
            (finding.next.as_deref(), finding.hints.as_slice()),
            (Some("look here"), &["or there".to_owned()][..])
        );
        assert_eq!(Finding::overcome(&failure).blocker, None);
    }
}
