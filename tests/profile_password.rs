//! The sources of passwords, and the errors of each.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "lab/script.rs"]
mod script;

use std::{
    ffi::OsString,
    fs,
    fs::File,
    io::{Seek, Write},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::unistd::Uid;
use pptpctl::testing::{
    profile::{MAX_PASSWORD, PasswordSource},
    supervisor::password::{self, SecretAccess},
};
use tempfile::TempDir;

/// Returns the password, or the error message.
fn load(source: &PasswordSource) -> Result<Vec<u8>, String> {
    load_with(source, &SecretAccess { limit: Duration::from_secs(20), ..SecretAccess::of_this_process() })
}

fn load_with(source: &PasswordSource, access: &SecretAccess<'_>) -> Result<Vec<u8>, String> {
    password::load(source, access).map(|secret| secret.expose().to_vec()).map_err(|error| error.to_string())
}

fn file(directory: &Path, content: &[u8], mode: u32) -> PathBuf {
    let path = directory.join("password");
    let _ = fs::remove_file(&path);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn shell(script: &str) -> PasswordSource {
    PasswordSource::Command(["sh", "-c", script].map(OsString::from).to_vec())
}

#[test]
fn file_must_have_one_line() {
    let directory = TempDir::new().unwrap();
    let load_content = |content: &[u8]| load(&PasswordSource::File(file(directory.path(), content, 0o600)));
    assert_eq!(load_content(b"hunter2").unwrap(), b"hunter2");
    assert_eq!(load_content(b"hunter2\n").unwrap(), b"hunter2");
    assert_eq!(load_content(b"hunter2\r\n").unwrap(), b"hunter2");
    assert_eq!(load_content(b" h\xfcnt er \n").unwrap(), b" h\xfcnt er ");
    assert!(load_content(b"").unwrap_err().contains("is empty"));
    assert!(load_content(b"\n").unwrap_err().contains("is empty"));
    assert!(load_content(b"hunter2\n\n").unwrap_err().contains("more than one line"));
    assert!(load_content(b"a\nhunter2").unwrap_err().contains("more than one line"));
    assert!(load_content(b"hun\0ter2").unwrap_err().contains("NUL"));
    assert_eq!(load_content(b"\xef\xbb\xbfhunter2\r\n").unwrap(), b"hunter2", "a byte order mark");
    assert!(load_content(b"\xef\xbb\xbf\n").unwrap_err().contains("is empty"));
    assert!(load_content(b"\xff\xfeh\0\n\0").unwrap_err().contains("save it as UTF-8"));
    assert!(load_content(b"\xfe\xff\0h\0\n").unwrap_err().contains("save it as UTF-8"));
    assert_eq!(load(&shell("printf '\\357\\273\\277hunter2\\n'")).unwrap(), b"hunter2");
    assert_eq!(load_content(&[b'x'; MAX_PASSWORD]).unwrap().len(), MAX_PASSWORD);
    assert_eq!(
        load_content(&[&[b'x'; MAX_PASSWORD], b"\r\n".as_slice()].concat()).unwrap().len(),
        MAX_PASSWORD
    );
    assert!(load_content(&[b'x'; MAX_PASSWORD + 1]).unwrap_err().contains("longer than"));
    assert!(load_content(&vec![b'x'; 1 << 20]).unwrap_err().contains("longer than"));
}

#[test]
fn file_must_be_private() {
    let directory = TempDir::new().unwrap();
    for mode in [0o640, 0o604, 0o620, 0o644, 0o601] {
        let message = load(&PasswordSource::File(file(directory.path(), b"hunter2", mode))).unwrap_err();
        assert!(message.contains("chmod 600") && message.contains(&format!("{mode:04o}")), "{message}");
    }
    let path = file(directory.path(), b"hunter2", 0o400);
    assert!(load(&PasswordSource::File(path.clone())).is_ok());
    if Uid::effective().is_root() {
        chown(&path, Some(65_534), None).unwrap();
        let message = load(&PasswordSource::File(path)).unwrap_err();
        assert!(message.contains("belongs to user 65534"), "{message}");
    }
}

#[test]
fn missing_source_gives_advice() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("office");
    let message = load(&PasswordSource::File(path.clone())).unwrap_err();
    assert_eq!(
        message,
        format!("there is no password file {0}: write one with (umask 077; cat > {0})", path.display())
    );
    let (directory, path) = (directory.path().join("secrets"), directory.path().join("secrets/office"));
    let message = load(&PasswordSource::File(path.clone())).unwrap_err();
    let expected = format!("(umask 077; mkdir -p {}; cat > {})", directory.display(), path.display());
    assert!(message.ends_with(&expected), "{message}");
    let message = load(&PasswordSource::Fd(1000)).unwrap_err();
    assert!(
        message.contains("descriptor 1000 is not open") && message.contains("NAME 1000<FILE"),
        "{message}"
    );
    let message = load(&PasswordSource::Command(vec!["true".into()])).unwrap_err();
    assert_eq!(message, "the password from the password command true is empty");
}

#[test]
fn file_must_be_regular() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(load(&PasswordSource::File(path)).unwrap_err().contains("not a regular file"));
    assert!(load(&PasswordSource::File("/dev/null".into())).unwrap_err().contains("not a regular file"));
    assert!(load(&PasswordSource::File(directory.path().into())).unwrap_err().contains("not a regular file"));
    assert!(
        load(&PasswordSource::File("/nonexistent/x".into()))
            .unwrap_err()
            .contains("there is no password file")
    );
}

