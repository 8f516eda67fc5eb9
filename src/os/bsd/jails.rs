//! Jails with a network stack of their own (vnet), and the file systems that are mounted for them: jail_set(2),
//! nmount(2). FreeBSD only.
#![expect(unsafe_code, reason = "no crate of ours has jail_set(2)")]

use std::{
    ffi::CString,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::mount::{MntFlags, Nmount, unmount};

/// JAIL_SYS_NEW: a network stack of its own.
const NEW: i32 = 1;
/// JAIL_CREATE.
const CREATE: i32 = 0x01;

/// Bytes for the kernel's explanation of a refusal.
const MESSAGE: usize = 256;

/// How long the processes of a removed jail may take to exit, and how often to look.
const END_LIMIT: Duration = Duration::from_secs(5);
const END_PAUSE: Duration = Duration::from_millis(20);

/// The parameters of jail_set(2) or jail_get(2), by name.
#[derive(Default)]
struct Parameters {
    /// Name and value of each; boolean ones have no value.
    pairs: Vec<(CString, Vec<u8>)>,
}

impl Parameters {
    fn number(&mut self, name: &str, value: i32) -> io::Result<()> {
        self.put(name, value.to_ne_bytes().to_vec())
    }

    fn text(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        self.put(name, CString::new(value)?.into_bytes_with_nul())
    }

    fn flag(&mut self, name: &str) -> io::Result<()> {
        self.put(name, Vec::new())
    }

    fn put(&mut self, name: &str, value: Vec<u8>) -> io::Result<()> {
        self.pairs.push((CString::new(name)?, value));
        Ok(())
    }

    /// Makes the request, with room for the kernel's explanation.
    fn request(
        mut self,
        call: unsafe extern "C" fn(*mut libc::iovec, libc::c_uint, libc::c_int) -> libc::c_int,
        flags: i32,
    ) -> io::Result<i32> {
        self.put("errmsg", vec![0; MESSAGE])?;
        let mut vectors = Vec::new();
        for (name, value) in &mut self.pairs {
            let name = name.as_bytes_with_nul();
            vectors.push(libc::iovec { iov_base: name.as_ptr().cast_mut().cast(), iov_len: name.len() });
            let base = if value.is_empty() { std::ptr::null_mut() } else { value.as_mut_ptr().cast() };
            vectors.push(libc::iovec { iov_base: base, iov_len: value.len() });
        }
        let count = libc::c_uint::try_from(vectors.len()).unwrap_or(0);
        // SAFETY: each of the `count` vectors refers to a name, which the kernel only reads, or to a value of
        // `self.pairs`, to which it writes at most `iov_len` bytes; both outlive the call.
        let jail = unsafe { call(vectors.as_mut_ptr(), count, flags) };
        if jail >= 0 {
            return Ok(jail);
        }
        let error = io::Error::last_os_error();
        let said = self.pairs.last().map_or(&[][..], |(_, message)| message.as_slice());
        let said = said.split(|byte| *byte == 0).next().unwrap_or_default();
        if said.is_empty() {
            return Err(error);
        }
        Err(io::Error::new(error.kind(), format!("{}: {error}", String::from_utf8_lossy(said))))
    }
}

/// Creates a jail with a network stack of its own and raw sockets, in which at most `children` further ones may be
/// created. It stays until [`remove`], or until the jail that it is in is removed.
///
/// # Errors
/// Returns EPERM in a jail that may have no children, EINVAL if the kernel has no vnet (VIMAGE).
pub fn create(name: &str, root: &Path, children: i32) -> io::Result<i32> {
    let mut parameters = Parameters::default();
    parameters.text("name", name.as_bytes())?;
    parameters.text("path", root.as_os_str().as_bytes())?;
    parameters.number("vnet", NEW)?;
    parameters.number("children.max", children)?;
    parameters.flag("allow.raw_sockets")?;
    parameters.flag("persist")?;
    parameters.request(libc::jail_set, CREATE)
}

/// Moves the calling process into a jail, for good.
///
/// # Errors
/// Returns EINVAL if there is no such jail, EPERM.
pub fn enter(jail: i32) -> io::Result<()> {
    // SAFETY: the call has only a number as argument.
    if unsafe { libc::jail_attach(jail) } == -1 {
        return Err(io::Error::last_os_error());
    }
    std::env::set_current_dir("/")
}

/// Kills the processes of a jail, and waits for a short time until it is gone; does nothing if there is none.
pub fn remove(name: &str) {
    let Ok(jail) = find(name) else { return };
    // SAFETY: the call has only a number as argument.
    let _gone = unsafe { libc::jail_remove(jail) };
    let end = Instant::now() + END_LIMIT;
    while find(name).is_ok() && Instant::now() < end {
        std::thread::sleep(END_PAUSE);
    }
}

fn find(name: &str) -> io::Result<i32> {
    let mut parameters = Parameters::default();
    parameters.text("name", name.as_bytes())?;
    parameters.request(libc::jail_get, 0)
}

/// File systems that this process has mounted. Dropping it unmounts them, the last one first.
#[derive(Debug, Default)]
pub struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Mounts a file system of this kind without a source.
    ///
    /// # Errors
    /// Returns the kernel's error: EOPNOTSUPP or ENODEV if it does not have this file system.
    pub fn add(&mut self, kind: &str, place: &Path) -> io::Result<()> {
        self.mount(Nmount::new().str_opt_owned("fstype", kind), place, MntFlags::empty())
    }

    /// Mounts a directory of this host once more, read-only (nullfs(5)).
    ///
    /// # Errors
    /// As [`Mounts::add`].
    pub fn add_directory(&mut self, source: &Path, place: &Path) -> io::Result<()> {
        let mut mount = Nmount::new();
        mount.str_opt_owned("fstype", "nullfs").str_opt_owned("target", source);
        self.mount(&mut mount, place, MntFlags::MNT_RDONLY)
    }

    fn mount(&mut self, mount: &mut Nmount<'_>, place: &Path, flags: MntFlags) -> io::Result<()> {
        let done = mount.str_opt_owned("fspath", place).nmount(flags);
        done.map_err(|error| io::Error::from(error.error()))?;
        self.0.push(place.to_owned());
        Ok(())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for place in self.0.iter().rev() {
            if let Err(error) = unmount(place.as_path(), MntFlags::MNT_FORCE) {
                tracing::warn!("{}: {error}", place.display());
            }
        }
    }
}
