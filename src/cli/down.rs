//! `down`: asks the supervisor to end and waits until everything is undone, or undoes the steps of a dead
//! one.

use std::path::Path;

use super::{
    autostart,
    exit::{self, Code},
    output::{self, complain, error, line},
    recover, render,
};
use crate::{
    profile::ProfileName,
    supervisor::{self, ClientError, ipc::client},
};

pub fn main(config: Option<&Path>, name: Option<&str>) -> Code {
    match name {
        Some(name) => one(name),
        None => autostart::each(config, |name| match one(name) {
            exit::NOT_UP => exit::OK,
            code => code,
        }),
    }
}

fn one(name: &str) -> Code {
    match down(name) {
        Ok(code) | Err(code) => code,
    }
}

/// Takes the tunnel down if it is up, and undoes what a killed supervisor left.
pub fn if_up(name: &str) -> Code {
    let has_left_something = client::has_ledger(name);
    match client::status(name) {
        Err(ClientError::NotUp) if !has_left_something => exit::OK,
        _ => one(name),
    }
}

fn down(name: &str) -> Result<Code, Code> {
    output::need_root("down")?;
    // The name becomes part of a path; the profile itself may no longer exist.
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return Err(exit::PROFILE);
    }
    match client::down(name) {
        Ok(problems) if problems.is_empty() => {
            line(format_args!("{name}: down"));
            Ok(exit::OK)
        }
        Ok(problems) => {
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
        Err(ClientError::NotUp | ClientError::Died) => clean_up(name),
        Err(wrong) => {
            error(format_args!("{name}: {wrong}"));
            if wrong.is_stuck() {
                complain(format_args!("  - {}", client::stuck(name, &wrong).next));
            }
            Err(exit::INTERNAL)
        }
    }
}

fn clean_up(name: &str) -> Result<Code, Code> {
    render::need_proc(name)?;
    let recovery = supervisor::recover(None);
    for recovered in &recovery.recovered {
        line(recover::words(recovered));
    }
    recovery.errors.iter().for_each(error);
    match recovery.recovered.iter().find(|recovered| recovered.profile == name) {
        Some(_) if !recovery.errors.is_empty() => Err(exit::NOT_UNDONE),
        Some(_) => {
            line(format_args!("{name}: down; its supervisor had died"));
            Ok(exit::OK)
        }
        None => {
            let up = client::running();
            if up.is_empty() {
                error(format_args!("{name} is not up"));
            } else {
                error(format_args!("{name} is not up; these are: {}", up.join(", ")));
            }
            Err(exit::NOT_UP)
        }
    }
}
