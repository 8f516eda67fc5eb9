//! The socket of a manager in `/var/run/pptp`, and the lock that prevents two managers for one server.
//!
//! The socket has the classic program's name. One lock for the whole directory is held while a manager is
//! looked for and started, and while an exiting manager removes its socket, so that no process removes the
//! socket of another manager. Only root has access to the directory; if the classic program made it with a
//! wider mode, the mode is reduced.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    net::Ipv4Addr,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use crate::{
    net::host_route_record,
    os::{jail, peer},
    platform::CALL_MANAGER_DIR,
};

/// The path of one manager's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerSocket {
    directory: PathBuf,
    socket: PathBuf,
}

/// The lock. While it is held, no other process starts or removes a manager.
#[derive(Debug)]
pub struct DirectoryLock(#[expect(dead_code, reason = "held, not used")] Flock<File>);

impl ManagerSocket {
    /// Returns the path for this server and local address.
    #[must_use]
    pub fn new(local: Option<Ipv4Addr>, server: Ipv4Addr) -> Self {
        Self::below(Path::new(CALL_MANAGER_DIR), local, server)
    }

    fn below(directory: &Path, local: Option<Ipv4Addr>, server: Ipv4Addr) -> Self {
        let local = local.unwrap_or(Ipv4Addr::BROADCAST);
        Self { directory: directory.to_owned(), socket: directory.join(format!("{local}:{server}")) }
    }

    /// Returns the directory, for a jail.
    #[must_use]
    pub fn directory() -> &'static Path {
        Path::new(CALL_MANAGER_DIR)
    }

    /// Returns the path of the record of the manager's host route.
    #[must_use]
    pub fn route_record(&self) -> PathBuf {
        let name = self.socket.file_name().unwrap_or_default().to_string_lossy();
        host_route_record::path(&self.directory, &name)
    }

    /// Creates the directory if necessary, and waits for the lock, which is only ever held briefly.
    ///
    /// # Errors
    /// Returns an error if the directory is another user's or cannot be created.
    pub fn lock(&self) -> io::Result<DirectoryLock> {
        match DirBuilder::new().mode(0o750).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = fs::symlink_metadata(&self.directory)?;
        if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::other(format!(
                "{} is not a directory, or belongs to another user",
                self.directory.display()
            )));
        }
        if found.mode() & 0o027 != 0 {
            fs::set_permissions(&self.directory, Permissions::from_mode(0o750))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.directory.join(".lock"))?;
        let held = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        jail::sweep(&self.directory);
        Ok(DirectoryLock(held))
    }

    /// Connects to the manager.
    ///
    /// # Errors
    /// Returns `ConnectionRefused` or `NotFound` if none listens, `PermissionDenied` if it runs as another
    /// user.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.socket)?;
        let uid = peer::uid(&stream)?;
        if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the call manager at {} belongs to user {uid}", self.socket.display()),
            ));
        }
        Ok(stream)
    }

    /// Listens, for root only, and returns the socket's inode too. An existing file is stale: the caller
    /// holds the lock and could not connect.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn listen(&self, _held: &DirectoryLock) -> io::Result<(UnixListener, u64)> {
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&self.socket)?;
        // No other user can connect before this: the directory denies access.
        fs::set_permissions(&self.socket, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok((listener, fs::symlink_metadata(&self.socket)?.ino()))
    }

    /// Removes the socket if it is still the one that [`listen`](Self::listen) made.
    pub fn remove(&self, _held: &DirectoryLock, inode: u64) {
        if fs::symlink_metadata(&self.socket).is_ok_and(|found| found.ino() == inode) {
            let _gone = fs::remove_file(&self.socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    #[test]
    fn socket_names_match_classic_program() {
        assert_eq!(
            ManagerSocket::new(None, SERVER).socket,
            Path::new("/var/run/pptp/255.255.255.255:192.0.2.1")
        );
        let bound = ManagerSocket::new(Some(Ipv4Addr::new(192, 0, 2, 7)), SERVER);
        assert_eq!(bound.socket, Path::new("/var/run/pptp/192.0.2.7:192.0.2.1"));
    }

    #[test]
    fn socket_is_private_and_removed_only_by_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let manager = ManagerSocket::below(&dir.path().join("pptp"), None, SERVER);
        let held = manager.lock().unwrap();
        assert_eq!(manager.connect().unwrap_err().kind(), io::ErrorKind::NotFound);
        let (first, inode) = manager.listen(&held).unwrap();
        assert_eq!(fs::metadata(&manager.directory).unwrap().mode() & 0o777, 0o750);
        assert_eq!(fs::metadata(&manager.socket).unwrap().mode() & 0o777, 0o600);
        manager.connect().unwrap();
        // Shut down, not only closed: a child forked by another test may still hold the descriptor.
        nix::sys::socket::shutdown(first.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
        drop(first);
        assert_eq!(manager.connect().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        // A hard link keeps the stale socket's inode in use, so the second socket gets another one.
        let keep = fs::hard_link(&manager.socket, manager.directory.join("kept"));
        let (_second, other) = manager.listen(&held).unwrap();
        assert!(keep.is_ok() && other != inode);
        manager.remove(&held, inode);
        manager.connect().unwrap();
        manager.remove(&held, other);
        assert_eq!(manager.connect().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn directory_permissions_are_reduced_on_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pptp");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let manager = ManagerSocket::below(&path, None, SERVER);
        drop(manager.lock().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o750);
        fs::remove_dir_all(&path).unwrap();
        std::os::unix::fs::symlink("/tmp", &path).unwrap();
        assert!(manager.lock().is_err());
    }
}
