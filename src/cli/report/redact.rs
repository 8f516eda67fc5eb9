//! Replaces names, addresses and secrets in a text by placeholders: the same ones by the same placeholder. Pure.
//!
//! Known ones are replaced in every form that [`super::encodings`] has; [`super::patterns`] finds those that are not
//! known. Overlapping finds are replaced as one, so that no part of them stays.

use std::{collections::BTreeMap, ops::Range};

use serde_json::Value;

pub(super) use super::kind::Kind;
use super::{
    encodings::{self, Class, Form},
    patterns,
};

/// A name of this many characters or more is also replaced within a word.
const WITHIN_WORDS: usize = 6;

/// A secret of this many characters or more is also replaced within a word.
const SECRET_WITHIN_WORDS: usize = 4;

/// Something known that is replaced.
struct Term {
    kind: Kind,
    /// In lower case.
    name: String,
    within_words: bool,
    forms: Vec<Form>,
}

/// The known terms, and the placeholders in use.
#[derive(Default)]
pub(super) struct Redactor {
    terms: Vec<Term>,
    numbers: BTreeMap<(Kind, String), usize>,
}

impl Redactor {
    /// Replaces this text from now on. One that is known keeps its kind.
    pub(super) fn add(&mut self, kind: Kind, text: &str) {
        let name = text.to_lowercase();
        if name.trim().is_empty() || self.terms.iter().any(|term| term.name == name && term.kind <= kind) {
            return;
        }
        self.terms.retain(|term| term.name != name);
        let mut forms = encodings::of_text(text);
        if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
            let (there, back) = (u32::from(address), u32::from(address).swap_bytes());
            let texts = [there.to_string(), back.to_string()];
            forms.extend(texts.map(|needle| Form { needle, class: Class::Text }));
            forms
                .extend([there, back].iter().flat_map(|address| encodings::of_bytes(&address.to_be_bytes())));
        }
        let least = if kind == Kind::Secret { SECRET_WITHIN_WORDS } else { WITHIN_WORDS };
        let within_words = text.chars().count() >= least && text.parse::<std::net::IpAddr>().is_err();
        if kind.is_numbered() {
            self.number(kind, &name);
        }
        self.terms.push(Term { kind, name, within_words, forms });
    }

    /// Returns the placeholder of a text.
    pub(super) fn placeholder(&mut self, kind: Kind, text: &str) -> String {
        let name = text.to_lowercase();
        let known = self.terms.iter().find(|term| term.name == name).map(|term| term.kind);
        let kind = known.unwrap_or(kind);
        match kind.is_numbered() {
            true => format!("<{} {}>", kind.word(), self.number(kind, &name)),
            false => format!("<{}>", kind.word()),
        }
    }

    fn number(&mut self, kind: Kind, name: &str) -> usize {
        if let Some(number) = self.numbers.get(&(kind, name.to_owned())) {
            return *number;
        }
        let number = 1 + self.numbers.keys().filter(|(other, _)| *other == kind).count();
        self.numbers.insert((kind, name.to_owned()), number);
        number
    }

    /// Returns a text without what is known and what looks like it.
    pub(super) fn text(&mut self, text: &str) -> String {
        // A placeholder must not look like one that the text had already.
        let text = text.replace('<', "‹").replace('>', "›");
        let mut spans = self.known(&text);
        let mut unknown = Vec::new();
        patterns::find(&text, &mut unknown);
        spans.extend(unknown.into_iter().map(|(range, kind)| {
            let name = text.get(range.clone()).unwrap_or_default().to_lowercase();
            (range, kind, name)
        }));
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for (range, kind, name) in merged(spans) {
            out.push_str(text.get(at..range.start).unwrap_or_default());
            out.push_str(&self.placeholder(kind, &name));
            at = range.end;
        }
        out.push_str(text.get(at..).unwrap_or_default());
        out
    }

    /// Returns a value with the same keys, numbers and structure. Texts of several lines, lists of numbers and the
    /// contents of files are left out.
    pub(super) fn json(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) if text.contains('\n') => {
                Value::String(format!("<{} lines left out>", text.lines().count()))
            }
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(all) if all.len() >= 4 && all.iter().all(Value::is_number) => {
                Value::String(format!("<{} numbers left out>", all.len()))
            }
            Value::Array(all) => Value::Array(all.iter().map(|value| self.json(value)).collect()),
            Value::Object(all) => {
                let one = |(key, value): (&String, &Value)| match (key.as_str(), value) {
                    ("content", Value::String(text)) => {
                        (key.clone(), Value::String(format!("<{} bytes left out>", text.len())))
                    }
                    // The programs of hooks, with their arguments.
                    ("up" | "down", Value::Array(words)) => {
                        (key.clone(), Value::String(format!("<{} words left out>", words.len())))
                    }
                    _ => (self.key(key), self.json(value)),
                };
                Value::Object(all.iter().map(one).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// Returns a key. Those of this program are words; a map by name or address has others.
    fn key(&mut self, key: &str) -> String {
        let is_word = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '_');
        let is_ours = key.chars().all(is_word) || patterns::is_counter(key);
        if is_ours { key.to_owned() } else { self.text(key) }
    }

    /// Returns where known terms stand.
    fn known(&self, text: &str) -> Vec<(Range<usize>, Kind, String)> {
        let lower = text.to_ascii_lowercase();
        let mut spans = Vec::new();
        for term in &self.terms {
            for form in &term.forms {
                let hay = if form.class == Class::Base64 { text } else { lower.as_str() };
                let mut from = 0;
                while let Some(at) = hay.get(from..).and_then(|rest| rest.find(&form.needle)) {
                    let found = from + at..from + at + form.needle.len();
                    // One character further: the next may overlap with this one.
                    from += at
                        + hay.get(from + at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
                    if form.class != Class::Text || term.within_words || is_word(text, &found) {
                        spans.push((widened(text, found, form.class), term.kind, term.name.clone()));
                    }
                }
            }
        }
        spans
    }
}

/// Returns whether no letter or digit is beside the range.
fn is_word(text: &str, found: &Range<usize>) -> bool {
    let before = text.get(..found.start).and_then(|text| text.chars().next_back());
    let after = text.get(found.end..).and_then(|text| text.chars().next());
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !joins(before) && !joins(after)
}

/// Returns the range with the digits or letters around it that encode the same bytes.
fn widened(text: &str, found: Range<usize>, class: Class) -> Range<usize> {
    let belongs = |c: char| match class {
        Class::Text => false,
        Class::Hex => c.is_ascii_hexdigit(),
        Class::Base64 => c.is_ascii_alphanumeric() || "+/=_-".contains(c),
    };
    let before = text.get(..found.start).unwrap_or_default();
    let after = text.get(found.end..).unwrap_or_default();
    let start = before.trim_end_matches(belongs).len();
    let end = text.len() - after.trim_start_matches(belongs).len();
    start..end
}

/// Joins overlapping ranges. The kind is the earliest of them; of those of one kind the longest names it.
fn merged(mut spans: Vec<(Range<usize>, Kind, String)>) -> Vec<(Range<usize>, Kind, String)> {
    spans.retain(|(range, ..)| !range.is_empty());
    spans.sort_by_key(|(range, ..)| (range.start, std::cmp::Reverse(range.end)));
    let mut joined: Vec<(Range<usize>, Kind, String, usize)> = Vec::new();
    for (range, kind, name) in spans {
        let length = range.len();
        match joined.last_mut() {
            Some((whole, best, best_name, best_length)) if range.start < whole.end => {
                whole.end = whole.end.max(range.end);
                // The whole host, and not a domain or a user in it.
                let is_better = match (kind == Kind::Secret, *best == Kind::Secret) {
                    (true, false) => true,
                    (false, true) => false,
                    _ => (length, std::cmp::Reverse(kind)) > (*best_length, std::cmp::Reverse(*best)),
                };
                if is_better {
                    (*best, *best_name, *best_length) = (kind, name, length);
                }
            }
            _ => joined.push((range, kind, name, length)),
        }
    }
    joined.into_iter().map(|(range, kind, name, _)| (range, kind, name)).collect()
}

#[cfg(test)]
mod tests;
