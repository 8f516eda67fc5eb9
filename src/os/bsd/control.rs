//! ioctl(2) with an argument of plain bytes, whose size is encoded in the request (sys/ioccom.h).
#![expect(unsafe_code, reason = "no crate of ours has these requests")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// The size of the argument is in bits 16 to 28 of a request.
const SIZE_SHIFT: u32 = 16;
const SIZE_MASK: u64 = 0x1fff;

/// Makes a request whose argument holds no pointer; the kernel's answer replaces `argument`.
///
/// # Errors
/// Returns the kernel's error; `EINVAL` if the argument is shorter than the size in the request.
pub fn request(fd: impl AsFd, request: u64, argument: &mut [u8]) -> io::Result<()> {
    let size = usize::try_from(request >> SIZE_SHIFT & SIZE_MASK).unwrap_or(usize::MAX);
    if argument.len() < size {
        return Err(nix::errno::Errno::EINVAL.into());
    }
    // Aligned to 8 bytes, as the kernel's structures require.
    let mut aligned = vec![0_u64; argument.len().div_ceil(8)];
    for (word, bytes) in aligned.iter_mut().zip(argument.chunks(8)) {
        let mut eight = [0; 8];
        eight.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        *word = u64::from_ne_bytes(eight);
    }
    // SAFETY: the kernel reads and writes as many bytes as the request says, and `aligned` has at least that
    // many; the callers' arguments hold no pointers.
    let outcome = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, aligned.as_mut_ptr()) };
    if outcome == -1 {
        return Err(io::Error::last_os_error());
    }
    for (bytes, word) in argument.chunks_mut(8).zip(&aligned) {
        bytes.iter_mut().zip(word.to_ne_bytes()).for_each(|(to, from)| *to = from);
    }
    Ok(())
}
