//! Any words as arguments of `pptp`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::pptp_options;

fuzz_target!(|data: &[u8]| {
    let found = pptp_options(data);
    assert!(found.is_ok(), "{found:?}");
});
