//! The steps of a pause of the kill switch.

use std::time::Duration;

use super::{Steps, opened};
use crate::{
    apply::{ApplyError, Changes},
    plan,
};

impl Steps {
    /// Pauses the kill switch, or gives its pause another length; the host's own resolvers are asked meanwhile.
    pub fn pause(&mut self, length: Duration) -> Result<(), String> {
        let profile = self.profile.clone();
        let changes = opened(&mut self.changes).map_err(|error| error.to_string())?;
        let Some(table) = changes.kill_switch_table() else {
            return Err("the kill switch is not in force yet: nothing is blocked".to_owned());
        };
        let plan = plan::pause(&profile, table, changes.device_name(), Some(length));
        if let Err(error) = changes.perform(&plan) {
            // Half of it may be in force.
            let undone = end(changes, &profile);
            let also = undone.err().map_or_else(String::new, |error| format!("; {error}"));
            return Err(format!("{error}{also}"));
        }
        for problem in changes.withdraw_resolvers() {
            tracing::warn!("{problem}");
        }
        Ok(())
    }

    /// Ends the pause.
    pub fn end_pause(&mut self) -> Result<(), String> {
        let ended = opened(&mut self.changes).and_then(|changes| end(changes, &self.profile));
        ended.map_err(|error| error.to_string())
    }
}

fn end(changes: &mut Changes, profile: &crate::profile::Profile) -> Result<(), ApplyError> {
    changes.perform(&plan::pause(profile, 0, None, None))
}
