//! Any bytes as a message of the engine.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::engine_message;

fuzz_target!(|data: &[u8]| {
    let found = engine_message(data);
    assert!(found.is_ok(), "{found:?}");
});
