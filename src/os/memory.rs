//! Memory that this process has freed.
#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "no crate of ours has this call")
)]

/// Returns freed memory to the kernel: the profiles of all tunnels were read, and one of them is needed. glibc keeps it,
/// other C libraries return it by themselves.
pub fn return_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: touches freed memory only, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
