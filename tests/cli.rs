//! Transcripts of the command line that need neither root nor a network, held against golden files in `tests/cli`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test cli` writes the files anew. What a command says must be the same for root and
//! for others; where it is not, the command is run as nobody.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Nobody, on every system.
const NOBODY: u32 = 65_534;

#[test]
fn help_and_version() {
    let mut desk = Desk::new();
    desk.run(&["--help"]);
    for command in ["up", "down", "status", "routes", "list", "check", "logs", "recover", "demo"] {
        desk.run(&[command, "--help"]);
    }
    desk.run(&["--version"]);
    desk.compare("help");
}

#[test]
fn a_wrong_command_line_is_status_2() {
    let mut desk = Desk::new();
    for wrong in [
        &["frobnicate"][..],
        &["upp", "office"],
        &["up"],
        &["up", "--frobnicate", "office"],
        &["list", "--names", "--json"],
        &["status", "one", "two"],
    ] {
        assert_eq!(desk.run(wrong), 2, "{wrong:?}");
    }
    assert_eq!(desk.run(&[]), 2);
    desk.compare("usage");
}

#[test]
fn a_name_that_is_not_there_is_status_3_with_the_nearest() {
    let mut desk = Desk::with("profiles.toml");
    assert_eq!(desk.run(&["up", "--dry-run", "t-splti"]), 3);
    assert_eq!(desk.run(&["up", "--dry-run", "elsewhere"]), 3);
    assert_eq!(desk.run(&["status", "t-splti"]), 3);
    assert_eq!(desk.run(&["status", "../etc"]), 3);
    assert_eq!(desk.run(&["logs", "Vpn"]), 3);
    desk.compare("unknown_profile");
}

#[test]
fn no_profiles_at_all() {
    let mut desk = Desk::new();
    assert_eq!(desk.run(&["check"]), 3);
    assert_eq!(desk.run(&["list"]), 3);
    assert_eq!(desk.run(&["list", "--names"]), 3);
    assert_eq!(desk.run(&["up", "--dry-run", "office"]), 3);
    desk.compare("no_profiles");
}

#[test]
fn good_profiles_with_a_warning() {
    let mut desk = Desk::with("profiles.toml");
    assert_eq!(desk.run(&["check"]), 0);
    assert_eq!(desk.run(&["list"]), 0);
    assert_eq!(desk.run(&["list", "--names"]), 0);
    assert_eq!(desk.run(&["list", "--json"]), 0);
    desk.compare("good_profiles");
}

#[test]
fn bad_profiles() {
    let mut desk = Desk::with("bad.toml");
    assert_eq!(desk.run(&["check"]), 3);
    assert_eq!(desk.run(&["list"]), 0);
    assert_eq!(desk.run(&["list", "--json"]), 0);
    assert_eq!(desk.run(&["up", "--dry-run", "t-slips"]), 3);
    assert_eq!(desk.run(&["up", "--dry-run", "t-not-yet"]), 3);
    assert_eq!(desk.run(&["up", "--dry-run", "t-good"]), 0, "others' errors are not its own");
    desk.compare("bad_profiles");
}

#[test]
fn a_broken_file_beside_good_ones_is_not_passed_over() {
    let mut desk = Desk::with("profiles.toml");
    let beside = desk.place.path().join("profiles.d");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("more.toml"), "[profile.more\n").unwrap();
    assert_eq!(desk.run(&["check"]), 3);
    assert_eq!(desk.run(&["list"]), 3);
    assert_eq!(desk.run(&["list", "--names"]), 3);
    assert_eq!(desk.run(&["up", "--dry-run", "more"]), 3);
    assert_eq!(desk.run(&["up", "--dry-run", "t-split"]), 0, "its own file is good");
    desk.compare("broken_neighbour");
}

