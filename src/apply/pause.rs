//! A pause of the kill switch: the table of nftables and the rules of [`PauseStep`], and the resolvers of this host.

use super::{
    ApplyError, Cause, Changes, Host, KernelOp,
    error::gone,
    firewall::nft,
    ledger::PriorState,
    steps::{Perform, UndoContext},
};
use crate::{
    net::{routes::MAIN_TABLE, rules::Rule},
    plan::{PAUSE_PORTS, PauseStep, PolicyRule, PolicyStep, Step, Value},
};

impl Perform for PauseStep {
    fn observe(&self, host: &mut Host) -> Result<PriorState, Cause> {
        nft::observe(host, "inet", &self.nft)?;
        Ok(PriorState::Nothing)
    }

    /// Loads the table, which limits the time, before the rules.
    fn perform(&self, host: &mut Host, _before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        nft::feed(host, &["-f", "-"], &self.nft_text())?;
        for rule in rules(self) {
            match host.change(KernelOp::AddRule(&rule)) {
                Err(error) if error.is_present() => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Deletes the rules, and the table only when none is left.
    fn undo(&self, host: &mut Host, _before: &PriorState, _context: UndoContext<'_>) -> Result<(), Cause> {
        for ipv6 in [false, true] {
            let there = host.rules(ipv6)?;
            for rule in rules(self).filter(|rule| rule.ipv6 == ipv6 && there.contains(rule)) {
                gone(host.change(KernelOp::DeleteRule(&rule)))?;
            }
        }
        nft::remove(host, "inet", &self.nft)
    }
}

/// Returns the rules that lead this host's packets to the main table, before all rules of the kill switch.
fn rules(step: &PauseStep) -> impl Iterator<Item = Rule> + '_ {
    let priority = PolicyRule::Dhcp.priority(step.table);
    [false, true].into_iter().flat_map(move |ipv6| {
        PAUSE_PORTS.iter().map(move |(protocol, port)| Rule {
            ip_protocol: Some(*protocol),
            port: Some(*port),
            of_this_host: true,
            ..Rule::for_all(ipv6, priority, MAIN_TABLE)
        })
    })
}

impl Changes {
    /// Returns the tunnel's routing table, if the kill switch of policy rules is in force.
    #[must_use]
    pub fn kill_switch_table(&self) -> Option<u32> {
        self.ledger.record().entries.iter().find_map(|entry| match &entry.step {
            Step::Policy(PolicyStep::Rule {
                rule: PolicyRule::Names { .. },
                table: Value::Known(table),
                ..
            }) => Some(*table),
            _ => None,
        })
    }

    /// Undoes the resolvers of the tunnel, so that this host asks its own. The next link sets them again.
    #[must_use = "these are the steps that could not be undone"]
    pub fn withdraw_resolvers(&mut self) -> Vec<ApplyError> {
        let (_lock, errors) = self.undo_all(|step| matches!(step, Step::Dns(_)));
        errors
    }
}
