//! The ledger: one file per profile in the state directory, one JSON object per line.
//!
//! The first line identifies the profile, boot and process. Each further line is a step about to be performed
//! (with the state before it), a fact learnt while performing it, or a step that has been undone. Every line
//! is synced to disk before the step is performed. A torn last line is a step that was never begun.

mod adopt;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub(super) use super::state_lock::StateLock;
use super::{
    ApplyError, Cause, Directories, NamedNetns, SavedFile,
    files::{self, gone, sync_dir},
};
use crate::{
    net::routes::Route,
    os::{
        boot, crash,
        launch::{self, files::Opening},
        namespace::Namespace,
    },
    plan::{Part, Step},
};

const VERSION: u32 = 1;
/// The ledger is rewritten with the steps in force when it has more lines than this.
const COMPACT_LINES: usize = 512;
/// The most bytes that are read; a ledger is usually a few kilobytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Identifies the profile, boot and process that wrote a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format.
    #[serde(rename = "pptpctl-ledger")]
    pub version: u32,
    /// The profile.
    pub profile: String,
    /// Boot id of the kernel; empty if the platform has none.
    pub boot: String,
    /// Inode of the tunnel's network namespace; 0 if the platform has none.
    pub netns: u64,
    /// Cookie of the namespace, as the inode number may be reused when it is gone. 0 if the kernel has none.
    #[serde(default, rename = "netns-cookie", skip_serializing_if = "files::is_default")]
    pub netns_cookie: u64,
    /// Name of the namespace, if the tunnel is not in the one that the supervisor runs in.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub netns_name: Option<String>,
    /// Process id of the supervisor.
    pub pid: u32,
    /// Start time of the supervisor, in clock ticks since boot; 0 if unknown. Detects a reused pid.
    pub start: u64,
}

impl Header {
    /// Returns a header for the calling process.
    #[must_use]
    pub fn of_this_process(profile: &str) -> Self {
        let pid = std::process::id();
        let Namespace { inode, cookie } = Namespace::current();
        Self {
            version: VERSION,
            profile: profile.to_owned(),
            boot: boot::id(),
            netns: inode,
            netns_cookie: cookie,
            netns_name: None,
            pid,
            start: boot::start_time(pid).unwrap_or(0),
        }
    }

    /// Replaces the network namespace if the tunnel is in a named one.
    #[must_use]
    pub(super) fn at(self, place: Option<NamedNetns>) -> Self {
        match place {
            Some(NamedNetns { name, namespace: Namespace { inode, cookie } }) => {
                Self { netns: inode, netns_cookie: cookie, netns_name: Some(name), ..self }
            }
            None => self,
        }
    }

    /// Returns the network namespace of the tunnel.
    #[must_use]
    pub(super) const fn namespace(&self) -> Namespace {
        Namespace { inode: self.netns, cookie: self.netns_cookie }
    }

    /// Returns whether the process that wrote the ledger still runs, judged by pid and start time. A lock
    /// that the supervisor holds is more reliable.
    #[must_use]
    pub fn is_process_running(&self) -> bool {
        boot::is_running(&self.boot, self.pid, self.start)
    }
}

/// The state of the host before a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriorState {
    /// There was nothing.
    Nothing,
    /// The same setting, made by another program: it is neither changed nor undone.
    Same,
    /// The same setting, made for another tunnel: the last tunnel that needs it removes it.
    Shared,
    /// A route with the same key, which the step's route replaces.
    Route(Box<Route>),
    /// The default routes that the step removes.
    Routes(Vec<Route>),
    /// A file that the step changes.
    File(Box<SavedFile>),
    /// Files that a program changes when the step runs it.
    Files(Vec<SavedFile>),
    /// The number that the step replaces: an MTU, a routing domain or a FIB.
    Number(u32),
}

