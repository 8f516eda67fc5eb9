//! What the host looks like to everyone else: taken before a case and compared after it, byte for byte.

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
    lab::{Lab, PATIENCE, STATE, wait_for},
};

/// Commands whose output is the host's network state. Stateless where the tool can: counters move by themselves.
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

/// Directories that are compared with every file in them; the lab's own are left out.
const TREES: &[&str] = &["/run", "/var/lib", "/etc"];

/// The state at one moment.
pub struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// Takes it.
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

    /// Nothing of ours is left: all as it was, and no process. A process may take a moment to go, nothing else may.
    pub fn assert_restored(&self, lab: &Lab) {
        let gone = wait_for(PATIENCE, || client::processes(lab).is_empty().then_some(()));
        assert!(gone.is_some(), "processes of pptpctl are left: {:?}", client::processes(lab));
        self.assert_same();
    }

    /// All as it was, whoever still runs.
    pub fn assert_same(&self) {
        let differences = self.differences(&Self::take());
        assert!(differences.is_empty(), "the host is not as it was:\n{differences}");
    }

    /// Lines that went (`-`) and came (`+`), each under the heading of its part; empty when nothing did.
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
                let (went, came) = (missing(before, after, '-'), missing(after, before, '+'));
                text.push_str(if went.is_empty() && came.is_empty() {
                    "    (the order changed)\n"
                } else {
                    &went
                });
                text.push_str(&came);
            }
        }
        text
    }
}

/// What stays on purpose once there was a tunnel: the place of ledgers, empty.
const STAYS: &[&str] = &["/var/lib/pptpctl 40700 (0, 0) "];

/// Kind, mode, owner and content of everything below, in order.
fn list(path: &Path, listing: &mut String) {
    // The lab's own files and mounts, which its commands keep changing.
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
    if !STAYS.contains(&line.as_str()) {
        listing.push_str(&line);
        listing.push('\n');
    }
    if metadata.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| list(entry, listing));
    }
}

/// File system, inode, size, and when content and inode last changed: a file with the same is the same.
type Version = (u64, u64, u64, (i64, i64), (i64, i64));

/// The SHA-1 of a file. Each version of it is read once: a hundred snapshots of /var/lib would take minutes.
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
