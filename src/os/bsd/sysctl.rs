//! sysctl(3): reads values and tables by number, and those that this program needs.
#![expect(unsafe_code, reason = "no crate of ours has sysctl(3)")]

use std::io;

/// Attempts to read a table that grows between the request for its size and the one for its content.
const TRIES: usize = 8;

/// Bytes beyond the size that the kernel returned, because tables grow.
const HEADROOM: usize = 4096;

/// Reads a value or a table by its number.
///
/// # Errors
/// Returns the kernel's error: `ENOENT` or `EOPNOTSUPP` if there is no such value.
pub fn read(number: &[i32]) -> io::Result<Vec<u8>> {
    for _ in 0..TRIES {
        let size = query(number, &mut [])?;
        let mut value = vec![0; size + HEADROOM];
        match query(number, &mut value) {
            Ok(got) => {
                value.truncate(got);
                return Ok(value);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            Err(error) => return Err(error),
        }
    }
    Err(nix::errno::Errno::ENOMEM.into())
}

/// Reads a value into `room`, or only its size if `room` is empty; returns the size.
fn query(number: &[i32], room: &mut [u8]) -> io::Result<usize> {
    let mut size = room.len();
    let into = if room.is_empty() { std::ptr::null_mut() } else { room.as_mut_ptr().cast() };
    let count = libc::c_uint::try_from(number.len()).unwrap_or(0);
    // SAFETY: `number` has `count` numbers, which the kernel only reads; it writes at most `size` bytes to
    // `into`, which is null or has that many.
    let outcome = unsafe {
        libc::sysctl(number.as_ptr().cast_mut(), count, into, &raw mut size, std::ptr::null_mut(), 0)
    };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(size) }
}

/// Reads a value by its name.
///
/// # Errors
/// Returns the kernel's error: `ENOENT` if there is no such name.
#[cfg(target_os = "freebsd")]
fn read_named(name: &std::ffi::CStr) -> io::Result<Vec<u8>> {
    let mut number = [0; 24];
    let mut count = number.len();
    // SAFETY: the name ends with a zero byte; at most `count` numbers are written to `number`, which has that
    // many, and their count to `count`.
    let outcome = unsafe { libc::sysctlnametomib(name.as_ptr(), number.as_mut_ptr(), &raw mut count) };
    if outcome == -1 {
        return Err(io::Error::last_os_error());
    }
    read(number.get(..count).unwrap_or_default())
}

/// Returns an `int` from the front of `value`; `None` if it is too short.
#[must_use]
pub fn int(value: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(*value.first_chunk()?))
}

/// Returns an identifier of the current boot; empty if it cannot be read.
///
/// On FreeBSD it is the kernel's random number. On the others it is the start time of process 1, which,
/// unlike `kern.boottime`, does not change when the clock is set.
#[must_use]
pub fn boot_id() -> String {
    #[cfg(target_os = "freebsd")]
    let found = read_named(c"kern.boot_id")
        .ok()
        .filter(|id| id.len() == 16)
        .map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect());
    #[cfg(not(target_os = "freebsd"))]
    let found = start_of(1).map(|micros| format!("init-{micros}"));
    found.unwrap_or_default()
}

/// Returns when a process started, in microseconds; `None` if there is none or it is a zombie. Comparable
/// only with other processes of the same boot.
#[must_use]
#[cfg(target_os = "freebsd")]
pub fn start_of(pid: u32) -> Option<u64> {
    let pid = i32::try_from(pid).ok()?;
    let process: libc::kinfo_proc = fetch(&[libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid])?;
    // SZOMB.
    if process.ki_stat == 5 {
        return None;
    }
    // `ki_start` includes the boot time, which changes when the clock is set; so it is subtracted.
    let boot: libc::timeval = fetch(&[libc::CTL_KERN, libc::KERN_BOOTTIME])?;
    let micros = |time: libc::timeval| time.tv_sec.checked_mul(1_000_000)?.checked_add(time.tv_usec);
    u64::try_from(micros(process.ki_start)?.checked_sub(micros(boot)?)?).ok()
}

/// Returns when a process started, in microseconds; `None` if there is none or it is a zombie. Comparable
/// only with other processes of the same boot.
#[must_use]
#[cfg(target_os = "openbsd")]
pub fn start_of(pid: u32) -> Option<u64> {
    let pid = i32::try_from(pid).ok()?;
    let size = i32::try_from(size_of::<libc::kinfo_proc>()).ok()?;
    let number = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid, size, 1];
    let process: libc::kinfo_proc = fetch(&number)?;
    // SZOMB and SDEAD.
    if matches!(process.p_stat, 5 | 6) {
        return None;
    }
    process.p_ustart_sec.checked_mul(1_000_000)?.checked_add(u64::from(process.p_ustart_usec))
}

/// Returns when a process started, in microseconds; `None` if there is none or it is a zombie. Comparable
/// only with other processes of the same boot.
#[must_use]
#[cfg(target_os = "netbsd")]
pub fn start_of(pid: u32) -> Option<u64> {
    let pid = i32::try_from(pid).ok()?;
    let size = i32::try_from(size_of::<libc::kinfo_proc2>()).ok()?;
    let number = [libc::CTL_KERN, libc::KERN_PROC2, libc::KERN_PROC_PID, pid, size, 1];
    let process: libc::kinfo_proc2 = fetch(&number)?;
    // LSZOMB.
    if process.p_stat == 5 {
        return None;
    }
    u64::from(process.p_ustart_sec).checked_mul(1_000_000)?.checked_add(u64::from(process.p_ustart_usec))
}

/// Reads a structure of plain numbers.
fn fetch<T: Plain>(number: &[i32]) -> Option<T> {
    let value = read(number).ok()?;
    if value.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: `value` is at least as long as `T`, the read needs no alignment, and any bytes are a `T`.
    Some(unsafe { std::ptr::read_unaligned(value.as_ptr().cast()) })
}

/// Structures for which any bytes are a valid value.
///
/// # Safety
/// The implementation must guarantee that.
unsafe trait Plain {}

// SAFETY: numbers, arrays of them, and pointers that are never dereferenced.
#[cfg(any(target_os = "freebsd", target_os = "openbsd"))]
unsafe impl Plain for libc::kinfo_proc {}
// SAFETY: as above.
#[cfg(target_os = "netbsd")]
unsafe impl Plain for libc::kinfo_proc2 {}
// SAFETY: two numbers.
#[cfg(target_os = "freebsd")]
unsafe impl Plain for libc::timeval {}

/// Returns the routing table that this process uses: FreeBSD's FIB, OpenBSD's rtable; NetBSD has only one.
#[must_use]
pub fn own_table() -> u16 {
    #[cfg(target_os = "freebsd")]
    let table = read_named(c"net.my_fibnum").ok().and_then(|value| int(&value));
    #[cfg(target_os = "openbsd")]
    let table = {
        unsafe extern "C" {
            fn getrtable() -> libc::c_int;
        }
        // SAFETY: getrtable(2) takes nothing and always succeeds.
        Some(unsafe { getrtable() })
    };
    #[cfg(target_os = "netbsd")]
    let table = Some(0);
    table.and_then(|table| u16::try_from(table).ok()).unwrap_or(0)
}