/// A tun device by name and index: a later device of the same name has another index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `tunN`.
    pub name: String,
    /// The kernel's interface index.
    pub index: u32,
    /// Whether it existed before, and so remains.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existed: bool,
}

/// A step in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the step in this ledger.
    pub number: u64,
    /// The plan that the step is part of.
    pub part: Part,
    /// The step.
    pub step: Step,
    /// The state before the step.
    pub before: PriorState,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(
    target_pointer_width = "64",
    expect(
        clippy::large_enum_variant,
        reason = "nearly every line is of the large kind, and one lives at a time"
    )
)]
enum Line {
    Do {
        n: u64,
        part: Part,
        step: Step,
        before: PriorState,
        /// Number of an earlier step that this one replaces; `before` is copied from it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead: Option<u64>,
    },
    Device(Device),
    Undone {
        n: u64,
    },
}

/// The content of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Identifies the writer.
    pub header: Header,
    /// The tun device, once it is open.
    pub device: Option<Device>,
    /// The steps in force, oldest first.
    pub entries: Vec<Entry>,
    /// Numbers of the lines that can't be parsed.
    pub garbled: Vec<usize>,
    lines: usize,
    next: u64,
}

impl Record {
    fn new(header: Header) -> Self {
        Self { header, device: None, entries: Vec::new(), garbled: Vec::new(), lines: 1, next: 1 }
    }

    fn take(&mut self, line: Line) {
        self.lines += 1;
        match line {
            Line::Do { n, part, step, before, instead } => {
                self.entries.retain(|entry| Some(entry.number) != instead && entry.number != n);
                self.entries.push(Entry { number: n, part, step, before });
                self.next = self.next.max(n.saturating_add(1));
            }
            Line::Device(device) => self.device = Some(device),
            Line::Undone { n } => self.entries.retain(|entry| entry.number != n),
        }
    }

    /// Returns a file with the steps in force and nothing else.
    fn compacted(&self) -> io::Result<Vec<u8>> {
        let mut text = encode(&self.header)?;
        text.push(b'\n');
        let device = self.device.clone().map(Line::Device);
        let entries = self.entries.iter().map(|entry| Line::Do {
            n: entry.number,
            part: entry.part,
            step: entry.step.clone(),
            before: entry.before.clone(),
            instead: None,
        });
        for line in entries.chain(device) {
            text.extend(encode(&line)?);
            text.push(b'\n');
        }
        Ok(text)
    }
}

/// A ledger that is open for writing.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    record: Record,
    /// A failed write left a torn line at the end, which could not be truncated.
    torn: bool,
}

