//! The files with profiles: their paths, their order, and which of them are rejected.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use nix::unistd::Uid;
use pptpctl::testing::profile::{Locations, Profiles};
use tempfile::TempDir;

/// Returns the text of a profile without errors.
fn valid_profile(name: &str) -> String {
    format!("[profile.{name}]\nserver = 'a.example'\nuser = 'u'\npassword.fd = 3\n")
}

fn temporary_locations() -> (TempDir, Locations) {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    let locations = Locations {
        file: path.join("profiles.toml"),
        directory: path.join("profiles.d"),
        as_root: Uid::effective().is_root(),
        is_explicit: false,
    };
    (directory, locations)
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names(profiles: &Profiles) -> Vec<&str> {
    profiles.names().map(|name| name.as_str()).collect()
}

#[test]
fn reads_profiles_toml_and_profiles_d() {
    let (_guard, locations) = temporary_locations();
    write(&locations.file, &valid_profile("main"), 0o644);
    fs::create_dir(&locations.directory).unwrap();
    write(&locations.directory.join("b.toml"), &valid_profile("second"), 0o644);
    write(&locations.directory.join("a.toml"), &valid_profile("first"), 0o644);
    write(&locations.directory.join(".hidden.toml"), "[", 0o644);
    write(&locations.directory.join("c.toml~"), "[", 0o644);
    let profiles = Profiles::load(&locations);
    assert!(profiles.report().is_empty(), "{}", profiles.report());
    assert_eq!(names(&profiles), ["first", "main", "second"]);
    let origin = profiles.get("first").unwrap().origin.clone().unwrap();
    assert_eq!((origin.file, origin.line, origin.column), (locations.directory.join("a.toml"), 1, 10));
}

#[test]
fn profiles_d_alone_is_enough() {
    let (_guard, locations) = temporary_locations();
    fs::create_dir(&locations.directory).unwrap();
    write(&locations.directory.join("a.toml"), &valid_profile("a"), 0o644);
    let profiles = Profiles::load(&locations);
    assert!(profiles.report().is_empty(), "{}", profiles.report());
}

#[test]
fn missing_files_give_paths_and_advice() {
    let (_guard, mut locations) = temporary_locations();
    let message = Profiles::load(&locations).report().to_string();
    assert!(
        message.contains("there are no profiles yet") && message.contains("profiles.example.toml"),
        "{message}"
    );
    assert!(message.contains(&locations.file.display().to_string()), "{message}");
    locations.is_explicit = true;
    let message = Profiles::load(&locations).report().to_string();
    assert!(message.contains("cannot read") && message.contains("No such file"), "{message}");
}

#[test]
fn duplicate_name_is_an_error_with_both_positions() {
    let (_guard, locations) = temporary_locations();
    write(&locations.file, &valid_profile("vpn"), 0o644);
    fs::create_dir(&locations.directory).unwrap();
    write(
        &locations.directory.join("x.toml"),
        &format!("{}{}", valid_profile("ok"), valid_profile("vpn")),
        0o644,
    );
    let profiles = Profiles::load(&locations);
    let message = profiles.get("vpn").unwrap_err().to_string();
    assert!(message.contains("profile `vpn` stands in two files"), "{message}");
    assert!(message.contains("profiles.toml:1:10") && message.contains("x.toml:5:10"), "{message}");
    assert!(profiles.get("ok").is_ok());
}

#[test]
fn broken_file_does_not_affect_other_files() {
    let (_guard, locations) = temporary_locations();
    write(&locations.file, &valid_profile("vpn"), 0o644);
    fs::create_dir(&locations.directory).unwrap();
    write(&locations.directory.join("a.toml"), "[profile.a\n", 0o644);
    fs::write(locations.directory.join("b.toml"), b"# \n\xff = 1\n").unwrap();
    fs::create_dir(locations.directory.join("c.toml")).unwrap();
    write(&locations.directory.join("d.toml"), &"#".repeat(1024 * 1024 + 1), 0o644);
    let profiles = Profiles::load(&locations);
    assert!(profiles.get("vpn").is_ok());
    let message = profiles.report().to_string();
    for part in
        ["a.toml:1:11", "b.toml:2: not UTF-8", "c.toml is not a regular file", "d.toml is larger than"]
    {
        assert!(message.contains(part), "{part}\n{message}");
    }
}

#[test]
fn fifo_does_not_block_the_reader() {
    let (_guard, locations) = temporary_locations();
    nix::unistd::mkfifo(&locations.file, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let message = Profiles::load(&locations).report().to_string();
    assert!(message.contains("is not a regular file"), "{message}");
}

#[test]
fn root_rejects_files_writable_by_other_users() {
    let (guard, locations) = temporary_locations();
    let refusal = |locations: &Locations| Profiles::load(locations).report().to_string();
    for mode in [0o664, 0o646, 0o666] {
        write(&locations.file, &valid_profile("vpn"), mode);
        let message = refusal(&Locations { as_root: true, ..locations.clone() });
        if Uid::effective().is_root() {
            assert!(
                message.contains("can be written by others") && message.contains("chmod go-w"),
                "{message}"
            );
        } else {
            assert!(message.contains("not to root"), "{message}");
        }
        assert!(refusal(&Locations { as_root: false, ..locations.clone() }).is_empty());
    }
    if !Uid::effective().is_root() {
        return eprintln!("the rest needs root");
    }
    write(&locations.file, &valid_profile("vpn"), 0o644);
    assert!(refusal(&locations).is_empty());
    // Other users could replace the file in a writable directory, but not in a sticky one such as /tmp.
    fs::set_permissions(guard.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refusal(&locations).contains("can be written by others"));
    fs::set_permissions(guard.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    assert!(refusal(&locations).is_empty());
    chown(&locations.file, Some(65_534), None).unwrap();
    assert!(refusal(&locations).contains("belongs to user 65534, not to root"));
    // For a symbolic link, its target is checked.
    let link = guard.path().join("link.toml");
    symlink(&locations.file, &link).unwrap();
    assert!(refusal(&Locations { file: link, ..locations }).contains("belongs to user 65534"));
}

#[test]
fn inline_password_requires_a_private_file() {
    let (_guard, locations) = temporary_locations();
    let text = "[profile.a]\nserver = 'a.example'\nuser = 'u'\npassword = 'hunter2'\n";
    write(&locations.file, text, 0o640);
    let message = Profiles::load(&locations).get("a").unwrap_err().to_string();
    assert!(message.contains("chmod 600") && !message.contains("hunter2"), "{message}");
    write(&locations.file, text, 0o600);
    assert!(Profiles::load(&locations).get("a").is_ok());
}

#[test]
fn probe_checks_password_files() {
    let (guard, locations) = temporary_locations();
    let secret = |name: &str| guard.path().join(name);
    let mut text = String::new();
    for name in ["fine", "open", "absent", "empty"] {
        text +=
            &valid_profile(name).replace("password.fd = 3", &format!("password.file = {:?}", secret(name)));
    }
    write(&locations.file, &text, 0o644);
    write(&secret("fine"), "hunter2\n", 0o600);
    write(&secret("open"), "hunter2\n", 0o640);
    write(&secret("empty"), "", 0o600);
    let mut profiles = Profiles::load(&locations);
    assert!(profiles.report().is_empty(), "loading profiles reads a password file: {}", profiles.report());
    profiles.probe(&|_| Ok(()));
    let message = profiles.report().to_string();
    let titles = |findings: &[pptpctl::testing::profile::Finding]| {
        findings.iter().map(|finding| finding.profile.clone().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(titles(&profiles.report().errors), ["empty", "open"], "{message}");
    assert_eq!(titles(&profiles.report().warnings), ["absent"], "{message}");
    assert!(message.contains("chmod 600") && message.contains("profiles.toml:5:10"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn config_option_sets_file_and_profiles_d() {
    let locations = Locations::find(Some(Path::new("/x/my.toml"))).unwrap();
    assert_eq!(locations.directory, Path::new("/x/profiles.d"));
    assert!(locations.is_explicit);
    assert_eq!(Locations::find(Some(Path::new("my.toml"))).unwrap().directory, Path::new("profiles.d"));
    if Uid::effective().is_root() {
        assert_eq!(Locations::find(None).unwrap().file, Path::new("/etc/pptpctl/profiles.toml"));
    }
}

/// `check` warns about missing files that a profile names, and reports unusable ones as errors.
#[test]
fn probe_checks_files_named_by_profiles() {
    let (guard, locations) = temporary_locations();
    let path_of = |name: &str| guard.path().join(name);
    write(&path_of("pw"), "secret\n", 0o600);
    write(&path_of("open.pw"), "secret\n", 0o644);
    write(&path_of("rules"), "", 0o644);
    write(&path_of("open.rules"), "", 0o666);
    write(&path_of("hook"), "#!/bin/sh\n", 0o755);
    write(&path_of("no.program"), "", 0o644);
    let firewall_key = if cfg!(target_os = "linux") { "nftables.file" } else { "pf.file" };
    let profile = |name: &str, password: &str, rules: &str, up: &str, down: &str| {
        let dir = guard.path().display();
        format!(
            "[profile.{name}]\nserver = 'a.example'\nuser = 'u'\npassword.file = '{dir}/{password}'\n\
             {firewall_key} = '{dir}/{rules}'\nhooks.up = ['{dir}/{up}', 'up']\nhooks.down = ['{dir}/{down}']\n"
        )
    };
    let text = profile("good", "pw", "rules", "hook", "hook")
        + &profile("later", "none.pw", "none.rules", "none.up", "none.down")
        + &profile("never", "open.pw", "open.rules", "no.program", "no.program");
    write(&locations.file, &text, 0o644);
    let mut profiles = Profiles::load(&locations);
    assert!(profiles.report().is_empty(), "{}", profiles.report());
    profiles.probe(&|path| if path.ends_with("hook") { Ok(()) } else { Err("no program".to_owned()) });
    let report = profiles.report();
    let labels = |findings: &[pptpctl::testing::profile::Finding], name: &str| -> Vec<String> {
        let mut labels: Vec<_> = findings
            .iter()
            .map(|finding| {
                assert_eq!(finding.profile.as_ref().map(|name| name.as_str()), Some(name));
                finding.label.clone()
            })
            .collect();
        labels.sort();
        labels
    };
    let all = ["hooks.down", "hooks.up", firewall_key, "password.file"].map(|key| format!("its `{key}`"));
    assert_eq!(labels(&report.warnings, "later"), all);
    assert_eq!(labels(&report.errors, "never"), all);
}

/// Every directory above a profile, and every link on its path, has to be root's.
#[test]
fn root_refuses_what_others_can_change_above_a_profile() {
    if !Uid::effective().is_root() {
        return;
    }
    let top = TempDir::new().unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(top.path(), 0o755);
    let (upper, lower) = (top.path().join("upper"), top.path().join("upper/lower"));
    fs::create_dir_all(&lower).unwrap();
    write(&lower.join("profiles.toml"), &valid_profile("vpn"), 0o644);
    let load = |directory: &Path| {
        let locations = Locations {
            file: directory.join("profiles.toml"),
            directory: directory.join("profiles.d"),
            as_root: true,
            is_explicit: true,
        };
        Profiles::load(&locations).report().to_string()
    };
    assert_eq!(load(&lower), "");
    mode(&upper, 0o777);
    assert!(load(&lower).contains("upper can be written by others than root"), "{}", load(&lower));
    mode(&upper, 0o1777);
    assert_eq!(load(&lower), "", "nobody else can rename root's directory there");
    chown(&upper, Some(65534), None).unwrap();
    assert!(load(&lower).contains("upper belongs to user 65534"), "{}", load(&lower));
    chown(&upper, Some(0), None).unwrap();

    // A link in the sticky directory: of root, and of another user, to a directory and to the file itself.
    symlink(&lower, upper.join("link")).unwrap();
    assert_eq!(load(&upper.join("link")), "");
    std::os::unix::fs::lchown(upper.join("link"), Some(65534), None).unwrap();
    assert!(
        load(&upper.join("link")).contains("link belongs to user 65534"),
        "{}",
        load(&upper.join("link"))
    );
    symlink(lower.join("profiles.toml"), upper.join("profiles.toml")).unwrap();
    assert_eq!(load(&upper), "");
    std::os::unix::fs::lchown(upper.join("profiles.toml"), Some(65534), None).unwrap();
    assert!(load(&upper).contains("profiles.toml belongs to user 65534"), "{}", load(&upper));
}
