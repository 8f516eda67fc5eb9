//! The ledger: one file per profile in the state directory, one JSON object per line.
//!
//! The first line says whose it is; each further line is a step that is about to be performed (with what was
//! there before), a fact learnt while performing it, or a step that has been undone. Every line is on disk
//! before the deed. A torn last line is a step that was never begun.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{ApplyError, Cause, Directories, NamedNetns, SavedFile};
use crate::{
    net::routes::Route,
    os::{boot, crash, namespace::Namespace},
    plan::{Part, Step},
};

const VERSION: u32 = 1;
/// More lines than this, and the ledger is rewritten with what is still to be undone.
const COMPACT_LINES: usize = 512;
/// A ledger of ours is a few kilobytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Whose ledger it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Of the format.
    #[serde(rename = "pptpctl-ledger")]
    pub version: u32,
    /// The profile.
    pub profile: String,
    /// Of this run of the kernel; empty where the platform has none.
    pub boot: String,
    /// The network namespace of the tunnel, by inode; 0 where the platform has none.
    pub netns: u64,
    /// Its cookie: its number may be another's when it is gone. 0 where the kernel has none.
    #[serde(default, rename = "netns-cookie", skip_serializing_if = "is_zero")]
    pub netns_cookie: u64,
    /// Its name, when it is not the one that the supervisor runs in.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub netns_name: Option<String>,
    /// The supervisor.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot; 0 where unknown. Tells a reused pid.
    pub start: u64,
}

impl Header {
    /// A header for the calling process.
    #[must_use]
    pub fn here(profile: &str) -> Self {
        let pid = std::process::id();
        let Namespace { inode, cookie } = Namespace::here();
        Self {
            version: VERSION,
            profile: profile.to_owned(),
            boot: boot::id(),
            netns: inode,
            netns_cookie: cookie,
            netns_name: None,
            pid,
            start: boot::start_of(pid).unwrap_or(0),
        }
    }

    /// The same for a tunnel that lives in a namespace of its own.
    #[must_use]
    pub(super) fn at(self, place: Option<NamedNetns>) -> Self {
        match place {
            Some(NamedNetns { name, namespace: Namespace { inode, cookie } }) => {
                Self { netns: inode, netns_cookie: cookie, netns_name: Some(name), ..self }
            }
            None => self,
        }
    }

    /// The network namespace of the tunnel.
    #[must_use]
    pub(super) const fn namespace(&self) -> Namespace {
        Namespace { inode: self.netns, cookie: self.netns_cookie }
    }

    /// Whether the process that wrote it still runs, as far as pid and start time can tell. A lock that the
    /// supervisor holds tells better.
    #[must_use]
    pub fn process_lives(&self) -> bool {
        self.boot == boot::id()
            && boot::start_of(self.pid).is_some_and(|start| self.start == 0 || start == self.start)
    }
}

/// What was there before a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriorState {
    /// Nothing.
    Nothing,
    /// The very same, made by someone else: nothing is done, and nothing undone.
    Same,
    /// The very same, made for another tunnel: the last one that needs it removes it.
    Shared,
    /// A route in the same place, which ours replaces.
    Route(Box<Route>),
    /// The default routes that are removed.
    Routes(Vec<Route>),
    /// A file, which ours replaces.
    File(Box<SavedFile>),
}

/// A tun device by name and number: a later device of the same name is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `tunN`.
    pub name: String,
    /// The kernel's number.
    pub index: u32,
}

/// One step that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts the steps of this ledger.
    pub number: u64,
    /// Of which plan.
    pub part: Part,
    /// The step.
    pub step: Step,
    /// What was there before.
    pub before: PriorState,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every line is of the large kind, and one lives at a time"
)]
enum Line {
    Do {
        n: u64,
        part: Part,
        step: Step,
        before: PriorState,
        /// It takes the place of this one, and inherits what was before it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead: Option<u64>,
    },
    Device(Device),
    Undone {
        n: u64,
    },
}