impl Ledger {
    /// Creates the ledger of a profile and syncs it to disk.
    ///
    /// # Errors
    /// Returns [`Cause::LedgerExists`] if there is one, or the error of the write.
    pub fn create(places: &Directories, header: Header) -> Result<Self, ApplyError> {
        let path = places.ledger(&header.profile);
        let failed = |error| file_error(&path, error);
        crash::point(format_args!("make the ledger"));
        let file = match launch::files::open(&path, Opening::New) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ApplyError::ledger(&path, Cause::LedgerExists));
            }
            other => other.map_err(failed)?,
        };
        let mut ledger = Self { path: path.clone(), file, record: Record::new(header), torn: false };
        let mut text = encode(&ledger.record.header).map_err(failed)?;
        text.push(b'\n');
        crash::point(format_args!("head the ledger"));
        let headed = ledger.file.write_all(&text).and_then(|()| ledger.file.sync_all());
        if let Err(error) = headed.and_then(|()| sync_dir(&path)) {
            // Nothing is done yet; a ledger left behind would look like a supervisor's that has crashed.
            let _best = launch::files::remove(&path);
            return Err(failed(error));
        }
        Ok(ledger)
    }

    /// Opens an existing ledger. Returns `None` if its header never reached the disk: nothing was done.
    ///
    /// # Errors
    /// Returns an error if it can't be read or has an unknown version.
    pub fn open(path: &Path) -> Result<Option<Self>, ApplyError> {
        let failed = |error| file_error(path, error);
        let mut file = open_existing(path).map_err(failed)?;
        let Some((record, whole)) = read(&mut file, path)? else { return Ok(None) };
        // The next line must not be joined to a torn one.
        file.set_len(whole).map_err(failed)?;
        Ok(Some(Self { path: path.to_owned(), file, record, torn: false }))
    }

    /// Returns the ledger of a profile as it is, or an empty one, in which nothing can be recorded.
    ///
    /// # Errors
    /// Returns an error if this process has no descriptor left.
    pub fn read_only(places: &Directories, header: Header) -> Result<Self, ApplyError> {
        let path = places.ledger(&header.profile);
        let file = File::open("/dev/null").map_err(|error| file_error(&path, error))?;
        let record = peek(&path).filter(|record| record.header.boot == header.boot);
        let record = record.unwrap_or_else(|| Record::new(header));
        Ok(Self { path, file, record, torn: false })
    }

    /// Returns its content.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records a step that is about to be performed. Returns its number.
    ///
    /// # Errors
    /// Returns an error if the line did not reach the disk; the step must not be performed.
    pub fn intend(
        &mut self,
        part: Part,
        step: &Step,
        before: PriorState,
        instead: Option<u64>,
    ) -> Result<u64, ApplyError> {
        let n = self.record.next;
        self.write(Line::Do { n, part, step: step.clone(), before, instead })?;
        Ok(n)
    }

    /// Records the tun device.
    ///
    /// # Errors
    /// Returns an error if the line did not reach the disk.
    pub fn device(&mut self, device: Device) -> Result<(), ApplyError> {
        self.write(Line::Device(device))
    }

    /// Records that a step is undone.
    ///
    /// # Errors
    /// Returns an error if the line did not reach the disk; undoing the step again is harmless.
    pub fn undone(&mut self, n: u64) -> Result<(), ApplyError> {
        self.write(Line::Undone { n })
    }

    /// Removes the file if nothing is left to undo.
    ///
    /// # Errors
    /// Returns an error if the file can't be removed.
    pub fn close(self) -> Result<(), ApplyError> {
        if !self.record.entries.is_empty() {
            return Ok(());
        }
        // An interrupted compaction may have left a draft.
        let _none = launch::files::remove(&self.draft());
        crash::point(format_args!("remove the ledger"));
        let removed = launch::files::remove(&self.path).and_then(|()| sync_dir(&self.path));
        removed.map_err(|error| file_error(&self.path, error))
    }

    fn write(&mut self, line: Line) -> Result<(), ApplyError> {
        let written = encode(&line).and_then(|text| self.append(text));
        written.map_err(|error| file_error(&self.path, error))?;
        self.record.take(line);
        // Scale with the steps in force: rewriting many of them for every line would be quadratic.
        if self.record.lines > COMPACT_LINES.max(2 * self.record.entries.len() + 2)
            && let Err(error) = self.compact()
        {
            // The ledger stays valid, only longer than necessary; try again after as many further lines.
            tracing::warn!(%error, path = %self.path.display(), "ledger not compacted");
            let _none = launch::files::remove(&self.draft());
            self.record.lines = 0;
        }
        Ok(())
    }

    /// Appends a line. After a partial write (disk full), the next line must not be joined to it.
    fn append(&mut self, mut text: Vec<u8>) -> io::Result<()> {
        if self.torn {
            text.insert(0, b'\n');
        }
        text.push(b'\n');
        let whole = self.file.metadata()?.len();
        crash::point(format_args!("ledger: {}", String::from_utf8_lossy(&text).trim()));
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.torn = false,
            Err(_) => self.torn |= self.file.set_len(whole).is_err(),
        }
        written
    }

    fn draft(&self) -> PathBuf {
        self.path.with_extension("ledger.new")
    }

    /// Rewrites the file with the steps in force: a long-running tunnel reconnects often.
    fn compact(&mut self) -> io::Result<()> {
        let text = self.record.compacted()?;
        let draft = self.draft();
        gone(launch::files::remove(&draft))?;
        let mut file = launch::files::open(&draft, Opening::New)?;
        file.write_all(&text)?;
        file.sync_all()?;
        crash::point(format_args!("rename {} to {}", draft.display(), self.path.display()));
        launch::files::rename(&draft, &self.path)?;
        self.file = file;
        self.torn = false;
        self.record.lines = self.record.entries.len() + 2;
        sync_dir(&self.path)
    }
}

