//! Any bytes as a file of another PPTP client, the first of them for the kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::import_files;

fuzz_target!(|data: &[u8]| {
    let found = import_files(data);
    assert!(found.is_ok(), "{found:?}");
});
