//! The text of one file, and the parts of it that a message may show.
//!
//! Snippets of the file come only from [`Source::excerpt`], which hides the lines that contain or may contain
//! a password. If the file parses, its tree gives the exact location of secrets (`privacy`); words such as
//! "password" in comments hide their line as well. If it does not parse, only lines that begin with a header
//! or a known key are shown, and none that looks like a password's.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{nearest::distance_within, schema};

/// A range of bytes in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A file that was read, with the facts that decide what may be used and shown.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: Zeroizing<String>,
    /// Whether the file may contain an inline password: only its owner can access it, and the owner is root
    /// or the effective user.
    pub(super) is_private: bool,
    /// The offset of each line.
    starts: Vec<usize>,
    /// Per line, the offset from which it is hidden; `None` shows the whole line.
    hidden_from: Vec<Option<usize>>,
}

/// One line that may be shown, with secrets replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The line as it may be shown.
    pub(super) shown: String,
    /// The bytes of `shown` that the message refers to.
    pub(super) mark: Range<usize>,
}

impl Excerpt {
    /// Returns the position without the text.
    #[must_use]
    pub fn origin(&self) -> super::Origin {
        super::Origin { file: self.file.clone(), line: self.line, column: self.column }
    }
}

/// Replaces hidden text.
const HIDDEN: &str = "(not shown: may hold a password)";

impl Source {
    pub(super) fn new(path: &Path, text: String, is_private: bool) -> Self {
        let starts: Vec<_> = text.split('\n').map(|line| offset_in(&text, line)).collect();
        let cuts = vec![None; starts.len()];
        Self { path: path.to_owned(), text: Zeroizing::new(text), is_private, starts, hidden_from: cuts }
    }

    /// Hides from `start` to the end of that line, and the lines after it up to the one that `end` is in.
    pub(super) fn hide(&mut self, span: Span) {
        let (first, _) = self.line_of(span.start);
        let (last, _) = self.line_of(span.end.max(span.start));
        for line in first..=last {
            let from = if line == first { span.start } else { self.line_start(line) };
            if let Some(cut) = self.hidden_from.get_mut(line) {
                *cut = Some(cut.map_or(from, |old| old.min(from)));
            }
        }
    }

    /// Hides, in a file that parses, further lines that look like a password's (mostly comments).
    pub(super) fn hide_suspicious_lines(&mut self) {
        for (line, text) in self.text.split('\n').enumerate() {
            let start = offset_in(&self.text, text);
            if let Some(cut @ None) = self.hidden_from.get_mut(line) {
                *cut = is_suspicious(text).then_some(start);
            }
        }
    }

    /// Hides, in a file that does not parse, all but certainly harmless lines.
    pub(super) fn hide_suspicious_regions(&mut self) {
        let mut in_multiline_string = false;
        for (line, text) in self.text.split('\n').enumerate() {
            let start = offset_in(&self.text, text);
            let suspicious = is_suspicious(text) || has_escape(text) || has_split_password(text);
            let hiding = in_multiline_string || suspicious || !is_harmless(text);
            in_multiline_string =
                in_multiline_string || (hiding && (text.contains("\"\"\"") || text.contains("'''")));
            if let Some(cut) = self.hidden_from.get_mut(line)
                && hiding
            {
                *cut = Some(start);
            }
        }
    }

    /// Returns the line in which `span` begins, with the part of `span` in that line marked.
    pub(super) fn excerpt(&self, span: Span) -> Excerpt {
        let (line, column) = self.line_of(span.start);
        let start = self.line_start(line);
        let text = self.text.get(start..).unwrap_or("").split('\n').next().unwrap_or("");
        let text = text.strip_suffix('\r').unwrap_or(text);
        let cut = self.hidden_from.get(line).copied().flatten().map(|cut| cut.saturating_sub(start));
        let seen = text.get(..cut.unwrap_or(text.len())).unwrap_or(text);

        let within = |at: usize| floor(seen, at.saturating_sub(start));
        let (from, to) = (within(span.start), within(span.end.max(span.start)));
        let mut shown = sanitize(seen.get(..from).unwrap_or(""));
        let mark_start = shown.len();
        shown.push_str(&sanitize(seen.get(from..to).unwrap_or("")));
        let mut mark = mark_start..shown.len();
        shown.push_str(&sanitize(seen.get(to..).unwrap_or("")));
        if cut.is_some() {
            if !shown.is_empty() && !shown.ends_with(' ') {
                shown.push(' ');
            }
            if mark.is_empty() {
                mark = shown.len()..shown.len() + HIDDEN.len();
            }
            shown.push_str(HIDDEN);
        }
        Excerpt { file: self.path.clone(), line: line + 1, column, shown, mark }
    }

    /// Returns the line, counted from 0, and the column in characters, counted from 1.
    fn line_of(&self, offset: usize) -> (usize, usize) {
        let offset = floor(&self.text, offset);
        let line = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let before = self.text.get(self.line_start(line)..offset).unwrap_or("");
        (line, before.chars().count() + 1)
    }

