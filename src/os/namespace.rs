//! What tells one network namespace from another (Linux; elsewhere all that there is counts as one).
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "nix has no SO_NETNS_COOKIE"))]

/// A network namespace of this run of the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Namespace {
    /// The kernel's number for it; 0 where the platform has none. A later namespace may get that of one that is gone.
    pub inode: u64,
    /// The kernel's cookie for it, which no later one gets; 0 where unknown (Linux before 5.14).
    pub cookie: u64,
}

impl Namespace {
    /// The calling thread's.
    #[must_use]
    pub fn here() -> Self {
        Self { inode: inode(), cookie: cookie() }
    }

    /// Whether they are the same one, as far as can be told.
    #[must_use]
    pub const fn is(self, other: Self) -> bool {
        self.inode == other.inode && (self.cookie == other.cookie || self.cookie == 0 || other.cookie == 0)
    }
}

fn inode() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |metadata| metadata.ino())
}

#[cfg(target_os = "linux")]
fn cookie() -> u64 {
    use std::os::fd::AsRawFd;
    // Any socket is asked for the namespace that it was made in.
    let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() else { return 0 };
    let mut cookie = 0_u64;
    let Ok(mut length) = libc::socklen_t::try_from(size_of_val(&cookie)) else { return 0 };
    // SAFETY: the kernel writes at most `length` bytes, which `cookie` has room for; both outlive the call.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if outcome == 0 { cookie } else { 0 }
}

#[cfg(not(target_os = "linux"))]
const fn cookie() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_does_not_tell_a_later_one() {
        let old = Namespace { inode: 7, cookie: 1 };
        assert!(old.is(old));
        assert!(!old.is(Namespace { inode: 7, cookie: 2 }), "it got the number");
        assert!(!old.is(Namespace { inode: 8, cookie: 1 }));
        // An older kernel, or a ledger of before.
        assert!(old.is(Namespace { inode: 7, cookie: 0 }) && Namespace { inode: 7, cookie: 0 }.is(old));
    }

    #[test]
    fn ours_is_known() {
        let here = Namespace::here();
        assert!(here.is(Namespace::here()));
        assert_eq!(here.inode != 0, cfg!(target_os = "linux"));
    }
}
