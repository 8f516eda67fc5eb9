//! Reads a [`Profile`] from its TOML table: servers, credentials, call and PPP settings.
//!
//! `read_host` reads the settings for the host; `check` checks the relations between keys. The default of a
//! plain key is in `schema`; the default profile is what an empty table yields.

use std::{collections::BTreeMap, ffi::OsString};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    AuthProtocol, Demand, Echo, LogLevel, Mtu, PasswordSource, Policy, Ppp, Profile, ProfileName, Reorder,
    Retry, RunAs, Server, Strength, Timeouts, backend, check,
    nearest::nearest,
    read_host,
    report::{Draft, Excerpt, Finding},
    schema,
    source::{Source, Span},
    tree::{EMPTY, Reader},
    values,
};
use crate::{platform::Platform, secret::Secret};

/// The most options for an external PPP: a pipe holds this many of the longest, with each byte escaped as
/// four.
const MAX_OPTIONS: usize = 48;

/// Keys whose positions are kept for `review`.
const REVIEWED: [&str; 7] =
    ["unit", "routes", "nat", "password.command", "password.run-as", "pf.file", "pf.anchor"];

impl Profile {
    /// Returns a profile with these four settings and defaults for all others.
    #[must_use]
    pub fn new(name: ProfileName, server: Server, user: &str, password: PasswordSource) -> Self {
        let mut reader = Reader::new(schema::gate);
        settings(&mut reader, &EMPTY, name, vec![server], (user.to_owned(), None), password)
    }
}

/// Reads `[profile.NAME]` for a system. Returns a profile only if no
/// finding is an error; also the positions of some of its keys.
pub(super) fn profile(
    source: &Source,
    name: &ProfileName,
    header: Span,
    value: &DeValue<'_>,
    platform: Platform,
) -> (Option<Profile>, Vec<Finding>, BTreeMap<&'static str, Excerpt>) {
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
    let Reader { mut drafts, spans, .. } = reader;
    let place = |key| Some((key, source.excerpt(*spans.get(key)?)));
    let places = REVIEWED.into_iter().filter_map(place).collect();
    let failed = drafts.iter().any(|draft| draft.severity == super::Severity::Error);
    drafts.sort_by_key(|draft| draft.at);
    let findings = drafts.into_iter().map(|draft| draft.finish(source, Some(name))).collect();
    (profile.filter(|_| !failed), findings, places)
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
    for (key, advice) in schema::required("") {
        // `check_keys` has already reported a misspelt key.
        let meant = |word: &str| nearest(word, known.iter().copied()) == Some(key);
        if !table.contains_key(key) && !table.keys().any(|word| meant(word.get_ref())) {
            reader.drafts.push(Draft::error(header, format!("profile `{name}` has no `{key}`"), advice));
        }
    }
    let servers = servers(reader, table);
    let user = user(reader, table);
    let password = password(reader, source, table);
    let password = password.unwrap_or(PasswordSource::Ask { is_explicit: false });
    let profile = settings(reader, table, name.clone(), servers, user.unwrap_or_default(), password);
    Profile { origin: Some(source.excerpt(header).origin()), ..profile }
}

