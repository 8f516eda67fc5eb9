//! Tests that the service scripts are valid shell and run the right pptpctl commands, with a stub of
//! rc.subr(8) or openrc-run(8). The real ones are not tested here (see docs/PLATFORMS.md).

#![expect(clippy::unwrap_used, reason = "a test; clippy.toml exempts only the functions marked as one")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The parts of rc.subr(8) that the scripts for FreeBSD and NetBSD use.
const RC_SUBR: &str = r#"
load_rc_config() { . "$PLACE/rc.conf"; }
run_rc_command() {
  for _dir in $required_dirs; do [ -d "$PLACE$_dir" ] || { echo "missing $_dir" >&2; exit 1; }; done
  eval "_run=\$$1_cmd"
  [ -n "$_run" ] || { echo "no command $1" >&2; exit 1; }
  $_run
}
"#;

/// The parts of rc.subr(8) that the script for OpenBSD uses: the flags from rc.conf.local, and `rc_exec`,
/// which runs the daemon.
const OPENBSD_RC_SUBR: &str = r#"
. "$PLACE/rc.conf"
rc_exec() { sh -c "$1"; }
rc_cmd() {
  case $1 in
    start) rc_pre && rc_start;;
    pattern) echo "$pexp";;
  esac
}
"#;

/// The scripts for BusyBox's shell. Where shellcheck(1) is missing it is no failure, except in CI.
#[test]
fn openwrt_and_container_scripts_pass_shellcheck() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut check = Command::new("shellcheck");
    check.args(["contrib/openwrt/lib/netifd/proto/pptp.sh", "contrib/openwrt/lib/netifd/pptpctl-netifd"]);
    check.args(["contrib/container/context"]).current_dir(root);
    match check.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "shellcheck: {error}");
        }
    }
}

#[test]
fn freebsd_brings_up_what_rc_conf_lists() {
    let script = StubbedScript::new("freebsd", RC_SUBR, "pptpctl_profiles='office lab'\n");
    assert_eq!(script.run(&["start"]), (true, "up --from-start office\nup --from-start lab\n".to_owned()));
    assert_eq!(script.run(&["stop"]), (true, "down office\ndown lab\n".to_owned()));
    assert_eq!(script.run(&["status"]), (true, "status office\nstatus lab\n".to_owned()));
    assert_eq!(script.run(&["reload"]), (true, "reload office\nreload lab\n".to_owned()));
    assert_eq!(
        script.run(&["restart"]).1,
        "down office\ndown lab\nup --from-start office\nup --from-start lab\n"
    );
}

#[test]
fn netbsd_brings_up_what_rc_conf_lists() {
    let script = StubbedScript::new("netbsd", RC_SUBR, "pptpctl_profiles='office lab'\n");
    assert_eq!(script.run(&["start"]), (true, "up --from-start office\nup --from-start lab\n".to_owned()));
    assert_eq!(script.run(&["reload"]), (true, "reload office\nreload lab\n".to_owned()));
    assert_eq!(
        script.run(&["restart"]).1,
        "down office\ndown lab\nup --from-start office\nup --from-start lab\n"
    );
}

#[test]
fn rc_script_accepts_one_tunnel() {
    for system in ["freebsd", "netbsd"] {
        let script = StubbedScript::new(system, RC_SUBR, "pptpctl_profiles='office lab'\n");
        assert_eq!(script.run(&["start", "home"]), (true, "up --from-start home\n".to_owned()), "{system}");
    }
}

#[test]
fn rc_script_continues_after_failure_and_reports_it() {
    for system in ["freebsd", "netbsd"] {
        let script = StubbedScript::new(system, RC_SUBR, "pptpctl_profiles='broken lab'\n");
        assert_eq!(
            script.run(&["start"]),
            (false, "up --from-start broken\nup --from-start lab\n".to_owned()),
            "{system}"
        );
        // For a profile called `idle`, the stub of pptpctl exits with status 6 (not up).
        let script = StubbedScript::new(system, RC_SUBR, "pptpctl_profiles='idle lab'\n");
        assert_eq!(script.run(&["stop"]), (true, "down idle\ndown lab\n".to_owned()), "{system}");
        assert!(!script.run(&["status"]).0, "{system}");
    }
}

