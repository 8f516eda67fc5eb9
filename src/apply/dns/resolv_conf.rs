//! Edits resolv.conf(5) itself, if no program manages it.
//!
//! A symbolic link is resolved once; its target must be a regular file of root's. The file is replaced with
//! rename(2) if possible, and else overwritten in place: in a container it may be a mount point, and hard
//! links to it must stay intact. The marks in the file identify its owner even if the ledger is lost.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::parse;
use crate::{
    apply::{
        Cause, Host,
        files::{self, FileOp, FoundFile, Ownership},
    },
    plan::{DnsStep, MAX_SERVERS},
};

/// A file as it was before the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFile {
    /// Resolved path of the file.
    pub path: PathBuf,
    /// Each byte as the character of that value, so that any bytes survive JSON; `None` if there was no file.
    pub content: Option<String>,
    /// Mode and owner.
    pub looks: Ownership,
    /// Number of its parent directories that did not exist either, such as `/etc/netns/NAME`.
    #[serde(default, skip_serializing_if = "files::is_default")]
    pub missing: usize,
}

impl SavedFile {
    pub(super) fn of(path: PathBuf, found: Option<(Vec<u8>, Ownership)>) -> Self {
        let looks = found.as_ref().map_or(NEW, |(_, looks)| *looks);
        let content = found.map(|(bytes, _)| bytes.into_iter().map(char::from).collect());
        Self { path, content, looks, missing: 0 }
    }

    /// Returns the directories that did not exist, the outermost last.
    fn directories(&self) -> Vec<&Path> {
        self.path.ancestors().skip(1).take(self.missing).collect()
    }

    /// Returns its bytes; none if there was no file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.content.iter().flat_map(|text| text.chars()).filter_map(|c| u8::try_from(c).ok()).collect()
    }
}

/// Mode and owner of a new file.
const NEW: Ownership = Ownership { mode: 0o644, uid: 0, gid: 0 };

pub(super) fn observe(step: &DnsStep) -> Result<SavedFile, Cause> {
    let shown = step.file.display();
    let refuse = |why: String| Cause::CannotRestore(format!("{shown}: {why}"));
    let path = files::target(&step.file).map_err(|error| {
        refuse(format!("a broken symbolic link ({error}); the service that created it does not run"))
    })?;
    let found =
        files::read(&path).map_err(|error| refuse(format!("leads to {}: {error}", path.display())))?;
    let Some(found) = found else {
        let looks =
            Ownership { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw(), ..NEW };
        let missing = path.ancestors().skip(1).take_while(|dir| !dir.exists()).count();
        return Ok(SavedFile { looks, missing, ..SavedFile::of(path, None) });
    };
    let Ownership { uid, mode, .. } = found.ownership;
    if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
        return Err(refuse(format!(
            "{} belongs to user {uid}, so a service manages it and would overwrite our change; see `dns.backend`",
            path.display()
        )));
    }
    if mode & 0o022 != 0 {
        return Err(refuse(format!("{} can be written by others than root: chmod go-w it", path.display())));
    }
    match parse::owner(&found.content) {
        // The ledger of that block is gone; its marks are enough to remove it.
        Some(owner) if owner.trim_end_matches(':') == step.profile => {
            let cleaned = parse::without_block(&found.content, &step.profile);
            let Some(cleaned) = cleaned else {
                return Err(refuse(
                    "the old block of pptpctl has no end line: remove the block by hand".to_owned(),
                ));
            };
            Ok(SavedFile::of(path, Some((cleaned, found.ownership))))
        }
        Some(owner) => Err(Cause::Taken(format!(
            "{shown} contains the resolvers of the tunnel {}; only one tunnel at a time can set them",
            owner.trim_end_matches(':')
        ))),
        None => Ok(SavedFile::of(path, Some((found.content, found.ownership)))),
    }
}

pub(super) fn perform(host: &mut Host, step: &DnsStep, saved: &SavedFile) -> Result<(), Cause> {
    let path = &saved.path;
    let failed = |error| Cause::File { path: path.clone(), error };
    let found = files::read(path).map_err(failed)?;
    let now = found.as_ref().map(|found| found.content.clone()).unwrap_or_default();
    let base = parse::without_block(&now, &step.profile).unwrap_or_else(|| now.clone());
    let wanted = parse::with_block(&base, step);
    for dir in saved.directories().into_iter().rev() {
        match host.file(&FileOp::MakeDirectory { path: dir }) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Cause::File { path: dir.to_owned(), error });
            }
            _ => {}
        }
    }
    if now != wanted {
        write_content(host, path, found.as_ref(), &wanted, saved.looks).map_err(failed)?;
    }
    let read = files::read(path).map_err(failed)?.map(|found| found.content);
    if read.as_deref() == Some(wanted.as_slice()) {
        return Ok(());
    }
    Err(Cause::Taken(format!("another program wrote {} at the same time", path.display())))
}

