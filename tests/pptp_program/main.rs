//! The `pptp` program: its manual page, the tunnel on its standard input, its call manager, beside the classic program
//! (Debian's pptp-linux) where that is installed. Needs root; each test is in a world of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and say what they saw"
)]

mod defects;
mod docs;
mod isolated;
mod manager;
mod peer;
mod reordering;
mod sockets;
mod tunnel;
mod world;