#[test]
fn openbsd_brings_up_the_profile_of_its_flags() {
    let script = StubbedScript::new("openbsd", OPENBSD_RC_SUBR, "daemon_flags=office\n");
    assert_eq!(script.run(&["start"]), (true, "up --from-start office\n".to_owned()));
    let pattern = script.output(&["pattern"]);
    assert!(pattern.ends_with("/pptpctl up --from-start office\n"), "the pattern for pgrep(1): {pattern}");
    let script = StubbedScript::new("openbsd", OPENBSD_RC_SUBR, "daemon_flags=\n");
    assert_eq!(script.run(&["start"]), (false, String::new()), "pptpctl was started without a profile");
}

/// The scripts require only the directory of profiles.toml and profiles.d, not one of the two.
#[test]
fn rc_script_starts_nothing_without_profiles() {
    for system in ["freebsd", "netbsd"] {
        let script = StubbedScript::new(system, RC_SUBR, "pptpctl_profiles=office\n");
        fs::remove_dir(script.dir.path().join("etc/pptpctl")).unwrap();
        assert_eq!(script.run(&["start"]), (false, String::new()), "{system}");
    }
}

/// The ports of FreeBSD and OpenBSD have copies of the scripts with a placeholder for the prefix; the NetBSD
/// port uses the script itself.
#[test]
fn scripts_of_ports_are_identical() {
    let read = |path: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(path)).unwrap()
    };
    let ours = read("rc.d/freebsd").replace("Install as /usr/local/etc/rc.d/pptpctl. In", "In");
    let ours = ours.replace("/usr/local", "%%PREFIX%%").replace("/etc/pptpctl", "%%PREFIX%%/etc/pptpctl");
    assert_eq!(read("ports/freebsd/net/pptpctl/files/pptpctl.in"), ours);
    let ours = read("rc.d/openbsd").replace("Install as /etc/rc.d/pptpctl. One", "One");
    assert_eq!(read("ports/openbsd/net/pptpctl/pkg/pptpctl.rc"), ours.replace("/usr/local", "${TRUEPREFIX}"));
    assert!(read("ports/netbsd/net/pptpctl/Makefile").contains("${WRKSRC}/contrib/rc.d/netbsd"));
}

/// The functions of openrc-run(8) that the script uses.
const OPENRC: &str = r#"
ebegin() { :; }
eend() { return $1; }
eerror() { echo "$1" >&2; }
"#;

#[test]
fn openrc_brings_up_the_tunnel_of_its_name() {
    let openrc = |service: &str, function: &str| {
        let command = format!("RC_SVCNAME={service}; . ./rc.subr; . ./script; {function}");
        let script = StubbedScript::of("openrc", OPENRC, "");
        let ended = Command::new("sh")
            .args(["-c", &command])
            .current_dir(script.dir.path())
            .env("PLACE", script.dir.path())
            .status()
            .unwrap();
        let calls = fs::read_to_string(script.dir.path().join("calls")).unwrap_or_default();
        (ended.success(), calls)
    };
    let office = |function| openrc("pptpctl.office", function);
    assert_eq!(office("start_pre && start"), (true, "up --from-start office\n".to_owned()));
    assert_eq!(office("stop"), (true, "down office\n".to_owned()));
    assert_eq!(office("status"), (true, "status office\n".to_owned()));
    assert_eq!(openrc("pptpctl.broken", "start"), (false, "up --from-start broken\n".to_owned()));
    assert_eq!(openrc("pptpctl.idle", "stop"), (true, "down idle\n".to_owned()));
    assert_eq!(openrc("pptpctl", "start_pre && start"), (false, String::new()), "a service without a name");
}