/// Reads all other settings.
fn settings(
    reader: &mut Reader,
    table: &DeTable<'_>,
    name: ProfileName,
    servers: Vec<Server>,
    (user, domain): (String, Option<String>),
    password: PasswordSource,
) -> Profile {
    // If the default in the list did not parse, this one would apply.
    let strict = Policy { demand: Demand::Require, min: Strength::Bits128, ..Policy::default() };
    let (auth, unauthenticated) = auth(reader, table);
    Profile {
        name,
        origin: None,
        servers,
        phone: reader.parsed(table, "phone", values::phone),
        quirks: reader.word(table, "quirks", &values::QUIRKS),
        localbind: reader.parsed(table, "localbind", values::local_address),
        logstring: reader.parsed(table, "logstring", |text| values::printable(text, 64)),
        loglevel: match reader.number(table, "loglevel") {
            Some(0_u32) => LogLevel::Quiet,
            Some(2) => LogLevel::Verbose,
            _ => LogLevel::Normal,
        },
        missing_window: reader.number(table, "missing-window"),
        transmit_window: reader.flag(table, "transmit-window"),
        timeouts: timeouts(reader, table),
        user,
        domain,
        password,
        password_run_as: match table.get("password").map(Spanned::get_ref) {
            Some(DeValue::Table(ways)) => reader.word(ways, "password.run-as", &values::RUN_AS),
            _ => RunAs::Root,
        },
        auth,
        unauthenticated,
        mppe: reader.parsed(table, "mppe", values::mppe).unwrap_or(strict),
        ppp: ppp(reader, table),
        unit: reader.number(table, "unit"),
        mtu: reader.number(table, "mtu").map_or(Mtu::Auto, Mtu::Bytes),
        data_path: reader.word(table, "data-path", &values::DATA_PATHS),
        routes: read_host::routes(reader, table),
        peer_routes: reader.flag(table, "peer-routes"),
        exclude: read_host::exclude(reader, table),
        collision: reader.word(table, "collision", &values::COLLISIONS),
        default_route: read_host::default_route(reader, table),
        leak: reader.word(table, "leak", &values::LEAKS),
        dns: read_host::dns(reader, table),
        pf: read_host::pf(reader, table),
        nftables: read_host::nftables(reader, table),
        conntrack: reader.word(table, "conntrack", &values::CONNTRACKS),
        nat: reader.flag(table, "nat"),
        mss: read_host::mss(reader, table),
        hooks: read_host::hooks(reader, table),
        link: read_host::link(reader, table),
        retry: retry(reader, table),
        sandbox: reader.word(table, "sandbox", &values::SANDBOXES),
        control_group: {
            let control = reader.table(table, "control");
            reader.parsed(control, "control.group", values::group)
        },
        autostart: reader.flag(table, "autostart"),
    }
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
    let text = reader.str(value)?;
    // TOML has read the backslash before the name as an escape, such as \b.
    let user = values::printable(text, 255).map_err(|advice| {
        let escaped = text.chars().any(char::is_control);
        reader.bad(
            value,
            if escaped { format!("no control characters: {}", values::DOMAIN_ADVICE) } else { advice },
        );
    });
    let user = user.ok()?;
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
        reader.wrong_type(value, "a string, or one of .file, .command, .fd, .credential, .ask");
        return None;
    };
    reader.check_keys(ways, "password");
    let file = reader.parsed(ways, "password.file", values::path).map(PasswordSource::File);
    let command = reader.take(ways, "password.command").and_then(|value| reader.argv(value));
    let command = command.map(|argv| PasswordSource::Command(argv.into_iter().map(OsString::from).collect()));
    let fd = reader.number(ways, "password.fd").map(PasswordSource::Fd);
    let credential = reader.parsed(ways, "password.credential", values::credential);
    let credential = credential.map(PasswordSource::Credential);
    let ask = reader.flag(ways, "password.ask").then_some(PasswordSource::Ask { is_explicit: true });
    // A value that is no flag has its own error.
    let is_asked = ask.is_some() || reader.failed.contains(&"password.ask");
    let is_source = |key: &&Spanned<DeString<'_>>| match key.get_ref().as_ref() {
        "run-as" => false,
        "ask" => is_asked,
        _ => true,
    };
    if ways.keys().filter(is_source).count() != 1 {
        let mut spans: Vec<_> = ways.keys().filter(is_source).map(|key| Span::from(key.span())).collect();
        spans.sort();
        let at = spans.get(1).copied().unwrap_or(value.at);
        reader.drafts.push(Draft::error(
            at,
            "the password comes from one place",
            "exactly one of file, command, fd, credential, ask = true",
        ));
        return None;
    }
    if command.is_none()
        && let Some(key) = ways.keys().find(|key| key.get_ref().as_ref() == "run-as")
    {
        let label = "only with password.command; leave it out";
        reader.drafts.push(Draft::error(key.span().into(), "`password.run-as` without a command", label));
    }
    file.or(command).or(fd).or(credential).or(ask)
}

