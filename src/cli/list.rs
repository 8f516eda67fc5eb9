//! `list`: the profiles and the state of their tunnels.

use std::path::Path;

use super::{
    exit::{self, Code},
    output::{self, line},
};
use crate::{
    profile::{Profile, ProfileName},
    supervisor::{ClientError, ipc::client},
};

pub fn main(config: Option<&Path>, names: bool, json: bool) -> Code {
    let profiles = match output::profiles(config) {
        Ok(profiles) => profiles,
        Err(code) => return code,
    };
    // Files that could not be read may hold more profiles than those listed.
    let whole = || output::unread(&profiles).map_or_else(|code| code, |()| exit::OK);
    if names {
        profiles.names().for_each(line);
        return whole();
    }
    if json {
        let all: Vec<_> = profiles
            .iter()
            .map(|(name, profile)| {
                serde_json::json!({ "name": name.as_str(), "state": state(name, profile), "profile": profile.map(Profile::summary) })
            })
            .collect();
        line(serde_json::Value::Array(all));
        return whole();
    }
    if profiles.names().next().is_none() {
        return whole();
    }
    let width = profiles.names().map(|name| name.as_str().len()).max().unwrap_or(0).max(7);
    line(format_args!("{:<width$}  {:<11}  SERVER", "PROFILE", "STATE"));
    for (name, profile) in profiles.iter() {
        let servers =
            profile.map(|p| p.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        let servers = servers.unwrap_or_else(|| "(see `pptpctl check`)".to_owned());
        line(format_args!("{:<width$}  {:<11}  {servers}", name.as_str(), state(name, profile)));
    }
    whole()
}

fn state(name: &ProfileName, profile: Option<&Profile>) -> String {
    match client::status(name.as_str()) {
        Ok(status) => status.state,
        Err(ClientError::NotUp) if profile.is_none() => "invalid".to_owned(),
        Err(why) => why.state().to_owned(),
    }
}
