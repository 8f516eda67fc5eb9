//! The few deeds that change a file of the host: each one request, so that a test can die between any two.

use std::{
    fmt,
    fs::{File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, fchown};

use crate::os::crash;

/// A configuration file that is larger is none.
pub(super) const MOST_BYTES: u64 = 64 * 1024;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOp<'a> {
    /// A new file, on disk when this returns; it must not exist.
    Create {
        /// Where.
        path: &'a Path,
        /// What.
        content: &'a [u8],
        /// Its mode and owner.
        ownership: Ownership,
    },
    /// One file takes the place of another, at once.
    Rename {
        /// From.
        from: &'a Path,
        /// To.
        to: &'a Path,
    },
    /// The first bytes of a file, which keeps its length.
    Overwrite {
        /// Which.
        path: &'a Path,
        /// What.
        content: &'a [u8],
    },
    /// A file is cut.
    Truncate {
        /// Which.
        path: &'a Path,
        /// To so many bytes.
        length: u64,
    },
    /// A file is removed.
    Remove {
        /// Which.
        path: &'a Path,
    },
    /// A new directory for all to look into; it must not exist.
    MakeDirectory {
        /// Where.
        path: &'a Path,
    },
    /// A directory is removed, which must be empty.
    RemoveDirectory {
        /// Which.
        path: &'a Path,
    },
}

/// Mode and owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ownership {
    /// The permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl FileOp<'_> {
    /// Does it on this host.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn perform(&self) -> io::Result<()> {
        crash::point(format_args!("{self}"));
        match *self {
            Self::Create { path, content, ownership: looks } => {
                // Nobody may open it for writing before it has its owner.
                let mut file = open(OpenOptions::new().write(true).create_new(true).mode(0o600), path)?;
                crash::point(format_args!("fill {}", path.display()));
                fchown(&file, Some(Uid::from_raw(looks.uid)), Some(Gid::from_raw(looks.gid)))?;
                file.set_permissions(Permissions::from_mode(looks.mode))?;
                file.write_all(content)?;
                file.sync_all()
            }
            Self::Rename { from, to } => std::fs::rename(from, to).and_then(|()| sync_dir(to)),
            Self::Overwrite { path, content } => {
                let mut file = open(OpenOptions::new().write(true), path)?;
                file.write_all(content)?;
                file.sync_all()
            }
            Self::Truncate { path, length } => {
                let file = open(OpenOptions::new().write(true), path)?;
                file.set_len(length)?;
                file.sync_all()
            }
            Self::Remove { path } => std::fs::remove_file(path).and_then(|()| sync_dir(path)),
            Self::MakeDirectory { path } => {
                std::fs::create_dir(path)?;
                // Whatever the umask: the programs in a namespace read what is in it, and not all of them are root's.
                std::fs::set_permissions(path, Permissions::from_mode(0o755)).and_then(|()| sync_dir(path))
            }
            Self::RemoveDirectory { path } => std::fs::remove_dir(path).and_then(|()| sync_dir(path)),
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

/// A regular file as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundFile {
    pub(super) content: Vec<u8>,
    pub(super) looks: Ownership,
    /// More than one name leads to it.
    pub(super) has_other_names: bool,
}

/// What is at a path, which must not be a symbolic link. `None`: nothing is.
pub(super) fn read(path: &Path) -> io::Result<Option<FoundFile>> {
    let file = match open(OpenOptions::new().read(true), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST_BYTES {
        return Err(io::Error::other("larger than any configuration file"));
    }
    let looks = Ownership { mode: facts.mode() & 0o7777, uid: facts.uid(), gid: facts.gid() };
    Ok(Some(FoundFile { content, looks, has_other_names: facts.nlink() > 1 }))
}

/// Where a path leads in the end. A link to nothing is an error.
pub(super) fn target(path: &Path) -> io::Result<PathBuf> {
    match std::fs::symlink_metadata(path) {
        Ok(facts) if facts.is_symlink() => std::fs::canonicalize(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        other => other.map(|_| path.to_owned()),
    }
}

/// A pipe in the place of a file must not hang us, and a link not lead us astray.
fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC | nix::libc::O_NONBLOCK;
    options.clone().custom_flags(flags).open(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
