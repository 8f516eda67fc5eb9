//! What is wrong with the profiles, or merely doubtful, and how it is shown: a sentence, the place with a
//! caret, what would be right. Findings own only what [`Source::excerpt`](super::source::Source) let through.

use std::fmt;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

pub use super::source::Excerpt;
use super::{
    ProfileName,
    source::{Source, Span},
};

/// Everything that was found, each list in the order of files and lines.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What makes a profile or a file unusable.
    pub errors: Vec<Finding>,
    /// What works and is probably not wanted.
    pub warnings: Vec<Finding>,
}

/// One thing that was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// The profile that it is about; `None` when it is about a file or a place.
    pub profile: Option<ProfileName>,
    /// What is wrong, in one line.
    pub title: String,
    /// Where.
    pub at: Option<Excerpt>,
    /// What would be right, beside the caret.
    pub label: String,
    /// A second place that has to do with it, and why.
    pub also: Option<(Excerpt, String)>,
    /// Further lines of advice.
    pub help: Vec<String>,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The profile cannot be used.
    Error,
    /// It can.
    Warning,
}

impl Report {
    /// Sorts the finding into its list.
    pub fn push(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Error => self.errors.push(finding),
            Severity::Warning => self.warnings.push(finding),
        }
    }

    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty() && self.warnings.is_empty()
    }

    /// All findings as text, errors first, a blank line between two; empty when there is nothing to say.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let parts: Vec<_> =
            self.errors.iter().chain(&self.warnings).map(|finding| finding.render(style)).collect();
        parts.join("\n\n")
    }
}

/// How a report is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Plain ASCII: files, pipes, tests.
    Plain,
    /// With terminal colours.
    Colour,
}

impl Finding {
    /// A finding without a place.
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

    /// The finding as text, without a newline at the end.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(one_line(&self.title));
        let mut group = Group::with_title(title);
        let same_line = |(at, _): &&(Excerpt, String)| {
            self.at.as_ref().is_some_and(|first| (&first.file, first.line) == (&at.file, at.line))
        };
        let beside = self.also.as_ref().filter(same_line);
        if let Some(at) = &self.at {
            let mut snippet = snippet(at).annotation(annotation(at, &self.label, AnnotationKind::Primary));
            if let Some((at, label)) = beside {
                snippet = snippet.annotation(annotation(at, label, AnnotationKind::Context));
            }
            group = group.element(snippet);
        }
        if let (Some((at, label)), None) = (&self.also, beside) {
            group = group.element(snippet(at).annotation(annotation(at, label, AnnotationKind::Primary)));
        }
        for line in &self.help {
            group = group.element(Level::HELP.message(one_line(line)));
        }
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Colour => Renderer::styled(),
        };
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
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

/// A finding whose places are still byte ranges: they are cut out once it is known what must be hidden.
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

fn snippet(at: &Excerpt) -> Snippet<'_, Annotation<'_>> {
    Snippet::source(at.shown.as_str()).line_start(at.line).path(one_line(&at.file.display().to_string()))
}

fn annotation<'a>(at: &Excerpt, label: &'a str, kind: AnnotationKind) -> Annotation<'a> {
    let annotation = kind.span(at.mark.clone());
    if label.is_empty() { annotation } else { annotation.label(one_line(label)) }
}

/// File and profile names come from outside; they may not reach the terminal as control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
