//! The common description of an imported tunnel: settings with their origins, a password, and remarks.
//!
//! Each format fills a [`Tunnel`]; nothing in here knows a format.

use std::{fmt, rc::Rc};

use crate::{profile::schema, secret::Secret};

/// The most settings and remarks of one tunnel; a longer list is cut, with a remark.
const MAX_ENTRIES: usize = 4096;
/// The longest piece of a source in a remark or a comment, in characters.
const MAX_SHOWN: usize = 80;
/// Keys whose settings are the elements of a list.
const LISTS: [&str; 6] = ["server", "routes", "exclude", "dns.servers", "dns.domains", "dns.search"];

/// A line of a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    file: Rc<str>,
    line: usize,
}

impl Origin {
    /// Returns line `line`, counted from 1, of a file; 0 is the file itself.
    #[must_use]
    pub fn new(file: &Rc<str>, line: usize) -> Self {
        Self { file: Rc::clone(file), line }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.file))?;
        if self.line == 0 { Ok(()) } else { write!(f, ":{}", self.line) }
    }
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A number, a flag, a list or a table, as TOML.
    Toml(String),
}

impl Value {
    /// Returns the value as TOML.
    #[must_use]
    pub fn toml(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Toml(text) => text.clone(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Toml(flag.to_string())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Toml(number.to_string())
    }
}

/// A key of the profile, or an element of its list, with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key's path.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// The line that says so; `None` if the format implies it.
    pub origin: Option<Origin>,
    /// A comment beside the origin.
    pub note: &'static str,
}

/// A line that was not carried over, or not exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// The line.
    pub origin: Option<Origin>,
    /// The text of the remark, one line.
    pub text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// One tunnel of the old configuration.
#[derive(Default)]
pub struct Tunnel {
    /// Its name there.
    pub label: String,
    settings: Vec<Setting>,
    remarks: Vec<Remark>,
    needless: Vec<String>,
    /// The password, with the line that has it.
    pub password: Option<(Secret, Origin)>,
    /// Where the password is if it is not in the files, or what to do.
    pub password_hint: Option<String>,
}

impl Tunnel {
    /// Returns a tunnel without settings.
    #[must_use]
    pub fn new(label: &str) -> Self {
        Self { label: label.to_owned(), ..Self::default() }
    }

