//! Plans on a real kernel: each test has its own network namespace with a tun device and routes set by
//! netlink, and compares the output of `ip -j` before and after byte for byte.
//!
//! Needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN), /dev/net/tun, ip(8) and nft(8); fails where they are
//! missing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers fail the test"
)]

mod coexistence;
mod connected;
mod crash;
mod crashing_host;
mod defaults;
mod firewall;
mod leaks;
mod local_networks;
mod namespace;
mod netlink;
mod netns;
mod offload;
mod old_ledgers;
mod policy;
mod remote_network;
#[path = "../lab/shown.rs"]
mod shown;
mod tunnels;
