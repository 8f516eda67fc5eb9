//! Sockets, tun devices, routing sockets, signals: thin wrappers around system calls, each with one owner.
//!
//! - [`channel`] joins supervisor and engine; [`transport`] makes the TCP and GRE sockets of a tunnel, and
//!   [`tcp`] moves the bytes of a control connection.
//! - [`tun`] opens the device; [`packets`] reads and writes its packets.
//! - [`routes`] and [`rules`] are the data types of requests to the kernel. `netlink` sends them on Linux,
//!   `bsd` on the BSDs; [`rtsock`] and [`ifreq`] encode the BSDs' messages and ioctl arguments.
//! - [`signals`], [`sleep`] and [`filewatch`] turn signals, resume from suspend and changes of files into
//!   readable descriptors; [`wait`] polls them and is the only module that blocks.
//! - [`lookup`] resolves host names in a child process; [`sanitize`] checks such a child's messages.
//! - `netns` enters a network namespace; [`pty`] and [`stdio`] connect to a PPP daemon; [`syslog`] logs for
//!   the drop-in.

#[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
pub mod bsd;
pub mod channel;
pub mod filewatch;
pub mod ifreq;
pub mod lookup;
#[cfg(target_os = "linux")]
pub mod netlink;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod packets;
pub mod pty;
pub mod routes;
pub mod rtsock;
pub mod rules;
pub mod sanitize;
pub mod signals;
pub mod sleep;
pub mod stdio;
pub mod syslog;
pub mod tcp;
pub mod transport;
pub mod tun;
pub mod wait;

/// This platform's interface to the kernel's routes and interfaces, and its subscription to their changes.
pub mod kernel {
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    pub use super::bsd::{Kernel, Watch};
    #[cfg(target_os = "linux")]
    pub use super::netlink::{Netlink as Kernel, Watch};
}
