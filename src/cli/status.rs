//! `status`: the state of tunnels, as text or JSON.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal},
    os::fd::AsFd,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;

use super::{
    counted,
    exit::{self, Code},
    in_force,
    output::{self, data, duration, error, line},
    status_table::{self, Rates, Row},
    terminal,
};
use crate::{
    profile::{Locations, ProfileName, Profiles},
    supervisor::{
        ClientError, Failure, Status,
        ipc::client::{self, Stuck},
        local_time,
    },
};

/// Seconds that a tunnel has to be up before its last failure is of interest to `status --json` only.
const STALE_FAILURE: u64 = 10 * 60;

/// Routes that are listed; `--json` has more.
const MOST_ROUTES: usize = 16;

/// Time between the two readings of the counters from which rates are computed.
const READING_INTERVAL: Duration = Duration::from_millis(500);

pub fn main(config: Option<&Path>, name: Option<&str>, json: bool) -> Code {
    match name {
        Some(name) => one(config, name, json),
        None => all(config, json),
    }
}

fn one(config: Option<&Path>, name: &str, json: bool) -> Code {
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return exit::PROFILE;
    }
    match client::status(name) {
        Ok(status) => {
            if json {
                data(to_json(&status));
            } else {
                show(&status);
            }
            exit::OK
        }
        Err(why @ (ClientError::NotUp | ClientError::Died | ClientError::NotYet(_))) => {
            // Neither up nor in the files: most likely mistyped.
            if matches!(why, ClientError::NotUp)
                && let Err(code) = output::is_known(config, name)
            {
                return code;
            }
            if json {
                data(serde_json::json!({ "name": name, "state": why.state() }));
            } else {
                line(without_status(name, &why));
            }
            exit::NOT_UP
        }
        Err(wrong @ ClientError::Denied(_)) => {
            error(format_args!("{name}: {wrong}"));
            exit::NOT_ROOT
        }
        Err(wrong) => {
            if json {
                data(stuck_to_json(name, &wrong));
            } else {
                show_stuck(name, &client::stuck(name, &wrong));
            }
            error(format_args!("{name}: {wrong}"));
            exit::INTERNAL
        }
    }
}

/// Shows what is known without an answer of the supervisor.
fn show_stuck(name: &str, known: &Stuck) {
    let on = known.tun.as_ref().map_or_else(String::new, |tun| format!(" on {tun}"));
    line(format_args!("{name}: stuck{on}"));
    let field = |name: &str, value: &str| line(format_args!("  {name:<12} {value}"));
    if let Some(pid) = known.supervisor_pid {
        let stopped = if known.stopped == Some(true) { ", stopped by a signal or a debugger" } else { "" };
        field("processes", &format!("supervisor {pid}{stopped}"));
    }
    field("next step", &known.next);
}

fn stuck_to_json(name: &str, why: &ClientError) -> serde_json::Value {
    let mut value = serde_json::json!({ "name": name, "state": why.state(), "error": why.to_string() });
    if let (Some(object), Ok(serde_json::Value::Object(known))) =
        (value.as_object_mut(), as_value(&client::stuck(name, why)))
    {
        object.extend(known);
    }
    value
}

/// Returns the names of the profiles in the files, and of tunnels whose profile is in none of them; or the exit status
/// after the error has been shown.
pub fn names(config: Option<&Path>) -> Result<BTreeSet<String>, Code> {
    let mut names: BTreeSet<String> = client::running().into_iter().collect();
    if let Ok(locations) = Locations::find(config) {
        let profiles = Profiles::load(&locations);
        let alone = !names.is_empty();
        names.extend(profiles.names().map(|name| name.as_str().to_owned()));
        // Tunnels whose profile is in no file are shown without an error about missing files.
        if !(alone && profiles.names().next().is_none())
            && let Err(code) = output::unread(&profiles)
            && names.is_empty()
        {
            return Err(code);
        }
    }
    Ok(names)
}

