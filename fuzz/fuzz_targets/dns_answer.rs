//! Answers of a nameserver: any bytes, and answers with known records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::dns_answer;

fuzz_target!(|data: &[u8]| {
    if let Err(why) = dns_answer(data) {
        panic!("{why}");
    }
});
