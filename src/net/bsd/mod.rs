//! The kernels of FreeBSD, OpenBSD and NetBSD: routes over the routing socket and its table by sysctl(3), addresses,
//! MTU and state of interfaces by ioctl(2), tun devices by their nodes.
//!
//! A thin shell: what is said is [`rtsock`](super::rtsock)'s and [`ifreq`](super::ifreq)'s, which are tested
//! everywhere. Decides nothing.

mod kernel;
pub mod tun;
mod watch;

pub use self::{kernel::Kernel, watch::Watch};
use super::{ifreq::Requests, rtsock::Layout};

#[cfg(target_os = "freebsd")]
const LAYOUT: &Layout = &Layout::FREEBSD;
#[cfg(target_os = "freebsd")]
const REQUESTS: &Requests = &Requests::FREEBSD;

#[cfg(target_os = "openbsd")]
const LAYOUT: &Layout = &Layout::OPENBSD;
#[cfg(target_os = "openbsd")]
const REQUESTS: &Requests = &Requests::OPENBSD;

#[cfg(target_os = "netbsd")]
const LAYOUT: &Layout = &Layout::NETBSD;
#[cfg(target_os = "netbsd")]
const REQUESTS: &Requests = &Requests::NETBSD;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the layouts of routing messages in net/rtsock are those of 64-bit machines");