    /// Sets a key; the last value of a key counts, and the elements of a list are collected.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>, origin: &Origin) {
        self.put(Setting { key, value: value.into(), origin: Some(origin.clone()), note: "" });
    }

    /// Sets a key that the format implies.
    pub fn imply(&mut self, key: &'static str, value: impl Into<Value>, note: &'static str) {
        self.put(Setting { key, value: value.into(), origin: None, note });
    }

    fn put(&mut self, setting: Setting) {
        if is_list(setting.key) {
            let repeated = |old: &Setting| old.key == setting.key && old.value == setting.value;
            if self.settings.iter().any(repeated) {
                return;
            }
        } else {
            self.unset(setting.key);
        }
        if self.settings.len() < MAX_ENTRIES {
            self.settings.push(setting);
        } else {
            self.remark(setting.origin, format!("more than {MAX_ENTRIES} settings: the rest is left out"));
        }
    }

    /// Removes a key.
    pub fn unset(&mut self, key: &str) {
        self.settings.retain(|old| old.key != key);
    }

    /// Returns whether a key is set.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.settings.iter().any(|old| old.key == key)
    }

    /// Returns the text of a key that is a string.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|old| old.key == key).and_then(|old| match &old.value {
            Value::Text(text) => Some(text.as_str()),
            Value::Toml(_) => None,
        })
    }

    /// Records that a line was not carried over. `what` is shown: it must not be a secret.
    pub fn left_out(&mut self, origin: &Origin, what: &str, why: &str) {
        self.remark(Some(origin.clone()), format!("`{}` is left out: {why}", shown(what)));
    }

    /// Records that a line was carried over, but not exactly.
    pub fn changed(&mut self, origin: &Origin, what: &str, how: &str) {
        self.remark(Some(origin.clone()), format!("`{}`: {how}", shown(what)));
    }

    /// Records a remark that belongs to no line.
    pub fn note(&mut self, text: impl Into<String>) {
        self.remark(None, text.into());
    }

    fn remark(&mut self, origin: Option<Origin>, text: String) {
        // Paths and values in the text come from the source.
        let remark = Remark { origin, text: shown_whole(&text) };
        if self.remarks.len() < MAX_ENTRIES && !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// Records a word that needs no setting, because it has no effect on a client or is the behaviour anyway.
    pub fn needless(&mut self, what: &str) {
        let what = shown(what);
        if self.needless.len() < MAX_ENTRIES && !self.needless.contains(&what) {
            self.needless.push(what);
        }
    }

    /// Returns the settings in the order of the manual page.
    #[must_use]
    pub fn settings(&self) -> Vec<&Setting> {
        let place = |key: &str| schema::KEYS.iter().position(|one| one.path == key).unwrap_or(usize::MAX);
        let mut settings: Vec<&Setting> = self.settings.iter().collect();
        settings.sort_by_key(|setting| place(setting.key));
        settings
    }

    /// Keeps the settings that `accepts` returns `Ok` for; the others become remarks.
    pub fn retain(&mut self, accepts: impl Fn(&Setting) -> Result<(), String>) {
        let settings = std::mem::take(&mut self.settings);
        for setting in settings {
            match accepts(&setting) {
                Ok(()) => self.settings.push(setting),
                Err(why) => {
                    let what = shown(&format!("{} = {}", setting.key, setting.value.toml()));
                    self.remark(setting.origin, format!("`{what}` would be refused: {why}"));
                }
            }
        }
    }

    /// Returns the remarks in the order of the lines; those without a line come last.
    #[must_use]
    pub fn remarks(&self) -> Vec<&Remark> {
        let mut remarks: Vec<&Remark> = self.remarks.iter().collect();
        remarks.sort_by_key(|remark| (remark.origin.is_none(), remark.origin.clone()));
        remarks
    }

    /// Returns the words that need no setting.
    #[must_use]
    pub fn needless_words(&self) -> &[String] {
        &self.needless
    }
}

/// Returns whether a key has a list, of which each setting is an element.
#[must_use]
pub fn is_list(key: &str) -> bool {
    LISTS.contains(&key)
}

/// Returns a text that is safe in a message and a comment: no control characters, not too long.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut short: String = shown_whole(text).chars().take(MAX_SHOWN).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        short.push('…');
    }
    short
}

/// Does the same without a limit.
#[must_use]
pub fn shown_whole(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_format(c) { '?' } else { c }).collect()
}

/// Returns whether a character changes the direction or the lines of the text around it.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns a word of a source for a remark: itself if it looks like the name of an option, which is no secret.
#[must_use]
pub fn named(word: &str) -> &str {
    let plain = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '+' | '_');
    let is_name = (1..=24).contains(&word.len()) && word.chars().all(plain);
    if is_name { word } else { "(a word that is not known)" }
}

/// Returns a string of TOML, on one line.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_value_counts_and_lists_are_collected() {
        let mut tunnel = Tunnel::new("x");
        let at = |line| Origin::new(&"f".into(), line);
        tunnel.set("mtu", 1400, &at(2));
        tunnel.set("server", "a", &at(1));
        tunnel.set("server", "b", &at(3));
        tunnel.set("server", "a", &at(4));
        tunnel.set("mtu", 1300, &at(5));
        let all: Vec<_> = tunnel.settings().iter().map(|one| (one.key, one.value.toml())).collect();
        assert_eq!(all, [("server", "\"a\"".into()), ("server", "\"b\"".into()), ("mtu", "1300".to_owned())]);
    }

    #[test]
    fn shown_text_has_no_control_characters_and_an_end() {
        assert_eq!(shown("a\nb\u{1b}[1m\u{202e}"), "a?b?[1m?");
        assert_eq!(shown(&"x".repeat(200)).chars().count(), MAX_SHOWN + 1);
        assert_eq!(named("require-mppe"), "require-mppe");
        assert_eq!(named("hunter2"), "(a word that is not known)");
    }
}
