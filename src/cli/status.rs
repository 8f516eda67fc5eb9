//! `status`: the state of tunnels, as text or JSON.

use std::{collections::BTreeSet, path::Path};

use super::{
    exit::{self, Code},
    output::{self, bytes, duration, error, line},
};
use crate::{
    profile::{Locations, ProfileName, Profiles},
    supervisor::{ClientError, Status, ipc::client},
};

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
                line(to_json(&status));
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
                line(serde_json::json!({ "name": name, "state": why.state() }));
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
            error(format_args!("{name}: {wrong}"));
            exit::INTERNAL
        }
    }
}

/// Shows the profiles in the files, and tunnels whose profile is in none of them.
fn all(config: Option<&Path>, json: bool) -> Code {
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
            return code;
        }
    }
    if json {
        let all: Vec<serde_json::Value> = names
            .iter()
            .map(|name| match client::status(name) {
                Ok(status) => to_json(&status),
                Err(wrong @ (ClientError::Silent(_) | ClientError::Refused(_))) => {
                    serde_json::json!({ "name": name, "state": wrong.state(), "error": wrong.to_string() })
                }
                Err(wrong) => serde_json::json!({ "name": name, "state": wrong.state() }),
            })
            .collect();
        line(serde_json::Value::Array(all));
        return exit::OK;
    }
    if names.is_empty() {
        line("no profiles, no tunnels");
    }
    for name in &names {
        match client::status(name) {
            Ok(status) => line(headline(&status)),
            Err(wrong) => line(without_status(name, &wrong)),
        }
    }
    exit::OK
}

fn to_json(status: &Status) -> serde_json::Value {
    serde_json::to_value(status).unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }))
}

fn without_status(name: &str, why: &ClientError) -> String {
    match why {
        ClientError::NotUp => format!("{name}: down"),
        ClientError::Denied(_) => format!("{name}: running; only root may see more"),
        why => format!("{name}: {why}"),
    }
}

fn headline(status: &Status) -> String {
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

fn show(status: &Status) {
    line(headline(status));
    let field = |name: &str, value: String| line(format_args!("  {name:<12} {value}"));
    if let (Some(local), Some(peer), Some(mtu)) = (status.local, status.peer, status.mtu) {
        field("addresses", format!("{local} → {peer}, MTU {mtu}"));
    }
    if let (Some(auth), Some(mppe)) = (&status.auth, &status.mppe) {
        field("security", format!("authentication {auth}, encryption {mppe}"));
    }
    if !status.dns.is_empty() {
        let servers: Vec<_> = status.dns.iter().map(ToString::to_string).collect();
        field("peer's DNS", servers.join(" "));
    }
    let count = |name: &str| status.counters.get(name).copied().unwrap_or(0);
    if status.state == "up" {
        let way = |packets, octets| format!("{} packets, {}", count(packets), bytes(count(octets)));
        field("received", way("ppp.received_packets", "ppp.received_bytes"));
        field("sent", way("ppp.sent_packets", "ppp.sent_bytes"));
        let order = format!(
            "{} lost, {} reordered, {} duplicate",
            count("gre.rx_lost"),
            count("gre.rx_repaired"),
            count("gre.rx_duplicate")
        );
        field("in transit", order);
    }
    let drops: Vec<_> = status
        .counters
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("drop.")?, *value)))
        .filter(|(_, value)| *value > 0)
        .map(|(reason, value)| format!("{reason} {value}"))
        .collect();
    if !drops.is_empty() {
        field("dropped", drops.join(", "));
    }
    if status.reconnects > 0 {
        field("reconnected", format!("{} times", status.reconnects));
    }
    for warning in &status.warnings {
        field("warning", warning.clone());
    }
    if let Some(failure) = &status.last_failure {
        field("last failure", failure.to_string());
    }
    let engine = status.engine_pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
    field("processes", format!("supervisor {}, engine {engine}", status.supervisor_pid));
}
