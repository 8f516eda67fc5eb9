//! Any bytes as a ledger that a killed supervisor has left.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::ledger;

fuzz_target!(|data: &[u8]| {
    if let Err(why) = ledger(data) {
        panic!("{why}");
    }
});
