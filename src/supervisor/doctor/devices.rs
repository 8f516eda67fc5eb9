//! The tunnel's device and its PPP: tun driver, unit, external PPP daemon.

use super::finding::Finding;
use crate::{
    apply::{ApplyError, Cause, Operation},
    failure::Phase,
    net::tun,
    os::kernel_module,
    plan::Daemon,
    profile::Profile,
    supervisor::{
        hints,
        run::{external_ppp::check_daemon, steps::step_failure},
    },
};

/// Returns whether a tun device can be opened. `driver` says whether the driver is loaded, as far as that is known.
/// `has_module` says that a module file of that name is installed.
fn tun(driver: Result<Option<bool>, tun::Error>, has_module: bool, profile: Option<&Profile>) -> Finding {
    match driver {
        Ok(Some(true)) => Finding::ok("tun", "the driver is there"),
        Ok(Some(false)) if has_module => {
            Finding::ok("tun", "the module is not loaded; the kernel loads it when a tunnel comes up")
        }
        Ok(Some(false)) => {
            Finding::warning("tun", "the driver is not loaded, and no module file for this kernel was found")
                .next("modprobe tun; after an update of the kernel, restart the host first")
        }
        Ok(None) => Finding::skipped("tun", "not checked on this system: opening a device would create it"),
        Err(error) => {
            let error = ApplyError { operation: Operation::Observe, cause: Cause::Tun(error) };
            let failure = step_failure(Phase::Connect, &error);
            let failure = match profile {
                Some(profile) => hints::add(failure, profile, None),
                None => failure,
            };
            Finding::failure(&failure)
        }
    }
}

/// Checks the tun driver, and the unit if the profile sets one.
pub(super) fn check_tun(profile: Option<&Profile>) -> Finding {
    let has_module = kernel_module::is_available("tun") == Some(true);
    tun(tun::probe(profile.and_then(|profile| profile.unit)), has_module, profile)
}

/// Checks the PPP of a profile.
pub(super) fn check_ppp(profile: &Profile) -> Finding {
    let Some(daemon) = Daemon::of(profile) else {
        return Finding::ok("ppp", "built in; needs no daemon and no kernel module");
    };
    match check_daemon(daemon) {
        Ok(()) => Finding::ok("ppp", format!("{} is installed", daemon.name())),
        Err(failure) => Finding::failure(&hints::add(failure, profile, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::finding::{Blocker, Severity},
        *,
    };
    use crate::failure::FailureKind;

    #[test]
    fn missing_tun_device_has_the_verdict_of_up() {
        let missing = tun(Err(tun::Error::Missing("/dev/net/tun is missing")), false, None);
        assert_eq!(missing.blocker, Some(Blocker::Failure(Phase::Connect, FailureKind::NoTun)));
        assert!(missing.evidence.contains("no tunnel device: /dev/net/tun"), "{missing:?}");
        let used = tun(Err(tun::Error::InUse(7)), false, None);
        assert!(used.evidence.contains("tun7 is in use") && used.next.is_some(), "{used:?}");
    }

    #[test]
    fn driver_that_is_not_loaded_is_no_failure() {
        assert_eq!(tun(Ok(Some(true)), false, None).severity, Severity::Ok);
        assert_eq!(tun(Ok(Some(false)), true, None).severity, Severity::Ok);
        assert_eq!(tun(Ok(Some(false)), false, None).severity, Severity::Warning);
        assert_eq!(tun(Ok(None), false, None).severity, Severity::Skipped);
    }
}
