//! Runs `contrib/acceptance` with `/bin/sh` on a laptop in network namespaces (`world`), against our server: every row
//! is ok, or is in the list of those that Linux has not. Programs with a defect show that each row can fail.
//! Needs root and /dev/net/tun.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod defects;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    thread,
};

/// Rows that wait for the network most of the time.
const SLOW: &[&str] = &["roam", "link-down", "link-moves", "server-lost"];

/// The rows that are not run on Linux, and why.
const NOT_ON_LINUX: &[(&str, &str)] = &[
    ("pf-anchor", "for BSD"),
    ("pf-syntax", "for BSD"),
    ("leak-pf", "for BSD"),
    ("dns-resolvd", "for OpenBSD"),
    ("dns-resolvconf", "needs resolvconf(8)"),
    ("rdomain", "for OpenBSD"),
    ("rtlabel", "for OpenBSD"),
    ("gre-allow", "for OpenBSD"),
    ("fib", "for FreeBSD"),
    ("ppp-backend", "needs /dev/ppp"),
    ("drop-in", "needs /dev/ppp"),
    ("drop-in-call", "for OpenBSD"),
    ("rc.d", "for BSD"),
];

/// Rows that need an option besides the server.
const NEED_OPTIONS: &[&str] = &[
    "up",
    "default-halves",
    "exclude-host",
    "server-on-link",
    "leak-down",
    "leak-kill",
    "engine-killed",
    "roam",
    "link-down",
    "link-moves",
    "server-gateway",
    "server-lost",
    "remote-ping",
    "nft",
    "netns",
];

#[test]
fn every_row_is_ok_or_not_for_linux() {
    let listed = listed_rows();
    let expected: BTreeMap<String, String> = listed
        .iter()
        .map(|row| {
            let not_run = NOT_ON_LINUX.iter().find(|(name, _)| name == row);
            (row.clone(), not_run.map_or_else(|| "ok".to_owned(), |(_, why)| format!("not run: {why}")))
        })
        .collect();
    // In three worlds beside each other.
    let (slow, others): (Vec<_>, Vec<_>) = listed.into_iter().partition(|row| SLOW.contains(&row.as_str()));
    let (first, second) = others.split_at(others.len() / 2);
    let worlds = [slow, first.to_vec(), second.to_vec()].map(|rows| {
        thread::spawn(move || {
            in_world(&format!("contrib/acceptance --rounds 3 {}", options("--only", &rows)))
        })
    });
    let (mut rows, mut outputs) = (BTreeMap::new(), String::new());
    for world in worlds {
        let (status, output) = world.join().unwrap();
        assert_eq!(status, 0, "{output}");
        rows.extend(rows_of(&output));
        outputs += &output;
    }
    assert_eq!(rows, expected, "{outputs}");
}

#[test]
fn row_without_its_option_is_not_run() {
    let only = options("--only", NEED_OPTIONS);
    let (status, output) = in_world(&format!(
        "unset ACCEPT_INSIDE ACCEPT_OUTSIDE ACCEPT_LAN_HOST ACCEPT_LINK_SERVER ACCEPT_SECOND_IF ACCEPT_REMOTE
         contrib/acceptance {only} --only demo --except demo"
    ));
    let mut rows = rows_of(&output);
    assert_eq!(rows.remove("demo").as_deref(), Some("not run: --except"), "{output}");
    assert_eq!((status, rows.len()), (3, NEED_OPTIONS.len()), "{output}");
    assert!(rows.values().all(|verdict| verdict.starts_with("not run: needs --")), "{output}");
}

/// An interrupt in the middle of a row: nothing is left, neither tunnel nor files.
#[test]
fn interrupted_run_leaves_nothing() {
    for (signal, expected) in [("INT", 130), ("TERM", 143)] {
        let (status, output) = in_world(&format!(
            "state() {{ ip route show table all; ip rule; ip link; nft list ruleset; cat /etc/resolv.conf
                 ls /run /var/lib/pptpctl /var/log/pptpctl 2>&1; ps ax -o args | grep -v ' ax ' | grep '[p]ptpctl'; }}
             sleep 2 # addresses of IPv6 are settled
             mkdir /run/seen; state >/run/seen/before
             env --default-signal contrib/acceptance --only dns-file --only rounds --rounds 100000 >/run/seen/out 2>&1 & run=$!
             tries=0
             until grep -q '^dns-file' /run/seen/out && [ -e /run/tun0.pid ]; do
                 tries=$((tries + 1)); [ $tries -lt 2400 ] || {{ cat /run/seen/out; exit 1; }}; sleep 0.05
             done
             kill -{signal} $run; wait $run; echo \"status $?\"; cat /run/seen/out
             state >/run/seen/after; diff /run/seen/before /run/seen/after"
        ));
        assert!(output.contains(&format!("status {expected}\n")), "{signal}: {output}");
        assert!(output.contains("dns-file         ok"), "{signal}: {output}");
        assert_eq!(status, 0, "{signal}: something is left\n{output}");
    }
}

#[test]
fn machine_with_a_tunnel_is_refused() {
    let (status, output) = in_world(
        "umask 077; mkdir /etc/acc; echo secret >/etc/acc/password
         printf '[profile.office]\\nserver = \"192.0.2.1\"\\nuser = \"alice\"\\npassword.file = \"/etc/acc/password\"\\n\
             routes = [\"192.168.77.0/24\"]\\n' >/etc/acc/profiles.toml
         /run/programs/pptpctl --config /etc/acc/profiles.toml up office >/run/up.log || { cat /run/up.log; exit 9; }
         contrib/acceptance",
    );
    assert_eq!(status, 2, "{output}");
    assert!(output.contains("a tunnel is up") && output.contains("office"), "{output}");
}

/// Returns an option once for each row.
fn options(option: &str, rows: &[impl AsRef<str>]) -> String {
    rows.iter().map(|row| format!(" {option} {}", row.as_ref())).collect()
}

/// Runs a shell script on the laptop; returns its status and output.
fn in_world(script: &str) -> (i32, String) {
    let programs = Path::new(env!("CARGO_BIN_EXE_pptpctl")).parent().unwrap();
    let mut command = Command::new("sh");
    command.arg("tests/acceptance/world").arg(programs).args(["sh", "-c"]);
    command.arg(script.replace("contrib/acceptance", "/bin/sh contrib/acceptance"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text.into_owned())
}

/// Returns the rows of a table, with `ok`, `FAIL: …` or `not run: …`.
fn rows_of(output: &str) -> BTreeMap<String, String> {
    let rows = output.lines().filter_map(|line| {
        let (name, verdict) = line.split_once(' ')?;
        let verdict = verdict.trim_start();
        let is_row = ["ok (", "FAIL:", "not run:"].iter().any(|word| verdict.starts_with(word));
        let verdict = if verdict.starts_with("ok (") { "ok" } else { verdict };
        (is_row && !name.is_empty()).then(|| (name.to_owned(), verdict.to_owned()))
    });
    rows.collect()
}

/// Returns the rows that `--list` prints.
fn listed_rows() -> Vec<String> {
    let mut command = Command::new("sh");
    command.args(["contrib/acceptance", "--list"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}
