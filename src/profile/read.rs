//! Reads a [`Profile`] from its TOML table: servers, credentials, call and PPP settings.
//!
//! `read_host` reads the settings for the host; `check` checks the relations between keys. Defaults are those
//! of [`Profile::new`]: an absent key leaves its field unchanged.

use std::{ffi::OsString, time::Duration};

use toml::de::{DeTable, DeValue};

use super::{
    Echo, Host, LogLevel, PasswordSource, Ppp, Profile, ProfileName, Reorder, Server, backend, check,
    nearest::nearest,
    read_host,
    report::{Draft, Finding},
    schema,
    source::{Source, Span},
    tree::Reader,
    values,
};
use crate::{platform::Platform, secret::Secret};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The most options for an external PPP: a pipe holds this many of the longest, with each byte escaped as
/// four.
const MAX_OPTIONS: usize = 48;

/// The keys without a default, and the advice for adding them.
const REQUIRED: &[(&str, &str)] = &[
    ("server", "add server = \"vpn.example.net\""),
    ("user", "add user = \"…\""),
    ("password", "add password.file, password.command, password.fd or password.credential"),
];

/// Reads `[profile.NAME]` for a system. Returns a profile only if no
/// finding is an error.
pub(super) fn profile(
    source: &Source,
    name: &ProfileName,
    header: Span,
    value: &DeValue<'_>,
    platform: Platform,
) -> (Option<Profile>, Vec<Finding>) {
    let mut reader = Reader::new(schema::gate);
    let profile = match value {
        DeValue::Table(table) => Some(read(&mut reader, source, name, header, table)),
        _ => {
            let label = if schema::children("").contains(&name.as_str()) {
                "a profile has a name: write [profile.NAME] above its keys".to_owned()
            } else {
                format!("write [profile.{name}] and its keys below it")
            };
            reader.drafts.push(Draft::error(header, format!("profile `{name}` is not a table"), label));
            None
        }
    };
    if let Some(profile) = &profile {
        check::profile(profile, &mut reader, header, platform);
    }
    let Reader { mut drafts, .. } = reader;
    let failed = drafts.iter().any(|draft| draft.severity == super::Severity::Error);
    drafts.sort_by_key(|draft| draft.at);
    let findings = drafts.into_iter().map(|draft| draft.finish(source, Some(name))).collect();
    (profile.filter(|_| !failed), findings)
}

/// Reads as much of the profile as possible: each error becomes a draft, and its field gets a default.
fn read(
    reader: &mut Reader,
    source: &Source,
    name: &ProfileName,
    header: Span,
    table: &DeTable<'_>,
) -> Profile {
    reader.check_keys(table, "");
    let known = schema::children("");
    for (key, label) in REQUIRED {
        // `check_keys` has already reported a misspelt key.
        let meant = |word: &str| word == *key || nearest(word, known.iter().copied()) == Some(*key);
        if !table.keys().any(|word| meant(word.get_ref())) {
            reader.drafts.push(Draft::error(header, format!("profile `{name}` has no `{key}`"), *label));
        }
    }
    let servers = servers(reader, table);
    let user = user(reader, table);
    let password = password(reader, source, table);
    let server = servers.first().cloned().unwrap_or(Server { host: Host::Name(String::new()), port: 0 });
    let (user, domain) = user.unwrap_or_default();
    let password = password.unwrap_or(PasswordSource::Fd(0));
    let mut profile = Profile::new(name.clone(), server, &user, password);
    profile.servers = servers;
    profile.domain = domain;
    profile.origin = Some(source.excerpt(header).origin());
    call(reader, table, &mut profile);
    timeouts(reader, table, &mut profile);
    authentication(reader, table, &mut profile);
    ppp(reader, table, &mut profile);
    retry(reader, table, &mut profile);
    read_host::read(reader, table, &mut profile);
    profile
}

fn servers(reader: &mut Reader, table: &DeTable<'_>) -> Vec<Server> {
    let Some(value) = reader.take(table, "server") else { return Vec::new() };
    let items = reader.one_or_list(value);
    if items.is_empty() {
        reader.bad(value, "at least one server");
    }
    let mut servers: Vec<Server> = Vec::new();
    for item in items {
        match reader.parse(item, values::server) {
            Some(server) if servers.contains(&server) => reader.bad(item, "listed twice"),
            server => servers.extend(server),
        }
    }
    servers
}

