//! Identity of a file in the control directory, which another program may replace.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Returns device and inode of the file at a path, without following a symbolic link; `None` if there is none.
pub(super) fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|data| (data.dev(), data.ino()))
}
