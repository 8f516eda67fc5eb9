//! The networks to which this host is connected, and whether the rules of the kill switch still match them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{ApplyError, Changes};
use crate::{
    plan::{ConnectedNetworks, LINK_LOCAL_IPV6, NextHop, Part, Plan, PolicyRule, PolicyStep, Step, Value},
    platform::Platform,
};

impl Changes {
    /// Returns the connected networks, without the tunnel's own. A next hop outside of all of them counts as a
    /// network.
    pub(super) fn connected_networks(&mut self, next_hop: Option<&NextHop>) -> ConnectedNetworks {
        let own = self.device_name().map(str::to_owned);
        let connected = self.host.connected().unwrap_or_else(|error| {
            tracing::warn!("cannot list this host's networks: {error}");
            Vec::new()
        });
        let others = connected.into_iter().filter(|connected| Some(&connected.dev) != own.as_ref());
        let networks: Vec<IpNet> = others.map(|connected| connected.network).collect();
        let found = ConnectedNetworks::of(networks.iter().copied());
        match next_hop {
            Some(NextHop::By { gateway: Some(gateway @ IpAddr::V4(_)), .. }) if !found.contains(*gateway) => {
                let mut found = found;
                found.others.push(IpNet::from(*gateway));
                found.others.sort_unstable();
                found
            }
            _ => found,
        }
    }

    /// Returns whether this host has come to or left a network since the rules of the kill switch were set.
    pub fn networks_changed(&mut self, next_hop: Option<&NextHop>) -> bool {
        if self.leak_filter_of_now(next_hop).is_some() {
            return true;
        }
        let held = self.network_rules();
        self.wanted_network_rules(next_hop).is_some_and(|wanted| {
            wanted.len() != held.len() || !wanted.iter().all(|rule| held.contains(rule))
        })
    }

    /// Lets the kill switch pass the networks to which this host is connected now; other steps stay as they are. The
    /// rules for new networks are added before those for old ones are removed.
    ///
    /// # Errors
    /// Returns the first error; the remaining rules are removed despite it.
    pub fn follow_networks(&mut self, next_hop: Option<&NextHop>) -> Result<(), ApplyError> {
        if let Some(filter) = self.leak_filter_of_now(next_hop) {
            return self.replace_leak_filter(filter);
        }
        let held = self.network_rules();
        let Some(wanted) = self.wanted_network_rules(next_hop) else { return Ok(()) };
        let steps = wanted.iter().filter(|step| !held.contains(step)).cloned().collect();
        let plan = Plan { platform: Platform::host(), part: Part::Transport, steps, notes: Vec::new() };
        let added = self.extend(&plan);
        let (_lock, errors) = self.undo_all(|step| held.contains(step) && !wanted.contains(step));
        added.and(errors.into_iter().next().map_or(Ok(()), Err))
    }

    /// Returns the rules that the ledger holds for connected networks. The one for link-local IPv6 is left out, as it
    /// depends on no network.
    fn network_rules(&self) -> Vec<Step> {
        let is_network = |dest: &Value<IpNet>| dest.known() != Some(&LINK_LOCAL_IPV6);
        let entries = self.ledger.record().entries.iter().map(|entry| &entry.step);
        let rules = entries.filter(|step| match step {
            Step::Policy(PolicyStep::Rule { rule: PolicyRule::Connected { dest }, .. }) => is_network(dest),
            Step::Policy(PolicyStep::Rule { rule: PolicyRule::Answered { .. }, .. }) => true,
            _ => false,
        });
        rules.cloned().collect()
    }

    /// Returns the rules for the networks of now; `None` without a kill switch that has such rules.
    fn wanted_network_rules(&mut self, next_hop: Option<&NextHop>) -> Option<Vec<Step>> {
        let table = self.ledger.record().entries.iter().find_map(|entry| match &entry.step {
            Step::Policy(PolicyStep::Rule { rule: PolicyRule::Dhcp, table, .. }) => Some(table.clone()),
            _ => None,
        })?;
        let networks = self.connected_networks(next_hop);
        let local = networks.local.into_iter().map(|dest| (dest, true));
        let others = networks.others.into_iter().map(|dest| (dest, false));
        let step = |(dest, is_local): (IpNet, bool)| {
            let (ipv6, dest) = (matches!(dest, IpNet::V6(_)), Value::Known(dest));
            let rule = if is_local { PolicyRule::Connected { dest } } else { PolicyRule::Answered { dest } };
            Step::Policy(PolicyStep::Rule { rule, ipv6, table: table.clone() })
        };
        Some(local.chain(others).map(step).collect())
    }
}
