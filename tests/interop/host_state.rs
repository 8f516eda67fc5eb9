//! Snapshots of the host's network state and files, taken before and after a case and compared byte for byte.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    sync::{LazyLock, Mutex},
};

use sha1::{Digest, Sha1};

use crate::{
    client,
    lab::{EVENT_TIMEOUT, Lab, STATE, wait_for},
};

/// Commands that print the host's network state, without counters, which change by themselves.
const COMMANDS: &[&[&str]] = &[
    &["ip", "-4", "-d", "route", "show", "table", "all"],
    &["ip", "-6", "-d", "route", "show", "table", "all"],
    &["ip", "-4", "-d", "rule"],
    &["ip", "-6", "-d", "rule"],
    &["ip", "-d", "address"],
    &["ip", "-d", "link"],
    &["nft", "-s", "-a", "list", "ruleset"],
    &["sysctl", "-a", "-r", r"^net\.ipv[46]\.(conf|route|ip_forward|tcp_)"],
];

/// Directories that are compared with all files in them, except the lab's.
const TREES: &[&str] = &["/run", "/var/lib", "/etc"];

/// The host's state at one time: the output of each command and a listing of each directory.
pub struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// Takes a snapshot.
    pub fn take() -> Self {
        let mut parts = BTreeMap::new();
        for command in COMMANDS {
            let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
            assert!(output.status.success(), "{command:?}");
            parts.insert(command.join(" "), String::from_utf8_lossy(&output.stdout).into_owned());
        }
        for tree in TREES {
            let mut listing = String::new();
            list(Path::new(tree), &mut listing);
            parts.insert((*tree).to_owned(), listing);
        }
        Self(parts)
    }

    /// Checks that the state is unchanged and that no process of the client is left. Waits only for processes
    /// to exit.
    pub fn assert_restored(&self, lab: &Lab) {
        let gone = wait_for(EVENT_TIMEOUT, || client::processes(lab).is_empty().then_some(()));
        assert!(gone.is_some(), "processes of pptpctl are left: {:?}", client::processes(lab));
        self.assert_same();
    }

    /// Checks that the state is unchanged; processes may still run.
    pub fn assert_same(&self) {
        let differences = self.differences(&Self::take());
        assert!(differences.is_empty(), "the host's state has changed:\n{differences}");
    }

    /// Returns the removed (`-`) and added (`+`) lines, under a heading for each part; empty if there are
    /// none.
    pub fn differences(&self, now: &Self) -> String {
        let mut text = String::new();
        for (part, before) in &self.0 {
            let after = &now.0[part];
            if before != after {
                text.push_str(&format!("  {part}:\n"));
                let missing = |from: &str, other: &str, sign| {
                    let other: Vec<&str> = other.lines().collect();
                    from.lines()
                        .filter(|line| !other.contains(line))
                        .map(|line| format!("    {sign} {line}\n"))
                        .collect::<String>()
                };
                let (removed, added) = (missing(before, after, '-'), missing(after, before, '+'));
                text.push_str(if removed.is_empty() && added.is_empty() {
                    "    (the order changed)\n"
                } else {
                    &removed
                });
                text.push_str(&added);
            }
        }
        text
    }
}

/// What stays on purpose after the first tunnel: the empty ledger directory.
const EXPECTED_LEFTOVERS: &[&str] = &["/var/lib/pptpctl 40700 (0, 0) "];

/// Appends the mode, owner and content of everything below `path`, sorted.
fn list(path: &Path, listing: &mut String) {
    // The record of undecided log-ins outlives its supervisor on purpose.
    if path.extension().is_some_and(|extension| extension == "logins") {
        return;
    }
    // The lab's files and mounts, which its commands change.
    if path == Path::new(STATE) || path == Path::new("/run/netns") {
        return;
    }
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    let content = if metadata.is_symlink() {
        fs::read_link(path).map(|to| to.display().to_string()).unwrap_or_default()
    } else if metadata.is_file() && metadata.len() < 4096 {
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).escape_debug().to_string()
    } else if metadata.is_file() {
        format!("{} bytes {}", metadata.len(), digest(path, &metadata))
    } else {
        String::new()
    };
    let owner = (metadata.uid(), metadata.gid());
    let line = format!("{} {:o} {owner:?} {content}", path.display(), metadata.mode());
    if !EXPECTED_LEFTOVERS.contains(&line.as_str()) {
        listing.push_str(&line);
        listing.push('\n');
    }
    if metadata.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| list(entry, listing));
    }
}

/// Device, inode, size, mtime and ctime: files with equal values have equal contents.
type Version = (u64, u64, u64, (i64, i64), (i64, i64));

/// Returns the SHA-1 of a file, cached by version: hashing /var/lib for each of a hundred snapshots takes
/// minutes.
fn digest(path: &Path, metadata: &Metadata) -> String {
    static KNOWN: LazyLock<Mutex<HashMap<Version, String>>> = LazyLock::new(Mutex::default);
    let version = (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
    );
    if let Some(known) = KNOWN.lock().unwrap().get(&version) {
        return known.clone();
    }
    let Ok(bytes) = fs::read(path) else { return "unreadable".to_owned() };
    let digest: String = Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    KNOWN.lock().unwrap().insert(version, digest.clone());
    digest
}
