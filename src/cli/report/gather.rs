//! Reads what a report has: versions, system, profile, status, log, ledger, routes, checks.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    net::IpAddr,
    path::{Path, PathBuf},
    rc::Rc,
};

use serde_json::Value;

use super::{
    profile,
    redact::{Kind, Redactor},
};
use crate::{
    platform::Platform,
    profile::{Locations, Profiles},
    supervisor::{
        ClientError,
        doctor::{self, Finding, Severity},
        invoker,
        ipc::client,
        log_path,
        routes::routes,
    },
};

/// The most bytes of a log: some thousand lines.
const MOST_LOG: u64 = 256 * 1024;

/// The most bytes of another file.
const MOST_FILE: u64 = 1024 * 1024;

/// A part of the report, before anything is replaced.
pub(super) struct Section {
    pub title: &'static str,
    pub content: Content,
}

/// The content of a section.
pub(super) enum Content {
    /// Has nothing to replace any more.
    Done(String),
    Text(String),
    /// One value a line.
    Json(Vec<Value>),
    Pretty(Value),
}

/// Reads everything, and adds what is known about this host and its profiles to `redactor`.
pub(super) fn sections(config: Option<&Path>, name: &str, redactor: &mut Redactor) -> Vec<Section> {
    let tables = profile_tables(config);
    for (other, table) in &tables {
        profile::add_terms(redactor, other, table);
        add_password(redactor, table);
    }
    redactor.add(Kind::Profile, name);
    client::with_ledger().iter().chain(&client::running()).for_each(|name| redactor.add(Kind::Profile, name));
    let system = nix::sys::utsname::uname().ok();
    add_host(redactor, system.as_ref().and_then(|system| system.nodename().to_str()));
    let status = client::status(name);
    if let Ok(status) = &status
        && let Some((server, _)) = status.server.as_deref().and_then(|server| server.rsplit_once(':'))
    {
        redactor.add(Kind::Server, server);
    }
    let shown = match tables.iter().find(|(other, _)| other == name) {
        Some((_, table)) => profile::render(redactor, name, table),
        None => "not in the files, or its file is not TOML: `pptpctl check` shows where".to_owned(),
    };
    let asked = status.as_ref().ok().map(|status| {
        let server = status.server.as_deref().and_then(|server| server.rsplit_once(':')?.0.parse().ok());
        server.into_iter().chain(status.dns.iter().copied().map(IpAddr::V4)).collect()
    });
    let section = |title, content| Section { title, content };
    vec![
        section("system", Content::Text(self::system(system.as_ref()))),
        section("profile", Content::Done(shown)),
        section("status", self::status(status)),
        section(
            "routes and rules of the tunnel",
            Content::Text(self::routing(name, asked.unwrap_or_default())),
        ),
        section("ledger", ledger(name)),
        section("doctor", Content::Text(checks(config, name))),
        section("log", Content::Text(log(name))),
    ]
}

