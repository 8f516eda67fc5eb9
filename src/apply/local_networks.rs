//! The networks to which this host is connected, and whether the rules of the kill switch still match them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Changes;
use crate::plan::{ConnectedNetworks, NextHop, PolicyRule, PolicyStep, Step, Value};

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

    /// Returns whether this host has come to or left a network since the rules of the kill switch were set. If
    /// so, the transport plan has to be performed again.
    pub fn networks_changed(&mut self, next_hop: Option<&NextHop>) -> bool {
        let entries = &self.ledger.record().entries;
        let rules: Vec<&PolicyRule> = entries
            .iter()
            .filter_map(|entry| match &entry.step {
                Step::Policy(PolicyStep::Rule { rule, .. }) => Some(rule),
                _ => None,
            })
            .collect();
        if !rules.contains(&&PolicyRule::Dhcp) {
            return false;
        }
        let mut held = ConnectedNetworks::of(rules.iter().filter_map(|rule| match rule {
            PolicyRule::Connected { dest: Value::Known(dest) } => Some(*dest),
            _ => None,
        }));
        held.others.extend(rules.iter().filter_map(|rule| match rule {
            PolicyRule::Answered { dest: Value::Known(dest) } => Some(*dest),
            _ => None,
        }));
        held.others.sort_unstable();
        held != self.connected_networks(next_hop)
    }
}
