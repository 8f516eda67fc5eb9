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
        many(count, "profile"),
        many(errors, "error"),
        many(warnings, "warning")
    ));
    if errors == 0 { exit::OK } else { exit::PROFILE }
}

fn many(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}
