//! The BSDs' routing sockets: what a kernel sends.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = pptpctl::fuzzing::net_rtsock(data) {
        panic!("{error}");
    }
});
