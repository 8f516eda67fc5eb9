//! `doctor`: what works and what does not, one line each, as text or JSON.

use std::{
    io::{self, IsTerminal},
    os::fd::AsFd,
    path::Path,
    rc::Rc,
};

use super::{
    exit::{self, Code},
    output::{self, data, line},
    terminal,
};
use crate::{
    platform::Platform,
    profile::{Locations, Profile, Profiles},
    supervisor::doctor::{self, Blocker, Finding, Severity, first_blocker},
};

/// The most profiles that are checked if none is named: looking up their servers' names may take seconds each.
const FEW: usize = 4;

/// Columns of a line of text, at most.
const WIDTH: usize = 80;

/// Columns before the evidence: severity, subject, and the spaces around them.
const INDENT: usize = 26;

/// The findings so far, and how they are shown.
struct Report {
    findings: Vec<Finding>,
    /// Profile and findings as JSON values; `None` to print text at once.
    json: Option<Vec<serde_json::Value>>,
    profile: Option<String>,
    colour: bool,
}

pub fn main(config: Option<&Path>, name: Option<&str>, dial: bool, json: bool) -> Code {
    let inherited = doctor::start();
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut report = Report { findings: Vec::new(), json: json.then(Vec::new), profile: None, colour };
    let profiles = match profiles(config, name, &mut report) {
        Ok(profiles) => profiles,
        Err(code) => return code,
    };
    doctor::check_host(!profiles.is_empty(), &mut |finding| report.add(finding));
    for profile in &profiles {
        report.begin(profile.name.as_str());
        doctor::check_profile(profile, &mut |finding| report.add(finding));
        if dial {
            let blocked = first_blocker(&report.findings).is_some();
            doctor::dial(profile, inherited.clone(), blocked, &mut |finding| report.add(finding));
        }
    }
    report.end()
}

/// Returns the profiles to check, or the exit status after the error has been shown. Findings about profiles that are
/// not checked go to `report`.
fn profiles(
    config: Option<&Path>,
    name: Option<&str>,
    report: &mut Report,
) -> Result<Vec<Rc<Profile>>, Code> {
    if let Some(name) = name {
        return Ok(vec![Rc::new(output::profile(config, name, Platform::host())?)]);
    }
    // Without any profile, the host can still be checked.
    let Ok(locations) = Locations::find(config) else { return Ok(Vec::new()) };
    let all = Profiles::load(&locations);
    if !all.report().errors.is_empty() {
        let words = "a profile is invalid, or a file cannot be read";
        report.add(Finding::warning("profiles", words).next("`pptpctl check` shows where"));
    }
    let valid: Vec<_> = all.iter().filter_map(|(_, profile)| profile.cloned().map(Rc::new)).collect();
    if valid.len() <= FEW {
        return Ok(valid);
    }
    let words = format!("{} profiles are not checked, as there are many", valid.len());
    report.add(Finding::skipped("profiles", words).next("name one: pptpctl doctor NAME"));
    Ok(Vec::new())
}

impl Report {
    fn begin(&mut self, profile: &str) {
        self.profile = Some(profile.to_owned());
        if self.json.is_none() {
            line(format_args!("{profile}:"));
        }
    }

    fn add(&mut self, finding: Finding) {
        match &mut self.json {
            Some(all) => all.push(to_json(&finding, self.profile.as_deref())),
            None => show(&finding, self.colour),
        }
        self.findings.push(finding);
    }

    /// Prints the summary, or the JSON object, and returns the exit status.
    fn end(self) -> Code {
        let code = first_blocker(&self.findings).map_or(exit::OK, code_of);
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let (failures, warnings) = (count(Severity::Failure), count(Severity::Warning));
        if let Some(findings) = self.json {
            data(serde_json::json!({
                "status": code.number(),
                "failures": failures,
                "warnings": warnings,
                "findings": findings,
            }));
            return code;
        }
        line(match (failures, warnings) {
            (0, 0) => "all is well".to_owned(),
            _ => format!("{}, {}", output::many(failures, "failure"), output::many(warnings, "warning")),
        });
        code
    }
}

fn code_of(blocker: Blocker) -> Code {
    match blocker {
        Blocker::NotRoot => exit::NOT_ROOT,
        Blocker::Profile => exit::PROFILE,
        Blocker::Failure(_, kind) => Code::of_kind(kind),
    }
}

fn to_json(finding: &Finding, profile: Option<&str>) -> serde_json::Value {
    let mut value = serde_json::to_value(finding)
        .unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }));
    if let Some(object) = value.as_object_mut() {
        object.insert("profile".to_owned(), profile.into());
        object.insert("status".to_owned(), finding.blocker.map(|by| code_of(by).number()).into());
    }
    value
}

fn show(finding: &Finding, colour: bool) {
    let (word, code) = match finding.severity {
        Severity::Ok => ("ok", "32"),
        Severity::Skipped => ("skipped", "2"),
        Severity::Warning => ("warning", "33"),
        Severity::Failure => ("failure", "31;1"),
    };
    let (start, end) = if colour { (format!("\x1b[{code}m"), "\x1b[0m") } else { (String::new(), "") };
    let width =
        terminal::known_columns(io::stdout().as_fd()).unwrap_or(WIDTH).clamp(INDENT + 20, WIDTH) - INDENT;
    let mut lines = wrapped(&finding.evidence, width).into_iter();
    let first = lines.next().unwrap_or_default();
    line(format_args!("  {start}{word:<7}{end}  {:<14} {first}", finding.subject).to_string().trim_end());
    let next = finding.next.iter().flat_map(|next| wrapped(&format!("→ {next}"), width));
    for text in lines.chain(next) {
        line(format_args!("{:INDENT$}{text}", ""));
    }
}

/// Breaks a text between words into lines of at most `width` characters; a longer word gets a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("extraordinarily long", 7), ["extraordinarily", "long"]);
        assert_eq!(wrapped("", 7), [""; 0]);
    }

    #[test]
    fn json_has_the_exit_status_of_each_failure() {
        let finding = Finding::blocked("rights", "user 1000", Blocker::NotRoot).next("sudo");
        let value = to_json(&finding, Some("vpn"));
        assert_eq!(
            value,
            serde_json::json!({
                "subject": "rights", "severity": "failure", "evidence": "user 1000", "next": "sudo",
                "profile": "vpn", "status": 4,
            })
        );
        assert!(to_json(&Finding::ok("clock", ""), None)["status"].is_null());
    }
}
