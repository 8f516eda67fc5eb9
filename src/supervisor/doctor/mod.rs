//! `doctor`: checks this host, and what a profile needs of it and of its server, without changing either.
//!
//! Each file has one subject or a few related ones: thin functions that read the host, and pure ones that turn the
//! facts into a [`Finding`]. What `up` would do is done by its own code: the resolver child, the kernel's next hop,
//! the verdicts and their hints.

mod clients;
mod devices;
mod dial;
mod files;
mod finding;
mod leftovers;
mod negotiation;
mod rights;
mod routing;
mod server;
mod settings;
mod sysctls;
mod vendor;

use std::{net::SocketAddrV4, rc::Rc};

pub use self::finding::{Blocker, Finding, Severity, first_blocker};
use super::{ClientError, Inherited, Status, ipc::client};
use crate::{
    os::descriptors,
    plan::{Daemon, NextHop},
    profile::Profile,
};

/// Records the descriptors that this process inherited, and keeps them from the child processes of the checks. Call this
/// before the process opens anything itself.
#[must_use]
pub fn start() -> Inherited {
    let inherited = Inherited::at_start();
    descriptors::set_close_on_exec();
    inherited
}

/// Checks what does not depend on a profile. `has_profile` leaves out what [`check_profile`] covers.
pub fn check_host(has_profile: bool, found: &mut dyn FnMut(Finding)) {
    found(rights::check_rights());
    files::check_proc().into_iter().for_each(&mut *found);
    if !has_profile {
        found(devices::check_tun(None));
        found(sysctls::check_forwarding(None));
        found(clients::check(&[]));
    }
    sysctls::check_host().into_iter().for_each(&mut *found);
    found(rights::check_clock());
    found(settings::check_resolvers());
    found(leftovers::check());
}

/// Checks what a profile needs, without a packet to its servers.
pub fn check_profile(profile: &Rc<Profile>, found: &mut dyn FnMut(Finding)) {
    let status = client::status(profile.name.as_str());
    let is_down = matches!(status, Err(ClientError::NotUp | ClientError::Died));
    found(tunnel(status));
    if is_down {
        found(files::check_writable(profile.name.as_str()));
    }
    files::check_named(profile).into_iter().for_each(&mut *found);
    // The device of a tunnel that is up is its own, and an external PPP has another one.
    if is_down && Daemon::of(profile).is_none() {
        found(devices::check_tun(Some(profile)));
    }
    found(devices::check_ppp(profile));
    found(settings::check_password(profile));
    let servers = server::check(profile);
    servers.findings.into_iter().for_each(&mut *found);
    if let Some((_, NextHop::By { dev, .. })) = servers.reached.first() {
        sysctls::check_rp_filter(dev, profile).into_iter().for_each(&mut *found);
    }
    found(sysctls::check_forwarding(Some(profile)));
    routing::check(profile).into_iter().for_each(&mut *found);
    let addresses: Vec<SocketAddrV4> = servers.reached.iter().map(|(server, _)| *server).collect();
    found(clients::check(&addresses));
}

/// Dials the servers of a profile as `up` does, logs in, and closes the connection before its addresses are used.
/// `blocked` says that a failure was found already: then it does not dial.
pub fn dial(profile: &Rc<Profile>, inherited: Inherited, blocked: bool, found: &mut dyn FnMut(Finding)) {
    if blocked {
        found(Finding::skipped("dial", "not dialled: `up` would fail before it, see above"));
    } else {
        dial::dial(profile, inherited, found);
    }
}

/// Returns the finding for the present state of the tunnel.
fn tunnel(status: Result<Status, ClientError>) -> Finding {
    match status {
        Ok(Status { state, tun, last_failure, .. }) => {
            let tun = tun.map_or_else(String::new, |tun| format!(" on {tun}"));
            match last_failure.filter(|_| state != "up") {
                Some(failure) => Finding::warning("tunnel", format!("{state}{tun}; last failure: {failure}")),
                None => Finding::ok("tunnel", format!("{state}{tun}")),
            }
        }
        Err(ClientError::NotUp) => Finding::ok("tunnel", "down"),
        Err(error @ ClientError::Denied(_)) => Finding::skipped("tunnel", format!("running; {error}")),
        Err(error) => Finding::warning("tunnel", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, FailureKind, Phase};

    #[test]
    fn state_of_the_tunnel_is_shown_with_its_failure() {
        let up = Status { state: "up".into(), tun: Some("tun3".into()), ..Status::default() };
        assert_eq!(tunnel(Ok(up)), Finding::ok("tunnel", "up on tun3"));
        let lost = Failure::new(Phase::Up, FailureKind::PeerLost, "");
        let waiting = Status { state: "waiting".into(), last_failure: Some(lost), ..Status::default() };
        let found = tunnel(Ok(waiting));
        assert!(found.severity == Severity::Warning && found.evidence.contains("went silent"), "{found:?}");
        assert_eq!(tunnel(Err(ClientError::NotUp)).severity, Severity::Ok);
        assert_eq!(tunnel(Err(ClientError::Died)).severity, Severity::Warning);
        let denied = ClientError::Denied(std::io::ErrorKind::PermissionDenied.into());
        assert_eq!(tunnel(Err(denied)).severity, Severity::Skipped);
    }
}