#[test]
fn command_provides_its_first_line() {
    assert_eq!(load(&shell("echo hunter2; echo url: x")).unwrap(), b"hunter2");
    assert_eq!(load(&shell("printf hunter2")).unwrap(), b"hunter2");
    assert_eq!(load(&shell("printf 'hunter2\\r\\n'")).unwrap(), b"hunter2");
    assert!(load(&shell("true")).unwrap_err().contains("is empty"));
    assert!(load(&shell("echo; echo hunter2")).unwrap_err().contains("is empty"));
    let message = load(&shell("echo hunter2; exit 3")).unwrap_err();
    assert!(message.contains("exit status: 3") && !message.contains("hunter2"), "{message}");
    assert!(load(&shell("echo hunter2; kill -9 $$")).unwrap_err().contains("signal: 9"));
    let missing = PasswordSource::Command(vec!["/nonexistent/prog".into(), "hunter2".into()]);
    let message = load(&missing).unwrap_err();
    assert!(message.contains("cannot run") && !message.contains("hunter2"), "{message}");
    assert!(load(&PasswordSource::Command(vec![])).is_err());
}

#[test]
fn command_is_not_run_by_a_shell() {
    let source = PasswordSource::Command(vec!["echo".into(), "$HOME;`id`".into()]);
    assert_eq!(load(&source).unwrap(), b"$HOME;`id`");
}

#[test]
fn command_is_limited_in_time_and_output() {
    let short = SecretAccess { limit: Duration::from_millis(300), ..SecretAccess::of_this_process() };
    let start = Instant::now();
    assert!(load_with(&shell("exec sleep 60"), &short).unwrap_err().contains("no password from"));
    assert!(load_with(&shell("exec >&-; exec sleep 60"), &short).unwrap_err().contains("no password from"));
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(load(&shell("exec yes")).unwrap_err().contains("writes more than 64 KiB"));
    assert!(load(&shell("exec cat /dev/zero")).unwrap_err().contains("writes more than 64 KiB"));
    assert!(load(&shell("printf '%02000d' 1")).unwrap_err().contains("longer than"));
}