fn timeouts(reader: &mut Reader, table: &DeTable<'_>) -> Timeouts {
    let table = reader.table(table, "timeouts");
    let reorder = reader.time_or_word(table, "timeouts.reorder");
    Timeouts {
        resolve: reader.time(table, "timeouts.resolve"),
        connect: reader.time(table, "timeouts.connect"),
        control: reader.time(table, "timeouts.control"),
        call: reader.time(table, "timeouts.call"),
        gre: reader.time(table, "timeouts.gre"),
        lcp: reader.time(table, "timeouts.lcp"),
        auth: reader.time(table, "timeouts.auth"),
        network: reader.time(table, "timeouts.network"),
        stop: reader.time(table, "timeouts.stop"),
        reorder: reorder.map_or(Reorder::Off, |max| Reorder::Adaptive { max }),
        idle_wait: reader.time_or_word(table, "timeouts.idle-wait"),
        max_echo_wait: reader.time(table, "timeouts.max-echo-wait"),
    }
}

/// Reads the accepted protocols, strongest first, and whether a server may ask for none.
fn auth(reader: &mut Reader, table: &DeTable<'_>) -> (Vec<AuthProtocol>, bool) {
    let parse = |text: &str| values::keyword(text, &values::AUTH);
    let Some(value) = reader.take(table, "auth") else {
        return (schema::default("auth").into_iter().flat_map(parse).flatten().collect(), false);
    };
    let items = reader.one_or_list(value);
    if items.is_empty() {
        reader.bad(value, "at least one of mschapv2, mschap, chap, pap, none");
    }
    let mut accepted = Vec::new();
    for item in items {
        match reader.parse(item, parse) {
            Some(protocol) if accepted.contains(&protocol) => reader.bad(item, "listed twice"),
            protocol => accepted.extend(protocol),
        }
    }
    let unauthenticated = accepted.contains(&None);
    let mut protocols: Vec<AuthProtocol> = accepted.into_iter().flatten().collect();
    protocols.sort_by(|a, b| b.cmp(a));
    (protocols, unauthenticated)
}

fn ppp(reader: &mut Reader, table: &DeTable<'_>) -> Ppp {
    let table = reader.table(table, "ppp");
    let backend = reader.word(table, "ppp.backend", &values::BACKENDS);
    let failures = reader.number(table, "ppp.lcp-echo-failure").unwrap_or_default();
    let interval = reader.time_or_word(table, "ppp.lcp-echo-interval");
    let mut options = Vec::new();
    if let Some(value) = reader.take(table, "ppp.options") {
        let items = reader.list(value).unwrap_or_default();
        let given = |item| reader.parse(item, |text| backend::option(backend, text));
        options = items.into_iter().filter_map(given).collect();
        if options.len() > MAX_OPTIONS {
            reader.bad(value, format!("at most {MAX_OPTIONS} options"));
        }
    }
    Ppp {
        backend,
        options,
        label: reader.parsed(table, "ppp.label", backend::label),
        echo: interval.map(|interval| Echo { interval, failures }),
        mru: reader.number(table, "ppp.mru"),
        ipv6: reader.flag(table, "ppp.ipv6"),
    }
}

fn retry(reader: &mut Reader, table: &DeTable<'_>) -> Retry {
    let table = reader.table(table, "retry");
    let first = reader.time(table, "retry.first");
    let mut max = reader.time(table, "retry.max");
    if !table.contains_key("max") {
        // Otherwise a first wait above the default would be an error about a key that is not in the file.
        max = max.max(first);
    }
    let mut attempts = reader.number(table, "retry.attempts");
    match (reader.given_flag(table, "retry.forever"), attempts) {
        (Some(true), Some(_)) => {
            let at = reader.spans.get("retry.forever").copied().unwrap_or(Span { start: 0, end: 0 });
            reader.drafts.push(Draft::error(
                at,
                "`retry.forever` and `retry.attempts` exclude each other",
                "leave one out",
            ));
        }
        (Some(false), None) if !table.contains_key("attempts") => attempts = Some(0),
        _ => {}
    }
    Retry {
        first,
        max,
        attempts,
        jitter_percent: reader.parsed(table, "retry.jitter", values::percent).unwrap_or_default(),
        from_start: reader.flag(table, "retry.from-start"),
        keep_routes: reader.flag(table, "retry.keep-routes"),
    }
}

#[cfg(test)]
mod tests;