    fn line_start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(self.text.len())
    }
}

/// Returns the offset of `part`, a subslice, in `whole`.
fn offset_in(whole: &str, part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(whole.as_ptr().addr())
}

/// Returns the nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Replaces characters that could control a terminal; a tab becomes a space, which keeps the columns aligned.
fn sanitize(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

/// Returns whether a word of the line is the name of a secret, even if misspelt.
pub(super) fn is_suspicious(line: &str) -> bool {
    const PARTS: &[&str] = &["pass", "pwd", "secret", "authkey", "psk", "token"];
    const WORDS: &[&str] = &["pw", "pin", "key"];
    let lower = line.to_lowercase();
    PARTS.iter().any(|part| lower.contains(part))
        || lower
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| WORDS.contains(&word) || is_near_password(word))
}

fn is_near_password(word: &str) -> bool {
    distance_within(word, "password", 3).is_some()
}

/// Returns whether the line contains "password" in pieces, as in `pass"word`, comparing its letters only.
fn has_split_password(line: &str) -> bool {
    let letters: Vec<char> =
        line.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    // Lines this long are not written by hand, and comparing at each position takes time.
    if letters.len() > 512 {
        return true;
    }
    (0..letters.len()).filter(|at| letters.get(*at).is_some_and(|c| "pasw".contains(*c))).any(|at| {
        (5..=9).filter_map(|length| letters.get(at..at + length)).any(|window| {
            // Five of its characters at least are those of the word then.
            window.iter().filter(|c| "password".contains(**c)).count() >= 5
                && is_near_password(&window.iter().collect::<String>())
        })
    })
}

/// Returns whether the line has an escape, which can disguise a key.
fn has_escape(line: &str) -> bool {
    ["\\u", "\\U", "\\x"].iter().any(|escape| line.contains(escape))
}

/// Returns whether the line begins with a header or a known key other than `password`, or has only brackets.
fn is_harmless(line: &str) -> bool {
    let line = line.trim_start();
    let word: String = line.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let rest = line.get(word.len()..).unwrap_or("").trim_start();
    line.starts_with("[profile.")
        || line.chars().all(|c| c.is_whitespace() || "[]{},".contains(c))
        || (rest.starts_with(['=', '.']) && word != "password" && schema::is_child("", &word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &Source, needle: &str) -> String {
        let start = source.text.find(needle).unwrap();
        source.excerpt(Span { start, end: start + needle.len() }).shown
    }

    #[test]
    fn excerpt_marks_the_given_span() {
        let source = Source::new(Path::new("f"), "a = 1\r\n\tüb = 22\n".to_owned(), true);
        let excerpt = source.excerpt(Span { start: 14, end: 16 });
        assert_eq!((excerpt.line, excerpt.column), (2, 7));
        assert_eq!(&excerpt.shown[excerpt.mark.clone()], "22");
        assert_eq!(excerpt.shown, " üb = 22");
        // Spans past the end of the text, and in the middle of a character.
        assert_eq!(source.excerpt(Span { start: 400, end: 500 }).line, 3);
        assert_eq!(source.excerpt(Span { start: 9, end: 9 }).column, 2);
    }

    #[test]
    fn excerpt_replaces_hidden_parts() {
        let mut source =
            Source::new(Path::new("f"), "p = '''one\ntwo\nthree''' # x\nuser = 1\n".to_owned(), true);
        source.hide(Span { start: 1, end: 22 });
        assert_eq!(shown(&source, "one"), format!("p {HIDDEN}"));
        assert_eq!(shown(&source, "two"), HIDDEN);
        assert_eq!(shown(&source, "# x"), HIDDEN);
        assert_eq!(shown(&source, "user"), "user = 1");
    }

    #[test]
    fn broken_file_hides_lines_that_may_hold_a_password() {
        let text = "user = 1\npasswrd = \n hunter2\nmtu = 3\n\"p\\u0061ss\" = 1\nphone = 2\npassword = \"\"\"\nx\nmtu = 9";
        let mut source = Source::new(Path::new("f"), text.to_owned(), true);
        source.hide_suspicious_regions();
        for (needle, visible) in [
            ("user", true),
            ("hunter2", false),
            ("mtu = 3", true),
            ("phone", true),
            ("\nx", false),
            ("mtu = 9", false),
        ] {
            assert_eq!(shown(&source, needle.trim_start()) != HIDDEN, visible, "{needle}");
        }
    }

    #[test]
    fn detects_misspelt_names_of_secrets() {
        for line in ["pasword = 1", "# Passwort: x", "pssword", "{ authkey = 2 }", "passwd", "PWD=1"] {
            assert!(is_suspicious(line), "{line}");
        }
        for line in ["routes = [\"10.0.0.0/8\"]", "user = \"alice\"", ""] {
            assert!(!is_suspicious(line), "{line}");
        }
    }
}
