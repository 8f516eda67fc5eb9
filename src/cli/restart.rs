//! `restart`: `down`, then `up`.

use std::path::Path;

use super::{
    args::{Progress, Restart, Up},
    autostart, down,
    exit::{self, Code},
    output, up,
};
use crate::{
    platform::Platform,
    profile::PasswordSource,
    supervisor::{Inherited, password},
};

pub fn main(config: Option<&Path>, args: &Restart) -> Code {
    // As in `up`.
    let inherited = Inherited::at_start();
    match &args.name {
        Some(name) => one(config, name, args, &inherited),
        None => autostart::each(config, |name| one(config, name, args, &inherited)),
    }
}

fn one(config: Option<&Path>, name: &str, args: &Restart, inherited: &Inherited) -> Code {
    if let Err(code) = can_come_up(config, name) {
        return code;
    }
    match down::if_up(name, args.json) {
        exit::OK => {}
        code => return code,
    }
    let progress = Progress { json: args.json, ..Progress::default() };
    let args = Up { name: Some(name.to_owned()), wait: args.wait, progress, ..Up::default() };
    up::one(config, name, &args, inherited)
}

/// Checks what would make `up` fail at once: a tunnel that works is then not taken down.
fn can_come_up(config: Option<&Path>, name: &str) -> Result<(), Code> {
    output::need_root("restart", output::FOR_A_TUNNEL)?;
    output::need_all_of_root("restart")?;
    let profile = output::profile(config, name, Platform::host())?;
    let usable = match profile.password {
        PasswordSource::Ask { is_explicit } if !password::can_ask() => {
            Err(password::PasswordError::NoTerminal { is_explicit }.to_string())
        }
        ref source => source.probe().map_err(|wrong| wrong.to_string()),
    };
    usable.map_err(|wrong| {
        output::error(format_args!("{name}: nothing was changed: {wrong}"));
        exit::PROFILE
    })
}
