//! Typed access to the TOML tree, which collects all errors instead of stopping at the first.
//!
//! Each read takes the full path of its key, from which the gate, the range and the default of `schema` and the
//! messages are derived. A key that is absent or invalid has its default. No message here quotes a value.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use toml::de::{DeTable, DeValue};

use super::{
    nearest::nearest,
    report::Draft,
    schema::{self, Kind},
    source::Span,
    values::{self, Advice, Keywords},
};

/// A function that returns the gate that rejects a value of a key.
pub(super) type FindGate = fn(&str, &DeValue<'_>) -> Option<&'static schema::UnsupportedKey>;

/// The table in the place of an absent one.
pub(super) static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);

/// Reads one profile's table.
pub(super) struct Reader {
    gate: FindGate,
    pub(super) drafts: Vec<Draft>,
    /// The position of the value of each key that was read, for the messages of `check`.
    pub(super) spans: BTreeMap<&'static str, Span>,
    /// Keys with an invalid value, which `check` does not compare with other keys.
    pub(super) failed: Vec<&'static str>,
}

/// A value and the path of its key.
#[derive(Clone, Copy)]
pub(super) struct TomlValue<'t> {
    pub(super) path: &'static str,
    pub(super) at: Span,
    pub(super) value: &'t DeValue<'t>,
}

impl Reader {
    /// Returns a reader. `gate` finds unsupported keys and values; outside tests it is [`schema::gate`].
    pub(super) const fn new(gate: FindGate) -> Self {
        Self { gate, drafts: Vec::new(), spans: BTreeMap::new(), failed: Vec::new() }
    }

