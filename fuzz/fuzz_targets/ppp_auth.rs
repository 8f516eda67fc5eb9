//! PAP, CHAP-MD5, MS-CHAPv1 and MS-CHAPv2, client and server.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pptpctl::fuzzing::ppp_auth(data));
