//! Messages of the process that looks names up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::resolver_message;

fuzz_target!(|data: &[u8]| {
    if let Err(why) = resolver_message(data) {
        panic!("{why}");
    }
});
