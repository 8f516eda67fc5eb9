//! Keeps the kill switch by pf in line with the tunnel's device, this host's networks and the routes of other programs.

use ipnet::IpNet;

use super::{ApplyError, Changes, firewall};
use crate::{
    plan::{LeakFilterStep, NextHop, Part, Plan, Step, Value},
    platform::Platform,
};

impl Changes {
    /// Returns the step of the kill switch by pf that is in force.
    fn leak_filter(&self) -> Option<&LeakFilterStep> {
        self.ledger.record().entries.iter().find_map(|entry| match &entry.step {
            Step::LeakFilter(filter) => Some(filter),
            _ => None,
        })
    }

    /// Lets the kill switch by pf pass the tunnel's device, once it is there: the rules precede the device.
    ///
    /// # Errors
    /// Returns the error of pfctl(8) or of the ledger.
    pub fn pass_device(&mut self) -> Result<(), ApplyError> {
        let tun = self.device_name().map(|name| Value::Known(name.to_owned()));
        match (self.leak_filter(), tun) {
            (Some(filter), Some(tun)) if filter.tun != tun => {
                let filter = LeakFilterStep { tun, ..filter.clone() };
                self.replace_leak_filter(filter)
            }
            _ => Ok(()),
        }
    }

    /// Returns the step with the networks of now; `None` if they are those of the step in force, or there is none.
    pub(super) fn leak_filter_of_now(&mut self, next_hop: Option<&NextHop>) -> Option<LeakFilterStep> {
        let filter = self.leak_filter()?.clone();
        let connected = Value::Known(self.connected_networks(next_hop));
        (filter.connected != connected).then_some(LeakFilterStep { connected, ..filter })
    }

    /// Loads other rules in the place of those in force, in one transaction of pf.
    pub(super) fn replace_leak_filter(&mut self, filter: LeakFilterStep) -> Result<(), ApplyError> {
        let steps = vec![Step::LeakFilter(filter)];
        self.extend(&Plan { platform: Platform::host(), part: Part::Transport, steps, notes: Vec::new() })
    }

    /// Ends the connections to these prefixes that pf still passes although the kill switch blocks them. Does nothing
    /// without a kill switch by pf.
    ///
    /// # Errors
    /// Returns the error of pfctl(8).
    pub fn end_connections_to(&mut self, prefixes: &[IpNet]) -> Result<(), ApplyError> {
        let Some(filter) = self.leak_filter().cloned() else { return Ok(()) };
        firewall::kill_states_to(&mut self.host, &filter, prefixes)
            .map_err(|cause| ApplyError::doing(&Step::LeakFilter(filter), cause))
    }

    /// Returns reasons why the kill switch by pf does not block every packet, one sentence each.
    pub fn leak_filter_problems(&mut self) -> Vec<String> {
        let Some(anchor) = self.leak_filter().map(|filter| filter.anchor.clone()) else { return Vec::new() };
        firewall::leak_problems(&mut self.host, &anchor)
    }
}