#[test]
fn background_agent_does_not_delay_command() {
    let start = Instant::now();
    assert_eq!(load(&shell("sleep 15 & echo hunter2")).unwrap(), b"hunter2");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn descriptor_provides_its_first_line() {
    let open = |_| {
        let mut file = tempfile::tempfile()?;
        file.write_all(b"hunter2\nmore")?;
        file.rewind()?;
        Ok(file)
    };
    let access = SecretAccess { open_fd: &open, ..SecretAccess::of_this_process() };
    assert_eq!(load_with(&PasswordSource::Fd(9), &access).unwrap(), b"hunter2");
    assert!(load(&PasswordSource::Fd(1000)).unwrap_err().contains("descriptor 1000"));

    // A pipe that stays open: one line is enough, and without one the limit applies.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reader = File::from(std::os::fd::OwnedFd::from(reader));
    writer.write_all(b"hunter2\n").unwrap();
    let open = |_| reader.try_clone();
    let access =
        SecretAccess { open_fd: &open, limit: Duration::from_millis(200), ..SecretAccess::of_this_process() };
    assert_eq!(load_with(&PasswordSource::Fd(9), &access).unwrap(), b"hunter2");
    // Available data is read even after the deadline.
    writer.write_all(b"hunter2\n").unwrap();
    let late = SecretAccess { open_fd: &open, limit: Duration::ZERO, ..SecretAccess::of_this_process() };
    assert_eq!(load_with(&PasswordSource::Fd(9), &late).unwrap(), b"hunter2");
    assert!(
        load_with(&PasswordSource::Fd(9), &access).unwrap_err().contains("no password from descriptor 9")
    );
}

#[test]
fn process_opens_its_inherited_descriptors() {
    use std::os::fd::AsRawFd;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"hunter2\n").unwrap();
    assert_eq!(load(&PasswordSource::Fd(file.as_raw_fd())).unwrap(), b"hunter2");
}

#[test]
fn credential_is_read_from_credentials_directory() {
    let directory = TempDir::new().unwrap();
    file(directory.path(), b"hunter2\n", 0o440);
    let source = PasswordSource::Credential("password".to_owned());
    let with = SecretAccess { credentials: Some(directory.path().into()), ..SecretAccess::of_this_process() };
    assert_eq!(load_with(&source, &with).unwrap(), b"hunter2");
    let without = SecretAccess { credentials: None, ..SecretAccess::of_this_process() };
    assert!(load_with(&source, &without).unwrap_err().contains("LoadCredential="));
}

#[test]
fn debug_output_omits_arguments() {
    let source = PasswordSource::Command(vec!["echo".into(), "hunter2".into()]);
    assert_eq!(format!("{source:?}"), "Command(Some(\"echo\"))");
    assert_eq!(format!("{:?}", PasswordSource::Inline("hunter2".into())), "Inline(…)");
}

/// Root runs no command that another user can change, and none that the caller's PATH leads to.
#[test]
fn root_runs_only_trusted_commands() {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("pptpctl-test-password");
    script::script(program.to_str().unwrap(), "#!/bin/sh\necho \"$PATH\"\n");
    let run = |first: &str| {
        load(&PasswordSource::Command(vec![first.into()])).map(|secret| String::from_utf8(secret).unwrap())
    };
    let path = program.to_str().unwrap();
    let found = run(path).unwrap();
    assert!(found.starts_with("/usr/sbin:/usr/bin:"), "{found}");
    for (owner, mode, words) in [
        (65534, 0o755, "belongs to user 65534, not to root"),
        (0, 0o777, "can be written by others than root"),
    ] {
        chown(&program, Some(owner), None).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        let refused = run(path).unwrap_err();
        assert!(refused.contains("is not run") && refused.contains(words), "{refused}");
    }
    chown(&program, Some(0), None).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // Without a slash it is looked for in the fixed PATH.
    let refused = run("pptpctl-test-password").unwrap_err();
    assert!(refused.contains("cannot run the password command"), "{refused}");
}
