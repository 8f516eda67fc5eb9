//! Detects what manages this host's resolvers.

use std::{
    io,
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
};

use super::parse;
use crate::{
    apply::{Program, files},
    os::{launch, peer},
    plan::{RESOLV_CONF, Resolver},
    platform::Platform,
};

/// Socket of systemd-resolved; it accepts connections only while the daemon runs.
const RESOLVED: &str = "/run/systemd/resolve/io.systemd.Resolve";
/// Exists with Debian's resolvconf, not with openresolv.
const DEBIAN_RESOLVCONF: &str = "/etc/resolvconf/update.d";

/// The file that names the sources of host names on Linux.
pub const NSSWITCH: &str = "/etc/nsswitch.conf";

/// The state of a host that the decision depends on, read without contacting a resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ResolverEvidence {
    /// Whether systemd-resolved runs in this network namespace.
    resolved: bool,
    resolvectl: bool,
    /// Resolved path of resolvconf(8), if it exists.
    resolvconf: Option<PathBuf>,
    debian_resolvconf: bool,
    /// Resolved path of /etc/resolv.conf.
    target: Option<PathBuf>,
    content: Vec<u8>,
    nsswitch: String,
}

/// Returns what manages this host's resolvers.
#[must_use]
pub fn detect() -> Resolver {
    match Platform::host() {
        Platform::Linux => decide(&gather_evidence()),
        Platform::OpenBsd => Resolver::Resolvd,
        Platform::FreeBsd | Platform::NetBsd => Resolver::Resolvconf,
    }
}

/// Returns whether systemd-resolved runs in this network namespace. A daemon of another namespace would
/// mistake our interface index for one of its own.
pub(super) fn resolved_runs() -> bool {
    let is_listed = || {
        std::fs::read_to_string("/proc/thread-self/net/unix").map_or(true, |list| has_socket(&list, RESOLVED))
    };
    let socket = match UnixStream::connect(RESOLVED) {
        Ok(socket) => socket,
        // A restricted supervisor connects to no other program.
        Err(error) => return error.kind() == io::ErrorKind::PermissionDenied && is_listed(),
    };
    let Some(pid) = peer::pid(&socket) else { return true };
    let namespace = |process: String| std::fs::metadata(format!("/proc/{process}/ns/net")).map(|ns| ns.ino());
    match (namespace(pid.to_string()), namespace("thread-self".to_owned())) {
        (Ok(its), Ok(ours)) => its == ours,
        // A restricted supervisor may not inspect the daemon, but read which sockets are of this namespace.
        _ => is_listed(),
    }
}

/// Returns whether a list as /proc/net/unix has a socket with this path: the last of eight columns.
fn has_socket(list: &str, path: &str) -> bool {
    list.lines().any(|line| line.split_ascii_whitespace().nth(7) == Some(path))
}

fn gather_evidence() -> ResolverEvidence {
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
        nsswitch: launch::files::read_to_string(Path::new(NSSWITCH)).unwrap_or_default(),
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
    // systemd's resolvconf(1) is a link to resolvectl(1), which would reach no daemon.
    let real = look.resolvconf.as_ref().filter(|path| !path.ends_with("resolvectl"));
    // Debian's writes a separate file, which matters only if /etc/resolv.conf links to it; openresolv writes
    // /etc/resolv.conf itself.
    if real.is_some() && (!look.debian_resolvconf || within("/run/resolvconf")) {
        return Resolver::Resolvconf;
    }
    Resolver::File
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_of_this_namespace_is_found() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 171 /run/systemd/resolve/io.systemd.Resolve\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 172\n";
        assert!(has_socket(list, RESOLVED));
        assert!(!has_socket(list, "/run/systemd/resolve") && !has_socket("", RESOLVED));
    }

    #[test]
    fn resolved_is_detected_only_when_it_is_queried() {
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
        // A copy of the stub file, as some installers leave it.
        assert_eq!(decide(&stub("/etc/resolv.conf")), Resolver::Resolved);
        // The daemon runs, but programs do not query it.
        let idle =
            ResolverEvidence { content: b"nameserver 192.0.2.53\n".to_vec(), ..stub("/etc/resolv.conf") };
        assert_eq!(decide(&idle), Resolver::File);
        let nss = ResolverEvidence {
            nsswitch: "passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\n".into(),
            ..idle
        };
        assert_eq!(decide(&nss), Resolver::Resolved);
        // The daemon was stopped.
        let stopped = ResolverEvidence { resolved: false, ..stub("/run/systemd/resolve/stub-resolv.conf") };
        assert_eq!(decide(&stopped), Resolver::File);
    }

    #[test]
    fn resolvconf_is_detected_only_when_its_file_is_read() {
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
