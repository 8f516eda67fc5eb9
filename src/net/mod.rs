//! Sockets, tunnel device, routing sockets, signals: thin shells over system calls, each with one owner.
//!
//! [`channel`] joins supervisor and engine, [`transport`] makes the TCP and GRE sockets of a tunnel, [`tun`]
//! opens the device and [`packets`] moves what goes through it, [`routes`] and [`rules`] are the words for what the
//! kernel is asked, `netlink` is how Linux is asked and [`rtsock`] the language of the BSDs' kernels, [`signals`] turns
//! signals into readable descriptors, [`sleep`] the machine's waking up and [`filewatch`] the writing of files, and
//! [`wait`] is the one place that blocks. [`lookup`] asks for names, and [`sanitize`] checks what such a child says.
//! `netns` goes to another namespace, [`pty`] and [`stdio`] are what a PPP daemon is spoken to over, [`syslog`] is the
//! log of the drop-in.

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
pub mod transport;
pub mod tun;
pub mod wait;

/// How the kernel of this system is asked about routes and interfaces, and how it tells of changes.
pub mod kernel {
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    pub use super::bsd::{Kernel, Watch};
    #[cfg(target_os = "linux")]
    pub use super::netlink::{Netlink as Kernel, Watch};
}
