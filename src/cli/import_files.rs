//! Reads the files that an import needs.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::libc;

use crate::import::MAX_SIZE;

/// Reads a regular file, up to the limit and one byte more.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // O_NONBLOCK: opening a FIFO must not block.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the most bytes that are read of a file: one more than it may have.
pub fn limit() -> u64 {
    u64::try_from(MAX_SIZE).unwrap_or(u64::MAX).saturating_add(1)
}
