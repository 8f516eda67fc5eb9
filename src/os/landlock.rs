//! Landlock (landlock(7)): what a thread may open, create and remove in the file system, and whom it may reach by TCP,
//! signals and abstract Unix sockets.
//!
//! Three system calls without a crate: the masks below are all that one would add. A right that the kernel's version does
//! not know is left out, so that the rest holds (best effort, as the kernel's documentation advises). Landlock restricts
//! neither stat(2), chmod(2) and chown(2) nor connect(2) to a Unix socket with a path: `filter` has those.
#![expect(unsafe_code, reason = "libc has the numbers of the calls only")]

use std::{
    fs::OpenOptions,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::PathBuf,
};

use libc::c_long;

/// Rights of `LANDLOCK_ACCESS_FS_*`.
mod right {
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIR: u64 = 1 << 3;
    pub(super) const IOCTL_DEV: u64 = 1 << 15;
}

/// `LANDLOCK_ACCESS_NET_CONNECT_TCP`.
const CONNECT_TCP: u64 = 1 << 1;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET`.
const ABSTRACT_SOCKETS: u64 = 1;
/// `LANDLOCK_SCOPE_SIGNAL`.
const SIGNALS: u64 = 1 << 1;
/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: c_long = 1;

/// The use of a file, or of everything below a directory, that stays permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading files and listing directories.
    Read,
    /// Reading, writing and the requests of a device.
    Device,
}

/// A file or directory that stays usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its path; symbolic links are followed. A file that is missing when the rules come into force stays out of reach.
    pub path: PathBuf,
    /// The permitted use.
    pub access: Access,
}

/// What a thread gives up besides the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything that Landlock knows: files, connections by TCP, signals to other processes than its children, abstract
    /// sockets of others.
    All {
        /// Abstract sockets stay reachable.
        abstract_sockets: bool,
    },
    /// Writing, creating, removing and executing files. Reading is not restricted, nor is anything but files.
    Changes,
}

/// What is handled, so that a rule has to permit it: `struct landlock_ruleset_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Handled {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// Returns what a kernel with this version of Landlock can handle. A field that it does not know has to be zero.
fn handled(version: u32, scope: Scope) -> Handled {
    // Bits 0 to 12 in version 1, then REFER, TRUNCATE, and IOCTL_DEV, which has a version of its own.
    let bits = match version {
        0 | 1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    let files = (1_u64 << bits) - 1;
    match scope {
        Scope::Changes => Handled {
            fs: files & !(right::READ_FILE | right::READ_DIR | right::IOCTL_DEV),
            ..Handled::default()
        },
        Scope::All { abstract_sockets } => Handled {
            fs: files,
            net: if version >= 4 { CONNECT_TCP } else { 0 },
            scoped: match version {
                0..=5 => 0,
                _ if abstract_sockets => SIGNALS,
                _ => SIGNALS | ABSTRACT_SOCKETS,
            },
        },
    }
}

/// Returns the rights of a rule, which may name only what is handled and, for a file, only the rights of files.
const fn rights(access: Access, handled: u64, is_directory: bool) -> u64 {
    let rights = match (access, is_directory) {
        (Access::Read, false) => right::READ_FILE,
        (Access::Read, true) => right::READ_FILE | right::READ_DIR,
        (Access::Device, _) => right::READ_FILE | right::WRITE_FILE | right::IOCTL_DEV,
    };
    rights & handled
}

/// Returns the version of the kernel's Landlock; `None` if it has none, or if it was not enabled at boot.
#[must_use]
pub fn version() -> Option<u32> {
    // SAFETY: with this flag the kernel reads no structure.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Handled>(), 0, VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Restricts the calling thread, irrevocably, to these rules; it gets no new privileges (no_new_privs), either. Returns the
/// version of Landlock; `None` if the kernel has none, and nothing was restricted.
///
/// # Errors
/// Returns the kernel's error.
pub fn restrict(rules: &[Rule], scope: Scope) -> io::Result<Option<u32>> {
    let Some(version) = version() else { return Ok(None) };
    let handled = handled(version, scope);
    // SAFETY: the kernel reads the structure, which lives until the call returns; fields beyond those that it knows are zero.
    let ruleset = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size_of::<Handled>(), 0)
    };
    #[cfg_attr(
        target_pointer_width = "32",
        expect(clippy::useless_conversion, reason = "a long has 32 bits there")
    )]
    let ruleset = i32::try_from(ruleset).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just created this close-on-exec descriptor, and nothing else owns it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
    for rule in rules {
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&rule.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let allowed = rights(rule.access, handled.fs, file.metadata()?.is_dir());
        let beneath = PathBeneath { allowed, parent: file.as_raw_fd() };
        // SAFETY: the kernel reads the structure, which lives until the call returns; both descriptors are open.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset.as_raw_fd(),
                PATH_BENEATH,
                &raw const beneath,
                0,
            )
        };
        if added != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    nix::sys::prctl::set_no_new_privs()?;
    // SAFETY: the descriptor is open, and the kernel reads nothing else.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) } {
        0 => Ok(Some(version)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::ErrorKind,
        net::{TcpListener, TcpStream},
        process::Command,
        thread,
    };

    use super::*;

    #[test]
    fn older_kernels_get_what_they_know() {
        let all = Scope::All { abstract_sockets: false };
        let fs = |version| handled(version, all).fs;
        assert_eq!([fs(1), fs(2), fs(3), fs(4), fs(5)], [0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff]);
        assert_eq!(
            [fs(6), fs(7), fs(99)],
            [0xffff; 3],
            "rights that this program does not know are not handled"
        );
        let rest = |version| (handled(version, all).net, handled(version, all).scoped);
        assert_eq!([rest(3), rest(4), rest(5), rest(6)], [(0, 0), (2, 0), (2, 0), (2, 3)]);
        assert_eq!(handled(6, Scope::All { abstract_sockets: true }).scoped, 2);
        let changes = handled(7, Scope::Changes);
        assert_eq!(
            (changes.fs & (right::READ_FILE | right::READ_DIR), changes.net, changes.scoped),
            (0, 0, 0)
        );
        assert_eq!(changes.fs & right::WRITE_FILE, right::WRITE_FILE);
    }

    #[test]
    fn rule_has_the_rights_of_its_file() {
        assert_eq!(rights(Access::Read, u64::MAX, true), 0b1100);
        assert_eq!(rights(Access::Read, u64::MAX, false), 0b0100);
        assert_eq!(
            rights(Access::Device, handled(4, Scope::All { abstract_sockets: false }).fs, false),
            0b0110
        );
    }

    /// Runs `test` in a new thread; the rules apply only to that thread. `None` on a kernel without Landlock.
    fn restricted<T: Send + 'static>(
        rules: Vec<Rule>,
        scope: Scope,
        test: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let thread = thread::spawn(move || restrict(&rules, scope).unwrap().map(|_| test()));
        thread.join().unwrap()
    }

    #[test]
    fn only_what_the_rules_name_is_reachable() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("file"), "text").unwrap();
        fs::write(&outside, "text").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let rules = vec![
            Rule { path: inside.clone(), access: Access::Read },
            Rule { path: "/dev/null".into(), access: Access::Device },
            Rule { path: dir.path().join("missing"), access: Access::Read },
        ];
        let parent = nix::unistd::getppid();
        let seen = restricted(rules, Scope::All { abstract_sockets: false }, move || {
            let reads = fs::read_to_string(inside.join("file")).is_ok() && fs::read_dir(&inside).is_ok();
            let writes = OpenOptions::new().write(true).open("/dev/null").is_ok();
            let refused = [
                fs::read_to_string(&outside).err(),
                fs::read_dir(outside.parent().unwrap()).err(),
                File::create(inside.join("new")).err(),
                fs::remove_file(inside.join("file")).err(),
                fs::create_dir(inside.join("new")).err(),
                OpenOptions::new().write(true).open(inside.join("file")).err(),
                Command::new("/bin/true").spawn().err(),
            ];
            let refused = refused.map(|error| error.map(|error| error.kind()));
            (
                reads,
                writes,
                refused,
                TcpStream::connect(server).is_err(),
                nix::sys::signal::kill(parent, None),
            )
        });
        let Some((reads, writes, refused, is_cut_off, signal)) = seen else { return };
        assert!(reads && writes);
        assert_eq!(refused, [Some(ErrorKind::PermissionDenied); 7]);
        let version = version().unwrap();
        assert!(is_cut_off || version < 4);
        assert!(signal == Err(nix::errno::Errno::EPERM) || version < 6, "{signal:?}");
    }

    #[test]
    fn a_reader_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "text").unwrap();
        let seen = restricted(Vec::new(), Scope::Changes, move || {
            (fs::read_to_string(&file).is_ok(), File::create(&file).is_err(), fs::remove_file(&file).is_err())
        });
        assert!(seen.is_none_or(|seen| seen == (true, true, true)), "{seen:?}");
    }
}