/// Reads user and domain. The domain is the part before a backslash in `user`, or has its own key.
fn user(reader: &mut Reader, table: &DeTable<'_>) -> Option<(String, Option<String>)> {
    let domain = reader.parsed(table, "domain", |text| values::printable(text, 255));
    let value = reader.take(table, "user")?;
    let user = reader.parse(value, |text| values::printable(text, 255))?;
    match user.split_once('\\') {
        None => Some((user, domain)),
        Some((_, "")) | Some(("", _)) => {
            reader.bad(value, "a name, or DOMAIN\\\\name with something on both sides");
            None
        }
        Some(_) if domain.is_some() => {
            reader.bad(value, "the domain stands here and in `domain`: leave one out");
            None
        }
        Some((domain, name)) => Some((name.to_owned(), Some(domain.to_owned()))),
    }
}

fn password(reader: &mut Reader, source: &Source, table: &DeTable<'_>) -> Option<PasswordSource> {
    let value = reader.take(table, "password")?;
    if let DeValue::String(text) = value.value {
        if !source.is_private {
            let draft = Draft::error(value.at, "a password stands in a file that others may read", "")
                .help(format!("chmod 600 {}, owned by you or by root", source.path.display()))
                .help(
                    "or keep it elsewhere: password.file, password.command, password.fd, password.credential",
                );
            reader.drafts.push(draft);
            return None;
        }
        if text.is_empty() || text.len() > super::password::MAX_LENGTH || text.contains(['\n', '\r', '\0']) {
            reader.bad(value, "one line that is not empty");
            return None;
        }
        return Some(PasswordSource::Inline(Secret::from(text.as_ref())));
    }
    let DeValue::Table(ways) = value.value else {
        reader.wrong_type(value, "a string, or one of .file, .command, .fd, .credential");
        return None;
    };
    reader.check_keys(ways, "password");
    let file = reader.parsed(ways, "password.file", values::path).map(PasswordSource::File);
    let command = reader.take(ways, "password.command").and_then(|value| reader.argv(value));
    let command = command.map(|argv| PasswordSource::Command(argv.into_iter().map(OsString::from).collect()));
    let fd = reader.integer(ways, "password.fd", 0..=1023);
    let fd = fd.and_then(|fd| i32::try_from(fd).ok()).map(PasswordSource::Fd);
    let credential = reader.parsed(ways, "password.credential", values::credential);
    let credential = credential.map(PasswordSource::Credential);
    if ways.len() != 1 {
        let mut spans: Vec<_> = ways.keys().map(|key| Span::from(key.span())).collect();
        spans.sort();
        let at = spans.get(1).copied().unwrap_or(value.at);
        reader.drafts.push(Draft::error(
            at,
            "the password comes from one place",
            "exactly one of file, command, fd, credential",
        ));
        return None;
    }
    file.or(command).or(fd).or(credential)
}

/// Reads the settings of pptp(8) other than timeouts.
fn call(reader: &mut Reader, table: &DeTable<'_>, profile: &mut Profile) {
    profile.phone = reader.parsed(table, "phone", |text| match text.is_ascii() {
        true => values::printable(text, 64),
        false => Err("1 to 64 ASCII characters".to_owned()),
    });
    if let Some(quirks) = reader.parsed(table, "quirks", |text| values::keyword(text, values::QUIRKS)) {
        profile.quirks = quirks;
    }
    profile.localbind = reader.parsed(table, "localbind", values::local_address);
    profile.logstring = reader.parsed(table, "logstring", |text| values::printable(text, 64));
    profile.loglevel = match reader.integer(table, "loglevel", 0..=2) {
        Some(0) => LogLevel::Quiet,
        Some(2) => LogLevel::Verbose,
        _ => LogLevel::Normal,
    };
    profile.missing_window = reader.integer(table, "missing-window", 300..=0x7fff_ffff);
}

fn timeouts(reader: &mut Reader, table: &DeTable<'_>, profile: &mut Profile) {
    let Some(table) = reader.table(table, "timeouts") else { return };
    let out = &mut profile.timeouts;
    for (path, limit) in [
        ("timeouts.resolve", &mut out.resolve),
        ("timeouts.connect", &mut out.connect),
        ("timeouts.control", &mut out.control),
        ("timeouts.call", &mut out.call),
        ("timeouts.gre", &mut out.gre),
        ("timeouts.lcp", &mut out.lcp),
        ("timeouts.auth", &mut out.auth),
        ("timeouts.network", &mut out.network),
    ] {
        *limit = reader.duration(table, path, MIN_TIMEOUT..=HOUR, *limit);
    }
    out.stop = reader.duration(table, "timeouts.stop", MIN_TIMEOUT..=MINUTE, out.stop);
    out.max_echo_wait = reader.duration(table, "timeouts.max-echo-wait", SECOND..=HOUR, out.max_echo_wait);
    if let Some(value) = reader.take(table, "timeouts.reorder") {
        out.reorder = match value.value {
            DeValue::String(text) if text == "off" => Reorder::Off,
            _ => reader
                .as_duration(value, Duration::from_millis(10)..=Duration::from_secs(10))
                .map_or(out.reorder, |max| Reorder::Adaptive { max }),
        };
    }
    if let Some(value) = reader.take(table, "timeouts.idle-wait") {
        out.idle_wait = match value.value {
            DeValue::String(text) if text == "off" || text == "0s" => None,
            _ => reader.as_duration(value, SECOND..=24 * HOUR),
        };
    }
}

