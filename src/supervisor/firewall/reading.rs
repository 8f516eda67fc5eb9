//! Readings of this host's packet filter. It is the only part that runs programs and opens files.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{iptables, nft, pf, rules::Table};
use crate::{
    apply::program::{MAX_OUTPUT, Program, ProgramError},
    plan::is_leak_anchor,
    platform::Platform,
};

/// Time limit of a program that lists rules. The supervisor does nothing else meanwhile.
const LIMIT: Duration = Duration::from_secs(2);

/// The arguments by which nft(8) lists all rules.
const NFT: [&str; 3] = ["-t", "list", "ruleset"];

/// The argument with which iptables-save(8) prints counters.
const COUNTERS: [&str; 1] = ["-c"];

/// The programs that list rules on Linux, by name, with their arguments.
#[cfg(target_os = "linux")]
pub const PROGRAMS: [(&str, &[&str]); 3] =
    [("nft", &NFT), ("iptables-legacy-save", &COUNTERS), ("iptables-save", &COUNTERS)];

/// The rules of this host at one time, with their counters.
#[derive(Clone, Debug)]
pub struct Reading {
    pub(super) taken: Instant,
    pub(super) tables: Vec<Table>,
    /// What could not be read.
    pub(super) problems: Vec<String>,
    /// Entries of the connection tracking table, and the most that it can hold.
    pub(super) connections: Option<(u64, u64)>,
    /// Whether some rule assigns the helper for PPTP, so that GRE belongs to a known connection.
    pub(super) has_helper: bool,
}

impl Reading {
    /// Reads the rules that are in force. Takes some milliseconds, longer for thousands of rules.
    #[must_use]
    pub fn take() -> Self {
        let mut reading = Self::of(Vec::new());
        match Platform::host() {
            Platform::Linux => reading.linux(),
            Platform::FreeBsd | Platform::OpenBsd => reading.pf(),
            Platform::NetBsd => reading.problems.push("the rules of npf are not read".to_owned()),
        }
        tracing::debug!(
            "firewall: {} tables read in {:?}{}",
            reading.tables.len(),
            reading.taken.elapsed(),
            reading.problems.iter().fold(String::new(), |text, problem| format!("{text}; {problem}"))
        );
        reading
    }

    /// Returns a reading of these tables and nothing else.
    pub(super) fn of(tables: Vec<Table>) -> Self {
        Self { taken: Instant::now(), tables, problems: Vec::new(), connections: None, has_helper: false }
    }

    fn linux(&mut self) {
        if let Some(listing) = self.list("nft", &NFT) {
            self.has_helper = assigns_helper(&listing);
            self.tables = nft::parse(&listing);
        }
        // The older tables of iptables are not in nft's listing. The file names those that exist.
        if fs::read_to_string("/proc/net/ip_tables_names").is_ok_and(|names| !names.trim().is_empty()) {
            let legacy = Program::find("iptables-legacy-save", &COUNTERS).is_there();
            let listing = if legacy {
                self.list("iptables-legacy-save", &COUNTERS)
            } else {
                self.list("iptables-save", &COUNTERS)
            };
            if let Some(listing) = listing {
                self.has_helper |= listing.contains("--helper pptp");
                self.tables.extend(iptables::parse(&listing));
            }
        }
        // Before Linux 6.0: every connection to port 1723 gets the helper.
        self.has_helper |= number("nf_conntrack_helper").is_some_and(|on| on != 0);
        self.connections = connections();
    }

    fn pf(&mut self) {
        let is_on = |info: String| info.lines().any(|line| line.starts_with("Status: Enabled"));
        if self.list("pfctl", &["-s", "info"]).is_some_and(is_on)
            && let Some(listing) = self.list("pfctl", &["-vsr"])
        {
            self.tables.push(pf::parse(&listing));
            let anchors = self.list("pfctl", &["-q", "-v", "-s", "Anchors"]).unwrap_or_default();
            for anchor in anchors.lines().map(str::trim).filter(|name| is_leak_anchor(name)) {
                let rules = self.list("pfctl", &["-q", "-a", anchor, "-vsr"]).unwrap_or_default();
                self.tables.extend(pf::parse_kill_switch(anchor, &rules));
            }
        }
    }

    /// Runs a program; what fails becomes a problem.
    fn list(&mut self, name: &str, args: &[&str]) -> Option<String> {
        let program = Program { limit: LIMIT, ..Program::find(name, args) };
        match program.run().and_then(|output| output.or_failed(&program)) {
            Ok(output) if output.stdout.len() >= MAX_OUTPUT => {
                self.problems.push(format!("the rules are too long to read ({program})"));
                None
            }
            Ok(output) => Some(output.stdout),
            Err(ProgramError::Missing { program }) => {
                self.problems.push(format!("{program} is not installed"));
                None
            }
            Err(error) => {
                self.problems.push(error.to_string());
                None
            }
        }
    }

    /// Returns whether the kernel has no room for a new connection.
    pub(super) fn is_full(&self) -> bool {
        self.connections.is_some_and(|(count, most)| most > 0 && count >= most)
    }
}

fn number(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok()?.trim().parse().ok()
}

/// Returns how many connections the kernel tracks, and how many it has room for; `None` if it tracks none.
fn connections() -> Option<(u64, u64)> {
    number("nf_conntrack_count").zip(number("nf_conntrack_max"))
}

/// Returns whether the kernel has room for a connection beside those of a dial. In a table that is full but for the dial's, a
/// packet of a test would take the place of one of them.
pub fn has_room_for_a_test() -> bool {
    is_roomy(connections())
}

/// Returns whether there is room for the test and for the GRE of the dial, with one place left.
pub(super) fn is_roomy(connections: Option<(u64, u64)>) -> bool {
    connections.is_none_or(|(count, most)| most == 0 || count.saturating_add(2) < most)
}

/// Returns whether a rule of a listing of nft(8) assigns the helper for PPTP.
fn assigns_helper(listing: &str) -> bool {
    listing.contains("type \"pptp\"") && listing.contains("ct helper set ")
}
