//! Sockets, tunnel device, routing sockets, signals: thin shells over system calls, each with one owner.
//!
//! [`channel`] joins supervisor and engine, [`transport`] makes the TCP and GRE sockets of a tunnel, [`tun`]
//! opens the device and [`packets`] moves what goes through it, [`routes`] and [`rules`] are the words for what the kernel is
//! asked and `netlink` is how Linux is asked, [`signals`] turns signals into readable descriptors, and
//! [`wait`] is the one place that blocks.

pub mod channel;
#[cfg(target_os = "linux")]
pub mod netlink;
pub mod packets;
pub mod pty;
pub mod routes;
pub mod rules;
pub mod signals;
pub mod stdio;
pub mod syslog;
pub mod transport;
pub mod tun;
pub mod wait;
