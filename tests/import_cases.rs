//! `pptpctl import` with the files of other clients: each directory of `tests/import` has its files, the arguments in
//! `args`, the expected profile in `out.toml` and what is said about it in `remarks`.
//!
//! Every password in these files contains the word in `MARK`, so that one test can look for it in all that is printed.
//! `UPDATE_GOLDEN=1 cargo test --test import_cases` rewrites the expected files.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic fails the test")]

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use pptpctl::testing::profile::Profiles;

/// Part of every password in `tests/import`.
const MARK: &str = "s3cret";

#[test]
fn files_of_other_clients_become_the_expected_profiles() {
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 36, "{} cases", cases.len());
    for case in &cases {
        let output = import(case, &[]);
        let (toml, remarks) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(
            output.status.code(),
            Some(if toml.is_empty() { 3 } else { 0 }),
            "{}: {remarks}",
            case.display()
        );
        for (file, found) in [("out.toml", &toml), ("remarks", &remarks)] {
            let path = case.join(file);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, found).unwrap();
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            if expected != *found {
                wrong.push(format!("{}:\n{found}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Reads each expected profile as a profile of each system.
#[test]
fn expected_profiles_are_accepted_by_the_profile_reader() {
    let mut count = 0;
    for case in cases() {
        let toml = fs::read_to_string(case.join("out.toml")).unwrap();
        let profiles = Profiles::from_text(&case.join("out.toml"), &toml, false);
        assert!(profiles.report().errors.is_empty(), "{}", profiles.report());
        assert_eq!(profiles.iter().filter(|(_, profile)| profile.is_none()).count(), 0);
        count += profiles.names().count();
    }
    assert!(count >= 38, "{count} profiles");
}

#[test]
fn passwords_are_never_printed() {
    for case in cases() {
        let scratch = tempfile::tempdir().unwrap();
        let config = scratch.path().join("profiles.toml");
        for write in [&[][..], &["--write"], &["--json"], &["--write", "--force", "--json"]] {
            let output = import_into(&case, &config, write);
            for said in [text(&output.stdout), text(&output.stderr)] {
                assert!(!said.contains(MARK), "{}: {said}", case.display());
            }
        }
        for path in files(&scratch.path().join("profiles.d")) {
            assert!(!fs::read_to_string(&path).unwrap().contains(MARK), "{}", path.display());
        }
    }
}

/// The examples of the manual page of pptp(8), as that page has them, do what our own examples do.
#[test]
fn examples_of_the_manual_page_have_the_dry_run_of_our_examples() {
    // What our examples have beyond that page, or for another system, by their own comments.
    let changes = [
        ("client", "dns = \"peer\"\n", ""),
        ("router", "nftables = { file = \"/etc/nftables.vpn\" }           # on a BSD: ", ""),
    ];
    for (name, from, to) in changes {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let example = fs::read_to_string(root.join(format!("contrib/examples/{name}.toml"))).unwrap();
        assert!(example.contains(from), "{name}.toml lacks {from}");
        let ours = dry_run(&example.replace(from, to));
        let imported =
            dry_run(&fs::read_to_string(root.join(format!("tests/import/ppp-{name}/out.toml"))).unwrap());
        assert_eq!(imported, ours, "{name}");
        assert!(ours.contains("# down") && ours.contains("tun"), "{ours}");
    }
}

#[test]
fn router_example_has_its_anchor_unit_and_routes() {
    let toml = fs::read_to_string(case("ppp-router").join("out.toml")).unwrap();
    for line in [
        "unit = 0 ",
        "routes = [\"10.42.0.0/16\"] ",
        "pf.anchor = \"vpn\" ",
        "nat = true ",
        "autostart = true ",
    ] {
        assert!(toml.contains(line), "{line}: {toml}");
    }
}

/// The objects have the texts that are printed without `--json`.
#[test]
fn json_has_the_profiles_and_what_was_not_carried_over() {
    for case in cases() {
        let (words, json) = (import(&case, &[]), import(&case, &["--json"]));
        assert_eq!(words.status.code(), json.status.code(), "{}", case.display());
        if !json.status.success() {
            assert!(json.stdout.is_empty(), "{}", text(&json.stdout));
            continue;
        }
        assert_eq!(text(&json.stderr), "", "{}", case.display());
        let object: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        let profiles = object["profiles"].as_array().unwrap();
        let tomls: Vec<&str> =
            profiles.iter().map(|profile| profile["toml"].as_str().unwrap().trim_end()).collect();
        assert_eq!(tomls.join("\n\n"), text(&words.stdout).trim_end(), "{}", case.display());
        let said = text(&words.stderr);
        for remark in profiles.iter().flat_map(|profile| profile["remarks"].as_array().unwrap()) {
            let origin = remark["origin"].as_str().map(|origin| format!("{origin}: ")).unwrap_or_default();
            let remark = format!("  {origin}{}\n", remark["text"].as_str().unwrap());
            assert!(said.contains(&remark), "{remark}{said}");
        }
        for general in object["remarks"].as_array().unwrap() {
            assert!(said.contains(general.as_str().unwrap()), "{general} {said}");
        }
    }
}

#[test]
fn json_of_write_names_the_files_and_has_the_result_of_check() {
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("profiles.toml");
    let output = import_into(&case("pppd-pptpsetup"), &config, &["--write", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let objects: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [imported, checked] = objects.as_slice() else { panic!("{said}") };
    let profile = &imported["profiles"][0];
    assert_eq!((&imported["written"], &profile["kind"]), (&true.into(), &"pppd".into()));
    for (member, path) in [("file", "profiles.d/office.toml"), ("password_file", "secrets/office")] {
        let path = scratch.path().join(path);
        assert_eq!(profile[member].as_str(), path.to_str());
        assert!(path.exists());
    }
    assert_eq!(checked["profiles"], serde_json::json!(["office"]));
}

#[test]
fn write_puts_profile_and_password_in_place_and_nothing_over_another() {
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("profiles.toml");
    let office = case("pppd-pptpsetup");
    let output = import_into(&office, &config, &["--write"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("1 profile, 0 errors") && said.contains("up --dry-run office"), "{said}");
    let (profile, secret) =
        (scratch.path().join("profiles.d/office.toml"), scratch.path().join("secrets/office"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(fs::read_to_string(&secret).unwrap(), "s3cret one\n");
    assert_eq!([mode(&secret), mode(secret.parent().unwrap()), mode(&profile)], [0o600, 0o700, 0o644]);
    assert!(
        fs::read_to_string(&profile).unwrap().contains(&format!("password.file = \"{}\"", secret.display()))
    );
    assert_eq!(files(&scratch.path().join("profiles.d")), std::slice::from_ref(&profile));
    assert_eq!(files(&scratch.path().join("secrets")), std::slice::from_ref(&secret));

    // Neither the profile nor the password is replaced unasked, nor one without the other.
    fs::write(&profile, "# mine\n").unwrap();
    let refused = import_into(&office, &config, &["--write"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(
        text(&refused.stderr).contains("office.toml exists: --force replaces it"),
        "{}",
        text(&refused.stderr)
    );
    fs::remove_file(&profile).unwrap();
    fs::write(&secret, "old\n").unwrap();
    let refused = import_into(&office, &config, &["--write"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused.stderr).contains("secrets/office exists"), "{}", text(&refused.stderr));
    assert_eq!((fs::read_to_string(&secret).unwrap().as_str(), profile.exists()), ("old\n", false));

    assert!(import_into(&office, &config, &["--write", "--force"]).status.success());
    assert_eq!(fs::read_to_string(&secret).unwrap(), "s3cret one\n");
    assert_eq!(mode(&secret), 0o600);
    let mine = format!("{}\n[profile.other]\nserver = 'x'\n", fs::read_to_string(&profile).unwrap());
    fs::write(&profile, &mine).unwrap();
    let refused = import_into(&office, &config, &["--write", "--force"]);
    assert!(
        text(&refused.stderr).contains("`other` too: --force would remove it"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(fs::read_to_string(&profile).unwrap(), mine);
    assert!(import_into(&office, &config, &["--write", "--name", "second"]).status.code().is_some());
    assert_eq!(files(&scratch.path().join("secrets")).len(), 2);
}

#[test]
fn write_refuses_a_name_that_another_file_has() {
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("profiles.toml");
    fs::write(&config, "[profile.office]\nserver = 'x'\nuser = 'u'\npassword.fd = 3\n").unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    for more in [&["--write"][..], &["--write", "--force"]] {
        let output = import_into(&case("pppd-pptpsetup"), &config, more);
        assert_eq!(output.status.code(), Some(3));
        assert!(text(&output.stderr).contains("in another file"), "{}", text(&output.stderr));
    }
    assert!(!scratch.path().join("secrets").exists() && !scratch.path().join("profiles.d").exists());
}

#[test]
fn write_refuses_a_directory_that_others_may_change() {
    let scratch = tempfile::tempdir().unwrap();
    let secrets = scratch.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o777)).unwrap();
    let output = import_into(&case("pppd-pptpsetup"), &scratch.path().join("profiles.toml"), &["--write"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("others may change"), "{}", text(&output.stderr));
    assert!(files(&secrets).is_empty());
}

#[test]
fn unusable_files_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let fifo = scratch.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let large = scratch.path().join("large");
    fs::write(&large, vec![b'#'; (1 << 20) + 1]).unwrap();
    let other = scratch.path().join("other");
    fs::write(&other, "hello\n").unwrap();
    for (path, why) in [
        (&fifo, "not a regular file"),
        (&large, "larger than"),
        (&other, "no PPTP client that is known here"),
        (&scratch.path().join("none"), "No such file"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_pptpctl")).arg("import").arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", path.display());
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
    for usage in
        [&["import", "--from", "cisco", "x"][..], &["import", "--write"], &["import", "x", "--force"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_pptpctl")).args(usage).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{usage:?}");
    }
}

/// Runs pptpsetup(8) of pptp-linux over an empty `/etc/ppp`, and compares its files with those of two cases.
#[test]
fn pptpsetup_writes_the_files_of_our_cases() {
    if !nix::unistd::geteuid().is_root()
        || !Path::new("/usr/sbin/pptpsetup").exists()
        || !Path::new("/etc/ppp").exists()
    {
        return;
    }
    let into = tempfile::tempdir().unwrap();
    let script = "set -e
        mount -t tmpfs none /etc/ppp; mkdir /etc/ppp/peers
        pptpsetup --create office --server vpn.example.net --username alice --password 's3cret one' --encrypt
        pptpsetup --create branch --server 203.0.113.9 --domain CORP --username bob --password 's3cret two'
        cp -r /etc/ppp/. \"$1\"";
    let status =
        Command::new("unshare").args(["-m", "sh", "-c", script, "sh"]).arg(into.path()).status().unwrap();
    if !status.success() {
        // A container without mount namespaces.
        return;
    }
    for (case_name, file) in [
        ("pppd-pptpsetup", "peers/office"),
        ("pppd-pptpsetup-domain", "peers/branch"),
        ("pppd-pptpsetup", "chap-secrets"),
    ] {
        let ours = fs::read_to_string(case(case_name).join("etc/ppp").join(file)).unwrap();
        assert_eq!(fs::read_to_string(into.path().join(file)).unwrap(), ours, "{file}");
    }
}

/// Gives the same words to pppd(8), which names the first option that it does not know, and to the import.
#[test]
fn words_are_read_as_pppd_reads_them() {
    if !nix::unistd::geteuid().is_root() || !Path::new("/usr/sbin/pppd").exists() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("peer");
    for word in [
        "zz#b",
        "\"x y\"z",
        "'it''s'",
        "q\\ r",
        "\\x41\\101",
        "\"a\\\"b\"",
        "a\\\nb",
        "\"x#y\"",
        "\\sfoo",
        "CORP\\\\al",
    ] {
        fs::write(&file, format!("{word}\n")).unwrap();
        let output =
            Command::new("pppd").arg("file").arg(&file).arg("dryrun").stdin(Stdio::null()).output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        let found = said.split_once("unrecognized option '").and_then(|(_, rest)| rest.split_once("'\n"));
        let Some((expected, _)) = found else { panic!("{word}: {said}") };
        fs::write(&file, format!("pty 'pptp a.example'\nuser {word}\n")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_pptpctl")).arg("import").arg(&file).output().unwrap();
        let profiles = Profiles::from_text(&file, &text(&output.stdout), false);
        let (_, profile) = profiles.iter().next().unwrap();
        let profile = profile.unwrap();
        let domain = profile.domain.as_ref().map_or(String::new(), |domain| format!("{domain}\\"));
        assert_eq!(format!("{domain}{}", profile.user), expected, "{word}");
    }
}

fn cases() -> Vec<PathBuf> {
    let all = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")).unwrap();
    let mut all: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name)
}

/// Runs a case as if its profiles were root's.
fn import(case: &Path, more: &[&str]) -> Output {
    import_into(case, Path::new("/etc/pptpctl/profiles.toml"), more)
}

fn import_into(case: &Path, config: &Path, more: &[&str]) -> Output {
    let arguments = fs::read_to_string(case.join("args")).unwrap();
    let (arguments, input) = match arguments.split_once('<') {
        Some((arguments, input)) => (arguments.to_owned(), Some(input.trim().to_owned())),
        None => (arguments, None),
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_pptpctl"));
    command.arg("--config").arg(config).arg("import").args(more).args(arguments.split_whitespace());
    command.current_dir(case).env_clear();
    command.stdin(input.map_or_else(Stdio::null, |path| File::open(case.join(path)).unwrap().into()));
    command.output().unwrap()
}

fn dry_run(toml: &str) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("profiles.toml");
    fs::write(&config, toml).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pptpctl"));
    command.arg("--config").arg(&config).args(["up", "--dry-run", "--platform", "openbsd", "vpn"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Returns the files of a directory, hidden ones too; none if it does not exist.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(all) = fs::read_dir(directory) else { return Vec::new() };
    let mut all: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| panic!("output that is not UTF-8"))
}