/// What a ledger says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub header: Header,
    /// The tun device, once it is open.
    pub device: Option<Device>,
    /// The steps in force, oldest first.
    pub entries: Vec<Entry>,
    /// Lines in the middle that make no sense, by number.
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
}

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    record: Record,
    /// A write has left a torn line at the end, which could not be cut off either.
    torn: bool,
}

impl Ledger {
    /// Makes the ledger of a profile, on disk before this returns.
    ///
    /// # Errors
    /// [`Cause::LedgerExists`]; or that it can't be written.
    pub fn create(places: &Directories, header: Header) -> Result<Self, ApplyError> {
        let path = places.ledger(&header.profile);
        let failed = |error| file_error(&path, error);
        let options = OpenOptions::new().append(true).create_new(true).mode(0o600).clone();
        crash::point(format_args!("make the ledger"));
        let file = match open(&options, &path) {
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
            // Nothing is done yet; a ledger that stays would say that a supervisor has died.
            let _best = std::fs::remove_file(&path);
            return Err(failed(error));
        }
        Ok(ledger)
    }

    /// Opens the ledger that someone left. `None`: its header never reached the disk, so nothing was done.
    ///
    /// # Errors
    /// When it can't be read, or is of a version that this program does not know.
    pub fn open(path: &Path) -> Result<Option<Self>, ApplyError> {
        let failed = |error| file_error(path, error);
        let mut file = open(OpenOptions::new().read(true).append(true), path).map_err(failed)?;
        let Some((record, whole)) = read(&mut file, path)? else { return Ok(None) };
        // The next line must not be glued to a torn one.
        file.set_len(whole).map_err(failed)?;
        Ok(Some(Self { path: path.to_owned(), file, record, torn: false }))
    }

    /// What it says.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down a step that is about to be performed. Returns its number.
    ///
    /// # Errors
    /// When it did not reach the disk: the step must not be performed.
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

    /// Writes down which tun device it is.
    ///
    /// # Errors
    /// When it did not reach the disk.
    pub fn device(&mut self, device: Device) -> Result<(), ApplyError> {
        self.write(Line::Device(device))
    }

    /// Writes down that a step is undone.
    ///
    /// # Errors
    /// When it did not reach the disk; undoing it again is harmless.
    pub fn undone(&mut self, n: u64) -> Result<(), ApplyError> {
        self.write(Line::Undone { n })
    }

