//! The password of a profile, and the resolvers of this host.

use super::finding::Finding;
use crate::{
    apply,
    plan::{RESOLV_CONF, Resolver},
    platform::Platform,
    profile::{PasswordSource, Profile, SecretError},
    supervisor::password::{self, PasswordError, SecretAccess},
};

/// Returns what reading the password gave; `None` if it is read only when a tunnel comes up.
fn password(read: Option<Result<(), PasswordError>>, profile: &Profile) -> Finding {
    match read {
        Some(Ok(())) => Finding::ok("password", "it can be read"),
        Some(Err(PasswordError::Secret(SecretError::Read { error, .. })))
            if error.kind() == std::io::ErrorKind::PermissionDenied && !nix::unistd::geteuid().is_root() =>
        {
            Finding::skipped("password", "only root can read it")
        }
        Some(Err(error)) => Finding::password(&error),
        None => {
            let from = profile.password.waits_for().unwrap_or_else(|| "systemd".to_owned());
            Finding::skipped("password", format!("not read: it comes from {from} when the tunnel comes up"))
        }
    }
}

/// Checks the password of a profile, unless reading it would run a program or wait for the user.
pub(super) fn check_password(profile: &Profile) -> Finding {
    let read = match &profile.password {
        PasswordSource::File(_) | PasswordSource::Inline(_) => {
            Some(password::load(&profile.password, &SecretAccess::of_this_process()).map(drop))
        }
        PasswordSource::Command(argv) => password::program_of(argv, profile.password_run_as).err().map(Err),
        PasswordSource::Fd(_) | PasswordSource::Credential(_) | PasswordSource::Ask { .. } => None,
    };
    password(read, profile)
}

/// Returns which resolvers the host asks. `text` is the content of resolv.conf(5).
fn resolvers(text: Result<&str, String>, manager: Resolver) -> Finding {
    let text = match text {
        Ok(text) => text,
        Err(why) => {
            return Finding::warning("resolvers", format!("{RESOLV_CONF}: {why}"))
                .next(format!("without it names are looked up at 127.0.0.1 only: restore {RESOLV_CONF}"));
        }
    };
    let servers: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()).flatten()
        })
        .collect();
    let by = match manager {
        Resolver::File => "written by no service".to_owned(),
        manager => format!("managed by {manager}"),
    };
    if servers.is_empty() {
        return Finding::warning("resolvers", format!("{RESOLV_CONF} names no resolver ({by})"))
            .next("connect to a network whose DHCP names one, or add a line nameserver ADDRESS");
    }
    Finding::ok("resolvers", format!("{} ({by})", servers.join(", ")))
}

/// Checks which resolvers the host asks.
pub(super) fn check_resolvers() -> Finding {
    let text = std::fs::read_to_string(RESOLV_CONF).map_err(|error| error.to_string());
    let manager = match Platform::host() {
        Platform::OpenBsd => Resolver::Resolvd,
        _ => apply::resolver_in_charge(),
    };
    resolvers(text.as_deref().map_err(Clone::clone), manager)
}

#[cfg(test)]
mod tests {
    use super::{
        super::finding::{Blocker, Severity},
        *,
    };

    #[test]
    fn resolvers_are_listed_with_their_manager() {
        let found =
            resolvers(Ok("# x\nnameserver 192.0.2.53\nnameserver ::1\nsearch example\n"), Resolver::File);
        assert_eq!(
            (found.severity, found.evidence.as_str()),
            (Severity::Ok, "192.0.2.53, ::1 (written by no service)")
        );
        let stub = resolvers(Ok("nameserver 127.0.0.53\n"), Resolver::Resolved);
        assert!(stub.evidence.contains("managed by systemd-resolved"), "{stub:?}");
        assert_eq!(resolvers(Ok("search example\n"), Resolver::File).severity, Severity::Warning);
        assert_eq!(resolvers(Err("Permission denied".into()), Resolver::File).severity, Severity::Warning);
    }

    #[test]
    fn unusable_password_stops_up_as_status_3() {
        let text = "[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n";
        let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), text, true);
        let profile = profiles.get("x").unwrap();
        let empty = PasswordError::Secret(SecretError::Empty("/etc/x".into()));
        let found = password(Some(Err(empty)), profile);
        assert_eq!((found.severity, found.blocker), (Severity::Failure, Some(Blocker::Profile)));
        let command = text.replace("password.fd = 3", "password.command = ['/nonexistent/pass']");
        let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), &command, true);
        let missing = check_password(profiles.get("x").unwrap());
        assert_eq!(missing.blocker, Some(Blocker::Profile));
        assert!(missing.evidence.contains("/nonexistent/pass: No such file"), "{missing:?}");
        let unread = password(None, profile);
        assert!(
            unread.severity == Severity::Skipped && unread.evidence.contains("descriptor 3"),
            "{unread:?}"
        );
        assert_eq!(password(Some(Ok(())), profile).severity, Severity::Ok);
    }
}
