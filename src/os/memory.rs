//! Memory that this process has freed.
#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "no crate of ours has this call")
)]

/// Returns freed memory to the kernel: that of lists which grow with the number of tunnels, as the profiles of all of them and
/// the host's routes. glibc keeps it, other C libraries return it by themselves.
pub fn return_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: touches freed memory only, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
