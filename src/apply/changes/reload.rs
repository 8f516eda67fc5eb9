//! What a reload of the profile needs beside [`Changes::perform`]: the steps in force, hooks, and rules files.

use super::{Changes, undo};
use crate::{
    apply::{
        ApplyError,
        ledger::{Entry, PriorState},
        steps,
    },
    plan::{FirewallStep, HookStep, Part, PfRules, Plan, Step},
};

impl Changes {
    /// Returns the steps of a part that are in force, oldest first.
    pub fn steps_in_force(&self, part: Part) -> impl Iterator<Item = &Step> {
        let entries = self.ledger.record().entries.iter();
        entries.filter(move |entry| entry.part == part).map(|entry| &entry.step)
    }

    /// Makes the hook of a plan the one in force, before the plan is performed. Another up hook makes the former down
    /// hook run, and runs itself as the last step of the plan. Otherwise no hook runs: the new down hook is only
    /// recorded.
    ///
    /// # Errors
    /// Returns the error of the former down hook, or of the ledger.
    pub fn replace_hook(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        let mut lock = self.lock()?;
        let held = self.ledger.record().entries.iter().find_map(|entry| match &entry.step {
            Step::Hook(hook) => Some((entry.clone(), hook.clone())),
            _ => None,
        });
        let Some((entry, former)) = held else { return Ok(()) };
        let wanted = plan.steps.iter().find_map(|step| match step {
            Step::Hook(hook) => Some(hook),
            _ => None,
        });
        match wanted {
            Some(wanted) if *wanted == former => Ok(()),
            Some(wanted) if !runs_again(&former, wanted) => {
                let step = Step::Hook(wanted.clone());
                steps::check(&step)?;
                self.ledger.intend(plan.part, &step, PriorState::Nothing, Some(entry.number)).map(drop)
            }
            _ => {
                let (host, ledger) = (&mut self.host, &mut self.ledger);
                undo::undo_entry(host, ledger, &self.directories, &entry, Some(&mut lock))
            }
        }
    }

    /// Loads the rules files again that these plans leave in force: their content may have changed.
    ///
    /// # Errors
    /// Returns the error of the first that can't be loaded; its former rules stay.
    pub fn reload_rules(&mut self, plans: &[&Plan]) -> Result<(), ApplyError> {
        let _lock = self.lock()?;
        let stays = |entry: &&Entry| {
            has_file(&entry.step)
                && plans.iter().any(|plan| plan.part == entry.part && plan.steps.contains(&entry.step))
        };
        let held: Vec<Entry> = self.ledger.record().entries.iter().filter(stays).cloned().collect();
        held.iter().try_for_each(|entry| {
            steps::verbs(&entry.step)
                .perform(&mut self.host, &entry.before, &mut self.notes)
                .map_err(|cause| ApplyError::doing(&entry.step, cause))
        })
    }
}

/// Returns whether a reload runs the hooks: the up hook is another one. What they are told about the link has changed by
/// the reload itself, if at all.
fn runs_again(former: &HookStep, wanted: &HookStep) -> bool {
    former.up != wanted.up
}

fn has_file(step: &Step) -> bool {
    matches!(
        step,
        Step::Firewall(
            FirewallStep::Nft { file: Some(_), .. } | FirewallStep::Pf { rules: PfRules::File(_), .. }
        )
    )
}
