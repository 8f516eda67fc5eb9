//! MPPE, sealer against opener, and any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pptpctl::fuzzing::ppp_mppe(data));
