//! Files that a process uses by name: directly, or through its launcher where its restrictions refuse that.
//!
//! Landlock knows the files that exist when it comes into force, and below a directory permits everything or nothing. A
//! supervisor replaces files in /etc and /run, which others replace too. It may therefore change no file by itself, and its
//! launcher opens, renames and removes those that [`super::Files`] names. Without a launcher, or where the kernel does not
//! refuse it, the process does the same directly.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
};

use super::file_request::FileRequest;
pub use super::file_request::Opening;

/// Opens a file.
///
/// # Errors
/// Returns the kernel's error, or why the launcher did not open it.
pub fn open(path: &Path, opening: Opening) -> io::Result<File> {
    with_descriptor(&FileRequest::Open { path: path.to_owned(), opening }).map(File::from)
}

/// Returns the text of a file, which may be a symbolic link.
///
/// # Errors
/// As [`open`]; also if it is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    io::read_to_string(open(path, Opening::Follow)?)
}

/// Renames a file.
///
/// # Errors
/// As [`open`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    perform(&FileRequest::Rename { from: from.to_owned(), to: to.to_owned() }).map(drop)
}

/// Removes a file.
///
/// # Errors
/// As [`open`].
pub fn remove(path: &Path) -> io::Result<()> {
    perform(&FileRequest::Remove { path: path.to_owned() }).map(drop)
}

/// Creates a directory with exactly this mode.
///
/// # Errors
/// As [`open`].
pub fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    perform(&FileRequest::MakeDirectory { path: path.to_owned(), mode }).map(drop)
}

/// Removes an empty directory.
///
/// # Errors
/// As [`open`].
pub fn remove_directory(path: &Path) -> io::Result<()> {
    perform(&FileRequest::RemoveDirectory { path: path.to_owned() }).map(drop)
}

/// Returns a Unix socket that listens at a path, which belongs to this group where the kernel can create it so (Linux).
///
/// # Errors
/// As [`open`].
pub fn listen(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    with_descriptor(&FileRequest::Listen { path: path.to_owned(), group }).map(UnixListener::from)
}

/// Sets the mode of a socket.
///
/// # Errors
/// As [`open`].
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    perform(&FileRequest::SetMode { path: path.to_owned(), mode }).map(drop)
}

fn with_descriptor(request: &FileRequest) -> io::Result<OwnedFd> {
    perform(request)?.ok_or_else(|| io::Error::other("the launcher has sent no descriptor"))
}

fn perform(request: &FileRequest) -> io::Result<Option<OwnedFd>> {
    let performed = request.perform();
    #[cfg(target_os = "linux")]
    if matches!(&performed, Err(error) if error.kind() == io::ErrorKind::PermissionDenied)
        && let Some(launcher) = super::client::current()
    {
        return launcher.file(request);
    }
    performed
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        os::unix::fs::PermissionsExt,
    };

    use super::*;

    #[test]
    fn files_are_opened_as_documented() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        assert_eq!(open(&file, Opening::Read).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(open(&file, Opening::Write).unwrap_err().kind(), io::ErrorKind::NotFound);
        open(&file, Opening::New).unwrap().write_all(b"one").unwrap();
        assert_eq!(open(&file, Opening::New).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        open(&file, Opening::Append).unwrap().write_all(b"two").unwrap();
        open(&file, Opening::Write).unwrap().write_all(b"O").unwrap();
        let mut text = String::new();
        open(&file, Opening::Lock).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "Onetwo");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for opening in [Opening::Read, Opening::Write, Opening::Append, Opening::Lock] {
            assert!(open(&link, opening).is_err(), "{opening:?}");
        }
        assert_eq!(read_to_string(&link).unwrap(), "Onetwo");
        open(dir.path(), Opening::Read).unwrap().sync_all().unwrap();
    }

    #[test]
    fn directories_and_sockets_get_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (made, socket) = (dir.path().join("made"), dir.path().join("socket"));
        make_directory(&made, 0o777).unwrap();
        let _listener = listen(&socket, None).unwrap();
        set_mode(&socket, 0o640).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&made), mode(&socket)), (0o777, 0o640));
        let moved = dir.path().join("moved");
        rename(&socket, &moved).unwrap();
        remove(&moved).unwrap();
        remove_directory(&made).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