/// Opens a ledger for reading and appending.
fn open_existing(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).append(true).custom_flags(flags).open(path)
}

/// Reads the ledger of another tunnel without changing it; `None` if it can't be read or has no header.
pub(super) fn peek(path: &Path) -> Option<Record> {
    let mut file = launch::files::open(path, Opening::Read).ok()?;
    read(&mut file, path).ok().flatten().map(|(record, _)| record)
}

/// Lists the ledgers in the state directory, sorted by name.
pub(super) fn list(state: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let entries = match std::fs::read_dir(state) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(paths),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ledger") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Returns whether a thread or a name still keeps a network namespace alive.
#[cfg(target_os = "linux")]
pub(super) fn netns_exists(namespace: Namespace) -> bool {
    // A process that may not be inspected (init, in some containers) counts as outside. Blocking recovery
    // forever for a namespace that is gone is worse than leaving the routes of an unnamed namespace in place
    // until it ends.
    let is_it = |path: PathBuf| crate::os::netns::is(&path, namespace);
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries(Path::new(crate::platform::NETNS_DIR)).any(|name| is_it(name.path()))
        || entries(Path::new("/proc"))
            .flat_map(|process| entries(&process.path().join("task")))
            .any(|thread| is_it(thread.path().join("ns/net")))
}

/// Returns `true`: without network namespaces the only one always exists.
#[cfg(not(target_os = "linux"))]
pub(super) const fn netns_exists(_namespace: Namespace) -> bool {
    true
}

/// Parses the complete lines; returns them and their length in bytes. A torn last line was never completely
/// on disk, so its step was never begun.
fn read(file: &mut File, path: &Path) -> Result<Option<(Record, u64)>, ApplyError> {
    let mut bytes = Vec::new();
    let got = Read::take(&mut *file, MAX_BYTES).read_to_end(&mut bytes);
    got.map_err(|error| file_error(path, error))?;
    parse(&mut bytes, path)
}

/// As [`read`], of the bytes of the file, from which a torn line is removed.
fn parse(bytes: &mut Vec<u8>, path: &Path) -> Result<Option<(Record, u64)>, ApplyError> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
    bytes.truncate(end);
    let mut lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let Some((_, first)) = lines.next() else { return Ok(None) };
    let header: Header = match serde_json::from_slice(first) {
        Ok(header) => header,
        Err(error) => {
            let text = format!(
                "not a ledger, so nothing can be undone from it: {error}; remove it when the host is as it should be"
            );
            return Err(ApplyError::ledger(path, Cause::Ledger(text)));
        }
    };
    if header.version != VERSION {
        let text = format!("a ledger of format {}, written by another version of pptpctl", header.version);
        return Err(ApplyError::ledger(path, Cause::Ledger(text)));
    }
    let mut record = Record::new(header);
    for (number, line) in lines {
        match serde_json::from_slice(line) {
            Ok(line) => record.take(line),
            Err(_) => record.garbled.push(number + 1),
        }
    }
    Ok(Some((record, end as u64)))
}

fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

fn file_error(path: &Path, error: io::Error) -> ApplyError {
    ApplyError::ledger(path, Cause::File { path: path.to_owned(), error })
}

#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
#[cfg(test)]
mod tests;
