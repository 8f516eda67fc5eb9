//! Packets of the tun device, split and combined.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::offload;

fuzz_target!(|data: &[u8]| {
    if let Err(why) = offload(data) {
        panic!("{why}");
    }
});
