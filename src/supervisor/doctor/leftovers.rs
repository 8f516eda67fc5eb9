//! What killed supervisors of any profile have left on this host.

use std::io::ErrorKind;

use super::finding::Finding;
use crate::{
    platform::Platform,
    supervisor::ipc::{client, lock},
};

/// Returns whether something is left. `None`: this user cannot tell.
fn leftovers(profiles: Option<&[String]>) -> Finding {
    match profiles {
        None => {
            let words = format!("only root can read {}", Platform::host().state_dir());
            Finding::skipped("leftovers", words)
        }
        Some([]) => Finding::ok("leftovers", "none: no killed supervisor has left changes"),
        Some(some) => {
            let words = format!("a killed supervisor has left changes to this host ({})", some.join(", "));
            Finding::warning("leftovers", words).next("`pptpctl recover` undoes them")
        }
    }
}

/// Returns the profiles whose supervisor was killed and left changes; `None` if this user cannot tell.
pub(super) fn profiles() -> Option<Vec<String>> {
    let state = Platform::host().state_dir();
    match std::fs::read_dir(state) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(Vec::new()),
        Err(_) => return None,
        Ok(_) => {}
    }
    let mut names = client::with_ledger();
    names.retain(|name| !lock::is_held(name) && client::supervisor_in_ledger(name).is_none());
    Some(names)
}

/// Checks for leftovers.
pub(super) fn check() -> Finding {
    leftovers(profiles().as_deref())
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    #[test]
    fn leftovers_name_the_profiles() {
        assert_eq!(leftovers(Some(&[])).severity, Severity::Ok);
        assert_eq!(leftovers(None).severity, Severity::Skipped);
        let left = leftovers(Some(&["home".into(), "office".into()]));
        assert!(left.severity == Severity::Warning && left.evidence.contains("(home, office)"), "{left:?}");
    }
}
