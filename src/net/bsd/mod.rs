//! Kernel interface of FreeBSD, OpenBSD and NetBSD: routes by routing socket, the routing table by sysctl(3),
//! addresses, MTU and state of interfaces by ioctl(2).
//!
//! A thin wrapper that decides nothing. [`rtsock`](super::rtsock) and [`ifreq`](super::ifreq) encode the
//! messages and are tested on all platforms.

mod addresses;
mod domain;
#[cfg(target_os = "freebsd")]
mod epair;
mod kernel;
mod watch;

pub use self::{kernel::Kernel, watch::Watch};
use super::{ifreq::Requests, rtsock::Layout};

#[cfg(target_os = "freebsd")]
const LAYOUT: &Layout = &Layout::FREEBSD;
#[cfg(target_os = "freebsd")]
pub(super) const REQUESTS: &Requests = &Requests::FREEBSD;

#[cfg(target_os = "openbsd")]
const LAYOUT: &Layout = &Layout::OPENBSD;
#[cfg(target_os = "openbsd")]
pub(super) const REQUESTS: &Requests = &Requests::OPENBSD;

#[cfg(target_os = "netbsd")]
const LAYOUT: &Layout = &Layout::NETBSD;
#[cfg(target_os = "netbsd")]
pub(super) const REQUESTS: &Requests = &Requests::NETBSD;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the layouts of routing messages in net/rtsock are those of 64-bit machines");
