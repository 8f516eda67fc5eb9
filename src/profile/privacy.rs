//! Which parts of a file that parses hold secrets: everything under `password`, and every value whose key the
//! schema does not know (it may be a misspelt password).

use toml::de::{DeTable, DeValue};

use super::{
    schema,
    source::{Source, Span},
};

/// Hides them in the source, and then whatever else looks suspicious.
pub(super) fn hide_secrets(source: &mut Source, root: &DeTable<'_>) {
    let mut spans = Vec::new();
    for (key, value) in root {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("profile", DeValue::Table(profiles)) => {
                for (name, profile) in profiles {
                    entry(
                        Span::from(name.span()),
                        Span::from(profile.span()),
                        profile.get_ref(),
                        "",
                        &mut spans,
                    );
                }
            }
            _ => everything(Span::from(key.span()), Span::from(value.span()), value.get_ref(), &mut spans),
        }
    }
    for span in spans {
        source.hide(span);
    }
    source.hide_suspicious_lines();
}

/// A value that is known by its key: looked into where it is a table, or a list of tables.
fn entry(key: Span, at: Span, value: &DeValue<'_>, path: &str, spans: &mut Vec<Span>) {
    let is_table = path.is_empty() || schema::is_table(path);
    match value {
        DeValue::Table(table) if is_table => within(table, path, spans),
        DeValue::Array(items) if path == "routes" => {
            for item in items {
                if let DeValue::Table(table) = item.get_ref() {
                    within(table, path, spans);
                }
            }
        }
        DeValue::Table(_) => everything(key, at, value, spans),
        _ if path.is_empty() => everything(key, at, value, spans),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => {}
    }
}

fn within(table: &DeTable<'_>, path: &str, spans: &mut Vec<Span>) {
    let known = schema::children(path);
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let (key, at) = (Span::from(key.span()), Span::from(value.span()));
        if path.is_empty() && name == "password" {
            password(key, at, value.get_ref(), spans);
        } else if known.contains(&name) {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            entry(key, at, value.get_ref(), &path, spans);
        } else {
            everything(key, at, value.get_ref(), spans);
        }
    }
}

/// Under `password` even the keys are hidden, unless they are ours.
fn password(key: Span, at: Span, value: &DeValue<'_>, spans: &mut Vec<Span>) {
    let DeValue::Table(table) = value else { return everything(key, at, value, spans) };
    for (key, value) in table {
        let (span, at) = (Span::from(key.span()), Span::from(value.span()));
        everything(span, at, value.get_ref(), spans);
        if !schema::children("password").contains(&key.get_ref().as_ref()) {
            spans.push(span);
        }
    }
}

/// From the end of the key to the end of the value, which for a dotted table may be scattered over lines.
fn everything(key: Span, at: Span, value: &DeValue<'_>, spans: &mut Vec<Span>) {
    match value {
        DeValue::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                everything(Span::from(key.span()), Span::from(value.span()), value.get_ref(), spans);
            }
        }
        DeValue::Table(_)
        | DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => spans.push(Span { start: key.end, end: at.end.max(key.end) }),
    }
}
