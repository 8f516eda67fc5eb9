//! What only the BSDs have: ioctl(2) and sysctl(3) with plain bytes, and what a process gives up on each of them.

pub mod control;
pub mod sandbox;
pub mod sysctl;
