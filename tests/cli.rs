//! Transcripts of commands that need neither root nor a network, compared with golden files in `tests/cli`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test cli` rewrites the files. The output of a command must be the same for
//! root and for other users; where it is not, the command is run as nobody.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Uid and gid of nobody, on every system.
const NOBODY: u32 = 65_534;

#[test]
fn help_and_version() {
    let mut cli = Cli::new();
    cli.run(&["--help"]);
    for command in [
        "init",
        "edit",
        "up",
        "down",
        "restart",
        "reload",
        "redial",
        "pause",
        "status",
        "events",
        "watch",
        "metrics",
        "routes",
        "list",
        "check",
        "doctor",
        "logs",
        "capture",
        "report",
        "import",
        "recover",
        "demo",
        "completions",
    ] {
        cli.run(&[command, "--help"]);
    }
    cli.run(&["--version"]);
    cli.compare("help");
}

#[test]
fn invalid_command_line_exits_with_2() {
    let mut cli = Cli::new();
    for wrong in [
        &["frobnicate"][..],
        &["upp", "office"],
        &["up"],
        &["up", "--frobnicate", "office"],
        &["list", "--names", "--json"],
        &["up", "--quiet", "--json", "t-split"],
        &["up", "--autostart", "--json"],
        &["status", "one", "two"],
        &["restart"],
        &["pause", "t-split", "--for", "31m"],
        &["pause", "t-split", "--for", "1m", "--end"],
        &["completions", "tcsh"],
        &["init"],
        &["init", "new", "--route", "10.0.0.0/8", "--default"],
        &["capture", "t-split"],
        &["capture", "t-split", "/x", "--limit", "1K"],
        &["init", "new", "--password-file", "/x", "--password-stdin"],
        &["init", "new", "--json"],
    ] {
        assert_eq!(cli.run(wrong), 2, "{wrong:?}");
    }
    assert_eq!(cli.run(&[]), 2);
    cli.compare("usage");
}

#[test]
fn unknown_profile_exits_with_3_and_suggests_the_nearest() {
    let mut cli = Cli::with("profiles.toml");
    assert_eq!(cli.run(&["up", "--dry-run", "t-splti"]), 3);
    assert_eq!(cli.run(&["up", "--dry-run", "elsewhere"]), 3);
    assert_eq!(cli.run(&["status", "t-splti"]), 3);
    assert_eq!(cli.run(&["status", "../etc"]), 3);
    assert_eq!(cli.run(&["logs", "Vpn"]), 3);
    cli.compare("unknown_profile");
}

#[test]
fn missing_profiles_exit_with_3() {
    let mut cli = Cli::new();
    assert_eq!(cli.run(&["check"]), 3);
    assert_eq!(cli.run(&["list"]), 3);
    assert_eq!(cli.run(&["list", "--names"]), 3);
    assert_eq!(cli.run(&["up", "--dry-run", "office"]), 3);
    cli.compare("no_profiles");
}

#[test]
fn valid_profiles_with_a_warning_exit_with_0() {
    let mut cli = Cli::with("profiles.toml");
    assert_eq!(cli.run(&["check"]), 0);
    assert_eq!(cli.run(&["list"]), 0);
    assert_eq!(cli.run(&["list", "--names"]), 0);
    assert_eq!(cli.run(&["list", "--json"]), 0);
    cli.compare("good_profiles");
}

#[test]
fn check_for_another_system_reads_its_rules_file() {
    let mut cli = Cli::new();
    let rules = cli.dir.path().join("pf.vpn");
    fs::write(&rules, "nat on $vpn_if inet from any to any -> ($vpn_if)\n").unwrap();
    let profile = format!(
        "[profile.vpn]\nserver = 'a.example'\nuser = 'u'\npassword.fd = 3\nroutes = ['10.0.0.0/8']\n\
         pf = {{ anchor = 'vpn', file = '{}' }}\n",
        rules.display()
    );
    fs::write(&cli.profiles, profile).unwrap();
    cli.chmod(0o644);
    for (system, warnings) in [("openbsd", 1), ("freebsd", 0), ("netbsd", 0), ("linux", 0)] {
        let before = cli.transcript.len();
        assert_eq!(cli.run(&["check", "--platform", system]), 0);
        let output = &cli.transcript[before..];
        // A BSD that runs this test may have a pf.conf(5) without the anchor.
        let found = output.contains("/DESK/pf.vpn:1:1") && output.contains("OpenBSD's pf has no `nat` rules");
        assert_eq!(found, warnings == 1, "{output}");
    }
    assert_eq!(cli.run(&["check", "--platform", "plan9"]), 2);
}

