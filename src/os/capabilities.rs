//! The one request about capabilities (capabilities(7)) that nix has no words for.
#![expect(unsafe_code, reason = "nix has no PR_CAPBSET_DROP")]

/// Takes a capability out of the bounding set. A number that the kernel does not know is no error.
pub fn drop_from_bounding_set(capability: libc::c_ulong) {
    // SAFETY: PR_CAPBSET_DROP takes one number and touches no memory of ours.
    let _unknown = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
}
