//! The picture of a finding by the crate annotate-snippets.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

use super::{Excerpt, Finding, Severity, Style, one_line};

/// Returns the finding as text.
pub(super) fn draw(finding: &Finding, style: Style) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(one_line(&finding.title));
    let mut group = Group::with_title(title);
    let beside = finding.beside();
    if let Some(at) = &finding.at {
        let mut snippet = snippet(at).annotation(annotation(at, &finding.label, AnnotationKind::Primary));
        if let Some((at, label)) = beside {
            snippet = snippet.annotation(annotation(at, label, AnnotationKind::Context));
        }
        group = group.element(snippet);
    }
    if let (Some((at, label)), None) = (&finding.also, beside) {
        group = group.element(snippet(at).annotation(annotation(at, label, AnnotationKind::Primary)));
    }
    for line in &finding.help {
        group = group.element(Level::HELP.message(one_line(line)));
    }
    let renderer = match style {
        Style::Plain | Style::Terminal { is_colour: false, columns: None } => Renderer::plain(),
        Style::Terminal { is_colour: true, columns: None } => Renderer::styled(),
        Style::Terminal { is_colour: false, columns: Some(columns) } => Renderer::plain().term_width(columns),
        Style::Terminal { is_colour: true, columns: Some(columns) } => Renderer::styled().term_width(columns),
    };
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

fn snippet(at: &Excerpt) -> Snippet<'_, Annotation<'_>> {
    Snippet::source(at.shown.as_str()).line_start(at.line).path(one_line(&at.file.display().to_string()))
}

fn annotation<'a>(at: &Excerpt, label: &'a str, kind: AnnotationKind) -> Annotation<'a> {
    let annotation = kind.span(at.mark.clone());
    if label.is_empty() { annotation } else { annotation.label(one_line(label)) }
}
