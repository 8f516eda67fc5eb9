//! Any bytes as answers of the kernel: routes, rules, interfaces, errors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::netlink;

fuzz_target!(|data: &[u8]| {
    if let Err(why) = netlink(data) {
        panic!("{why}");
    }
});
