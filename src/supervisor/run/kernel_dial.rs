//! The descriptors and the counters of a call whose packets the kernel moves, which live as long as the attempt.

use std::{net::Ipv4Addr, os::fd::OwnedFd};

use crate::net::{kernel_ppp::KernelCall, routes::Traffic};

/// The kernel's part in one dial. Dropping it ends that part.
pub(in crate::supervisor) struct KernelDial {
    /// The call.
    pub call: KernelCall,
    /// The server that is dialled.
    pub server: Ipv4Addr,
    /// The engine's raw socket.
    pub gre: OwnedFd,
    /// What the device had carried when the link came up.
    pub before: Option<Traffic>,
}
