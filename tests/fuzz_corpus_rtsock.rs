//! Replays the committed corpus of the `net_rtsock` fuzz target, so that what fuzzing has found stays found without
//! a fuzzer. Changed messages and random bytes are in tests/rtsock.rs.

use std::{fs, path::Path};

#[test]
fn corpus_of_the_routing_socket() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/net_rtsock");
    let mut files: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 40, "{} has {} files", corpus.display(), files.len());
    for file in files {
        let outcome = pptpctl::net::rtsock::fuzzing::messages(&fs::read(&file).unwrap());
        assert_eq!(outcome, Ok(()), "{}", file.display());
    }
}