    /// Returns the value of a key, unless the key is absent or this version does not support it.
    pub(super) fn take<'t>(&mut self, table: &'t DeTable<'t>, path: &'static str) -> Option<TomlValue<'t>> {
        let name = path.rsplit('.').next()?;
        let (key, value) = table.get_key_value(name)?;
        let at = Span::from(value.span());
        if let Some(gate) = (self.gate)(path, value.get_ref()) {
            let label = match gate.works {
                [] => "leave it out".to_owned(),
                works => format!(
                    "this version supports only {}",
                    works.iter().map(literal).collect::<Vec<_>>().join(" and ")
                ),
            };
            let title = format!("`{path}`: not supported yet: {}", gate.missing);
            self.drafts.push(Draft::error(Span::from(key.span()), title, label));
            return None;
        }
        self.spans.insert(path, at);
        Some(TomlValue { path, at, value: value.get_ref() })
    }

    /// Returns the table under a key, empty if the key is absent or invalid.
    pub(super) fn table<'t>(&mut self, table: &'t DeTable<'t>, path: &'static str) -> &'t DeTable<'t> {
        self.take(table, path).and_then(|value| self.as_table(value)).unwrap_or(&EMPTY)
    }

    /// Returns the value if it is a table, after [`Self::check_keys`].
    pub(super) fn as_table<'t>(&mut self, value: TomlValue<'t>) -> Option<&'t DeTable<'t>> {
        if let DeValue::Table(inner) = value.value {
            self.check_keys(inner, value.path);
            return Some(inner);
        }
        let keys = schema::children(value.path).join(", ");
        self.wrong_type(value, &format!("a table with {keys}"));
        None
    }

    /// Reports each key that is not in the schema, and each required key that is missing; at the top the caller
    /// does the latter.
    pub(super) fn check_keys(&mut self, table: &DeTable<'_>, path: &str) {
        let known = schema::children(path);
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let word = key.get_ref().as_ref();
            let label = match nearest(word, known.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None if known.len() <= 12 => format!("known are {}", known.join(", ")),
                None => "pptpctl.toml(5) lists the keys".to_owned(),
            };
            // A key under `password` may be the password itself.
            let title = match path {
                "" => format!("unknown key `{word}`"),
                "password" => "unknown key in `password`".to_owned(),
                path => format!("unknown key `{word}` in `{path}`"),
            };
            self.drafts.push(Draft::error(Span::from(key.span()), title, label));
        }
        let missing = schema::required(path).filter(|(key, _)| !path.is_empty() && !table.contains_key(*key));
        for (key, advice) in missing {
            let first = table.keys().map(|key| Span::from(key.span())).min();
            let at = first.or_else(|| self.spans.get(path).copied()).unwrap_or(Span { start: 0, end: 0 });
            self.drafts.push(Draft::error(at, format!("`{path}` has no `{key}`"), advice));
        }
    }

    pub(super) fn bad(&mut self, value: TomlValue<'_>, advice: impl Into<String>) {
        self.failed.push(value.path);
        self.drafts.push(Draft::error(value.at, format!("bad value for `{}`", value.path), advice));
    }

    pub(super) fn wrong_type(&mut self, value: TomlValue<'_>, wanted: &str) {
        self.bad(value, format!("expected {wanted}, found {}", kind(value.value)));
    }

    pub(super) fn str<'t>(&mut self, value: TomlValue<'t>) -> Option<&'t str> {
        if let DeValue::String(text) = value.value {
            return Some(text);
        }
        self.wrong_type(value, "a string");
        None
    }

    /// Parses a string with one of the parsers of `values`.
    pub(super) fn parse<T>(
        &mut self,
        value: TomlValue<'_>,
        parse: impl Fn(&str) -> Result<T, Advice>,
    ) -> Option<T> {
        let text = self.str(value)?;
        parse(text).map_err(|advice| self.bad(value, advice)).ok()
    }

    /// Reads a value, or parses the default if the key is absent or invalid. `None` stands for one of the words
    /// that the key allows beside numbers or lengths of time, or for no default.
    fn or_default<T>(
        &mut self,
        table: &DeTable<'_>,
        path: &'static str,
        read: impl Fn(&mut Self, TomlValue<'_>) -> Option<T>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(table, path);
        let word = value.and_then(|value| value.value.as_str());
        if let (Some(word), Kind::Number(_, _, words) | Kind::Time(_, _, words)) =
            (word, schema::find(path)?.kind)
            && words.contains(&word)
        {
            return None;
        }
        value.and_then(|value| read(self, value)).or_else(|| parse(schema::default(path)?))
    }

    /// Reads a string with one of the parsers of `values`, which also parses the default.
    pub(super) fn parsed<T>(
        &mut self,
        table: &DeTable<'_>,
        path: &'static str,
        parse: impl Fn(&str) -> Result<T, Advice>,
    ) -> Option<T> {
        self.or_default(table, path, |reader, value| reader.parse(value, &parse), |text| parse(text).ok())
    }

    /// Reads one of the words, or returns the key's default.
    pub(super) fn word<T: Copy + Default, const N: usize>(
        &mut self,
        table: &DeTable<'_>,
        path: &'static str,
        words: &Keywords<T, N>,
    ) -> T {
        self.parsed(table, path, |text| values::keyword(text, words)).unwrap_or_default()
    }

    pub(super) fn flag(&mut self, table: &DeTable<'_>, path: &'static str) -> bool {
        self.given_flag(table, path).unwrap_or_else(|| schema::default(path) == Some("true"))
    }

    /// Reads a flag without its default.
    pub(super) fn given_flag(&mut self, table: &DeTable<'_>, path: &'static str) -> Option<bool> {
        let value = self.take(table, path)?;
        if let DeValue::Boolean(it) = value.value {
            return Some(*it);
        }
        self.wrong_type(value, "true or false");
        None
    }

    /// Reads a number within the key's range; see [`Self::or_default`] for `None`.
    pub(super) fn number<T: TryFrom<u32>>(&mut self, table: &DeTable<'_>, path: &'static str) -> Option<T> {
        let number = self.or_default(table, path, Self::as_number, |text| text.parse().ok());
        number.and_then(|number| T::try_from(number).ok())
    }

    pub(super) fn as_number(&mut self, value: TomlValue<'_>) -> Option<u32> {
        let Kind::Number(min, max, words) = schema::find(value.path)?.kind else { return None };
        let wanted = format!("a number from {min} to {max}");
        let DeValue::Integer(number) = value.value else {
            match words {
                [] => self.wrong_type(value, &wanted),
                words => self.bad(value, format!("{} or {wanted}", values::quoted(words))),
            }
            return None;
        };
        let number = u32::from_str_radix(number.as_str(), number.radix()).ok();
        let number = number.filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.bad(value, wanted);
        }
        number
    }

    /// Reads a length of time within the key's range.
    pub(super) fn time(&mut self, table: &DeTable<'_>, path: &'static str) -> Duration {
        self.time_or_word(table, path).unwrap_or_default()
    }

    /// Reads a length of time within the key's range; see [`Self::or_default`] for `None`.
    pub(super) fn time_or_word(&mut self, table: &DeTable<'_>, path: &'static str) -> Option<Duration> {
        self.or_default(table, path, Self::as_time, |text| values::duration(text).ok())
    }

    fn as_time(&mut self, value: TomlValue<'_>) -> Option<Duration> {
        let Kind::Time(min, max, _) = schema::find(value.path)?.kind else { return None };
        if let DeValue::Integer(number) = value.value {
            self.bad(value, format!("a length of time has a unit: \"{number}s\" or \"{number}ms\""));
            return None;
        }
        let time = self.parse(value, values::duration)?;
        if !(min..=max).contains(&time) {
            let (from, to) = (values::format_duration(min), values::format_duration(max));
            self.bad(value, format!("from \"{from}\" to \"{to}\""));
            return None;
        }
        Some(time)
    }

    pub(super) fn list<'t>(&mut self, value: TomlValue<'t>) -> Option<Vec<TomlValue<'t>>> {
        if let DeValue::Array(items) = value.value {
            return Some(
                items
                    .iter()
                    .map(|item| TomlValue {
                        path: value.path,
                        at: Span::from(item.span()),
                        value: item.get_ref(),
                    })
                    .collect(),
            );
        }
        self.wrong_type(value, "a list");
        None
    }

    /// Returns the elements of a list, or the value itself as the only element.
    pub(super) fn one_or_list<'t>(&mut self, value: TomlValue<'t>) -> Vec<TomlValue<'t>> {
        match value.value {
            DeValue::Array(_) => self.list(value).unwrap_or_default(),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => vec![value],
        }
    }

    /// Reads a program and its arguments.
    pub(super) fn argv(&mut self, value: TomlValue<'_>) -> Option<Vec<String>> {
        let items = self.list(value)?;
        if items.is_empty() {
            self.bad(value, "a program and its arguments, like [\"/usr/bin/pass\", \"show\", \"vpn\"]");
            return None;
        }
        let words: Vec<_> = items.iter().filter_map(|item| self.str(*item)).map(str::to_owned).collect();
        if words.iter().any(|word| word.contains('\0')) || words.first().is_some_and(String::is_empty) {
            self.bad(value, "a program and its arguments, without NUL characters");
            return None;
        }
        (words.len() == items.len()).then_some(words)
    }
}

/// Formats a value of the gate as in TOML.
fn literal(text: &&str) -> String {
    if matches!(*text, "true" | "false") { (*text).to_owned() } else { format!("\"{text}\"") }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