pub(super) fn undo(host: &mut Host, step: &DnsStep, saved: &SavedFile) -> Result<(), Cause> {
    undo_file(host, step, saved)?;
    for dir in saved.directories() {
        match files::gone(host.file(&FileOp::RemoveDirectory { path: dir })) {
            // Another program has put a file there since; the directory stays.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => break,
            removed => removed.map_err(|error| Cause::File { path: dir.to_owned(), error })?,
        }
    }
    Ok(())
}

fn undo_file(host: &mut Host, step: &DnsStep, saved: &SavedFile) -> Result<(), Cause> {
    let path = &saved.path;
    let failed = |error| Cause::File { path: path.clone(), error };
    // An interrupted write may have left a draft.
    remove_draft(host, path).map_err(failed)?;
    let found = match files::read(path) {
        // Another program has replaced the file with a symbolic link, which stays.
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => return Ok(()),
        found => found.map_err(failed)?,
    };
    let Some(found) = found else { return Ok(()) };
    let before = saved.bytes();
    let ours = parse::with_block(&before, step);
    let untouched = found.content == ours
        || parse::is_torn(&found.content, &before, &ours)
        || parse::is_torn(&found.content, &ours, &before);
    let wanted = if untouched {
        before
    } else if let Some(cleaned) = parse::without_block(&found.content, &step.profile) {
        tracing::warn!(
            "{}: {} was changed while the tunnel was up; only the lines of pptpctl are removed",
            step.profile,
            path.display()
        );
        cleaned
    } else {
        // Another program has rewritten the file, and our block is gone.
        return Ok(());
    };
    if saved.content.is_none() && wanted.is_empty() {
        return host.file(&FileOp::Remove { path }).map_err(failed);
    }
    write_content(host, path, Some(&found), &wanted, found.ownership).map_err(failed)
}

/// Returns a message if the resolvers in the file are not ours.
pub(super) fn problem(step: &DnsStep, servers: &[IpAddr]) -> Option<String> {
    let found = files::target(&step.file).and_then(|target| files::read(&target)).ok().flatten();
    let content = found.map(|found| found.content).unwrap_or_default();
    let now = parse::nameservers(&content);
    let asked = |all: &[IpAddr]| all.iter().take(MAX_SERVERS).copied().collect::<Vec<_>>();
    if asked(&now) == asked(servers) {
        return None;
    }
    let who = String::from_utf8_lossy(&content).lines().next().unwrap_or_default().to_owned();
    let who =
        if who.starts_with('#') { format!(", under the line \"{}\"", who.trim()) } else { String::new() };
    Some(format!(
        "another program has written {}: it has {} now{who}; the tunnel's resolvers are not asked",
        step.file.display(),
        parse::list(&now)
    ))
}

/// Writes the content of a file: atomically if possible.
pub(super) fn write_content(
    host: &mut Host,
    path: &Path,
    found: Option<&FoundFile>,
    content: &[u8],
    looks: Ownership,
) -> io::Result<()> {
    let draft = draft(path);
    let in_place = found.is_some_and(|found| found.has_other_names);
    if !in_place {
        remove_draft(host, path)?;
        let made = host
            .file(&FileOp::Create { path: &draft, content, ownership: looks })
            .and_then(|()| host.file(&FileOp::Rename { from: &draft, to: path }));
        let refused = match made {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let _none = host.file(&FileOp::Remove { path: &draft });
        if found.is_none() || !is_directory_error(&refused) {
            return Err(refused);
        }
    }
    let length = content.len() as u64;
    host.file(&FileOp::Overwrite { path, content })?;
    if found.is_some_and(|found| found.content.len() as u64 > length) {
        host.file(&FileOp::Truncate { path, length })?;
    }
    Ok(())
}

/// Removes what an interrupted write may have left. On a read-only file system there is nothing, and unlink(2) refuses before
/// it looks for the file. The file itself may be a mount that can be written: in a container, or by `ProtectSystem=` of systemd.
fn remove_draft(host: &mut Host, path: &Path) -> io::Result<()> {
    match files::gone(host.file(&FileOp::Remove { path: &draft(path) })) {
        Err(error) if error.raw_os_error() == Some(Errno::EROFS as i32) => Ok(()),
        outcome => outcome,
    }
}

/// Returns whether the directory or mount, not the file itself, refused the operation.
fn is_directory_error(error: &io::Error) -> bool {
    [Errno::EBUSY, Errno::EXDEV, Errno::EROFS, Errno::EACCES, Errno::EPERM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// Returns the draft's path: in the same directory, so that rename(2) works.
fn draft(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.pptpctl"))
}

#[cfg(test)]
mod tests;
