//! The operations that change a file of the host, one request each, so that tests can crash between any two.

use std::{
    fmt,
    fs::Permissions,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, fchown};

use crate::os::{
    crash,
    launch::files::{self, Opening},
};

/// The largest configuration file that is accepted, in bytes.
pub(super) const MAX_BYTES: u64 = 64 * 1024;

/// One change of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOp<'a> {
    /// Creates a file and syncs it to disk; it must not exist.
    Create {
        /// The path of the new file.
        path: &'a Path,
        /// Its content.
        content: &'a [u8],
        /// Its mode, owner and group.
        ownership: Ownership,
    },
    /// Renames a file over another one atomically.
    Rename {
        /// The old path.
        from: &'a Path,
        /// The new path.
        to: &'a Path,
    },
    /// Overwrites the first bytes of a file without truncating it.
    Overwrite {
        /// The path of the file.
        path: &'a Path,
        /// The new bytes.
        content: &'a [u8],
    },
    /// Truncates a file.
    Truncate {
        /// The path of the file.
        path: &'a Path,
        /// The new length, in bytes.
        length: u64,
    },
    /// Removes a file.
    Remove {
        /// The path of the file.
        path: &'a Path,
    },
    /// Creates a directory with mode 0755; it must not exist.
    MakeDirectory {
        /// The path of the directory.
        path: &'a Path,
    },
    /// Removes an empty directory.
    RemoveDirectory {
        /// The path of the directory.
        path: &'a Path,
    },
}

/// Mode and owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ownership {
    /// The permission bits.
    pub mode: u32,
    /// The user id of the owner.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

impl FileOp<'_> {
    /// Performs the operation on this host.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn perform(&self) -> io::Result<()> {
        crash::point(format_args!("{self}"));
        match *self {
            Self::Create { path, content, ownership: looks } => {
                // No other user may open it for writing before it has its owner.
                let mut file = files::open(path, Opening::New)?;
                crash::point(format_args!("fill {}", path.display()));
                fchown(&file, Some(Uid::from_raw(looks.uid)), Some(Gid::from_raw(looks.gid)))?;
                file.set_permissions(Permissions::from_mode(looks.mode))?;
                file.write_all(content)?;
                file.sync_all()
            }
            Self::Rename { from, to } => files::rename(from, to).and_then(|()| sync_dir(to)),
            Self::Overwrite { path, content } => {
                let mut file = files::open(path, Opening::Write)?;
                file.write_all(content)?;
                file.sync_all()
            }
            Self::Truncate { path, length } => {
                let file = files::open(path, Opening::Write)?;
                file.set_len(length)?;
                file.sync_all()
            }
            Self::Remove { path } => files::remove(path).and_then(|()| sync_dir(path)),
            Self::MakeDirectory { path } => {
                // Not the umask's: programs in a namespace read its files, and not all run as root.
                files::make_directory(path, 0o755).and_then(|()| sync_dir(path))
            }
            Self::RemoveDirectory { path } => files::remove_directory(path).and_then(|()| sync_dir(path)),
        }
    }
}

impl fmt::Display for FileOp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { path, .. } => write!(f, "make {}", path.display()),
            Self::Rename { from, to } => write!(f, "rename {} to {}", from.display(), to.display()),
            Self::Overwrite { path, .. } => write!(f, "overwrite {}", path.display()),
            Self::Truncate { path, length } => write!(f, "cut {} to {length} bytes", path.display()),
            Self::Remove { path } => write!(f, "remove {}", path.display()),
            Self::MakeDirectory { path } => write!(f, "make the directory {}", path.display()),
            Self::RemoveDirectory { path } => write!(f, "remove the directory {}", path.display()),
        }
    }
}

/// A regular file as found on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundFile {
    pub(super) content: Vec<u8>,
    pub(super) ownership: Ownership,
    /// Whether the file has more than one hard link.
    pub(super) has_other_names: bool,
}

/// Reads a file, which must not be a symbolic link; `None` if it does not exist.
pub(super) fn read(path: &Path) -> io::Result<Option<FoundFile>> {
    let file = match files::open(path, Opening::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("larger than any configuration file"));
    }
    let looks = Ownership { mode: facts.mode() & 0o7777, uid: facts.uid(), gid: facts.gid() };
    Ok(Some(FoundFile { content, ownership: looks, has_other_names: facts.nlink() > 1 }))
}

/// Resolves a symbolic link. A dangling link is an error.
pub(super) fn target(path: &Path) -> io::Result<PathBuf> {
    match std::fs::symlink_metadata(path) {
        Ok(facts) if facts.is_symlink() => std::fs::canonicalize(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        other => other.map(|_| path.to_owned()),
    }
}

/// Returns whether serde may leave a field out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Treats a refusal because the file does not exist as success.
pub(super) fn gone(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| files::open(dir, Opening::Read)?.sync_all())
}
