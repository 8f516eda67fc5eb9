//! Directories that other users than this process's must not be able to change.

use std::{
    error, fmt,
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A directory that another user can change. Its `Display` names the owner or the mode, and the command that mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsafeDirectory {
    path: PathBuf,
    owner: u32,
    mode: u32,
    is_directory: bool,
    /// The mode that it should have.
    wanted: u32,
}

impl UnsafeDirectory {
    /// Returns the error inside an error of the file system, if it is this one.
    #[must_use]
    pub fn in_error(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn state(&self) -> String {
        let path = self.path.display();
        if self.is_directory {
            format!("{path} has mode {:04o} and belongs to user {}", self.mode & 0o7777, self.owner)
        } else {
            format!("{path} is no directory")
        }
    }

    /// Returns the command that mends it.
    #[must_use]
    pub fn command(&self) -> String {
        let path = self.path.display();
        if !self.is_directory {
            return format!("rm {path}");
        }
        let is_ours = self.owner == nix::unistd::geteuid().as_raw();
        let owner = if is_ours { String::new() } else { format!("chown root {path} && ") };
        format!("{owner}chmod {:o} {path}", self.wanted)
    }
}

impl fmt::Display for UnsafeDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only root may have write access: {}: `{}`", self.state(), self.command())
    }
}

impl error::Error for UnsafeDirectory {}

/// Checks that a directory belongs to this process's user, and that no other can write it. `wanted` is the mode that it
/// should have.
///
/// # Errors
/// Returns an error with an [`UnsafeDirectory`] in it.
pub fn check(path: &Path, found: &Metadata, wanted: u32) -> io::Result<()> {
    let is_ours = found.uid() == nix::unistd::geteuid().as_raw();
    if found.is_dir() && is_ours && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let unsafe_one = UnsafeDirectory {
        path: path.to_owned(),
        owner: found.uid(),
        mode: found.mode(),
        is_directory: found.is_dir(),
        wanted,
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, unsafe_one))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn directory_that_others_can_write_is_named_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        fs::create_dir(&path).unwrap();
        for (mode, is_safe) in [(0o755, true), (0o700, true), (0o775, false), (0o1777, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let checked = check(&path, &fs::symlink_metadata(&path).unwrap(), 0o755);
            assert_eq!(checked.is_ok(), is_safe, "{mode:o}");
            if let Err(error) = checked {
                let found = UnsafeDirectory::in_error(&error).unwrap();
                assert!(found.state().contains(&format!(" mode {mode:04o} ")), "{error}");
                assert_eq!(found.command(), format!("chmod 755 {}", path.display()));
            }
        }
        let link = dir.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let error = check(&link, &fs::symlink_metadata(&link).unwrap(), 0o755).unwrap_err();
        assert!(error.to_string().ends_with(&format!("is no directory: `rm {}`", link.display())), "{error}");
    }
}
