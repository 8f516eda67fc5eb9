//! `check`: reports errors and doubtful settings of all profiles.

use std::path::Path;

use super::{
    exit::{self, Code},
    output::{self, complain, line},
};
use crate::supervisor;

pub fn main(config: Option<&Path>) -> Code {
    let mut profiles = match output::profiles(config) {
        Ok(profiles) => profiles,
        Err(code) => return code,
    };
    profiles.probe(&supervisor::may_run);
    let report = profiles.report();
    if !report.is_empty() {
        complain(report.render(output::style()));
    }
    let (errors, warnings) = (report.errors.len(), report.warnings.len());
    let count = profiles.names().count();
    line(format_args!(
        "{}, {}, {}",
        output::many(count, "profile"),
        output::many(errors, "error"),
        output::many(warnings, "warning")
    ));
    if errors == 0 { exit::OK } else { exit::PROFILE }
}
