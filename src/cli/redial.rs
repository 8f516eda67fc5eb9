//! `redial`: asks the supervisor to end the link, or its wait, and to dial again.

use std::path::Path;

use super::{
    exit::{self, Code},
    output::{self, data, error, line},
    wait,
};
use crate::{
    profile::ProfileName,
    supervisor::{ClientError, Signals, ipc::client},
};

pub fn main(config: Option<&Path>, name: &str, wait: bool, json: bool) -> Code {
    match redial(config, name, wait, json) {
        Ok(code) | Err(code) => code,
    }
}

fn redial(config: Option<&Path>, name: &str, wait: bool, json: bool) -> Result<Code, Code> {
    output::need_root("redial", output::FOR_ITS_SUPERVISOR)?;
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return Err(exit::PROFILE);
    }
    // A link is ended first, and is up until then.
    let up = client::status(name).ok().filter(|_| wait).filter(|status| status.state == "up");
    let reconnects = up.map(|status| status.reconnects);
    let mut signals = Signals::listen().map_err(|wrong| {
        error(format_args!("{name}: {wrong}"));
        exit::INTERNAL
    })?;
    match client::redial(name) {
        Ok(()) if wait => Ok(wait::until_up_again(name, json, reconnects, &mut signals)),
        Ok(()) if json => {
            data(serde_json::json!({ "name": name, "redials": true }));
            Ok(exit::OK)
        }
        Ok(()) => {
            line(format_args!("{name}: dials again; `pptpctl status {name}` shows how far it is"));
            Ok(exit::OK)
        }
        Err(wrong) => {
            match &wrong {
                ClientError::NotUp => {
                    output::is_known(config, name)?;
                    error(format_args!("{name} is not up; `pptpctl up {name}` brings it up"));
                }
                ClientError::Refused(why) => error(format_args!("{name}: not dialled again: {why}")),
                ClientError::Denied(_) => {
                    error(format_args!("{name}: redial needs root: try sudo or doas"));
                }
                wrong => error(format_args!("{name}: {wrong}")),
            }
            // A refusal is an answer.
            if !matches!(wrong, ClientError::Refused(_)) {
                output::next_if_stuck(name, &wrong);
            }
            Err(Code::of_client(&wrong))
        }
    }
}
