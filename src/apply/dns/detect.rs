//! What is in charge of this host's resolvers.

use std::{
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
};

use super::parse;
use crate::{
    apply::{Program, files},
    os::peer,
    plan::{Platform, RESOLV_CONF, Resolver},
};

/// Where systemd-resolved answers; it is there only while it runs.
const RESOLVED: &str = "/run/systemd/resolve/io.systemd.Resolve";
/// Debian's resolvconf has it, openresolv has not.
const DEBIAN_RESOLVCONF: &str = "/etc/resolvconf/update.d";

/// What can be seen of a host without asking anyone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ResolverEvidence {
    /// systemd-resolved runs, in this network namespace.
    resolved: bool,
    resolvectl: bool,
    /// Where resolvconf(8) leads, if it is there.
    resolvconf: Option<PathBuf>,
    debian_resolvconf: bool,
    /// Where /etc/resolv.conf leads.
    target: Option<PathBuf>,
    content: Vec<u8>,
    nsswitch: String,
}

/// What is in charge.
#[must_use]
pub fn detect() -> Resolver {
    match Platform::host() {
        Platform::Linux => decide(&look()),
        Platform::OpenBsd => Resolver::Resolvd,
        Platform::FreeBsd | Platform::NetBsd => Resolver::Resolvconf,
    }
}

/// Whether systemd-resolved runs here. One that serves another network namespace would take our device's number
/// for one of its own.
pub(super) fn resolved_runs() -> bool {
    let Ok(socket) = UnixStream::connect(RESOLVED) else { return false };
    let Some(pid) = peer::pid(&socket) else { return true };
    let namespace = |process: String| std::fs::metadata(format!("/proc/{process}/ns/net")).map(|ns| ns.ino());
    match (namespace(pid.to_string()), namespace("thread-self".to_owned())) {
        (Ok(its), Ok(ours)) => its == ours,
        _ => true,
    }
}

fn look() -> ResolverEvidence {
    let program =
        |name: &str| Some(Program::find(name, &[])).filter(Program::is_there).map(|found| found.path);
    let target = files::target(Path::new(RESOLV_CONF)).ok();
    let found = target.as_ref().and_then(|target| files::read(target).ok().flatten());
    ResolverEvidence {
        resolved: resolved_runs(),
        resolvectl: program("resolvectl").is_some(),
        resolvconf: program("resolvconf").map(|path| path.canonicalize().unwrap_or(path)),
        debian_resolvconf: Path::new(DEBIAN_RESOLVCONF).exists(),
        target,
        content: found.map(|found| found.content).unwrap_or_default(),
        nsswitch: std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default(),
    }
}

fn decide(look: &ResolverEvidence) -> Resolver {
    let within = |dir: &str| look.target.as_ref().is_some_and(|target| target.starts_with(dir));
    let asked = within("/run/systemd/resolve")
        || parse::nameservers(&look.content)
            .iter()
            .any(|server| ["127.0.0.53", "127.0.0.54"].contains(&server.to_string().as_str()))
        || look.nsswitch.lines().any(|line| {
            line.strip_prefix("hosts:")
                .is_some_and(|hosts| hosts.split_whitespace().any(|word| word == "resolve"))
        });
    if look.resolved && look.resolvectl && asked {
        return Resolver::Resolved;
    }
    // systemd's resolvconf(1) is resolvectl(1) by another name, and would talk to nobody.
    let real = look.resolvconf.as_ref().filter(|path| !path.ends_with("resolvectl"));
    // Debian's writes a file of its own, which counts only when the system's leads there; openresolv writes that.
    if real.is_some() && (!look.debian_resolvconf || within("/run/resolvconf")) {
        return Resolver::Resolvconf;
    }
    Resolver::File
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_really_asked() {
        let host =
            ResolverEvidence { content: b"nameserver 192.0.2.53\n".to_vec(), ..ResolverEvidence::default() };
        assert_eq!(decide(&host), Resolver::File);

        let stub = |target: &str| ResolverEvidence {
            resolved: true,
            resolvectl: true,
            target: Some(target.into()),
            content: b"nameserver 127.0.0.53\n".to_vec(),
            ..ResolverEvidence::default()
        };
        assert_eq!(decide(&stub("/run/systemd/resolve/stub-resolv.conf")), Resolver::Resolved);
        // A copy of the stub, as some installers leave it.
        assert_eq!(decide(&stub("/etc/resolv.conf")), Resolver::Resolved);
        // It runs, and nobody asks it.
        let idle =
            ResolverEvidence { content: b"nameserver 192.0.2.53\n".to_vec(), ..stub("/etc/resolv.conf") };
        assert_eq!(decide(&idle), Resolver::File);
        let nss = ResolverEvidence {
            nsswitch: "passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\n".into(),
            ..idle
        };
        assert_eq!(decide(&nss), Resolver::Resolved);
        // It was stopped.
        let stopped = ResolverEvidence { resolved: false, ..stub("/run/systemd/resolve/stub-resolv.conf") };
        assert_eq!(decide(&stopped), Resolver::File);
    }

    #[test]
    fn a_resolvconf_that_writes_what_is_read() {
        let with =
            |path: &str| ResolverEvidence { resolvconf: Some(path.into()), ..ResolverEvidence::default() };
        assert_eq!(decide(&with("/sbin/resolvconf")), Resolver::Resolvconf);
        assert_eq!(decide(&with("/usr/bin/resolvectl")), Resolver::File);
        let debian = ResolverEvidence { debian_resolvconf: true, ..with("/sbin/resolvconf") };
        assert_eq!(decide(&debian), Resolver::File);
        let linked = ResolverEvidence { target: Some("/run/resolvconf/resolv.conf".into()), ..debian };
        assert_eq!(decide(&linked), Resolver::Resolvconf);
    }
}
