//! Replays the committed corpus of the fuzz target `ppp_link`.

use std::{fs, io, path::Path};

use pptpctl::ppp::link;

#[test]
fn ppp_link() {
    assert!(replay("ppp_link", link::fuzz::drive).unwrap() >= 16);
}

/// How many seeds there were.
fn replay(target: &str, drive: fn(&[u8])) -> io::Result<usize> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(directory)? {
        drive(&fs::read(entry?.path())?);
        replayed += 1;
    }
    Ok(replayed)
}
