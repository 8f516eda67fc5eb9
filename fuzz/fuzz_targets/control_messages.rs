//! Any bytes as messages on the control socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::control_messages;

fuzz_target!(|data: &[u8]| {
    let found = control_messages(data);
    assert!(found.is_ok(), "{found:?}");
});
