//! The control connection: a script of operations and bytes from the peer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = pptpctl::fuzzing::pptp_control(data) {
        panic!("{error}");
    }
});
