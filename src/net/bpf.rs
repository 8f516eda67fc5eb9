//! Instruction codes of classic BPF, for filters of raw IPv4 sockets: their packets begin with the IPv4 header.

use std::{io, os::fd::AsFd};

use socket2::{SockFilter, SockRef};

/// Loads the length of the IPv4 header at this offset into the index register X.
pub(super) const LOAD_HEADER_LENGTH: u16 = 0xb1;
/// Loads the 16 bits at this offset from X.
pub(super) const LOAD_HALF_AT_X: u16 = 0x48;
/// Loads the 32 bits at this offset.
pub(super) const LOAD_WORD: u16 = 0x20;
/// Keeps these bits of what was loaded.
pub(super) const AND: u16 = 0x54;
/// Jumps if what was loaded equals this number.
pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
/// Jumps if what was loaded has one of these bits.
pub(super) const JUMP_IF_BITS: u16 = 0x45;
/// Passes this many bytes of the packet; 0 drops it.
pub(super) const RETURN: u16 = 0x06;

/// Drops all packets that a socket would receive.
///
/// # Errors
/// Returns the kernel's error.
pub fn receive_nothing(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket.as_fd()).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])
}
