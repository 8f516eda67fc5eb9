//! A profile for a report: its keys, with the values that name nothing and nobody. Pure.

use toml::{Table, Value};

use super::redact::{Kind, Redactor};
use crate::profile::schema::{self, Kind as KeyKind};

/// Adds the names, addresses and secrets of a profile.
pub(super) fn add_terms(redactor: &mut Redactor, name: &str, profile: &Table) {
    redactor.add(Kind::Profile, name);
    each(profile, "", &mut |path, value| {
        let kind = match path {
            "server" => Kind::Server,
            "user" => Kind::User,
            "domain" | "dns.domains" | "dns.search" => Kind::Domain,
            "password" => Kind::Secret,
            "phone"
            | "logstring"
            | "routes.label"
            | "link.rtlabel"
            | "link.netns"
            | "control.group"
            | "ppp.label"
            | "pf.anchor"
            | "password.credential" => Kind::Text,
            "password.command" | "ppp.options" | "hooks.up" | "hooks.down" => {
                return add_arguments(redactor, path, value);
            }
            // Addresses are found wherever they are; paths stay, without the names in them.
            _ if schema::find(path).is_some() => return,
            // Perhaps a misspelt key of a password.
            _ => Kind::Secret,
        };
        for text in strings(value) {
            add(redactor, kind, text);
        }
    });
}

fn add(redactor: &mut Redactor, kind: Kind, text: &str) {
    match kind {
        Kind::Server => redactor.add(kind, host(text).0),
        Kind::User => {
            redactor.add(kind, text);
            if let Some((domain, user)) = text.split_once('\\') {
                redactor.add(Kind::Domain, domain);
                redactor.add(kind, user);
            }
        }
        kind => redactor.add(kind, text),
    }
}

/// Adds the words of a command that may be a name or a secret.
fn add_arguments(redactor: &mut Redactor, path: &str, value: &Value) {
    /// Options of pppd(8) and commands of ppp(8) before a name or a secret.
    const BEFORE: [&str; 7] = ["password", "user", "name", "remotename", "authname", "authkey", "plugin"];
    let skipped = usize::from(path != "ppp.options");
    let words = strings(value).into_iter().skip(skipped).flat_map(str::split_whitespace);
    let mut follows = false;
    for word in words {
        // An option or a plain word: the lists of arguments themselves are left out of the report.
        let is_plain = word.len() < 4 || word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        if follows || !is_plain {
            redactor.add(Kind::Secret, word);
        }
        follows = BEFORE.contains(&word.trim_start_matches('-'));
    }
}

/// Returns a profile as TOML.
pub(super) fn render(redactor: &mut Redactor, name: &str, profile: &Table) -> String {
    let mut text = format!("[profile.{}]\n", quoted(&redactor.placeholder(Kind::Profile, name)));
    each(profile, "", &mut |path, value| {
        let is_known = schema::find(path).is_some();
        let key = if is_known { path } else { "# a key that pptpctl does not know" };
        let value = if is_known { shown(redactor, path, value) } else { quoted("<left out>") };
        text.push_str(&format!("{key} = {value}\n"));
    });
    text
}

/// Calls `found` for each key with its path; tables are passed through.
fn each(table: &Table, path: &str, found: &mut dyn FnMut(&str, &Value)) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Table(inner) => each(inner, &path, found),
            // `routes`: each element is a prefix or a table.
            Value::Array(all) if all.iter().any(Value::is_table) => {
                for value in all {
                    match value {
                        Value::Table(inner) => each(inner, &path, found),
                        value => found(&path, value),
                    }
                }
            }
            value => found(&path, value),
        }
    }
}

fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(all) => all.iter().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

/// Returns a value of a known key as TOML.
fn shown(redactor: &mut Redactor, path: &str, value: &Value) -> String {
    match value {
        Value::Boolean(_) | Value::Integer(_) => value.to_string(),
        Value::String(text) => quoted(&one(redactor, path, text)),
        Value::Array(_) if matches!(path, "password.command" | "ppp.options" | "hooks.up" | "hooks.down") => {
            quoted(&format!("<{} words left out>", strings(value).len()))
        }
        Value::Array(all) => {
            let all: Vec<String> = all.iter().map(|value| shown(redactor, path, value)).collect();
            format!("[{}]", all.join(", "))
        }
        _ => quoted("<left out>"),
    }
}

/// Returns a string of a known key without what it names.
fn one(redactor: &mut Redactor, path: &str, text: &str) -> String {
    let is_word = |words: &[&str]| words.contains(&text);
    let is_plain = match schema::find(path).map(|key| key.kind) {
        Some(KeyKind::Word(words) | KeyKind::Words(words) | KeyKind::Number(_, _, words)) => is_word(words),
        Some(KeyKind::Time(_, _, words)) => is_word(words) || is_time(text),
        _ => match path {
            "mppe" => {
                ["off", "allow", "require"].iter().any(|word| text.starts_with(word)) && text.len() < 24
            }
            "retry.jitter" => {
                text.strip_suffix('%').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            }
            "dns" | "dns.servers" => is_word(&["peer", "none"]),
            _ => false,
        },
    };
    if is_plain {
        return text.to_owned();
    }
    match path {
        "server" => {
            let (host, port) = host(text);
            format!("{}{port}", redactor.placeholder(Kind::Server, host))
        }
        "user" => redactor.placeholder(Kind::User, text),
        "domain" => redactor.placeholder(Kind::Domain, text),
        "password" => "<secret>".to_owned(),
        "dns.domains" | "dns.search" => redactor.placeholder(Kind::Domain, text),
        "localbind" | "routes" | "routes.to" | "exclude" | "dns.servers" => redactor.text(text),
        "password.file" | "pf.file" | "nftables.file" => "<path>".to_owned(),
        _ => redactor.placeholder(Kind::Text, text),
    }
}

/// Splits `HOST:PORT`; the port has its colon.
fn host(text: &str) -> (&str, &str) {
    match text.rfind(':') {
        Some(at) if text.get(at + 1..).is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())) => {
            text.split_at(at)
        }
        _ => (text, ""),
    }
}

fn is_time(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    text.len() > unit.len() && matches!(unit, "ms" | "s" | "m" | "h" | "d")
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
