//! A whole session with a server of ours, a bad path and a forger, under a virtual clock.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::session;

fuzz_target!(|data: &[u8]| {
    if let Err(why) = session(data) {
        panic!("{why}");
    }
});
