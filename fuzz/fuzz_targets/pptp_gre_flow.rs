//! One call's GRE packets: a script of packets, timeouts and sends.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = pptpctl::fuzzing::pptp_gre_flow(data) {
        panic!("{error}");
    }
});
