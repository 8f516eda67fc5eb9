//! Sockets, tunnel device, routing sockets, signals.

#[cfg(target_os = "linux")]
pub mod netlink;
pub mod routes;
pub mod tun;
