//! Replays the committed corpora of the fuzz targets, and random scripts beside them, so that what fuzzing has found
//! stays found without a fuzzer.

use std::{collections::BTreeSet, fs, path::Path};

use pptpctl::{
    net::rtsock,
    ppp::{auth, link, mppe},
    pptp::fuzzing,
};
use proptest::prelude::*;

/// What a target does with one input; an error is a finding, as a panic is.
type Drive = fn(&[u8]) -> Result<(), String>;

/// Every target with a corpus, but `profile`, which tests/profile_secrets.rs replays with what it plants.
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
fn every_seed_of_every_corpus() {
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
fn no_target_is_forgotten() {
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