/// Shows the profiles in the files, and tunnels whose profile is in none of them.
fn all(config: Option<&Path>, json: bool) -> Code {
    let names = match names(config) {
        Ok(names) => names,
        Err(code) => return code,
    };
    if json {
        let all: Vec<serde_json::Value> = names
            .iter()
            .map(|name| match client::status(name) {
                Ok(status) => to_json(&status),
                Err(wrong) if wrong.is_stuck() => stuck_to_json(name, &wrong),
                Err(wrong) => serde_json::json!({ "name": name, "state": wrong.state() }),
            })
            .collect();
        data(serde_json::Value::Array(all));
        return exit::OK;
    }
    if names.is_empty() {
        line("no profiles, no tunnels");
    } else {
        table(&names);
    }
    exit::OK
}

/// Shows one row for each tunnel, and below them what is to be said about those that cannot be asked.
fn table(names: &BTreeSet<String>) {
    let answers: Vec<_> = names.iter().map(|name| (name, client::status(name), Instant::now())).collect();
    let is_up = |status: &Status| status.state == "up";
    if answers.iter().any(|(_, answer, _)| answer.as_ref().is_ok_and(is_up)) {
        thread::sleep(READING_INTERVAL);
    }
    let mut remarks = Vec::new();
    let mut rows = Vec::new();
    for (name, answer, read_at) in &answers {
        rows.push(match answer {
            Ok(first) => {
                let second = Some(first).filter(|first| is_up(first)).and_then(|_| client::status(name).ok());
                let status = second.as_ref().unwrap_or(first);
                let rates =
                    second.as_ref().and_then(|second| Rates::between(first, second, read_at.elapsed()));
                if !is_up(status) {
                    remarks.push(headline_and_failure(status));
                }
                Row::of(status, rates, now())
            }
            Err(why) => {
                if !matches!(why, ClientError::NotUp) {
                    remarks.push(without_status(name, why));
                }
                Row::without_status(name, why.state())
            }
        });
    }
    let width = io::stdout().is_terminal().then(|| terminal::columns(io::stdout().as_fd()));
    status_table::render(&rows, width).iter().for_each(line);
    if !remarks.is_empty() {
        line("");
    }
    remarks.iter().for_each(line);
}

fn to_json(status: &Status) -> serde_json::Value {
    as_value(status).unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }))
}

/// As `serde_json::to_value`, by way of the text: a program for routers has the code that writes it already.
fn as_value(status: &impl Serialize) -> serde_json::Result<serde_json::Value> {
    serde_json::from_str(&serde_json::to_string(status)?)
}

/// Returns one line on a tunnel without a status.
pub fn without_status(name: &str, why: &ClientError) -> String {
    match why {
        ClientError::NotUp => format!("{name}: down"),
        ClientError::Denied(_) => match client::group_of_readers(name) {
            Some(group) => {
                format!("{name}: running; only root and members of the group {group} may see more")
            }
            None => format!("{name}: running; only root may see more (`control.group` admits a group)"),
        },
        why if why.is_stuck() => format!("{name}: stuck: {why}"),
        why => format!("{name}: {why}"),
    }
}

/// Returns the state in one line.
pub fn headline(status: &Status) -> String {
    let name = &status.name;
    match (status.state.as_str(), &status.tun) {
        ("up", Some(tun)) => {
            let server = status.server.as_deref().unwrap_or("?");
            format!("{name}: up on {tun} for {}, server {server}", duration(status.uptime.unwrap_or(0)))
        }
        ("waiting", _) => {
            format!("{name}: waiting, next attempt in {}", duration(status.next_attempt_in.unwrap_or(0)))
        }
        ("no network", _) => format!("{name}: no network, waiting for one"),
        (state, _) => format!("{name}: {state}, phase {}", status.phase),
    }
}

/// Returns the state in one line, with the last failure while it is not up.
pub fn headline_and_failure(status: &Status) -> String {
    match recent_failure(status).filter(|_| status.state != "up") {
        Some(failure) => format!("{}; last failure: {failure}", headline(status)),
        None => headline(status),
    }
}

