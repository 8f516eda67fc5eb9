//! Any events of a tunnel's supervisor, at any time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::supervisor_machine;

fuzz_target!(|data: &[u8]| {
    let found = supervisor_machine(data);
    assert!(found.is_ok(), "{found:?}");
});
