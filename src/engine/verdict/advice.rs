//! The next step after a failure whose cause the engine has seen, where the hints of its class would mislead. No I/O.

use crate::{
    failure::{Failure, FailureKind, Phase},
    ppp::auth,
};

/// What a link without encryption costs, and the key for it.
pub(super) const IN_CLEAR: &str =
    "without encryption anyone on the path can read the packets; if that is acceptable: mppe = \"off\"";

/// Adds the next step to the failure of a server that has ended call, link or connection by itself. It has refused
/// nothing, so there is nothing to change in the profile. Where it has user and password and has decided nothing
/// (`login_pending`), [`Failure::undecided`] adds the next step.
#[must_use]
pub fn after_hangup(failure: Failure, login_pending: bool) -> Failure {
    let words = match (failure.kind, failure.phase) {
        // A link that was up is redialled.
        (_, Phase::Routes | Phase::Up) => return failure,
        (FailureKind::LcpFailed, _) => {
            "the server ended this itself, before LCP was agreed on: its administrator finds the reason in its log"
        }
        (FailureKind::NoAddress, _) => {
            "the server ended this itself, before it gave an address: its log has the reason; it may have no free address"
        }
        (FailureKind::PeerEnded, Phase::Authentication) if login_pending => return failure,
        (FailureKind::PeerEnded, Phase::Authentication) => {
            "the server ended this itself, before user and password were sent: its administrator finds the reason in its log"
        }
        (FailureKind::PeerEnded, _) => {
            "the server ended this itself, after it had accepted user and password: its administrator finds the reason in its log"
        }
        _ => return failure,
    };
    failure.hint(words)
}

/// Adds the next step to a failure to authenticate, if it is not to check user and password.
#[must_use]
pub fn after_refusal(failure: Failure, kind: auth::FailureKind) -> Failure {
    use auth::FailureKind as Kind;
    let words = match kind {
        // The usual hints.
        Kind::Rejected | Kind::DoesNotFit => return failure,
        // Marked as undecided, with hints of its own, if user and password were sent.
        Kind::ServerTrouble | Kind::Timeout => return failure,
        Kind::RestrictedHours | Kind::AccountDisabled | Kind::NoDialIn | Kind::Policy => {
            "there is nothing to change on this host: the server's administrator decides about this account"
        }
        Kind::PasswordExpired | Kind::ChangingPassword => {
            "pptpctl cannot change a password: change it on the server's network, then store the new one for this profile"
        }
        Kind::NotAgreed => {
            "the server wants another protocol or another encryption: compare its settings with auth = […] and mppe = \"…\""
        }
        Kind::ServerNotProven => {
            "check server = …; if it is right, its administrator has to look: a false server, or one that accepts without the password"
        }
        Kind::Other => {
            "the number is no known verdict on user or password: ask the server's administrator for its meaning"
        }
    };
    failure.hint(words)
}

/// Returns the hints for a link that has no key for MPPE, since nobody was authenticated with MS-CHAP.
#[must_use]
pub fn without_keys() -> Vec<String> {
    vec!["its administrator has to turn MS-CHAPv2 on: MPPE has no other keys".to_owned(), IN_CLEAR.to_owned()]
}

/// Returns the hints for encryption that was not agreed on in time, or that ended. `lost` tells that it was on.
#[must_use]
pub fn after_missing_encryption(lost: bool) -> Vec<String> {
    vec![
        if lost {
            "the server had agreed on MPPE, and ended it: its administrator finds the reason in its log"
        } else {
            "user and password were accepted, but the server does not finish CCP: it hangs, or ignores encryption; try again, then ask its administrator"
        }
        .to_owned(),
        "`pptpctl logs` with loglevel = 2 shows what the two sides asked for".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hangup_has_one_next_step_unless_the_link_was_up() {
        for (kind, phase, words) in [
            (FailureKind::LcpFailed, Phase::Lcp, "before LCP was agreed on"),
            (FailureKind::PeerEnded, Phase::Authentication, "before user and password were sent"),
            (FailureKind::PeerEnded, Phase::Encryption, "after it had accepted"),
            (FailureKind::PeerEnded, Phase::Addresses, "after it had accepted"),
            (FailureKind::NoAddress, Phase::Addresses, "no free address"),
        ] {
            let failure = after_hangup(Failure::new(phase, kind, ""), false);
            assert!(failure.hints.len() == 1 && failure.hints[0].contains(words), "{failure:?}");
        }
        let pending = Failure::new(Phase::Authentication, FailureKind::PeerEnded, "");
        assert!(after_hangup(pending, true).hints.is_empty(), "they were sent");
        for phase in [Phase::Routes, Phase::Up] {
            assert!(after_hangup(Failure::new(phase, FailureKind::PeerEnded, ""), false).hints.is_empty());
        }
    }

    #[test]
    fn verdict_on_the_account_is_no_reason_to_check_the_password() {
        use auth::FailureKind as Kind;
        let of = |kind| {
            let failed = Failure::new(Phase::Authentication, FailureKind::AuthenticationFailed, "");
            after_refusal(failed, kind).hints
        };
        for (kind, words) in [
            (Kind::AccountDisabled, "nothing to change on this host"),
            (Kind::RestrictedHours, "nothing to change on this host"),
            (Kind::NoDialIn, "nothing to change on this host"),
            (Kind::Policy, "nothing to change on this host"),
            (Kind::PasswordExpired, "change it on the server's network"),
            (Kind::NotAgreed, "auth = […] and mppe"),
            (Kind::ServerNotProven, "a false server"),
            (Kind::Other, "no known verdict"),
        ] {
            let hints = of(kind);
            assert!(hints.len() == 1 && hints[0].contains(words), "{kind:?}: {hints:?}");
        }
        assert!(of(Kind::Rejected).is_empty(), "the usual hints");
    }
}
