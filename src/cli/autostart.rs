//! `--autostart`: runs a command for every profile that has `autostart = true`.

use std::path::Path;

use super::{
    exit::{self, Code},
    output::{self, complain, line},
};
use crate::profile::Profile;

/// Runs the command for each of them, one after the other, even after a failure. Returns the first failure that is
/// final, as a repetition could lock an account; otherwise the first one.
pub fn each(config: Option<&Path>, mut command: impl FnMut(&str) -> Code) -> Code {
    let profiles = match output::profiles(config) {
        Ok(profiles) => profiles,
        Err(code) => return code,
    };
    let mut first = exit::OK;
    // Profiles that cannot be read may have `autostart = true`.
    let mut report = profiles.report().clone();
    report.warnings.clear();
    if !report.is_empty() {
        complain(report.render(output::style()));
        first = exit::PROFILE;
    }
    let wanted = |profile: Option<&Profile>| profile.is_some_and(|profile| profile.autostart);
    let names: Vec<&str> =
        profiles.iter().filter(|(_, profile)| wanted(*profile)).map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        line("no profile has autostart = true");
    }
    for name in names {
        let code = command(name);
        first = worse(first, code);
    }
    first
}

/// Returns the status of two commands.
fn worse(first: Code, next: Code) -> Code {
    if first == exit::OK || (next.is_final() && !first.is_final()) { next } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::FailureKind;

    #[test]
    fn final_failure_wins_over_one_that_may_pass() {
        let [refused, timeout, lost] =
            [FailureKind::AuthenticationFailed, FailureKind::ConnectTimeout, FailureKind::PeerLost]
                .map(Code::of_kind);
        for (codes, wanted) in [
            (&[exit::OK, exit::OK][..], exit::OK),
            (&[timeout, exit::OK, lost], timeout),
            (&[timeout, refused, lost], refused),
            (&[exit::PROFILE, refused], exit::PROFILE),
        ] {
            assert_eq!(codes.iter().copied().fold(exit::OK, worse), wanted, "{codes:?}");
        }
    }
}