#[test]
fn check_names_the_home_directory_behind_sudo() {
    let cli = Cli::with("profiles.toml");
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let check = |user: &str, home: &str| {
        let mut command = Command::new(&cli.program);
        command.arg("--config").arg(&cli.profiles).arg("check").env_clear();
        let output = command.env("SUDO_USER", user).env("HOME", home).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let warning = "pass then looks in root's home, not in that of nobody";
    assert!(check("nobody", "/root").contains(warning), "{}", check("nobody", "/root"));
    assert!(!check("root", "/root").contains("root's home"));
}

#[test]
fn invalid_profiles_are_reported() {
    let mut cli = Cli::with("bad.toml");
    assert_eq!(cli.run(&["check"]), 3);
    assert_eq!(cli.run(&["list"]), 0);
    assert_eq!(cli.run(&["list", "--json"]), 0);
    assert_eq!(cli.run(&["up", "--dry-run", "t-slips"]), 3);
    assert_eq!(cli.run(&["up", "--dry-run", "t-not-yet"]), 3);
    assert_eq!(
        cli.run(&["up", "--dry-run", "--platform", "linux", "t-good"]),
        0,
        "errors of other profiles do not affect it"
    );
    cli.compare("bad_profiles");
}

#[test]
fn broken_file_beside_valid_ones_is_reported() {
    let mut cli = Cli::with("profiles.toml");
    let profiles_d = cli.dir.path().join("profiles.d");
    fs::create_dir(&profiles_d).unwrap();
    fs::write(profiles_d.join("more.toml"), "[profile.more\n").unwrap();
    assert_eq!(cli.run(&["check"]), 3);
    assert_eq!(cli.run(&["list"]), 3);
    assert_eq!(cli.run(&["list", "--names"]), 3);
    assert_eq!(cli.run(&["up", "--dry-run", "more"]), 3);
    assert_eq!(cli.run(&["up", "--dry-run", "--platform", "linux", "t-split"]), 0, "its file is valid");
    cli.compare("broken_neighbour");
}

#[test]
fn write_error_fails_but_a_closed_pipe_does_not() {
    let cli = Cli::with("profiles.toml");
    let run = |out: Stdio| {
        let mut command = Command::new(&cli.program);
        command.arg("--config").arg(&cli.profiles).args(["list", "--json"]);
        command.stdout(out).stderr(Stdio::piped()).output().unwrap()
    };
    let full = run(fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
    assert_eq!(full.status.code(), Some(1));
    let stderr = String::from_utf8(full.stderr).unwrap();
    assert_eq!(stderr, "pptpctl: standard output: No space left on device (os error 28)\n");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = run(writer.into());
    assert_eq!((closed.status.code(), closed.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn inline_password_in_a_world_readable_file_is_refused() {
    let mut cli = Cli::with("bad.toml");
    cli.chmod(0o644);
    assert_eq!(cli.run(&["up", "--dry-run", "t-good"]), 3);
    cli.compare("inline_password");
}

#[test]
fn dry_run_shows_the_plan_of_each_kind() {
    let mut cli = Cli::with("profiles.toml");
    for profile in ["t-split", "t-default", "t-halves", "t-ipv6", "t-pppd"] {
        assert_eq!(cli.run(&["up", "--dry-run", "--platform", "linux", profile]), 0);
    }
    cli.compare("dry_run");
}

/// The examples of the manual page of pptp(8), as an administrator of each system types them.
#[test]
fn dry_run_uses_the_commands_of_another_system() {
    let mut cli = Cli::with("manual_page.toml");
    for system in ["freebsd", "openbsd", "netbsd", "linux"] {
        for profile in ["client", "router", "scripts"] {
            assert_eq!(cli.run(&["up", "--dry-run", "--platform", system, profile]), 0);
        }
    }
    assert_eq!(cli.run(&["up", "--dry-run", "--platform", "plan9", "client"]), 2);
    assert_eq!(cli.run(&["up", "--platform", "openbsd", "client"]), 2);
    cli.compare("dry_run_platforms");
}

#[test]
fn dry_run_shows_the_plan_for_another_system() {
    let mut cli = Cli::with("profiles.toml");
    for platform in ["linux", "freebsd", "openbsd", "netbsd"] {
        for profile in ["t-default", "t-guarded"] {
            assert_eq!(cli.run(&["up", "--dry-run", "--platform", platform, profile]), 0);
        }
    }
    assert_eq!(cli.run(&["up", "--platform", "openbsd", "t-default"]), 2, "--platform requires --dry-run");
    assert_eq!(cli.run(&["up", "--dry-run", "--platform", "plan9", "t-default"]), 2);
    cli.compare("platforms");
}

/// Settings of one system are shown for that system, and refused for the others.
#[test]
fn dry_run_shows_routing_domains_fibs_and_labels() {
    let mut cli = Cli::with("domains.toml");
    for (system, profile, status) in [
        ("openbsd", "rdomain", 0),
        ("freebsd", "fib", 0),
        ("linux", "rdomain", 3),
        ("freebsd", "rdomain", 3),
        ("openbsd", "fib", 3),
        ("netbsd", "fib", 3),
        ("openbsd", "labels", 0),
        ("freebsd", "labels", 3),
    ] {
        assert_eq!(cli.run(&["up", "--dry-run", "--platform", system, profile]), status);
    }
    cli.compare("domains");
}

#[test]
fn dry_run_shows_steps_undone_while_the_tunnel_is_lost() {
    let mut cli = Cli::with("let_go.toml");
    for profile in ["policy", "replace"] {
        assert_eq!(cli.run(&["up", "--dry-run", "--platform", "linux", profile]), 0);
    }
    cli.compare("let_go");
}

#[test]
fn tunnel_that_is_down_exits_with_6() {
    let mut cli = Cli::with("profiles.toml");
    assert_eq!(cli.run(&["status", "t-split"]), 6);
    assert_eq!(cli.run(&["status", "--json", "t-split"]), 6);
    if fs::read_dir("/var/log/pptpctl").is_ok() || !Path::new("/var/log/pptpctl").exists() {
        assert_eq!(cli.run(&["logs", "t-never-up"]), 6);
        cli.compare("down");
    }
}

#[test]
fn status_without_a_name_lists_all_profiles() {
    // No golden file: tunnels that are up on this host are in the output, too.
    let mut cli = Cli::with("profiles.toml");
    assert_eq!(cli.run(&["status"]), 0);
    for name in ["t-default", "t-halves", "t-ipv6", "t-split"] {
        let mut rows = cli.transcript.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|cells| cells.first() == Some(&name)).unwrap();
        assert_eq!(row.get(1), Some(&"down"), "{}", cli.transcript);
    }
}

#[test]
fn commands_that_need_root_exit_with_4() {
    let mut cli = Cli::with("profiles.toml");
    cli.as_nobody();
    for command in [
        &["up", "t-split"][..],
        &["down", "t-split"],
        &["recover"],
        &["up", "no-such-name"],
        &["restart", "t-split"],
        &["reload", "t-split"],
        &["redial", "t-split"],
        &["pause", "t-split"],
        &["init", "new"],
        &["capture", "t-split", "/nowhere/file"],
    ] {
        assert_eq!(cli.run(command), 4, "{command:?}");
    }
    cli.compare("not_root");
}

#[test]
fn hidden_roles_fail_when_run_by_a_user() {
    let mut cli = Cli::new();
    cli.as_nobody();
    // Standard input is no channel: the roles must neither hang nor report success.
    assert_ne!(cli.run(&["__engine"]), 0);
    assert_ne!(cli.run(&["__resolve"]), 0);
}

/// The environment of one transcript: profiles, program, and the output so far.
struct Cli {
    dir: tempfile::TempDir,
    program: PathBuf,
    profiles: PathBuf,
    nobody: bool,
    transcript: String,
}

impl Cli {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let profiles = dir.path().join("profiles.toml");
        let program = env!("CARGO_BIN_EXE_pptpctl").into();
        Self { dir, program, profiles, nobody: false, transcript: String::new() }
    }

    /// Returns an environment with these profiles of `tests/cli`, readable only by their owner.
    fn with(profiles: &str) -> Self {
        let cli = Self::new();
        fs::create_dir(cli.dir.path().join("bin")).unwrap();
        // `pass` is not installed everywhere, and `up` searches a fixed PATH.
        let stub = cli.dir.path().join("bin/pass");
        let text = fs::read_to_string(golden().join(profiles)).unwrap();
        fs::write(&cli.profiles, text.replace("[\"pass\"", &format!("[\"{}\"", stub.display()))).unwrap();
        cli.chmod(0o600);
        fs::write(&stub, "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
        cli
    }

    fn chmod(&self, mode: u32) {
        fs::set_permissions(&self.profiles, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Runs further commands as an unprivileged user, who may not be able to reach the build directory.
    fn as_nobody(&mut self) {
        if nix::unistd::geteuid().is_root() {
            let copy = self.dir.path().join("pptpctl");
            // Copied by another process: a file that is open for writing here is inherited by processes that
            // other tests start at that time, and until they close it execve(2) fails with ETXTBSY.
            assert!(Command::new("cp").args([&self.program, &copy]).status().unwrap().success());
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
            if self.profiles.exists() {
                self.chmod(0o644);
            }
            self.program = copy;
            self.nobody = true;
        }
    }

    /// Runs a command, records its output, and returns its exit status.
    fn run(&mut self, arguments: &[&str]) -> i32 {
        let mut command = if self.nobody {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()]);
            command.arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        let output = command
            .arg("--config")
            .arg(&self.profiles)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        self.record(arguments, &output);
        output.status.code().unwrap()
    }

    fn record(&mut self, arguments: &[&str], output: &Output) {
        let dir = self.dir.path().to_string_lossy();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            // Secrets in a profile are never shown, whatever the command and the error.
            assert!(!text.contains("planted"), "a secret in the output of {arguments:?}:\n{text}");
            assert!(!text.contains('\u{1b}'), "colours without a terminal");
            text.replace(&*dir, "/DESK")
                .replace(concat!("pptpctl ", env!("CARGO_PKG_VERSION")), "pptpctl VERSION")
        };
        self.transcript +=
            &format!("$ {}\n{}", [&["pptpctl"], arguments].concat().join(" "), text(&output.stdout));
        if !output.stderr.is_empty() {
            self.transcript += &format!("--- standard error\n{}", text(&output.stderr));
        }
        self.transcript += &format!("--- exit status {}\n\n", output.status.code().unwrap());
    }

    /// Compares the transcript with its golden file, or rewrites that.
    fn compare(self, name: &str) {
        let path = golden().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &self.transcript).unwrap();
            return;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let differs = || {
            let lines = self.transcript.lines().zip(expected.lines()).enumerate();
            let first = lines.into_iter().find(|(_, (found, wanted))| found != wanted);
            first.map_or_else(
                || "the lengths differ".into(),
                |(n, (found, wanted))| format!("line {}:\n  found:    {found}\n  expected: {wanted}", n + 1),
            )
        };
        assert!(
            self.transcript == expected,
            "{}: {}\nUPDATE_GOLDEN=1 rewrites it; the whole transcript:\n{}",
            path.display(),
            differs(),
            self.transcript
        );
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli")
}
