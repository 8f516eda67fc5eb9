//! The picture of a finding in a build without annotate-snippets, which is larger than the TOML parser: the same
//! text as its plain one, but that two marks in one line are drawn one below the other, and lines are never cut.

use std::{fmt::Write as _, ops::Range};

use super::{Excerpt, Finding, Severity, Style, one_line};

/// Returns the finding as text.
pub(super) fn draw(finding: &Finding, _: Style) -> String {
    let beside = finding.beside();
    let lines = [finding.at.as_ref(), finding.also.as_ref().map(|(at, _)| at)];
    let widest = lines.into_iter().flatten().map(|at| at.line).max();
    let mut picture = Picture { text: String::new(), width: widest.map_or(0, |line| line.to_string().len()) };
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    picture.text = format!("{level}: {}", one_line(&finding.title));
    if let Some(at) = &finding.at {
        picture.line("-->", at);
        picture.mark(at, '^', &finding.label);
    }
    match (&finding.also, beside) {
        (_, Some((at, label))) => picture.mark(at, '-', label),
        (Some((at, label)), None) => {
            picture.margin("|");
            picture.line(":::", at);
            picture.mark(at, '^', label);
        }
        (None, None) => {}
    }
    for (number, line) in finding.help.iter().enumerate() {
        if number == 0 {
            picture.margin("|");
        }
        picture.margin(&format!("= help: {}", one_line(line)));
    }
    picture.text
}

struct Picture {
    text: String,
    /// Of the line numbers.
    width: usize,
}

impl Picture {
    /// Begins a line, right of the line numbers.
    fn margin(&mut self, text: &str) {
        let _infallible = write!(self.text, "\n{:width$} {text}", "", width = self.width);
    }

    fn line(&mut self, arrow: &str, at: &Excerpt) {
        let (file, line, width) = (one_line(&at.file.display().to_string()), at.line, self.width);
        let before = at.shown.get(..at.mark.start).unwrap_or_default();
        let column = before.chars().count() + 1;
        let _infallible = write!(self.text, "\n{:width$}{arrow} {file}:{line}:{column}", "");
        self.margin("|");
        let _infallible = write!(self.text, "\n{line:<width$} | {}", at.shown);
    }

    fn mark(&mut self, at: &Excerpt, with: char, label: &str) {
        let chars = |range: Range<usize>| at.shown.get(range).unwrap_or_default().chars().count();
        let marks = with.to_string().repeat(chars(at.mark.clone()).max(1));
        let line = format!("| {:before$}{marks} {}", "", one_line(label), before = chars(0..at.mark.start));
        self.margin(line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "fuller-help")]
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::profile::Profiles;

    #[cfg(feature = "fuller-help")]
    #[test]
    fn picture_is_that_of_the_crate() {
        let mut seen = 0;
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/profile_cases")).unwrap()
        {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let profiles = Profiles::from_text(Path::new("a\u{7}.toml"), &text, true);
            let report = profiles.report();
            for finding in report.errors.iter().chain(&report.warnings) {
                if finding.beside().is_none() {
                    assert_eq!(draw(finding, Style::Plain), finding.render(Style::Plain));
                    seen += 1;
                }
            }
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn password_is_not_drawn() {
        let text = "[profile.a]\nserver = 'a.example'\npasword = 'Xy7-qQ!zz'\n";
        let profiles = Profiles::from_text(Path::new("p.toml"), text, true);
        let drawn: Vec<_> =
            profiles.report().errors.iter().map(|finding| draw(finding, Style::Plain)).collect();
        assert!(drawn.concat().contains("3 | pasword (not shown: may hold a password)"), "{drawn:?}");
        assert!(!drawn.concat().contains("Xy7"), "{drawn:?}");
    }

    #[test]
    fn two_marks_in_a_line_are_drawn() {
        let at = |mark| Excerpt {
            file: "p.toml".into(),
            line: 12,
            column: 1,
            shown: "a = \"é\" b".to_owned(),
            mark,
        };
        let mut finding = Finding::error("wrong");
        finding.at = Some(at(4..8));
        finding.also = Some((at(9..10), "not with this".to_owned()));
        finding.help = vec!["leave\nit out".to_owned()];
        let text = "error: wrong\n  --> p.toml:12:5\n   |\n12 | a = \"é\" b\n   |     ^^^\n   |         - not with this\n   \
                    |\n   = help: leave\u{fffd}it out";
        assert_eq!(draw(&finding, Style::Plain), text);
        finding.at = None;
        finding.also = None;
        assert_eq!(draw(&finding, Style::Plain), finding.render(Style::Plain));
    }
}
