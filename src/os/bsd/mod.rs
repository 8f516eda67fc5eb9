//! Code for the BSDs only: ioctl(2) and sysctl(3) with plain bytes, and the sandbox of each system.

pub mod control;
#[cfg(target_os = "freebsd")]
pub mod jails;
pub mod sandbox;
pub mod sysctl;
