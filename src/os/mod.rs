//! The operating system: processes, descriptors, signals and privileges on Linux, FreeBSD, OpenBSD and
//! NetBSD; the only module with unsafe code. Nothing here interprets the bytes that it moves.
//!
//! - [`privileges`] drops the engine's privileges, with [`jail`] for its empty root directory and, on Linux,
//!   `filter` for the system calls, of other processes too.
//! - [`child`] executes this program again, with a [`channel`] to the new process; [`program`] runs a foreign
//!   program within limits, [`launch`] starts it, from a restricted process through a launcher, which also opens files.
//!   `landlock` restricts the files that a process opens itself.
//! - [`rights`] sends descriptors over a Unix socket, and [`peer`] identifies the process at its other end.
//! - [`signals`], [`sleep`] and [`filewatch`] turn signals, resume from suspend and changes of files into
//!   readable descriptors; [`wait`] polls them and is the only module that blocks.
//! - [`accept`] pauses a listening socket while no descriptor is left.
//! - [`process`] and [`boot`] distinguish a process from a later one with the same PID, [`namespace`] does so
//!   for network namespaces; `netns` enters one.
//! - [`descriptors`] handles inherited descriptors; [`pty`] and [`stdio`] connect to a PPP daemon; [`syslog`]
//!   logs for the drop-in.
//! - [`user`] runs a program with another user's rights, and [`terminal`] relays between its pty and the user's terminal;
//!   [`prompt`] asks there for a secret.
//! - [`batch`] moves many datagrams with one system call; [`usage`] measures resource usage, [`memory`] returns what was
//!   freed; [`cgroup`] counts the programs that filter this process's packets; [`local_time`] formats times;
//!   [`kernel_module`] finds a driver.
//! - `tun` has the requests of Linux's tun device, `interface` the names of its interfaces, [`ppp`] the requests of its PPP
//!   driver; [`path_mtu`] lets the kernel refuse packets that are too long.
//! - [`setuid`] detects a set-user-ID bit, [`private_dir`] a directory that others can change.
//! - [`crash`] has the points at which tests kill a process.

pub mod accept;
pub mod batch;
pub mod boot;
#[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
pub mod bsd;
#[cfg(target_os = "linux")]
pub mod capabilities;
pub mod cgroup;
pub mod channel;
pub mod child;
pub mod crash;
pub mod descriptors;
pub mod filewatch;
// 64-bit only: 32-bit systems have separate system calls for each width of time_t, and seccompiler knows none of them.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub mod filter;
#[cfg(target_os = "linux")]
pub mod interface;
pub mod jail;
pub mod kernel_module;
#[cfg(target_os = "linux")]
pub mod landlock;
pub mod launch;
pub mod local_time;
pub mod memory;
pub mod namespace;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod path_mtu;
pub mod peer;
pub mod ppp;
pub mod private_dir;
pub mod privileges;
pub mod process;
pub mod program;
pub mod prompt;
pub mod pty;
pub mod rights;
pub mod screen;
pub mod setuid;
pub mod signals;
pub mod sleep;
pub mod stdio;
pub mod syslog;
pub mod terminal;
#[cfg(target_os = "linux")]
pub mod tun;
pub mod usage;
pub mod user;
pub mod wait;
