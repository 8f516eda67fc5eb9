//! The child process that looks up one name: unprivileged, because a resolver parses data from the network.
//!
//! It reads the name from its channel, answers with at most [`lookup::MAX_ADDRESSES`] IPv4 addresses, and
//! exits. The supervisor ends it if it takes too long.

use std::io;

use crate::net::lookup;
pub use crate::net::{lookup::Answer, name_check};

/// Runs the resolver process, whose standard input is its channel.
///
/// # Errors
/// Returns an error if the process cannot drop root privileges, or its parent is gone.
pub fn main() -> io::Result<()> {
    lookup::main_with_files()
}

/// Runs the process that finds out why a name was not resolved.
///
/// # Errors
/// As [`main`].
pub fn check_main() -> io::Result<()> {
    lookup::check_main()
}
