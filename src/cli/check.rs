//! `check`: everything that is wrong or doubtful in all profiles.

use std::path::Path;

use super::{
    exit::{self, Code},
    output::{self, complain, line},
};

/// Runs the command.
pub fn main(config: Option<&Path>) -> Code {
    let profiles = match output::profiles(config) {
        Ok(profiles) => profiles,
        Err(code) => return code,
    };
    let report = profiles.report();
    if !report.is_empty() {
        complain(report.render(output::style()));
    }
    let (errors, warnings) = (report.errors.len(), report.warnings.len());
    let count = profiles.names().count();
    let profiles = if count == 1 { "profile" } else { "profiles" };
    line(format_args!("{count} {profiles}, {errors} errors, {warnings} warnings"));
    if errors == 0 { exit::OK } else { exit::PROFILE }
}
