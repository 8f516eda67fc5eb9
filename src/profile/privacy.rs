//! Which parts of a file that parses hold secrets: everything under `password`, and every value whose key the
//! schema does not know, unless the key is clearly a slip for one that holds no secret.

use toml::de::{DeTable, DeValue};

use super::{
    nearest::nearest,
    schema,
    source::{Source, Span, is_suspicious},
};

/// Hides them in the source, and then whatever else looks suspicious.
pub(super) fn hide_secrets(source: &mut Source, root: &DeTable<'_>) {
    let mut spans = Vec::new();
    for item in items(root) {
        match item.value {
            DeValue::Table(profiles) if item.name == "profile" => {
                for profile in items(profiles) {
                    match profile.value {
                        DeValue::Table(keys) => within(keys, "", &mut spans),
                        _ => everything(profile, &mut spans),
                    }
                }
            }
            _ => everything(item, &mut spans),
        }
    }
    for span in spans {
        source.hide(span);
    }
    source.hide_suspicious_lines();
}

/// A key of a table and what it stands for.
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

/// A table that the schema knows; `""` is the profile itself.
fn within(table: &DeTable<'_>, path: &str, spans: &mut Vec<Span>) {
    let known = schema::children(path);
    for item in items(table) {
        let path = if path.is_empty() { item.name.to_owned() } else { format!("{path}.{}", item.name) };
        match item.value {
            _ if path == "password" => password(item, spans),
            _ if !known.contains(&item.name) => {
                if !is_slip(item.name, &known) {
                    everything(item, spans);
                }
            }
            DeValue::Table(inner) if schema::is_table(&path) => within(inner, &path, spans),
            DeValue::Table(_) => everything(item, spans),
            // A password has no place among the options, and is not shown for having been put there.
            DeValue::Array(entries) if path == "ppp.options" => {
                let suspicious = |text: &str| is_suspicious(text) || text.contains("key");
                if entries.iter().any(|entry| entry.get_ref().as_str().is_some_and(suspicious)) {
                    everything(item, spans);
                }
            }
            DeValue::Array(entries) if path == "routes" => {
                for entry in entries {
                    if let DeValue::Table(inner) = entry.get_ref() {
                        within(inner, &path, spans);
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

/// Whether an unknown key is clearly a slip for one that holds no secret.
fn is_slip(name: &str, known: &[&str]) -> bool {
    !is_suspicious(name) && nearest(name, known.iter().copied()).is_some_and(|meant| meant != "password")
}

/// Under `password` even the keys are hidden, unless they are ours.
fn password(item: Item<'_>, spans: &mut Vec<Span>) {
    let DeValue::Table(table) = item.value else { return everything(item, spans) };
    for inner in items(table) {
        everything(Item { name: "password", ..inner }, spans);
        if !schema::children("password").contains(&inner.name) {
            spans.push(inner.key);
        }
    }
}

/// From the end of the key to the end of the value, which for a dotted table may be scattered over lines. Under
/// a name that sounds like a secret's, the keys of such a table are hidden too.
fn everything(item: Item<'_>, spans: &mut Vec<Span>) {
    match item.value {
        DeValue::Table(table) if !table.is_empty() => {
            let secret = is_suspicious(item.name);
            for inner in items(table) {
                spans.extend(secret.then_some(inner.key));
                everything(Item { name: if secret { item.name } else { inner.name }, ..inner }, spans);
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
