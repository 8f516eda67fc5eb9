//! Finds the parts of a parsed file that may contain secrets: everything under `password`, and every value
//! whose key is not in the schema, unless the key is clearly a misspelt one that contains no secret.

use toml::de::{DeTable, DeValue};

use super::{
    nearest::nearest,
    schema,
    source::{Source, Span, is_suspicious},
};

/// Hides these parts in the source, and then all other suspicious lines.
pub(super) fn hide_secrets(source: &mut Source, root: &DeTable<'_>) {
    let mut spans = Vec::new();
    for item in items(root) {
        match item.value {
            DeValue::Table(profiles) if item.name == "profile" => {
                for profile in items(profiles) {
                    match profile.value {
                        DeValue::Table(keys) => collect_table(keys, "", &mut spans),
                        _ => collect_value(profile, &mut spans),
                    }
                }
            }
            _ => collect_value(item, &mut spans),
        }
    }
    for span in spans {
        source.hide(span);
    }
    source.hide_suspicious_lines();
}

/// A key of a table and its value.
#[derive(Clone, Copy)]
struct Item<'t> {
    name: &'t str,
    key: Span,
    at: Span,
    value: &'t DeValue<'t>,
}

fn items<'t>(table: &'t DeTable<'t>) -> impl Iterator<Item = Item<'t>> {
    table.iter().map(|(key, value)| Item {
        name: key.get_ref(),
        key: Span::from(key.span()),
        at: Span::from(value.span()),
        value: value.get_ref(),
    })
}

/// Collects the secrets in a table of the schema; the path `""` is the profile itself.
fn collect_table(table: &DeTable<'_>, path: &str, spans: &mut Vec<Span>) {
    let known = schema::children(path);
    for item in items(table) {
        let path = if path.is_empty() { item.name.to_owned() } else { format!("{path}.{}", item.name) };
        match item.value {
            _ if path == "password" => password(item, spans),
            _ if !known.contains(&item.name) => {
                if !is_misspelt(item.name, &known) {
                    collect_value(item, spans);
                }
            }
            DeValue::Table(inner) if schema::is_table(&path) => collect_table(inner, &path, spans),
            DeValue::Table(_) => collect_value(item, spans),
            // Options must not contain a password; if they seem to, they are hidden.
            DeValue::Array(entries) if path == "ppp.options" => {
                let suspicious = |text: &str| is_suspicious(text) || text.contains("key");
                if entries.iter().any(|entry| entry.get_ref().as_str().is_some_and(suspicious)) {
                    collect_value(item, spans);
                }
            }
            DeValue::Array(entries) if path == "routes" => {
                for entry in entries {
                    if let DeValue::Table(inner) = entry.get_ref() {
                        collect_table(inner, &path, spans);
                    }
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {}
        }
    }
}

/// Returns whether an unknown key is clearly a misspelt one that contains no secret.
fn is_misspelt(name: &str, known: &[&str]) -> bool {
    !is_suspicious(name) && nearest(name, known.iter().copied()).is_some_and(|meant| meant != "password")
}

/// Hides everything under `password`, including keys that are not in the schema.
fn password(item: Item<'_>, spans: &mut Vec<Span>) {
    let DeValue::Table(table) = item.value else { return collect_value(item, spans) };
    for inner in items(table) {
        collect_value(Item { name: "password", ..inner }, spans);
        if !schema::children("password").contains(&inner.name) {
            spans.push(inner.key);
        }
    }
}

/// Hides from the end of the key to the end of the value, which for a dotted table may be scattered over
/// lines. If the name looks like a secret's, the keys of such a table are hidden too.
fn collect_value(item: Item<'_>, spans: &mut Vec<Span>) {
    match item.value {
        DeValue::Table(table) if !table.is_empty() => {
            let secret = is_suspicious(item.name);
            for inner in items(table) {
                spans.extend(secret.then_some(inner.key));
                collect_value(Item { name: if secret { item.name } else { inner.name }, ..inner }, spans);
            }
        }
        DeValue::Table(_)
        | DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => spans.push(Span { start: item.key.end, end: item.at.end.max(item.key.end) }),
    }
}
