//! Replays the committed corpora of the `pptp` fuzz targets, and random scripts beside them, so that what
//! fuzzing has found stays found without a fuzzer.

#![expect(clippy::unwrap_used, reason = "a test; clippy.toml exempts only the functions marked as one")]

use std::{fs, path::Path};

use pptpctl::pptp::fuzzing;
use proptest::prelude::*;

#[test]
fn corpus_of_the_control_connection() {
    replay("pptp_control", fuzzing::control);
}

#[test]
fn corpus_of_the_flow() {
    replay("pptp_gre_flow", fuzzing::gre_flow);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_scripts_of_the_control_connection(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(fuzzing::control(&data), Ok(()));
    }

    /// The same, established and with a call asked for: random bytes seldom get so far.
    #[test]
    fn random_scripts_of_a_call(
        server: bool,
        quirk: bool,
        data in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut script = if server {
            vec![7, 2, 1, 0, 0, 2, 7, 1, 0, 11, 255, 9, 2]
        } else {
            vec![if quirk { 6 } else { 4 }, 2, 2, 0, 0, 6, 1, 0]
        };
        script.extend(data);
        prop_assert_eq!(fuzzing::control(&script), Ok(()));
    }

    #[test]
    fn random_scripts_of_the_flow(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(fuzzing::gre_flow(&data), Ok(()));
    }
}

fn replay(target: &str, run: fn(&[u8]) -> Result<(), String>) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    for file in files {
        assert_eq!(run(&fs::read(&file).unwrap()), Ok(()), "{}", file.display());
    }
}
