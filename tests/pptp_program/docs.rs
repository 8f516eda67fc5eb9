//! Compares the manual page of `pptp` with the program's help, and checks its exit statuses.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use pptpctl::testing::dropin::options;

#[test]
fn manual_page_matches_options() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/pptp.8")).unwrap();
    let in_page: BTreeSet<(String, bool)> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It Fl -"))
        .map(|item| (item.split(' ').next().unwrap_or_default().to_owned(), item.contains(" Ar ")))
        .collect();
    let help = options::help();
    let in_help: BTreeSet<(String, bool)> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  --"))
        .map(|line| {
            let mut words = line.split_whitespace();
            (words.next().unwrap().to_owned(), words.next().unwrap().starts_with('<'))
        })
        .collect();
    assert_eq!(in_page, in_help);
    assert_eq!(in_help.len(), 19);
}

#[test]
fn reports_version_help_and_exit_statuses() {
    let version = pptp(&["--version"]);
    let text = format!("pptp version {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (version.status.code(), String::from_utf8_lossy(&version.stdout).into_owned()),
        (Some(0), text)
    );
    let help = pptp(&["--help"]);
    assert_eq!((help.status.code(), String::from_utf8(help.stdout).unwrap()), (Some(0), options::help()));
    for (words, status) in [
        (&[][..], 1),
        (&["h", "--nosuch"], 1),
        (&["h", "--quirks", "x"], 1),
        (&["h", "--loglevel", "3"], 1),
        (&["no-such-host.invalid", "--nolaunch"], 1),
        (&["h", "--timeout", "11"], 2),
        (&["h", "--localbind", "x"], 2),
        (&["h", "--idle-wait", "-1"], 2),
        (&["h", "--max-echo-wait", "-1"], 2),
        (&["h", "--missing-window", "0"], 2),
    ] {
        let output = pptp(words);
        assert_eq!(output.status.code(), Some(status), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
}

fn pptp(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pptp")).args(words).output().unwrap()
}
