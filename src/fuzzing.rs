//! The bodies of the fuzz targets of `fuzz`, by target, and the replay of their corpora.

#[cfg(feature = "drop-in")]
pub use crate::dropin::fuzz::arguments as pptp_options;
#[cfg(feature = "setup")]
pub use crate::import::fuzz::files as import_files;
#[cfg(target_os = "linux")]
pub use crate::net::{netlink::fuzz::messages as netlink, offload::fuzz::packets as offload};
pub use crate::{
    apply::{ledger::fuzz::file as ledger, resolv_conf_fuzz as resolv_conf},
    engine::{
        inform::fuzz::exchange as dhcp_inform, message::fuzz::message as engine_message,
        session::fuzz::session,
    },
    net::{
        dns_query::fuzz::answers as dns_answer, lookup::fuzz::messages as resolver_message,
        rtsock::fuzzing::messages as net_rtsock,
    },
    ppp::{
        auth::fuzz::drive as ppp_auth, hdlc::fuzz::streams as hdlc, link::fuzz::drive as ppp_link,
        mppe::fuzz::drive as ppp_mppe,
    },
    pptp::fuzzing::{control as pptp_control, gre_flow as pptp_gre_flow},
    profile::{Profiles, Style},
    supervisor::{ipc::fuzz::control_messages, machine::fuzz::machine as supervisor_machine},
};

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use proptest::prelude::*;

    use super::*;
    use crate::net::rtsock::Layout;

    /// Runs one input; an error is a finding, like a panic.
    type Drive = fn(&[u8]) -> Result<(), String>;

    /// Every target with a corpus, except `profile`, which tests/profile_secrets.rs replays with planted secrets.
    const TARGETS: &[(&str, Drive)] = &[
        ("control_messages", control_messages),
        ("dhcp_inform", dhcp_inform),
        ("dns_answer", dns_answer),
        ("engine_message", engine_message),
        ("hdlc", hdlc),
        #[cfg(feature = "setup")]
        ("import_files", import_files),
        ("ledger", ledger),
        ("net_rtsock", net_rtsock),
        #[cfg(target_os = "linux")]
        ("netlink", netlink),
        #[cfg(target_os = "linux")]
        ("offload", offload),
        ("ppp_auth", |data| {
            ppp_auth(data);
            Ok(())
        }),
        ("ppp_link", |data| {
            ppp_link(data);
            Ok(())
        }),
        ("ppp_mppe", |data| {
            ppp_mppe(data);
            Ok(())
        }),
        ("pptp_control", pptp_control),
        ("pptp_gre_flow", pptp_gre_flow),
        #[cfg(feature = "drop-in")]
        ("pptp_options", pptp_options),
        ("resolv_conf", resolv_conf),
        ("resolver_message", resolver_message),
        ("session", |data| session(data).map(drop)),
        ("supervisor_machine", supervisor_machine),
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
        // Targets for one system are missing elsewhere, those of features in a build without them.
        let more = ["import_files", "netlink", "offload", "pptp_options", "profile"];
        let known: BTreeSet<String> =
            TARGETS.iter().map(|(name, _)| *name).chain(more).map(str::to_owned).collect();
        assert_eq!(names(&root().join("fuzz/corpus")), known);
        assert_eq!(names(&root().join("fuzz/fuzz_targets")), known);
    }

    /// Random bytes, the same for the same seed (SplitMix64).
    fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend((mixed ^ (mixed >> 31)).to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn sessions_keep_their_invariants() {
        let (mut up, mut data, mut ended) = (0, 0, 0);
        let mut broken = Vec::new();
        for seed in 0..400 {
            let mut script = random_bytes(seed, 4 + usize::try_from(seed % 8).unwrap() * 60);
            if seed % 2 == 0 {
                // The usual profile and server, and a link that is up.
                script[..4].fill(0);
            }
            match session(&script) {
                Ok(reached) => {
                    up += u32::from(reached.up);
                    data += u32::from(reached.data);
                    ended += u32::from(reached.ended);
                }
                Err(why) => broken.push(format!("seed {seed}: {why}")),
            }
        }
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        // The test is worth something only if its sessions get somewhere.
        assert!(
            up > 200 && data > 10 && ended > 40,
            "of 400 sessions {up} up, {data} with data, {ended} ended"
        );
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn control_connection_accepts_random_scripts(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(pptp_control(&data), Ok(()));
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
            prop_assert_eq!(pptp_control(&script), Ok(()));
        }

        #[test]
        fn flow_accepts_random_scripts(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(pptp_gre_flow(&data), Ok(()));
        }

        #[test]
        fn parsers_accept_arbitrary_bytes(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            for target in [
                control_messages,
                dhcp_inform,
                dns_answer,
                engine_message,
                hdlc,
                #[cfg(feature = "setup")]
                import_files,
                #[cfg(feature = "drop-in")]
                pptp_options,
                resolv_conf,
                resolver_message,
            ] {
                prop_assert_eq!(target(&data), Ok(()));
            }
        }

        #[test]
        fn supervisor_accepts_random_events(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(supervisor_machine(&data), Ok(()));
        }

        #[test]
        fn codec_accepts_arbitrary_bytes(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(net_rtsock(&data), Ok(()));
        }

        /// Mutates vectors, because random bytes seldom have a valid length and version.
        #[test]
        fn codec_accepts_mutated_messages(
            system in 0_usize..3,
            vector in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        ) {
            let vectors = rtsock_vectors(&Layout::ALL[system]);
            let mut bytes = vec![u8::try_from(system).unwrap()];
            bytes.extend_from_slice(&vectors[vector.index(vectors.len())]);
            for (at, value) in changes {
                let at = at.index(bytes.len() - 1) + 1;
                bytes[at] = value;
            }
            prop_assert_eq!(net_rtsock(&bytes), Ok(()));
        }
    }

    /// The messages in `tests/rtsock/SYSTEM.hex`: each has a name of 24 bytes, its length, and padding.
    fn rtsock_vectors(layout: &Layout) -> Vec<Vec<u8>> {
        let file = root().join("tests/rtsock").join(layout.name).with_extension("hex");
        let text = fs::read_to_string(file).unwrap();
        let bytes: Vec<u8> =
            text.split_whitespace().map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
        let mut rest = bytes.as_slice();
        let mut found = Vec::new();
        while let Some((_name, after)) = rest.split_at_checked(24) {
            let (length, after) = after.split_first_chunk().unwrap();
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
            found.push(after[..length].to_vec());
            rest = after.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        assert!(found.len() > 12, "{}", layout.name);
        found
    }
}
