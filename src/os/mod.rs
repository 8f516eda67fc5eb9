//! Differences between Linux, FreeBSD, OpenBSD and NetBSD; the only module with unsafe code.
//!
//! [`paths`] has the platform's directories. [`privileges`] drops the engine's privileges, with [`jail`] for
//! its empty root directory and, on Linux, `filter` for the system calls. [`peer`] identifies the process at
//! the other end of a Unix socket, [`rights`] sends descriptors over one, and [`batch`] moves many datagrams
//! with one system call. [`process`] and [`boot`] distinguish a process from a later one with the same PID,
//! [`namespace`] does so for network namespaces. [`usage`] measures resource usage, [`descriptors`] handles
//! inherited descriptors, and [`crash`] has the points at which tests kill a process. Nothing here interprets
//! the bytes that it moves.

pub mod batch;
pub mod boot;
#[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
pub mod bsd;
#[cfg(target_os = "linux")]
pub mod capabilities;
pub mod crash;
pub mod descriptors;
// 64-bit only: 32-bit systems have separate system calls for each width of time_t.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub mod filter;
pub mod forwarding;
pub mod jail;
pub mod namespace;
pub mod peer;
pub mod privileges;
pub mod process;
pub mod rights;
pub mod usage;
