//! Any packets as answers to a request for routes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::dhcp_inform;

fuzz_target!(|data: &[u8]| {
    let found = dhcp_inform(data);
    assert!(found.is_ok(), "{found:?}");
});