/// Returns all profiles in the files as they are, also those with errors.
fn profile_tables(config: Option<&Path>) -> Vec<(String, toml::Table)> {
    let Ok(locations) = Locations::find(config) else { return Vec::new() };
    let more = fs::read_dir(&locations.directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_toml = |path: &PathBuf| path.extension().is_some_and(|end| end == "toml");
    let files = std::iter::once(locations.file.clone()).chain(more.filter(is_toml));
    let mut tables = Vec::new();
    for text in files.filter_map(|path| read(&path, MOST_FILE).ok()) {
        let Ok(root) = text.parse::<toml::Table>() else { continue };
        let Some(toml::Value::Table(profiles)) = root.get("profile") else { continue };
        for (name, table) in profiles {
            if let toml::Value::Table(table) = table {
                tables.push((name.clone(), table.clone()));
            }
        }
    }
    tables
}

/// Adds the password in the file that a profile names, so that it would be found wherever it is.
fn add_password(redactor: &mut Redactor, table: &toml::Table) {
    let file = table.get("password").and_then(|password| password.get("file"));
    let Some(path) = file.and_then(toml::Value::as_str) else { return };
    if let Ok(text) = read(Path::new(path), MOST_FILE) {
        text.lines().for_each(|line| redactor.add(Kind::Secret, line));
    }
}

fn add_host(redactor: &mut Redactor, name: Option<&str>) {
    for name in name.into_iter().flat_map(|name| [name, name.split('.').next().unwrap_or_default()]) {
        if name != "localhost" {
            redactor.add(Kind::ThisHost, name);
        }
    }
    if let Ok(invoker) = invoker::find() {
        redactor.add(Kind::User, &invoker.name);
    }
}

fn system(found: Option<&nix::sys::utsname::UtsName>) -> String {
    let mut lines = vec![format!("pptpctl {} for {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)];
    if let Some(system) = found {
        let words = [system.sysname(), system.release(), system.version(), system.machine()];
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        lines.push(words.join(" "));
    }
    let release = read(Path::new("/etc/os-release"), MOST_FILE).unwrap_or_default();
    lines.extend(release.lines().filter(|line| line.starts_with("PRETTY_NAME=")).map(str::to_owned));
    let user = if nix::unistd::geteuid().is_root() { "root" } else { "not root: some parts are missing" };
    lines.push(format!("user: {user}"));
    lines.join("\n")
}

fn status(found: Result<crate::supervisor::Status, ClientError>) -> Content {
    match found
        .map_err(|why| why.to_string())
        .and_then(|status| serde_json::to_value(status).map_err(|error| error.to_string()))
    {
        Ok(status) => Content::Pretty(status),
        Err(why) => Content::Text(why),
    }
}

fn routing(name: &str, asked: Vec<IpAddr>) -> String {
    let routes = match routes(name, &asked) {
        Ok(Some(routes)) => routes,
        Ok(None) => return "none: the tunnel has changed nothing on this host".to_owned(),
        Err(wrong) => return wrong.to_string(),
    };
    let traces = routes.traces.iter().map(|trace| {
        let dev = trace.dev.as_ref().map_or_else(String::new, |dev| format!(" by {dev}"));
        let via = trace.via.map_or_else(String::new, |via| format!(" via {via}"));
        format!("{}: {}{dev}{via}: {}", trace.to, trace.disposition.word(), trace.why)
    });
    routes.steps.iter().cloned().chain(traces).collect::<Vec<_>>().join("\n")
}

fn ledger(name: &str) -> Content {
    let path = Path::new(Platform::host().state_dir()).join(format!("{name}.ledger"));
    match read(&path, MOST_FILE) {
        Ok(text) => Content::Json(
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|_| "<a line that is not JSON>".into()))
                .collect(),
        ),
        Err(wrong) if wrong.kind() == io::ErrorKind::NotFound => Content::Text("none".to_owned()),
        Err(wrong) => Content::Text(wrong.to_string()),
    }
}

fn checks(config: Option<&Path>, name: &str) -> String {
    let mut lines = Vec::new();
    let mut add = |finding: Finding| {
        let word = match finding.severity {
            Severity::Ok => "ok",
            Severity::Skipped => "skipped",
            Severity::Warning => "warning",
            Severity::Failure => "failure",
        };
        lines.push(format!("{word:<7} {:<14} {}", finding.subject, finding.evidence));
        lines.extend(finding.next.iter().chain(&finding.hints).map(|next| format!("        next: {next}")));
    };
    let profiles = Locations::find(config).ok().map(|locations| Profiles::load(&locations));
    let profile = profiles.as_ref().and_then(|profiles| profiles.get(name).ok());
    doctor::check_host(profile.is_some(), &mut add);
    match profile {
        Some(profile) => doctor::check_profile(&Rc::new(profile.clone()), &mut add),
        None => lines.push("failure profile        cannot be used: `pptpctl check` shows why".to_owned()),
    }
    lines.join("\n")
}

/// Returns the end of the log, with that of its predecessor if it is short.
fn log(name: &str) -> String {
    let path = log_path(name);
    let mut earlier = path.clone().into_os_string();
    earlier.push(".1");
    let end = match tail(&path, MOST_LOG) {
        Ok(end) => end,
        Err(wrong) if wrong.kind() == io::ErrorKind::NotFound => {
            return "none; with --foreground the log is in the journal: journalctl -u pptpctl@NAME"
                .to_owned();
        }
        Err(wrong) => return wrong.to_string(),
    };
    let left = MOST_LOG.saturating_sub(u64::try_from(end.len()).unwrap_or(MOST_LOG));
    let earlier = tail(Path::new(&earlier), left).unwrap_or_default();
    format!("{earlier}{end}")
}

/// Returns the last whole lines of a file, at most so many bytes.
fn tail(path: &Path, most: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = match start {
        0 => &*text,
        _ => text.split_once('\n').map_or("", |(_, rest)| rest),
    };
    Ok(text.to_owned())
}

fn read(path: &Path, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    // A FIFO would block.
    let is_file = fs::metadata(path)?.is_file();
    if is_file {
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
