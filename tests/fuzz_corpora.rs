//! Replays the committed corpora of the fuzz targets, and random scripts, so that regressions are found
//! without a fuzzer.

use std::{collections::BTreeSet, fs, path::Path};

use pptpctl::{
    net::rtsock,
    ppp::{auth, link, mppe},
    pptp::fuzzing,
};
use proptest::prelude::*;

/// Runs one input; an error is a finding, like a panic.
type Drive = fn(&[u8]) -> Result<(), String>;

/// Every target with a corpus, except `profile`, which tests/profile_secrets.rs replays with planted secrets.
const TARGETS: &[(&str, Drive)] = &[
    ("net_rtsock", rtsock::fuzzing::messages),
    ("ppp_auth", |data| {
        auth::fuzz::drive(data);
        Ok(())
    }),
    ("ppp_link", |data| {
        link::fuzz::drive(data);
        Ok(())
    }),
    ("ppp_mppe", |data| {
        mppe::fuzz::drive(data);
        Ok(())
    }),
    ("pptp_control", fuzzing::control),
    ("pptp_gre_flow", fuzzing::gre_flow),
];

#[test]
fn targets_accept_every_seed_of_their_corpus() {
    for (target, drive) in TARGETS {
        let mut seeds: Vec<_> = fs::read_dir(root().join("fuzz/corpus").join(target))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        seeds.sort();
        assert!(seeds.len() >= 8, "{target} has {} seeds", seeds.len());
        for seed in seeds {
            assert_eq!(drive(&fs::read(&seed).unwrap()), Ok(()), "{}", seed.display());
        }
    }
}

#[test]
fn every_target_has_a_corpus() {
    let names = |path: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let known: BTreeSet<String> =
        TARGETS.iter().map(|(name, _)| (*name).to_owned()).chain(["profile".to_owned()]).collect();
    assert_eq!(names(&root().join("fuzz/corpus")), known);
    assert_eq!(names(&root().join("fuzz/fuzz_targets")), known);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn control_connection_accepts_random_scripts(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(fuzzing::control(&data), Ok(()));
    }

    /// Starts with an established control connection and a requested call, which random bytes rarely reach.
    #[test]
    fn call_accepts_random_scripts(
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
    fn flow_accepts_random_scripts(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(fuzzing::gre_flow(&data), Ok(()));
    }
}
