//! Lines for the user that are broken at words to the width of a terminal. Pure.

use std::borrow::Cow;

use textwrap::{Options, WordSplitter, core::display_width, wrap};

/// A line is not indented further than that a text of so many columns remains.
const NARROW: usize = 20;

/// The column of the results of phases, and of the values of `status`, is at most this one.
const VALUES: usize = 20;

/// Breaks each line at words to at most `width` columns. What follows is indented to where the text of the line begins,
/// behind its gutter, bullet or column. A word that is longer than the line, such as a path, is left whole, and so
/// is a quoted line of a file.
#[must_use]
pub fn to_width(text: &str, width: usize) -> String {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        if display_width(line) <= width || is_quoted(line) {
            lines.push(line.to_owned());
            continue;
        }
        let indent = indent(line, width);
        lines.extend(broken(line, width, &indent));
    }
    lines.join("\n")
}

/// Breaks a text without newlines at words to lines of at most `width` columns; all but the first begin with `indent`. A
/// longer word is a line of its own.
#[must_use]
pub fn broken(text: &str, width: usize, indent: &str) -> Vec<String> {
    let options = Options::new(width)
        .subsequent_indent(indent)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation);
    wrap(text, options).into_iter().map(Cow::into_owned).collect()
}

/// Returns whether the line is one of a file, behind its number: `12 | mppe = "off"`.
fn is_quoted(line: &str) -> bool {
    let line = plain(line);
    let rest = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < line.trim_start().len() && rest.trim_start().starts_with('|')
}

/// Returns what the lines after the first begin with.
fn indent(line: &str, width: usize) -> String {
    let line = plain(line);
    let body = line.trim_start();
    let margin = line.len() - body.len();
    let blank = |columns: usize| " ".repeat(if columns + NARROW > width { margin + 2 } else { columns });
    if let Some(rest) = body.strip_prefix('|') {
        // Below a quoted line: marks, then what is wrong there.
        let marks = rest.len() - rest.trim_start_matches([' ', '^', '-', '_', '|']).len();
        let gutter = format!("{}|", " ".repeat(margin));
        let columns = if margin + 1 + marks + NARROW > width { 4 } else { marks };
        return format!("{gutter}{}", " ".repeat(columns));
    }
    if let Some(rest) = body.strip_prefix("= ") {
        let label = rest.find(": ").map_or(0, |at| at + 2);
        return blank(margin + 2 + label);
    }
    if body.starts_with("# ") {
        return format!("{}#   ", " ".repeat(margin));
    }
    if body.starts_with("- ") {
        return blank(margin + 2);
    }
    // A word in front, filled up with spaces to the column of the values.
    let column = line.char_indices().skip(margin + 1).find_map(|(at, _)| {
        let rest = line.get(at..)?;
        let text = rest.trim_start_matches(' ');
        (rest.len() - text.len() >= 2).then(|| line.chars().count() - text.chars().count())
    });
    match column.filter(|column| *column <= VALUES) {
        Some(column) => blank(column),
        None => blank(margin + 2),
    }
}

/// Returns the line without the sequences that set colours.
fn plain(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn wrapped(text: &str, width: usize, expected: &str) {
        assert_eq!(to_width(text, width), expected, "\n{}", to_width(text, width));
    }

    #[test]
    fn lines_continue_where_their_text_begins() {
        wrapped(
            "office: failed in phase call: the server refused the call",
            30,
            "office: failed in phase call:\n  the server refused the call",
        );
        wrapped(
            "  - is the name right? server = a.example",
            30,
            "  - is the name right? server\n    = a.example",
        );
        wrapped(
            "   = help: write it as 'a' or as 'b'",
            35,
            "   = help: write it as 'a' or as\n           'b'",
        );
        wrapped(
            "# a remark on the whole plan of this host",
            25,
            "# a remark on the whole\n#   plan of this host",
        );
    }

    /// Without that feature the mark counts as two columns.
    #[cfg(feature = "fuller-help")]
    #[test]
    fn colours_and_marks_have_their_width() {
        wrapped(
            "\u{1b}[32m✓\u{1b}[0m lcp             MRU 1400, MS-CHAPv2 (7 ms)",
            40,
            "\u{1b}[32m✓\u{1b}[0m lcp             MRU 1400, MS-CHAPv2 (7\n                  ms)",
        );
    }

    #[test]
    fn gutters_of_reports_are_kept() {
        wrapped(
            "   |        ^^^ has to be a number of seconds",
            40,
            "   |        ^^^ has to be a number of\n   |            seconds",
        );
        wrapped(
            "   |                     ^^^ has to be a number",
            40,
            "   |                     ^^^ has to be a\n   |    number",
        );
        wrapped(
            "12 | password.file = '/etc/a/long/path/of/a/file'",
            20,
            "12 | password.file = '/etc/a/long/path/of/a/file'",
        );
    }

    /// The texts of the transcripts in tests/cli, which are those of `check`, `up` and others.
    #[test]
    fn transcripts_break_at_words_at_any_width() {
        let texts = [
            include_str!("../../tests/cli/bad_profiles.txt"),
            include_str!("../../tests/cli/good_profiles.txt"),
            include_str!("../../tests/cli/let_go.txt"),
            include_str!("../../tests/cli/not_root.txt"),
            include_str!("../../tests/cli/usage.txt"),
        ];
        let words = |text: &str| {
            text.split([' ', '\n', '|', '#'])
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        for (text, width) in texts.iter().flat_map(|text| [50, 80, 120].map(|width| (text, width))) {
            let shown = to_width(text, width);
            assert_eq!(words(&shown), words(text), "{width}");
            for line in shown.lines().filter(|line| display_width(line) > width) {
                let text = line.trim_start_matches([' ', '|', '=', '#', '-', '^']);
                assert!(is_quoted(line) || !text.contains(' '), "{width}: {line}");
            }
        }
    }

    #[test]
    fn fitting_lines_and_long_words_are_left_whole() {
        wrapped("a b\n\nc  d", 5, "a b\n\nc  d");
        wrapped("/run/pptpctl/office.sock is missing", 10, "/run/pptpctl/office.sock\n  is\n  missing");
        wrapped("", 0, "");
    }
}
