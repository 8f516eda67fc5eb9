//! Replays the committed corpora of the fuzz targets `ppp_auth` and `ppp_mppe`.

use std::{fs, io, path::Path};

use pptpctl::ppp::{auth, mppe};

#[test]
fn ppp_auth() {
    assert!(replay("ppp_auth", auth::fuzz::drive).unwrap() >= 8);
}

#[test]
fn ppp_mppe() {
    assert!(replay("ppp_mppe", mppe::fuzz::drive).unwrap() >= 8);
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
