//! `down`: asks the supervisor to end and waits until everything is undone, or undoes the steps of a dead
//! one.

use std::path::Path;

use super::{
    autostart,
    exit::{self, Code},
    output::{self, data, error, line},
    recover, render,
};
use crate::{
    profile::ProfileName,
    supervisor::{self, ClientError, RecoveredItem, ipc::client},
};

pub fn main(config: Option<&Path>, name: Option<&str>, json: bool) -> Code {
    match name {
        Some(name) => one(name, json),
        None => {
            let process: &[&str] = if json { &["down", "--json"] } else { &["down"] };
            autostart::down(config, process, |name| match one(name, json) {
                exit::NOT_UP => exit::OK,
                code => code,
            })
        }
    }
}

fn one(name: &str, json: bool) -> Code {
    match down(name, json) {
        Ok(code) | Err(code) => code,
    }
}

/// Takes the tunnel down if it is up, and undoes what a killed supervisor left.
pub fn if_up(name: &str, json: bool) -> Code {
    let has_left_something = client::has_ledger(name);
    match client::status(name) {
        Err(ClientError::NotUp) if !has_left_something => exit::OK,
        _ => one(name, json),
    }
}

fn down(name: &str, json: bool) -> Result<Code, Code> {
    output::need_root("down", output::FOR_ITS_SUPERVISOR)?;
    // The name becomes part of a path; the profile itself may no longer exist.
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return Err(exit::PROFILE);
    }
    match client::down(name) {
        Ok(problems) if problems.is_empty() => {
            if json {
                data(to_json(name, &[], &problems));
            } else {
                line(format_args!("{name}: down"));
            }
            Ok(exit::OK)
        }
        Ok(problems) => {
            if json {
                data(to_json(name, &[], &problems));
            }
            problems.iter().for_each(error);
            if client::has_ledger(name) {
                error(format_args!(
                    "{name}: down, but not everything could be undone; `pptpctl recover` tries again"
                ));
            } else {
                error(format_args!("{name}: down, but with errors; trying again cannot help"));
            }
            Err(exit::NOT_UNDONE)
        }
        Err(ClientError::NotUp | ClientError::Died) => clean_up(name, json),
        Err(wrong) => {
            error(format_args!("{name}: {wrong}"));
            output::next_if_stuck(name, &wrong);
            Err(exit::INTERNAL)
        }
    }
}

fn to_json(name: &str, recovered: &[RecoveredItem], problems: &[String]) -> serde_json::Value {
    let recovered: Vec<_> = recovered.iter().map(recover::item_to_json).collect();
    serde_json::json!({ "name": name, "state": "down", "recovered": recovered, "problems": problems })
}

fn clean_up(name: &str, json: bool) -> Result<Code, Code> {
    render::need_proc(name)?;
    let recovery = supervisor::recover(None);
    if json {
        let problems: Vec<String> = recovery.errors.iter().map(ToString::to_string).collect();
        data(to_json(name, &recovery.recovered, &problems));
    } else {
        recovery.recovered.iter().for_each(|recovered| line(recover::words(recovered)));
    }
    recovery.errors.iter().for_each(error);
    match recovery.recovered.iter().find(|recovered| recovered.profile == name) {
        Some(_) if !recovery.errors.is_empty() => Err(exit::NOT_UNDONE),
        Some(_) => {
            if !json {
                line(format_args!("{name}: down; its supervisor had died"));
            }
            Ok(exit::OK)
        }
        None => {
            let up = client::running();
            if up.is_empty() {
                error(format_args!("{name} is not up, and no other tunnel is"));
            } else {
                error(format_args!("{name} is not up; these are: {}", up.join(", ")));
            }
            Err(exit::NOT_UP)
        }
    }
}
