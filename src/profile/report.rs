//! Errors and warnings about the profiles, and their text: a sentence, the source line with a caret, advice.
//! Findings contain only text that [`Source::excerpt`](super::source::Source) returned.

#[cfg(feature = "fuller-help")]
mod drawing;
#[cfg(any(test, not(feature = "fuller-help")))]
mod plain;

use std::fmt;

pub use super::source::Excerpt;
use super::{
    ProfileName,
    source::{Source, Span},
};

/// All findings, each list in the order of files and lines.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Findings that make a profile or a file unusable.
    pub errors: Vec<Finding>,
    /// Settings that work and are probably not intended.
    pub warnings: Vec<Finding>,
}

/// One error or warning.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// The profile it is about; `None` if it is about a file or directory.
    pub profile: Option<ProfileName>,
    /// The message, one line.
    pub title: String,
    /// The source line; `None` if there is none.
    pub at: Option<Excerpt>,
    /// The advice beside the caret.
    pub label: String,
    /// A second, related source line, with its label.
    pub also: Option<(Excerpt, String)>,
    /// Further lines of advice.
    pub help: Vec<String>,
}

/// The severity of a [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The profile cannot be used.
    Error,
    /// The profile can be used.
    Warning,
}

impl Report {
    /// Adds the finding to the list of its severity.
    pub fn push(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Error => self.errors.push(finding),
            Severity::Warning => self.warnings.push(finding),
        }
    }

    /// Returns whether there are neither errors nor warnings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty() && self.warnings.is_empty()
    }

    /// Returns all findings as text, errors first, separated by blank lines; empty if there are none.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let parts: Vec<_> =
            self.errors.iter().chain(&self.warnings).map(|finding| finding.render(style)).collect();
        parts.join("\n\n")
    }
}

/// The output style of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Plain ASCII, for files, pipes and tests.
    Plain,
    /// For a terminal of this many columns, if it reports them.
    Terminal {
        /// With colours.
        is_colour: bool,
        /// Lines of files are cut to this width, around what is marked; other lines are not.
        columns: Option<usize>,
    },
}

impl Finding {
    /// Returns an error without a source line.
    pub(super) fn error(title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            profile: None,
            title: title.into(),
            at: None,
            label: String::new(),
            also: None,
            help: Vec::new(),
        }
    }

    /// Returns the finding as text, without a newline at the end.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        #[cfg(feature = "fuller-help")]
        return drawing::draw(self, style);
        #[cfg(not(feature = "fuller-help"))]
        return plain::draw(self, style);
    }

    /// Returns the other source line, if it is the same as the first.
    fn beside(&self) -> Option<&(Excerpt, String)> {
        let first = self.at.as_ref()?;
        self.also.as_ref().filter(|(at, _)| (&first.file, first.line) == (&at.file, at.line))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

/// A finding with byte ranges instead of excerpts, which are taken once it is known what must be hidden.
pub(super) struct Draft {
    pub(super) severity: Severity,
    pub(super) title: String,
    pub(super) at: Span,
    pub(super) label: String,
    pub(super) also: Option<(Span, String)>,
    pub(super) help: Vec<String>,
}

impl Draft {
    pub(super) fn error(at: Span, title: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            title: title.into(),
            at,
            label: label.into(),
            also: None,
            help: Vec::new(),
        }
    }

    pub(super) fn warning(at: Span, title: impl Into<String>, label: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(at, title, label) }
    }

    pub(super) fn also(mut self, at: Span, label: impl Into<String>) -> Self {
        self.also = Some((at, label.into()));
        self
    }

    pub(super) fn help(mut self, line: impl Into<String>) -> Self {
        self.help.push(line.into());
        self
    }

    pub(super) fn finish(self, source: &Source, profile: Option<&ProfileName>) -> Finding {
        Finding {
            severity: self.severity,
            profile: profile.cloned(),
            title: self.title,
            at: Some(source.excerpt(self.at)),
            label: self.label,
            also: self.also.map(|(at, label)| (source.excerpt(at), label)),
            help: self.help,
        }
    }
}

/// Replaces control characters, which file and profile names may contain.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