fn authentication(reader: &mut Reader, table: &DeTable<'_>, profile: &mut Profile) {
    if let Some(value) = reader.take(table, "auth") {
        let items = reader.one_or_list(value);
        if items.is_empty() {
            reader.bad(value, "at least one of mschapv2, mschap, chap, pap");
        }
        let mut accepted = Vec::new();
        for item in items {
            match reader.parse(item, |text| values::keyword(text, values::AUTH)) {
                Some(protocol) if accepted.contains(&protocol) => reader.bad(item, "listed twice"),
                protocol => accepted.extend(protocol),
            }
        }
        accepted.sort_by(|a, b| b.cmp(a));
        profile.auth = accepted;
    }
    if let Some(mppe) = reader.parsed(table, "mppe", values::mppe) {
        profile.mppe = mppe;
    }
}

fn ppp(reader: &mut Reader, table: &DeTable<'_>, profile: &mut Profile) {
    let Some(table) = reader.table(table, "ppp") else { return };
    let out = &mut profile.ppp;
    if let Some(backend) = reader.parsed(table, "ppp.backend", |text| values::keyword(text, values::BACKENDS))
    {
        out.backend = backend;
    }
    if let Some(value) = reader.take(table, "ppp.options") {
        let items = reader.list(value).unwrap_or_default();
        let given = |item| reader.parse(item, |text| backend::option(out.backend, text));
        out.options = items.into_iter().filter_map(given).collect();
        if out.options.len() > MAX_OPTIONS {
            reader.bad(value, format!("at most {MAX_OPTIONS} options"));
        }
    }
    out.label = reader.parsed(table, "ppp.label", backend::label);
    let mut echo = Ppp::ECHO;
    if let Some(failures) = reader.integer(table, "ppp.lcp-echo-failure", 1..=100) {
        echo.failures = failures;
    }
    out.echo = Some(echo);
    if let Some(value) = reader.take(table, "ppp.lcp-echo-interval") {
        out.echo = match value.value {
            DeValue::String(text) if text == "off" => None,
            _ => reader.as_duration(value, SECOND..=HOUR).map(|interval| Echo { interval, ..echo }),
        };
    }
    out.mru = reader.integer(table, "ppp.mru", 576..=1500).and_then(|mru| u16::try_from(mru).ok());
    out.ipv6 = reader.bool(table, "ppp.ipv6").unwrap_or(false);
}

fn retry(reader: &mut Reader, table: &DeTable<'_>, profile: &mut Profile) {
    let Some(table) = reader.table(table, "retry") else { return };
    let out = &mut profile.retry;
    out.first = reader.duration(table, "retry.first", MIN_TIMEOUT..=HOUR, out.first);
    // Otherwise a first wait above the default maximum would be an error about a key that is not in the file.
    out.max = out.max.max(out.first);
    out.max = reader.duration(table, "retry.max", MIN_TIMEOUT..=24 * HOUR, out.max);
    out.attempts = reader.integer(table, "retry.attempts", 0..=1_000_000);
    match (reader.bool(table, "retry.forever"), out.attempts) {
        (Some(true), Some(_)) => {
            let at = reader.spans.get("retry.forever").copied().unwrap_or(Span { start: 0, end: 0 });
            reader.drafts.push(Draft::error(
                at,
                "`retry.forever` and `retry.attempts` exclude each other",
                "leave one out",
            ));
        }
        (Some(false), None) if !table.contains_key("attempts") => out.attempts = Some(0),
        _ => {}
    }
    if let Some(percent) = reader.parsed(table, "retry.jitter", values::percent) {
        out.jitter_percent = percent;
    }
    out.keep_routes = reader.bool(table, "retry.keep-routes").unwrap_or(true);
}

#[cfg(test)]
mod tests;
