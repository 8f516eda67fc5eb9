//! The child that looks one name up: as an unprivileged user, because a resolver parses what the network says.
//!
//! It reads the name from its channel, answers with at most [`MOST`] IPv4 addresses, and ends. How long it may
//! take is the supervisor's business, which ends it when it takes too long.

use std::io;

use crate::net::lookup;
pub use crate::net::lookup::{Answer, MOST};

/// The whole life of a resolver process, whose standard input is its channel.
///
/// # Errors
/// When it cannot give up root, or its parent is gone.
pub fn main() -> io::Result<()> {
    lookup::main()
}
