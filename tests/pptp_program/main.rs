//! The `pptp` program: manual page, tunnel on standard input, and call manager; compared with the classic
//! program (Debian's pptp-linux) where that is installed. Needs root; each test runs in its own namespaces.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and print what they received"
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
