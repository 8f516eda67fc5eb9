//! Memory, descriptors and files of a tunnel over time.

use std::{collections::BTreeMap, fs};

use super::World;

/// Memory may grow by an eighth and this: allocators keep what was in use at the same time once.
const KIB: u64 = 256;

/// Samples by what was measured.
#[derive(Default)]
pub struct Resources {
    supervisor: Option<u64>,
    samples: BTreeMap<(&'static str, &'static str), Vec<u64>>,
}

impl Resources {
    /// Reads both processes and the ledger, if the tunnel is up.
    #[track_caller]
    pub fn sample(&mut self, world: &World) {
        let status = world.status();
        for (process, key) in [("supervisor", "supervisor_pid"), ("engine", "engine_pid")] {
            let Some(pid) = status[key].as_u64() else { continue };
            if process == "supervisor" {
                let first = *self.supervisor.get_or_insert(pid);
                assert_eq!(pid, first, "another supervisor\n{}", world.log());
            }
            // Gone since the status was read.
            let Ok(memory) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
            let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
            let field = |name| {
                let line = memory.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            };
            for (name, value) in [
                ("PSS, KiB", field("Pss:")),
                ("RSS, KiB", field("Rss:")),
                ("anonymous memory, KiB", field("Anonymous:")),
                ("descriptors", u64::try_from(descriptors.count()).ok()),
            ] {
                self.samples.entry((process, name)).or_default().extend(value);
            }
        }
        let ledger = fs::metadata("/var/lib/pptpctl/vpn.ledger").map_or(0, |ledger| ledger.len());
        self.samples.entry(("ledger", "bytes")).or_default().push(ledger);
    }

    /// Compares the median of the last quarter with that of the first.
    #[track_caller]
    pub fn assert_flat(&self) {
        let mut grown = Vec::new();
        for ((process, what), values) in &self.samples {
            let quarter = (values.len() / 4).max(1);
            let (first, last) = (median(&values[..quarter]), median(&values[values.len() - quarter..]));
            println!(
                "{process}: {what}: {first} in the first quarter, {last} in the last ({} samples)",
                values.len()
            );
            let allowed = match *what {
                "descriptors" => first,
                "bytes" => first.max(64 << 10),
                _ => first + first / 8 + KIB,
            };
            if last > allowed {
                grown.push(format!("{process}: {what}: {first} has become {last}"));
            }
        }
        assert!(grown.is_empty(), "{grown:#?}");
    }
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
