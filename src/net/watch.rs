//! Being told that routes, rules, addresses or links have changed, on the systems that can be asked for it.

#[cfg(target_os = "linux")]
pub use super::netlink::Watch;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::Watch;

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::os::fd::{AsFd, BorrowedFd};

    use crate::net::routes::Error;

    /// Never had: there is no way to be told yet.
    #[derive(Debug)]
    pub enum Watch {}

    impl Watch {
        /// Does not work here yet.
        ///
        /// # Errors
        /// Always.
        pub fn open() -> Result<Self, Error> {
            Err(Error::errno("watch the network", nix::errno::Errno::EOPNOTSUPP))
        }

        /// Whether something has changed.
        pub fn drain(&mut self) -> bool {
            match *self {}
        }
    }

    impl AsFd for Watch {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match *self {}
        }
    }
}