/// The dispatcher script of NetworkManager, which calls it with a device and an action, and the connection in the
/// environment.
#[test]
fn networkmanager_dispatcher_follows_the_listed_connection() {
    let script = StubbedScript::of("networkmanager/dispatcher", "", "");
    let place = script.dir.path();
    let pairs = "# profile connection\n\noffice Home network\nlab Home network\nidle Cafe\nbroken Hotel\n";
    fs::write(place.join("pairs"), pairs).unwrap();
    let text = fs::read_to_string(&script.script).unwrap();
    let text = text.replace("/etc/pptpctl/networkmanager\n", &format!("{}\n", place.join("pairs").display()));
    // Not under systemd, and without the background, so that the calls are complete when it ends.
    let text = text.replace("/run/systemd/system", "/nonexistent").replace("2>&1 &\n", "2>&1\n");
    fs::write(&script.script, text).unwrap();
    let calls = |connection: &str, action: &str| {
        let calls = place.join("calls");
        drop(fs::remove_file(&calls));
        let ended = script.command(&["wlan0", action]).env("CONNECTION_ID", connection).status().unwrap();
        (ended.success(), fs::read_to_string(calls).unwrap_or_default())
    };
    let both = "up --from-start --quiet office\nup --from-start --quiet lab\n";
    assert_eq!(calls("Home network", "up"), (true, both.to_owned()));
    assert_eq!(calls("Home network", "pre-down"), (true, "down office\ndown lab\n".to_owned()));
    assert_eq!(calls("Home network", "dhcp4-change"), (true, String::new()));
    assert_eq!(calls("Home", "up"), (true, String::new()), "a part of a name");
    assert_eq!(calls("Cafe", "pre-down"), (true, "down idle\n".to_owned()), "not up is no failure");
    assert_eq!(calls("Hotel", "pre-down"), (false, "down broken\n".to_owned()));
    assert_eq!(script.run(&["wlan0", "up"]), (true, String::new()), "without a connection");
}

/// runsv(8) and s6-supervise run `run` in the service's directory, and `finish` with its exit status.
#[test]
fn runit_and_s6_bring_up_the_tunnel_of_their_directory() {
    for system in ["runit", "s6"] {
        let script = StubbedScript::of(&format!("{system}/run"), "", "");
        let service = script.dir.path().join("pptpctl-office");
        fs::create_dir(&service).unwrap();
        let ended = Command::new("sh")
            .arg(&script.script)
            .current_dir(&service)
            .env("PLACE", script.dir.path())
            .status()
            .unwrap();
        assert!(ended.success(), "{system}");
        let calls = fs::read_to_string(script.dir.path().join("calls")).unwrap();
        assert_eq!(calls, "up --foreground --from-start office\n", "{system}");
    }
    let finish = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/s6/finish");
    let status = Command::new("sh").arg(finish).args(["19", "0"]).status().unwrap();
    assert_eq!(status.code(), Some(125), "a refusal ends the service");
}

/// A copy of an rc.d script that refers to the stubs, in a temporary directory.
struct StubbedScript {
    dir: tempfile::TempDir,
    script: PathBuf,
}

impl StubbedScript {
    fn new(system: &str, rc_subr: &str, rc_conf: &str) -> Self {
        Self::of(&format!("rc.d/{system}"), rc_subr, rc_conf)
    }

    /// `path` is that of the script in contrib.
    fn of(path: &str, rc_subr: &str, rc_conf: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("rc.subr"), rc_subr).unwrap();
        fs::write(at("rc.conf"), rc_conf).unwrap();
        fs::create_dir_all(at("etc/pptpctl")).unwrap();
        let pptpctl = at("pptpctl");
        let stub = "echo \"$@\" >>\"$PLACE/calls\"; for last; do :; done; case $last in broken) exit 13;; idle) exit 6;; esac\n";
        // Written by another process: children that other tests start at this time would inherit our
        // descriptor, and a file open for writing cannot be executed (ETXTBSY).
        let write = "printf '#!/bin/sh\\n%s' \"$2\" >\"$1\" && chmod 755 \"$1\"";
        let written = Command::new("sh").args(["-c", write, "sh"]).arg(&pptpctl).arg(stub).status();
        assert!(written.unwrap().success());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(path);
        let text = fs::read_to_string(source).unwrap();
        let mut changed = text.clone();
        for (from, to) in [
            ("/etc/rc.d/rc.subr", at("rc.subr")),
            ("/etc/rc.subr", at("rc.subr")),
            ("/usr/local/sbin/pptpctl", pptpctl.clone()),
            ("/usr/local/bin/pptpctl", pptpctl.clone()),
            ("/usr/pkg/sbin/pptpctl", pptpctl.clone()),
        ] {
            changed = changed.replace(from, to.to_str().unwrap());
        }
        assert_ne!(changed, text);
        let script = at("script");
        fs::write(&script, changed).unwrap();
        Self { dir, script }
    }

    /// Runs the script; returns whether it succeeded, and the arguments of each pptpctl run.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let calls = self.dir.path().join("calls");
        drop(fs::remove_file(&calls));
        let ended = self.command(arguments).status().unwrap();
        (ended.success(), fs::read_to_string(calls).unwrap_or_default())
    }

    fn output(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.command(arguments).output().unwrap().stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.arg(&self.script).args(arguments).env("PLACE", self.dir.path());
        command
    }
}
