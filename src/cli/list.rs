//! `list`: the profiles and the state of their tunnels.

use std::path::Path;

use super::{
    exit::{self, Code},
    output::{self, complain, data, line},
};
use crate::{
    platform::CONFIG_DIR,
    profile::{Profile, ProfileName},
    supervisor::{ClientError, ipc::client},
};

pub fn main(config: Option<&Path>, names: bool, json: bool) -> Code {
    let profiles = match output::profiles(config) {
        Ok(profiles) => profiles,
        Err(code) => return code,
    };
    // Tunnels of profiles in other files: for a user other than root, those of root.
    let known: Vec<&str> = profiles.names().map(ProfileName::as_str).collect();
    let others: Vec<String> =
        client::running().into_iter().filter(|name| !known.contains(&name.as_str())).collect();
    // Files that could not be read may hold more profiles than those listed.
    let whole = || output::unread(&profiles).map_or_else(|code| code, |()| exit::OK);
    if names {
        profiles.names().for_each(line);
        return whole();
    }
    if json {
        let own = profiles.iter().map(|(name, profile)| {
            serde_json::json!({ "name": name.as_str(), "state": state(name.as_str(), profile), "profile": profile.map(Profile::summary) })
        });
        let others = others
            .iter()
            .map(|name| serde_json::json!({ "name": name, "state": state(name, None), "profile": null }));
        let all: Vec<_> = own.chain(others).collect();
        let lists_something = !all.is_empty();
        data(serde_json::Value::Array(all));
        return if known.is_empty() && lists_something { exit::OK } else { whole() };
    }
    if known.is_empty() && others.is_empty() {
        return whole();
    }
    let names = known.iter().copied().chain(others.iter().map(String::as_str));
    let width = names.map(str::len).max().unwrap_or(0).max(7);
    line(format_args!("{:<width$}  {:<11}  SERVER", "PROFILE", "STATE"));
    for (name, profile) in profiles.iter() {
        let servers =
            profile.map(|p| p.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        let servers = servers.unwrap_or_else(|| "(see `pptpctl check`)".to_owned());
        line(format_args!("{:<width$}  {:<11}  {servers}", name.as_str(), state(name.as_str(), profile)));
    }
    let is_root = nix::unistd::geteuid().is_root();
    for name in &others {
        let origin = if is_root { "(in none of these files)" } else { "(a profile of root)" };
        line(format_args!("{name:<width$}  {:<11}  {origin}", state(name, None)));
    }
    if !others.is_empty() && !is_root {
        complain(format_args!(
            "profiles in {CONFIG_DIR} belong to root: `sudo pptpctl list` shows all of them"
        ));
    }
    if known.is_empty() { exit::OK } else { whole() }
}

fn state(name: &str, profile: Option<&Profile>) -> String {
    match client::status(name) {
        Ok(status) => status.state,
        Err(ClientError::NotUp) if profile.is_none() => "invalid".to_owned(),
        Err(why) => why.state().to_owned(),
    }
}
