//! Operations on files, as a process performs them or has its launcher perform them.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// How a file is opened: close-on-exec, never blocking on a FIFO. Except with [`Opening::Follow`] a symbolic link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opening {
    /// A file or directory that exists, for reading.
    Read,
    /// The same, through symbolic links.
    Follow,
    /// A file that exists, for writing.
    Write,
    /// A file that is created with mode 0600 if it is missing, for appending.
    Append,
    /// The same, for reading and writing.
    Lock,
    /// A file that must not exist and is created with mode 0600, for appending.
    New,
}

/// One operation on a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum FileRequest {
    Open { path: PathBuf, opening: Opening },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    MakeDirectory { path: PathBuf, mode: u32 },
    RemoveDirectory { path: PathBuf },
    Listen { path: PathBuf, group: Option<u32> },
    SetMode { path: PathBuf, mode: u32 },
}

impl FileRequest {
    /// Performs the operation in this process.
    pub(super) fn perform(&self) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Open { path, opening } => {
                return opening.options().open(path).map(|file| Some(file.into()));
            }
            Self::Rename { from, to } => fs::rename(from, to),
            Self::Remove { path } => fs::remove_file(path),
            Self::MakeDirectory { path, mode } => {
                // Independent of the umask.
                DirBuilder::new().mode(*mode).create(path).and_then(|()| set_mode_here(path, *mode))
            }
            Self::RemoveDirectory { path } => fs::remove_dir(path),
            Self::Listen { path, group } => {
                return listen_here(path, *group).map(|socket| Some(socket.into()));
            }
            Self::SetMode { path, mode } => set_mode_here(path, *mode),
        }?;
        Ok(None)
    }
}

impl Opening {
    fn options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        match self {
            Self::Read | Self::Follow => options.read(true),
            Self::Write => options.write(true),
            Self::Append => options.append(true).create(true),
            Self::Lock => options.read(true).write(true).create(true).truncate(false),
            Self::New => options.append(true).create_new(true),
        };
        let link = if self == Self::Follow { 0 } else { libc::O_NOFOLLOW };
        options.mode(0o600).custom_flags(link | libc::O_NONBLOCK);
        options
    }
}

fn set_mode_here(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// The group of new files: systemd may have taken CAP_CHOWN, but not CAP_SETGID, from root.
fn listen_here(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    #[cfg(target_os = "linux")]
    let own = group.map(|group| nix::unistd::setfsgid(group.into()));
    #[cfg(not(target_os = "linux"))]
    let _ = group;
    let listener = UnixListener::bind(path);
    #[cfg(target_os = "linux")]
    if let Some(own) = own {
        nix::unistd::setfsgid(own);
    }
    listener
}
