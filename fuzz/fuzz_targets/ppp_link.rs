//! A PPP link in any phase, against frames and operations of any kind.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pptpctl::fuzzing::ppp_link(data));