fn show(status: &Status) {
    line(headline(status));
    let field = |name: &str, value: String| output::field(name, 12, &value);
    if let Some(server) = status.server.as_ref().filter(|_| status.state != "up") {
        field("server", server.clone());
    }
    if let (Some(local), Some(peer), Some(mtu)) = (status.local, status.peer, status.mtu) {
        field("addresses", format!("{local} → {peer}, MTU {mtu}"));
    }
    if let (Some(auth), Some(mppe)) = (&status.auth, &status.mppe) {
        field("security", format!("authentication {auth}, encryption {mppe}"));
    }
    if let Some(path) = &status.data_path {
        field("data path", path.clone());
    }
    if let Some(routes) = in_force::routes(status, MOST_ROUTES) {
        field("routes", routes);
    }
    if let Some(resolvers) = in_force::resolvers(status) {
        field("DNS", resolvers);
    }
    if status.state == "up" {
        if let Some([received, sent]) = counted::traffic(status) {
            field("received", received);
            field("sent", sent);
        }
        let order = counted::order(status, "").unwrap_or_else(|| "not counted by the kernel".to_owned());
        field("in transit", order);
        if let Some(micros) = status.round_trip_micros {
            field("round trip", status_table::milliseconds(micros));
        }
    }
    let drops: Vec<_> = counted::drops(status).map(|(reason, count)| format!("{reason} {count}")).collect();
    if !drops.is_empty() {
        field("dropped", format!("{} (pptpctl(8), COUNTERS)", drops.join(", ")));
    }
    match status.reconnects {
        0 => {}
        1 => field("reconnected", "once".to_owned()),
        more => field("reconnected", format!("{more} times")),
    }
    if let Some(left) = status.pause_left {
        let left = duration(left);
        field(
            "paused",
            format!(
                "names and web pages pass outside the tunnel for {left}; `pptpctl pause {} --end`",
                status.name
            ),
        );
    }
    for warning in &status.warnings {
        field("warning", warning.clone());
    }
    if let Some(failure) = recent_failure(status) {
        field("last failure", last_failure(failure, status.last_failure_at, now()));
    }
    let engine = status.engine_pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
    field("processes", format!("supervisor {}, engine {engine}", status.supervisor_pid));
    if let Some(sandbox) = &status.sandbox {
        field("supervisor", sandbox.to_string());
    }
}

/// Returns the last failure, unless the tunnel has been up for a while since.
pub(super) fn recent_failure(status: &Status) -> Option<&Failure> {
    let is_stale = status.state == "up" && status.uptime.is_some_and(|uptime| uptime >= STALE_FAILURE);
    status.last_failure.as_ref().filter(|_| !is_stale)
}

/// Returns the last failure with its time, local and relative. `at` and `now` are in seconds since 1970.
fn last_failure(failure: &Failure, at: Option<u64>, now: u64) -> String {
    let Some((at, local)) = at.and_then(|at| Some((at, local_time::format(at)?))) else {
        return failure.to_string();
    };
    let ago = now.saturating_sub(at);
    let local = if ago < 86_400 { local.split(' ').next_back().unwrap_or_default() } else { &local };
    format!("{local} ({} ago), {failure}", duration(ago))
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::{FailureKind, Phase};

    #[test]
    fn last_failure_goes_when_the_tunnel_has_been_up_for_a_while() {
        let failure = Failure::new(Phase::Connect, FailureKind::NoRoute, "");
        let is_shown = |state: &str, uptime| {
            let (state, last_failure) = (state.to_owned(), Some(failure.clone()));
            recent_failure(&Status { state, uptime, last_failure, ..Status::default() }).is_some()
        };
        assert!(is_shown("waiting", None) && is_shown("up", Some(STALE_FAILURE - 1)));
        assert!(!is_shown("up", Some(STALE_FAILURE)));
    }

    #[test]
    fn last_failure_has_its_time() {
        let failure = Failure::new(Phase::Connect, FailureKind::NoRoute, "");
        let text = |at, now| last_failure(&failure, at, now);
        assert_eq!(text(None, 0), "connect: no route to the server");
        let recent = text(Some(1_764_000_000), 1_764_000_090);
        assert!(recent.ends_with(" (1 min 30 s ago), connect: no route to the server"), "{recent}");
        assert_eq!(recent.find(' '), Some(8), "without the date: {recent}");
        let old = text(Some(1_764_000_000), 1_764_000_000 + 3 * 86_400);
        assert!(old.starts_with("2025-11-2") && old.contains(" (3 d 0 h ago), "), "{old}");
    }
}