#[test]
fn output_that_is_lost_is_an_error_and_a_closed_pipe_is_none() {
    let desk = Desk::with("profiles.toml");
    let run = |out: Stdio| {
        let mut command = Command::new(&desk.program);
        command.arg("--config").arg(&desk.profiles).args(["list", "--json"]);
        command.stdout(out).stderr(Stdio::piped()).output().unwrap()
    };
    let full = run(fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
    assert_eq!(full.status.code(), Some(1));
    let said = String::from_utf8(full.stderr).unwrap();
    assert_eq!(said, "pptpctl: standard output: No space left on device (os error 28)\n");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = run(writer.into());
    assert_eq!((closed.status.code(), closed.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn an_inline_password_in_a_file_for_everyone_is_refused() {
    let mut desk = Desk::with("bad.toml");
    desk.chmod(0o644);
    assert_eq!(desk.run(&["up", "--dry-run", "t-good"]), 3);
    desk.compare("inline_password");
}

#[test]
fn a_dry_run_shows_the_plan_of_each_kind() {
    let mut desk = Desk::with("profiles.toml");
    for profile in ["t-split", "t-default", "t-halves", "t-ipv6", "t-pppd"] {
        assert_eq!(desk.run(&["up", "--dry-run", profile]), 0);
    }
    desk.compare("dry_run");
}

/// The examples of the manual page of pptp(8), as an administrator of each system would type them.
#[test]
fn a_dry_run_for_another_system_speaks_its_words() {
    let mut desk = Desk::with("manual_page.toml");
    for system in ["freebsd", "openbsd", "netbsd", "linux"] {
        for profile in ["client", "router", "scripts"] {
            assert_eq!(desk.run(&["up", "--dry-run", "--platform", system, profile]), 0);
        }
    }
    assert_eq!(desk.run(&["up", "--dry-run", "--platform", "plan9", "client"]), 2);
    assert_eq!(desk.run(&["up", "--platform", "openbsd", "client"]), 2);
    desk.compare("dry_run_platforms");
}

#[test]
fn a_dry_run_shows_what_another_system_would_do() {
    let mut desk = Desk::with("profiles.toml");
    for platform in ["linux", "freebsd", "openbsd", "netbsd"] {
        for profile in ["t-default", "t-guarded"] {
            assert_eq!(desk.run(&["up", "--dry-run", "--platform", platform, profile]), 0);
        }
    }
    assert_eq!(desk.run(&["up", "--platform", "openbsd", "t-default"]), 2, "only to look at");
    assert_eq!(desk.run(&["up", "--dry-run", "--platform", "plan9", "t-default"]), 2);
    desk.compare("platforms");
}

/// What belongs to one other system is shown for that one, and refused for the others.
#[test]
fn a_dry_run_of_a_routing_table_of_the_tunnels_own_and_of_labels() {
    let mut desk = Desk::with("domains.toml");
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
        assert_eq!(desk.run(&["up", "--dry-run", "--platform", system, profile]), status);
    }
    desk.compare("domains");
}

#[test]
fn a_dry_run_shows_what_is_let_go_while_the_tunnel_is_lost() {
    let mut desk = Desk::with("let_go.toml");
    for profile in ["policy", "replace"] {
        assert_eq!(desk.run(&["up", "--dry-run", profile]), 0);
    }
    desk.compare("let_go");
}

#[test]
fn a_tunnel_that_is_down_is_status_6() {
    let mut desk = Desk::with("profiles.toml");
    assert_eq!(desk.run(&["status", "t-split"]), 6);
    assert_eq!(desk.run(&["status", "--json", "t-split"]), 6);
    if fs::read_dir("/var/log/pptpctl").is_ok() || !Path::new("/var/log/pptpctl").exists() {
        assert_eq!(desk.run(&["logs", "t-never-up"]), 6);
        desk.compare("down");
    }
}

#[test]
fn status_of_all_names_the_profiles() {
    // No golden file: tunnels that live on this host are in it too.
    let mut desk = Desk::with("profiles.toml");
    assert_eq!(desk.run(&["status"]), 0);
    for name in ["t-default", "t-halves", "t-ipv6", "t-split"] {
        assert!(desk.transcript.contains(&format!("\n{name}: down\n")), "{}", desk.transcript);
    }
}

#[test]
fn what_needs_root_says_so_with_status_4() {
    let mut desk = Desk::with("profiles.toml");
    desk.as_nobody();
    for command in [&["up", "t-split"][..], &["down", "t-split"], &["recover"], &["up", "no-such-name"]] {
        assert_eq!(desk.run(command), 4, "{command:?}");
    }
    desk.compare("not_root");
}

#[test]
fn the_hidden_roles_do_nothing_for_a_person() {
    let mut desk = Desk::new();
    desk.as_nobody();
    // Their standard input is no channel; they must not hang, and not claim to have done something.
    assert_ne!(desk.run(&["__engine"]), 0);
    assert_ne!(desk.run(&["__resolve"]), 0);
}

/// A place of its own for one transcript: profiles, program, and what was said so far.
struct Desk {
    place: tempfile::TempDir,
    program: PathBuf,
    profiles: PathBuf,
    nobody: bool,
    transcript: String,
}

impl Desk {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let profiles = place.path().join("profiles.toml");
        let program = env!("CARGO_BIN_EXE_pptpctl").into();
        Self { place, program, profiles, nobody: false, transcript: String::new() }
    }

    /// With these profiles of `tests/cli`, readable by their owner alone.
    fn with(profiles: &str) -> Self {
        let desk = Self::new();
        fs::copy(golden().join(profiles), &desk.profiles).unwrap();
        desk.chmod(0o600);
        desk
    }

    fn chmod(&self, mode: u32) {
        fs::set_permissions(&self.profiles, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// From now on as a user without rights, who may not be able to reach the build directory.
    fn as_nobody(&mut self) {
        if nix::unistd::geteuid().is_root() {
            let copy = self.place.path().join("pptpctl");
            // By a process of its own: a copy that is open for writing here is passed on to what other tests start just
            // then, and until those have got rid of it nobody can run it (ETXTBSY).
            assert!(Command::new("cp").args([&self.program, &copy]).status().unwrap().success());
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
            if self.profiles.exists() {
                self.chmod(0o644);
            }
            self.program = copy;
            self.nobody = true;
        }
    }

    /// Runs it, writes down what it said, and gives its exit status.
    fn run(&mut self, arguments: &[&str]) -> i32 {
        let mut command = if self.nobody {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()]);
            command.arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let output = command
            .arg("--config")
            .arg(&self.profiles)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .current_dir(self.place.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        self.write_down(arguments, &output);
        output.status.code().unwrap()
    }

    fn write_down(&mut self, arguments: &[&str], output: &Output) {
        let place = self.place.path().to_string_lossy();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            // Nothing planted in a profile is ever shown, whatever is asked and whatever is wrong.
            assert!(!text.contains("planted"), "a secret in the output of {arguments:?}:\n{text}");
            assert!(!text.contains('\u{1b}'), "colours without a terminal");
            text.replace(&*place, "/DESK")
                .replace(concat!("pptpctl ", env!("CARGO_PKG_VERSION")), "pptpctl VERSION")
        };
        self.transcript +=
            &format!("$ {}\n{}", [&["pptpctl"], arguments].concat().join(" "), text(&output.stdout));
        if !output.stderr.is_empty() {
            self.transcript += &format!("--- standard error\n{}", text(&output.stderr));
        }
        self.transcript += &format!("--- exit status {}\n\n", output.status.code().unwrap());
    }

    /// Holds the transcript against its golden file, or writes that anew.
    fn compare(self, name: &str) {
        let path = golden().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &self.transcript).unwrap();
            return;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let differs = || {
            let lines = self.transcript.lines().zip(expected.lines()).enumerate();
            let first = lines.into_iter().find(|(_, (is, was))| is != was);
            first.map_or_else(
                || "one is longer".into(),
                |(n, (is, was))| format!("line {}:\n  is:  {is}\n  was: {was}", n + 1),
            )
        };
        assert!(
            self.transcript == expected,
            "{}: {}\nUPDATE_GOLDEN=1 writes it anew; the whole transcript:\n{}",
            path.display(),
            differs(),
            self.transcript
        );
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli")
}
