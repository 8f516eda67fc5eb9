//! Finds the directory of the configuration, and writes its files: whole or not at all, and with their permissions from the beginning.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use super::{
    exit::{self, Code},
    output::error,
};
use crate::profile::Locations;

/// What was created, so that it can be removed again.
#[derive(Debug, Default)]
pub struct Created {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Created {
    /// Creates a directory and its missing parents with a mode, whatever the umask is. One that exists is left as it is.
    pub fn directory(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directory(parent, 0o755)?;
        }
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            created => created?,
        }
        self.directories.push(path.to_owned());
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    /// Creates a file. One that exists is an error, and is left as it is.
    pub fn file(&mut self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        put(path, content, with_mode(mode), |beside| {
            // Unlike rename(2), link(2) fails if the file exists.
            fs::hard_link(beside, path)?;
            self.files.push(path.to_owned());
            fs::remove_file(beside)
        })
    }

    /// Removes all of it.
    pub fn remove(self) -> io::Result<()> {
        let files = self.files.iter().rev().map(fs::remove_file);
        let directories = self.directories.iter().rev().map(fs::remove_dir);
        files.chain(directories).fold(Ok(()), io::Result::and)
    }
}

/// Writes a file with this mode, also over one that exists.
pub fn overwrite(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    put(path, content, with_mode(mode), |beside| fs::rename(beside, path))
}

/// Replaces the content of a file, or of the one that a link leads to. Owner and mode stay.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let former = fs::metadata(&path)?;
    let as_before = |file: &File| {
        fchown(file, Some(former.uid()), Some(former.gid()))?;
        // After the change of the owner, which clears bits.
        with_mode(former.mode() & 0o7777)(file)
    };
    put(&path, content, as_before, |beside| fs::rename(beside, &path))
}

fn with_mode(mode: u32) -> impl FnOnce(&File) -> io::Result<()> {
    move |file| file.set_permissions(Permissions::from_mode(mode))
}

/// Writes a file under a hidden name, lets `protect` set its owner and mode, and `place` give it its own name.
fn put(
    path: &Path,
    content: &[u8],
    protect: impl FnOnce(&File) -> io::Result<()>,
    place: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let beside = beside(path)?;
    let file = write_beside(&beside, content)?;
    let placed = protect(&file).and_then(|()| file.sync_all()).and_then(|()| place(&beside));
    match placed {
        Ok(()) => sync_directory(path),
        Err(_) => drop(fs::remove_file(&beside)),
    }
    placed
}

/// Returns the directory of `profiles.d` and `secrets`, as an absolute path.
pub fn directory(config: Option<&Path>) -> Result<PathBuf, Code> {
    let failed = |why: String| {
        error(why);
        exit::PROFILE
    };
    let locations = Locations::find(config).map_err(|nowhere| failed(nowhere.to_string()))?;
    let directory = locations.directory.parent().map(Path::to_owned).unwrap_or_default();
    let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };
    // A path in a profile is absolute.
    let absolute = std::path::absolute(&directory).map_err(|why| failed(why.to_string()))?;
    Ok(absolute.components().collect())
}

/// Returns a hidden name in the same directory, which is not read as a profile.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".pptpctl");
    Ok(path.with_file_name(hidden))
}

/// Writes a new file that only its owner may read. One that a killed process left is replaced.
fn write_beside(path: &Path, content: &[u8]) -> io::Result<File> {
    let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            open()?
        }
        opened => opened?,
    };
    match file.write_all(content) {
        Ok(()) => Ok(file),
        Err(error) => {
            let _gone = fs::remove_file(path);
            Err(error)
        }
    }
}

/// Makes the new name last. Some file systems cannot; the file is in its place anyway.
fn sync_directory(path: &Path) {
    let _unsupported = path.parent().map(|directory| File::open(directory).and_then(|open| open.sync_all()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn created_files_have_their_mode_and_can_be_removed() {
        let home = tempfile::tempdir().unwrap();
        let (below, secret) = (home.path().join("a/b"), home.path().join("a/b/secret"));
        let mut created = Created::default();
        created.directory(&below, 0o700).unwrap();
        // What a killed process left.
        fs::write(below.join(".secret.pptpctl"), "old").unwrap();
        created.file(&secret, b"x", 0o640).unwrap();
        assert_eq!((mode(&below), mode(&secret), names(&below)), (0o700, 0o640, vec!["secret".to_owned()]));
        let again = created.file(&secret, b"y", 0o600).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read_to_string(&secret).unwrap(), names(&below).len()), ("x".to_owned(), 1));
        created.remove().unwrap();
        assert_eq!(names(home.path()), [""; 0]);
    }

    #[test]
    fn replaced_file_keeps_mode_and_link() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("file"), home.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("new", 0o640));
        assert!(link.is_symlink());
        assert_eq!(names(home.path()), ["file", "link"]);
    }
}
