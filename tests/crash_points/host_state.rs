//! Everything that a tunnel can change on its host, as text, and the processes that run there.

use std::{
    fs,
    io::Write,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
    process::{Command, Stdio},
};

use crate::world::{World, text};

/// Directories with files that steps write, and those beside them.
const DIRECTORIES: [&str; 3] = ["/run", "/var/lib", "/etc"];

/// Returns routes, rules, addresses, devices, firewall and kernel settings, here and in the namespace
/// `inner`, and every file.
pub fn snapshot() -> String {
    let mut snapshot = String::new();
    network(&[], &mut snapshot);
    network(&["ip", "netns", "exec", "inner"], &mut snapshot);
    for dir in DIRECTORIES {
        files(Path::new(dir), &mut snapshot);
    }
    snapshot
}

/// Returns the command lines of the processes in this world, except zombies.
pub fn processes() -> Vec<String> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let is_process =
            path.file_name().unwrap().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let is_alive =
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'));
        if is_process && is_alive {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            processes.push(text(&line).replace('\0', " "));
        }
    }
    processes.sort();
    processes
}

fn network(inside: &[&str], snapshot: &mut String) {
    let commands = "route show table all\nrule\naddr\n";
    for (family, commands) in [("-4", format!("{commands}link\n")), ("-6", commands.to_owned())] {
        let json = run(inside, &["ip", family, "-d", "-j", "-batch", "-"], &commands);
        snapshot.push_str(&json.replace("},{", "},\n{"));
    }
    snapshot.push_str(&run(inside, &["nft", "-j", "list", "ruleset"], ""));
    // Some settings are write-only.
    let settings = "grep -rs '' /proc/sys/net/ipv4 /proc/sys/net/ipv6 | sort";
    snapshot.push_str(&run(inside, &["sh", "-c", settings], ""));
}

#[track_caller]
fn run(inside: &[&str], words: &[&str], input: &str) -> String {
    let all: Vec<&str> = inside.iter().chain(words).copied().collect();
    // env(1) runs its arguments.
    let mut child = Command::new("env")
        .args(&all)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "{all:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Appends a line per file, with mode, owner and content; below /etc only its entries and our own directory.
fn files(path: &Path, snapshot: &mut String) {
    if path == Path::new(World::PROGRAM) {
        return;
    }
    let data = fs::symlink_metadata(path).unwrap();
    let kind = data.file_type();
    // The ledger directory stays on purpose after the first tunnel: mode 0700, and empty.
    let is_kept = path == Path::new("/var/lib/pptpctl") && data.mode() == 0o40700 && data.uid() == 0;
    if is_kept && fs::read_dir(path).unwrap().next().is_none() {
        return;
    }
    snapshot.push_str(&format!("{} {:o} {}:{}", path.display(), data.mode(), data.uid(), data.gid()));
    if kind.is_symlink() {
        snapshot.push_str(&format!(" -> {}\n", fs::read_link(path).unwrap().display()));
    } else if kind.is_dir() {
        snapshot.push('\n');
        let is_foreign =
            path.starts_with("/etc") && path != Path::new("/etc") && path != Path::new("/etc/pptpctl");
        if !is_foreign {
            let mut entries: Vec<_> =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            entries.iter().for_each(|entry| files(entry, snapshot));
        }
    } else if kind.is_socket() || path.starts_with("/run/netns") {
        snapshot.push_str(" special\n");
    } else {
        snapshot.push_str(&format!(" {:?}\n", text(&fs::read(path).unwrap())));
    }
}
