//! Any bytes as a stream of HDLC frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::hdlc;

fuzz_target!(|data: &[u8]| {
    let found = hdlc(data);
    assert!(found.is_ok(), "{found:?}");
});
