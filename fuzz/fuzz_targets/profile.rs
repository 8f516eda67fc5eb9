//! Any bytes as a profile file: no panic, and a password that was planted in them is never shown.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::{Profiles, Style};

const SECRET: &str = "Xy7-qQ!zz";

fuzz_target!(|data: &[u8]| {
    let mut text = String::from_utf8_lossy(data).into_owned();
    // One of the ways to read it for each input, as each takes as long as all others.
    let sum = data.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    let (private, planted, rendered) = (sum & 1 == 0, sum & 2 == 0, sum & 0x1c == 0);
    if planted {
        text = format!("{text}\npassword = '{SECRET}'\n{text}");
    }
    let profiles = Profiles::from_text(Path::new("fuzz.toml"), &text, private);
    // Without the layout, which takes longer than the rest.
    let shown =
        if rendered { profiles.report().render(Style::Plain) } else { format!("{:?}", profiles.report()) };
    assert!(!planted || !shown.contains(SECRET), "{shown}");
    for (name, profile) in profiles.iter() {
        assert_eq!(profiles.get(name.as_str()).is_ok(), profile.is_some());
    }
});
