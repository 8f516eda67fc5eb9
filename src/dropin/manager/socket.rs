//! Where a manager is found: the socket in `/var/run/pptp`, and the lock that keeps two from being started.
//!
//! The socket's name is the classic program's. Between looking for a manager and its being there, and between a
//! manager's last look and its removing the socket, one lock for the whole directory is held, so nobody's socket is
//! taken away by someone else of ours. The directory is root's alone; a classic program that made it with more
//! rights sees them reduced.

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

use crate::os::{jail, peer};

/// The directory.
const DIRECTORY: &str = "/var/run/pptp";

/// One manager's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    directory: PathBuf,
    socket: PathBuf,
}

/// While this is held nobody else starts or removes a manager.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "held, not used")] Flock<File>);

impl Place {
    /// The place of the manager for this server and local address.
    #[must_use]
    pub fn new(local: Option<Ipv4Addr>, server: Ipv4Addr) -> Self {
        Self::below(Path::new(DIRECTORY), local, server)
    }

    fn below(directory: &Path, local: Option<Ipv4Addr>, server: Ipv4Addr) -> Self {
        let local = local.unwrap_or(Ipv4Addr::BROADCAST);
        Self { directory: directory.to_owned(), socket: directory.join(format!("{local}:{server}")) }
    }

    /// The directory, for a jail.
    #[must_use]
    pub fn directory() -> &'static Path {
        Path::new(DIRECTORY)
    }

    /// Makes the directory if need be, and waits for the lock; whoever holds it does so for moments.
    ///
    /// # Errors
    /// When the directory is someone else's, or cannot be made.
    pub fn lock(&self) -> io::Result<Held> {
        match DirBuilder::new().mode(0o750).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = fs::symlink_metadata(&self.directory)?;
        if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::other(format!("{} is not a directory of ours", self.directory.display())));
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
        Ok(Held(held))
    }

    /// The manager, if one listens.
    ///
    /// # Errors
    /// `ConnectionRefused` or `NotFound` when none does; `PermissionDenied` when the one who does is not us.
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

    /// Listens there, for root alone. What lies there is a dead manager's: the caller holds the lock and has tried.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listen(&self, _held: &Held) -> io::Result<(UnixListener, u64)> {
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&self.socket)?;
        // Nobody else can reach it in between: the directory is closed to them.
        fs::set_permissions(&self.socket, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok((listener, fs::symlink_metadata(&self.socket)?.ino()))
    }

    /// Removes the socket if it is still the one that [`listen`](Self::listen) made.
    pub fn remove(&self, _held: &Held, inode: u64) {
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
    fn the_names_of_the_classic_program() {
        assert_eq!(Place::new(None, SERVER).socket, Path::new("/var/run/pptp/255.255.255.255:192.0.2.1"));
        let bound = Place::new(Some(Ipv4Addr::new(192, 0, 2, 7)), SERVER);
        assert_eq!(bound.socket, Path::new("/var/run/pptp/192.0.2.7:192.0.2.1"));
    }

    #[test]
    fn a_socket_is_for_us_alone_and_only_its_maker_removes_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::below(&dir.path().join("pptp"), None, SERVER);
        let held = place.lock().unwrap();
        assert_eq!(place.connect().unwrap_err().kind(), io::ErrorKind::NotFound);
        let (first, inode) = place.listen(&held).unwrap();
        assert_eq!(fs::metadata(&place.directory).unwrap().mode() & 0o777, 0o750);
        assert_eq!(fs::metadata(&place.socket).unwrap().mode() & 0o777, 0o600);
        place.connect().unwrap();
        // Not only closed: what another test starts just then has it open for a moment still.
        nix::sys::socket::shutdown(first.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
        drop(first);
        assert_eq!(place.connect().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        // The stale one keeps its inode taken while it is open elsewhere, so a second gets another.
        let keep = fs::hard_link(&place.socket, place.directory.join("kept"));
        let (_second, other) = place.listen(&held).unwrap();
        assert!(keep.is_ok() && other != inode);
        place.remove(&held, inode);
        place.connect().unwrap();
        place.remove(&held, other);
        assert_eq!(place.connect().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_directory_that_is_open_to_others_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pptp");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let place = Place::below(&path, None, SERVER);
        drop(place.lock().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o750);
        fs::remove_dir_all(&path).unwrap();
        std::os::unix::fs::symlink("/tmp", &path).unwrap();
        assert!(place.lock().is_err());
    }
}
