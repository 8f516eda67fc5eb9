//! `recover`: undoes what dead supervisors have left, of all profiles.

use super::{
    exit::{self, Code},
    output::{self, error, line},
};
use crate::supervisor;

/// Runs the command.
pub fn main() -> Code {
    if let Err(code) = output::need_root("recover") {
        return code;
    }
    let recovery = supervisor::recover(None);
    for recovered in &recovery.recovered {
        if recovered.gone {
            line(format_args!("{}: gone with a restart or its namespace; ledger closed", recovered.profile));
        } else {
            line(format_args!("{}: put back {} steps", recovered.profile, recovered.steps));
        }
    }
    for name in &recovery.alive {
        line(format_args!("{name}: alive, left alone"));
    }
    for file in &recovery.removed {
        line(format_args!("removed {}", file.display()));
    }
    recovery.errors.iter().for_each(error);
    if recovery.recovered.is_empty() && recovery.errors.is_empty() && recovery.removed.is_empty() {
        line("nothing to put back");
    }
    if recovery.errors.is_empty() { exit::OK } else { exit::NOT_UNDONE }
}
