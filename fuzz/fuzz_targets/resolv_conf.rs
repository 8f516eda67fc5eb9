//! Any bytes as resolv.conf(5).
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::resolv_conf;

fuzz_target!(|data: &[u8]| {
    let found = resolv_conf(data);
    assert!(found.is_ok(), "{found:?}");
});