    /// Removes the file, if there is nothing left to undo.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub fn close(self) -> Result<(), ApplyError> {
        if !self.record.entries.is_empty() {
            return Ok(());
        }
        // A compaction that was cut short has left it.
        let _none = std::fs::remove_file(self.draft());
        crash::point(format_args!("remove the ledger"));
        let removed = std::fs::remove_file(&self.path).and_then(|()| sync_dir(&self.path));
        removed.map_err(|error| file_error(&self.path, error))
    }

    fn write(&mut self, line: Line) -> Result<(), ApplyError> {
        let written = encode(&line).and_then(|text| self.append(text));
        written.map_err(|error| file_error(&self.path, error))?;
        self.record.take(line);
        // One that has much in force is long by right: written anew with every line it would cost its length each time.
        if self.record.lines > COMPACT_LINES.max(2 * self.record.entries.len() + 2)
            && let Err(error) = self.compact()
        {
            // It is as good as before, only longer than it need be; after as many lines it is tried again.
            tracing::warn!(%error, path = %self.path.display(), "ledger not compacted");
            let _none = std::fs::remove_file(self.draft());
            self.record.lines = 0;
        }
        Ok(())
    }

    /// A full disk takes half a line. The next one must not be glued to it: neither could be read again.
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

    /// A tunnel that lives for years reconnects often: keep what is in force, in a new file.
    fn compact(&mut self) -> io::Result<()> {
        let mut text = encode(&self.record.header)?;
        text.push(b'\n');
        let device = self.record.device.clone().map(Line::Device);
        let entries = self.record.entries.iter().map(|entry| Line::Do {
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
        let draft = self.draft();
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = open(OpenOptions::new().append(true).create_new(true).mode(0o600), &draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        crash::point(format_args!("rename {} to {}", draft.display(), self.path.display()));
        std::fs::rename(&draft, &self.path)?;
        self.file = file;
        self.torn = false;
        self.record.lines = self.record.entries.len() + 2;
        sync_dir(&self.path)
    }
}

/// Reads the ledger of another tunnel without touching it; `None` when there is nothing to read.
pub(super) fn peek(path: &Path) -> Option<Record> {
    let mut file = open(OpenOptions::new().read(true), path).ok()?;
    read(&mut file, path).ok().flatten().map(|(record, _)| record)
}

/// The ledgers in the state directory, by name.
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

/// Holds the state directory for one process: two tunnels that share a host route must not undo it at once.
#[derive(Debug)]
pub(super) struct StateLock {
    state: PathBuf,
    held: Option<nix::fcntl::Flock<File>>,
}

impl StateLock {
    pub(super) fn take(state: &Path) -> Result<Self, ApplyError> {
        let mut lock = Self { state: state.to_owned(), held: None };
        lock.hold()?;
        Ok(lock)
    }

    /// Does something without holding the directory: a hook may take long, and may call this program for another tunnel.
    ///
    /// # Errors
    /// When the directory can't be held again, with what came of the work.
    pub(super) fn aside<T>(&mut self, work: impl FnOnce() -> T) -> (T, Result<(), ApplyError>) {
        self.held = None;
        let done = work();
        (done, self.hold())
    }

    fn hold(&mut self) -> Result<(), ApplyError> {
        let failed = |error| file_error(&self.state, error);
        if !self.state.is_dir() {
            crash::point(format_args!("make the state directory"));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.state).map_err(failed)?;
        // The directory itself is the lock: a file in it would be one more thing left behind.
        let directory = open(OpenOptions::new().read(true), &self.state).map_err(failed)?;
        // Whoever can write a ledger can have root undo what was never done, or run a hook.
        let found = directory.metadata().map_err(failed)?;
        if found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o022 != 0 {
            return Err(failed(io::Error::other(
                "it is not ours alone to write: chown root and chmod 700 it",
            )));
        }
        let held = nix::fcntl::Flock::lock(directory, nix::fcntl::FlockArg::LockExclusive);
        self.held = Some(held.map_err(|(_, errno)| failed(errno.into()))?);
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Whether some thread or name still holds a network namespace alive.
#[cfg(target_os = "linux")]
pub(super) fn netns_exists(namespace: Namespace) -> bool {
    // A process that may not be looked at (init, in some containers) counts as elsewhere: to be held up for ever by
    // a namespace that is gone would be worse than to leave the routes of a nameless one to its own end.
    let is_it = |path: PathBuf| crate::net::netns::is(&path, namespace);
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries(Path::new("/run/netns")).any(|name| is_it(name.path()))
        || entries(Path::new("/proc"))
            .flat_map(|process| entries(&process.path().join("task")))
            .any(|thread| is_it(thread.path().join("ns/net")))
}

/// There is one.
#[cfg(not(target_os = "linux"))]
pub(super) const fn netns_exists(_namespace: Namespace) -> bool {
    true
}

/// What the whole lines say, and how many bytes they are. A torn last line never reached the disk whole, so
/// its deed was never begun.
fn read(file: &mut File, path: &Path) -> Result<Option<(Record, u64)>, ApplyError> {
    let mut bytes = Vec::new();
    let got = Read::take(&mut *file, MAX_BYTES).read_to_end(&mut bytes);
    got.map_err(|error| file_error(path, error))?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
    bytes.truncate(end);
    let mut lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let Some((_, first)) = lines.next() else { return Ok(None) };
    let header: Header = match serde_json::from_slice(first) {
        Ok(header) => header,
        Err(error) => {
            let text = format!(
                "not a ledger, so nothing can be undone from it: {error}; remove it when all is as it should be"
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

/// Never through a symbolic link that someone put there.
fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.clone().custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC).open(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn file_error(path: &Path, error: io::Error) -> ApplyError {
    ApplyError::ledger(path, Cause::File { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests;
