//! What `make install` puts into `DESTDIR`, as packages are made of it.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PPTPCTL: &str = env!("CARGO_BIN_EXE_pptpctl");

/// Runs `make install` into a directory, with the programs of this build.
fn install(into: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new("make");
    command.args(["-s", "-C", ROOT, "install"]).arg(format!("DESTDIR={}", into.display())).args(arguments);
    for name in ["MAKEFLAGS", "PREFIX", "SYSCONFDIR", "PPTPCTL", "UNITDIR", "SYSUSERSDIR", "ZSHDIR", "DOCDIR"]
    {
        command.env_remove(name);
    }
    command.env("BUILT", Path::new(PPTPCTL).parent().unwrap());
    command.envs(environment.iter().copied()).output().unwrap()
}

fn installed(into: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> BTreeMap<PathBuf, u32> {
    let output = install(into, arguments, environment);
    let shown =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && shown.is_empty(), "{:?}: {shown}", output.status);
    let mut found = BTreeMap::new();
    collect(into, into, &mut found);
    found
}

/// Adds files and empty directories below a directory, with their modes.
fn collect(root: &Path, directory: &Path, found: &mut BTreeMap<PathBuf, u32>) {
    for entry in fs::read_dir(directory).unwrap() {
        let (path, before) = (entry.unwrap().path(), found.len());
        if path.is_dir() {
            collect(root, &path, found);
        }
        if path.is_file() || found.len() == before {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            found.insert(path.strip_prefix(root).unwrap().to_owned(), mode);
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn everything_is_installed_below_the_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let found = installed(directory.path(), &["PREFIX=/usr"], &[]);
    let mut wanted: BTreeMap<PathBuf, u32> = [
        ("usr/bin/pptpctl", 0o755),
        ("usr/sbin/pptp", 0o755),
        ("usr/share/bash-completion/completions/pptp", 0o644),
        ("usr/share/bash-completion/completions/pptpctl", 0o644),
        ("usr/share/fish/vendor_completions.d/pptp.fish", 0o644),
        ("usr/share/fish/vendor_completions.d/pptpctl.fish", 0o644),
        ("usr/share/zsh/site-functions/_pptp", 0o644),
        ("usr/share/zsh/site-functions/_pptpctl", 0o644),
        ("usr/lib/sysusers.d/pptpctl.conf", 0o644),
        ("etc/pptpctl/profiles.toml", 0o644),
        ("etc/pptpctl/profiles.d", 0o755),
        ("etc/pptpctl/secrets", 0o700),
    ]
    .map(|(path, mode)| (path.into(), mode))
    .into();
    let names = |of: &str| -> Vec<String> {
        let entries = fs::read_dir(Path::new(ROOT).join(of)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    for page in names("man") {
        wanted.insert(format!("usr/share/man/man{}/{page}", page.rsplit_once('.').unwrap().1).into(), 0o644);
    }
    for unit in names("contrib/systemd").into_iter().filter(|name| name.ends_with(".service")) {
        wanted.insert(format!("usr/lib/systemd/system/{unit}").into(), 0o644);
    }
    let documents = Path::new("usr/share/doc/pptpctl");
    let others: BTreeMap<PathBuf, u32> =
        found.clone().into_iter().filter(|(path, _)| !path.starts_with(documents)).collect();
    assert_eq!(others, wanted);
    for document in [
        "README.md",
        "profiles.example.toml",
        "examples/client.toml",
        "docs/MIGRATING.md",
        "docs/TROUBLESHOOTING.md",
        "contrib/systemd/hooks.conf",
    ] {
        assert_eq!(found.get(&documents.join(document)), Some(&0o644), "{document}");
    }
    let completions = read(directory.path().join("usr/share/zsh/site-functions/_pptpctl"));
    assert!(completions.starts_with("#compdef pptpctl"), "{completions}");
}

#[test]
fn units_start_the_installed_program() {
    for prefix in ["/usr", "/usr/local", "/opt/pptpctl"] {
        let directory = tempfile::tempdir().unwrap();
        installed(directory.path(), &[&format!("PREFIX={prefix}")], &[]);
        for unit in ["pptpctl@.service", "pptpctl-autostart.service"] {
            let text = read(directory.path().join(&prefix[1..]).join("lib/systemd/system").join(unit));
            let programs: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("Exec")?.split_once('=')?.1.split(' ').next())
                .collect();
            assert!(!programs.is_empty(), "{unit}");
            for program in programs {
                assert_eq!(program, format!("{prefix}/bin/pptpctl"), "{unit}");
                assert!(directory.path().join(&program[1..]).exists(), "{unit}");
            }
        }
    }
}

#[test]
fn configuration_is_valid_and_an_existing_one_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    installed(directory.path(), &[], &[]);
    let profiles = directory.path().join("etc/pptpctl/profiles.toml");
    let output = Command::new(PPTPCTL).arg("--config").arg(&profiles).arg("check").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0 profiles, 0 errors, 0 warnings");
    let own = "[profile.a]\nserver = \"a.example\"\nuser = \"u\"\n";
    fs::write(&profiles, own).unwrap();
    let secrets = directory.path().join("etc/pptpctl/secrets");
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o750)).unwrap();
    installed(directory.path(), &[], &[]);
    assert_eq!(read(&profiles), own);
    assert_eq!(fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o750);
}

#[test]
fn empty_directories_leave_files_out_and_missing_programs_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let without = [("UNITDIR", ""), ("SYSUSERSDIR", ""), ("ZSHDIR", ""), ("SYSCONFDIR", "")];
    let found = installed(directory.path(), &["PREFIX=/usr"], &without);
    assert!(found.contains_key(Path::new("usr/bin/pptpctl")));
    let left_out = |path: &Path| {
        path.starts_with("etc") || path.starts_with("usr/lib") || path.starts_with("usr/share/zsh")
    };
    assert!(!found.keys().any(|path| left_out(path)), "{found:?}");

    let empty = tempfile::tempdir().unwrap();
    let output = install(empty.path(), &[], &[("BUILT", "/nowhere")]);
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && shown.contains("no /nowhere/pptpctl: run `cargo build"), "{shown}");
    let output = install(empty.path(), &[], &[("PPTPCTL", "/bin/false")]);
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && shown.contains("/bin/false does not write completions"), "{shown}");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}
