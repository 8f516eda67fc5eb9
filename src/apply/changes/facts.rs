//! The facts about this host that plans are resolved with: next hops, routing table, networks, default routes.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::Changes;
use crate::{
    apply::{ApplyError, ledger, routes},
    net::routes::Filter,
    plan::{FIRST_TABLE, Facts, KeepDefault, NextHop, RemoveDefaultStep, SLOTS, Step},
};

impl Changes {
    /// Returns this host's facts about the route to a server: enough to resolve a transport plan. `source` is
    /// the profile's localbind.
    ///
    /// # Errors
    /// Returns an error if there is no route to the server ([`crate::net::routes::Error::is_unreachable`]).
    pub fn facts(&mut self, server: Ipv4Addr, source: Option<Ipv4Addr>) -> Result<Facts, ApplyError> {
        // Plans are made of this: nothing older than the next hop.
        self.host.cache.invalidate_all();
        let next_hop = self.next_hop(server, source)?;
        Ok(Facts {
            server: Some(IpAddr::V4(server)),
            tun: self.ledger.record().device.as_ref().map(|device| device.name.clone()),
            pid: Some(self.ledger.record().header.pid),
            ..self.facts_of_host(Some(next_hop))
        })
    }

    /// Returns the facts about this host that depend on the server by its next hop alone, if that is known.
    pub fn facts_of_host(&mut self, next_hop: Option<NextHop>) -> Facts {
        Facts {
            keep_default: self.keep_default(),
            table: Some(self.choose_table()),
            connected: Some(self.connected_networks(next_hop.as_ref())),
            forwarding: self.host.forwards(),
            next_hop,
            ..Facts::default()
        }
    }

    /// Returns only the next hop of these facts; a change of the network matters if this changes.
    ///
    /// # Errors
    /// As [`Changes::facts`].
    pub fn next_hop(&mut self, server: Ipv4Addr, source: Option<Ipv4Addr>) -> Result<NextHop, ApplyError> {
        self.next_hop_to(IpAddr::V4(server), source.map(IpAddr::V4))
    }

    /// Returns how the kernel reaches each of these prefixes without the tunnel: the facts behind `exclude`.
    /// `None` if it has no route now.
    pub fn next_hops_outside(&mut self, prefixes: &[IpNet]) -> Vec<(IpNet, Option<NextHop>)> {
        // Use the prefix's first host: its own address may be a broadcast address, which has its own route.
        let host = |prefix: &IpNet| prefix.hosts().next().unwrap_or_else(|| prefix.network());
        // `by_the_table` is about the route to the server, not about those to the prefixes.
        let by_the_table = self.main_table_decides;
        let ways =
            prefixes.iter().map(|prefix| (*prefix, self.next_hop_to(host(prefix), None).ok())).collect();
        self.main_table_decides = by_the_table;
        ways
    }

    /// Returns this tunnel's routing table: the one it has, or one that is in use neither as a table nor as a
    /// mark. A profile gets the same table again as long as it is free.
    fn choose_table(&mut self) -> u32 {
        let held = self.ledger.record().entries.iter().find_map(|entry| table_of(&entry.step));
        if let Some(table) = held {
            return table;
        }
        let mut used: Vec<u32> = Vec::new();
        for ipv6 in [false, true] {
            let rules = self.host.rules(ipv6).unwrap_or_default();
            used.extend(rules.iter().flat_map(|rule| [Some(rule.table), rule.mark]).flatten());
        }
        let ledgers = ledger::list(&self.directories.state).unwrap_or_default();
        let others = ledgers.iter().filter(|path| *path != self.ledger.path());
        for record in others.filter_map(|path| ledger::peek(path)) {
            used.extend(record.entries.iter().filter_map(|entry| table_of(&entry.step)));
        }
        let start = hash(&self.ledger.record().header.profile);
        let mut candidates = (0..SLOTS).map(|nth| FIRST_TABLE + start.wrapping_add(nth) % SLOTS);
        let free = candidates.find(|table| !used.contains(table) && self.is_empty(*table));
        free.unwrap_or(FIRST_TABLE + start % SLOTS)
    }

    fn is_empty(&mut self, table: u32) -> bool {
        [false, true].into_iter().all(|ipv6| {
            let filter = Filter { ipv6, table: Some(table), dest: None };
            self.host.routes(&filter).is_ok_and(|routes| routes.is_empty())
        })
    }

    /// Returns why default routes can't be replaced here; `None` once they are replaced.
    fn keep_default(&mut self) -> KeepDefault {
        let settled = |ipv6| {
            self.ledger
                .record()
                .entries
                .iter()
                .any(|entry| entry.step == Step::RemoveDefault(RemoveDefaultStep { ipv6 }))
        };
        let (settled4, settled6) = (settled(false), settled(true));
        let mut reason = |ipv6| {
            let routes = self.host.routes(&Filter::defaults(ipv6)).unwrap_or_default();
            routes.iter().find_map(routes::cannot_restore)
        };
        KeepDefault {
            ipv4: if settled4 { None } else { reason(false) },
            ipv6: if settled6 { None } else { reason(true) },
        }
    }
}

/// Returns the tunnel's own routing table that a step names.
const fn table_of(step: &Step) -> Option<u32> {
    match step {
        Step::Policy(step) => step.table(),
        _ => None,
    }
}

/// Hashes with FNV-1a: any distribution will do, but it must be the same in every run and version.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
