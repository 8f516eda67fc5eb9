//! The cases of a `guest` script.

use std::env;

use crate::guest::Guest;

/// Runs these cases, or the one that the variable names, and checks that each prints its lines. `streams` chooses from its
/// standard output and standard error where they may stand.
pub fn check_cases(
    guest: &Guest,
    cases: &[(&str, &[&str])],
    variable: &str,
    streams: impl Fn(String, String) -> String,
) {
    let only = env::var(variable).ok();
    let mut failures = Vec::new();
    for (name, expected) in cases.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        let (stdout, errors) = guest.run(&format!("case {name}"));
        println!("{name}:\n{stdout}{errors}");
        let printed = streams(stdout, errors);
        for line in *expected {
            if !printed.lines().any(|printed| printed == *line) {
                failures.push(format!("{name}: no {line:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
