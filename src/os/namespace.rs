//! Identity of a network namespace (Linux; on other platforms all processes count as being in one).
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "nix has no SO_NETNS_COOKIE"))]

/// Identifies a network namespace during the current boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Namespace {
    /// The namespace's inode number; 0 where the platform has none. A later namespace may reuse it.
    pub inode: u64,
    /// The namespace's cookie, which is never reused; 0 where unknown (Linux before 5.14).
    pub cookie: u64,
}

impl Namespace {
    /// Returns the calling thread's namespace.
    #[must_use]
    pub fn current() -> Self {
        Self { inode: inode(), cookie: cookie() }
    }

    /// Returns whether both are the same namespace. Cookies are compared only if both are known.
    #[must_use]
    pub const fn same_as(self, other: Self) -> bool {
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
    // A socket reports the namespace in which it was created.
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
    fn reused_inode_is_detected_by_its_cookie() {
        let old = Namespace { inode: 7, cookie: 1 };
        assert!(old.same_as(old));
        assert!(
            !old.same_as(Namespace { inode: 7, cookie: 2 }),
            "another namespace with the same inode number"
        );
        assert!(!old.same_as(Namespace { inode: 8, cookie: 1 }));
        // An older kernel, or a ledger written before cookies were recorded.
        assert!(
            old.same_as(Namespace { inode: 7, cookie: 0 }) && Namespace { inode: 7, cookie: 0 }.same_as(old)
        );
    }

    #[test]
    fn own_namespace_is_identified() {
        let current = Namespace::current();
        assert!(current.same_as(Namespace::current()));
        assert_eq!(current.inode != 0, cfg!(target_os = "linux"));
    }
}
