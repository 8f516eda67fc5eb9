//! The network: sockets, tun devices, routes. Thin wrappers around system calls, each with one owner.
//!
//! - [`transport`] makes the TCP and GRE sockets of a tunnel, [`tcp`] moves the bytes of a control
//!   connection.
//! - [`gre_witness`] shows GRE packets that a tunnel's socket does not get.
//! - [`tun`] opens the device; [`packets`] reads and writes its packets; `offload` splits and combines them on
//!   Linux.
//! - [`kernel_ppp`] has the device and the call of a tunnel whose packets Linux moves itself.
//! - [`routes`] and [`rules`] are the data types of requests to the kernel. `netlink` sends them on Linux,
//!   `bsd` on the BSDs; [`rtsock`] and [`ifreq`] encode the BSDs' messages and ioctl arguments.
//! - [`host_route_record`] lets another process remove the host route of one that was killed.
//! - `bpf` has the codes of socket filters on Linux.
//! - [`checksum`] computes the Internet checksum.
//! - [`connected`] lists the networks of the host's interfaces.
//! - [`forwarding`] says whether the host forwards packets.
//! - [`lookup`] resolves host names in a child process, [`name_check`] finds out there why it failed, with queries
//!   of [`dns_query`]; [`sanitize`] checks such a child's messages.

#[cfg(target_os = "linux")]
pub mod bpf;
#[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
pub mod bsd;
pub mod checksum;
pub mod connected;
pub mod dns_query;
pub mod forwarding;
pub mod gre_witness;
pub mod host_route_record;
pub mod ifreq;
pub mod kernel_ppp;
pub mod lookup;
pub mod name_check;
#[cfg(target_os = "linux")]
pub mod netlink;
#[cfg(target_os = "linux")]
pub mod offload;
pub mod packets;
pub mod routes;
pub mod rtsock;
pub mod rules;
pub mod sanitize;
pub mod tcp;
pub mod transport;
pub mod tun;

/// This platform's interface to the kernel's routes and interfaces, and its subscription to their changes.
pub mod kernel {
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    pub use super::bsd::{Kernel, Watch};
    #[cfg(target_os = "linux")]
    pub use super::netlink::{Netlink as Kernel, Watch};
}
