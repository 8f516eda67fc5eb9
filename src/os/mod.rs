//! What differs between Linux, FreeBSD, OpenBSD and NetBSD; the only room with unsafe code.
//!
//! [`paths`] are the platform's directories, [`privileges`] is how the engine gives up what it does not need, with [`jail`]
//! for its empty root directory and, on Linux, `filter` for the system calls. [`peer`] asks who is at the other end of a
//! Unix socket, [`rights`] sends descriptors over one, and [`batch`] moves many datagrams with one system call.
//! [`process`] and [`boot`] tell a process from a later one with its number, [`namespace`] a network namespace, [`usage`] says what this one has used,
//! [`descriptors`] what it was born with, and [`crash`] where tests may kill it. Nothing in here knows what the bytes mean.

pub mod batch;
pub mod boot;
#[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
pub mod bsd;
#[cfg(target_os = "linux")]
pub mod capabilities;
pub mod crash;
pub mod descriptors;
// On 64 bits alone: the numbers of a 32-bit system are many, one for each width of time.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub mod filter;
pub mod forwarding;
pub mod jail;
pub mod namespace;
pub mod paths;
pub mod peer;
pub mod privileges;
pub mod process;
pub mod rights;
pub mod usage;
