//! Any bytes as a profile file: no panic, and a password that was planted in them is never shown.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pptpctl::fuzzing::{Profiles, Style};

const SECRET: &str = "Xy7-qQ!zz";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let planted = format!("{text}\npassword = '{SECRET}'\n{text}");
    for text in [text.as_ref(), planted.as_str()] {
        for private in [true, false] {
            let profiles = Profiles::from_text(Path::new("fuzz.toml"), text, private);
            let rendered = profiles.report().render(Style::Plain);
            assert!(text.len() == data.len() || !rendered.contains(SECRET), "{rendered}");
            for (name, profile) in profiles.iter() {
                assert_eq!(profiles.get(name.as_str()).is_ok(), profile.is_some());
            }
        }
    }
});
