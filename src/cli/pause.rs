//! `pause`: asks the supervisor to pause the kill switch, for the login page of a captive portal.

use super::{
    exit::{self, Code},
    output::{self, complain, data, duration, error, line},
};
use crate::{
    plan::LONGEST_PAUSE,
    profile::ProfileName,
    supervisor::{ClientError, ipc::client},
};

/// Reads the length of a pause: a number of minutes (`10m`) or seconds (`90s`).
pub fn seconds(text: &str) -> Result<u32, String> {
    let (number, unit) = match (text.strip_suffix('m'), text.strip_suffix('s')) {
        (Some(minutes), _) => (minutes, 60),
        (None, Some(seconds)) => (seconds, 1),
        (None, None) => return Err("a number and a unit: 10m or 90s".to_owned()),
    };
    let number: u32 = number.parse().map_err(|_| "a number and a unit: 10m or 90s".to_owned())?;
    let seconds = number
        .checked_mul(unit)
        .filter(|seconds| (1..=LONGEST_PAUSE.as_secs()).contains(&u64::from(*seconds)));
    seconds.ok_or_else(|| format!("a pause lasts 1s to {}m", LONGEST_PAUSE.as_secs() / 60))
}

pub fn main(name: &str, length: u32, end: bool, json: bool) -> Code {
    match pause(name, length, end, json) {
        Ok(code) | Err(code) => code,
    }
}

fn pause(name: &str, length: u32, end: bool, json: bool) -> Result<Code, Code> {
    output::need_root("pause", output::FOR_ITS_SUPERVISOR)?;
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return Err(exit::PROFILE);
    }
    match client::pause(name, (!end).then_some(length), end) {
        Ok(left) if json => {
            data(serde_json::json!({ "name": name, "pause_left": left }));
            Ok(exit::OK)
        }
        Ok(Some(left)) => {
            line(format_args!(
                "{name}: this host's names and web pages pass outside the tunnel for {}, all else stays blocked",
                duration(left)
            ));
            line(
                "  log in to the network in a browser; the tunnel is dialled again by itself, and its success ends the pause",
            );
            line(format_args!("  `pptpctl pause {name} --end` ends it at once"));
            Ok(exit::OK)
        }
        Ok(None) => {
            line(format_args!("{name}: the pause has ended, the kill switch is shut"));
            Ok(exit::OK)
        }
        Err(ClientError::Refused(why)) => {
            error(format_args!("{name}: not paused: {why}"));
            Err(exit::INTERNAL)
        }
        Err(wrong) => {
            match wrong {
                ClientError::NotUp | ClientError::NotYet(_) | ClientError::Died => {
                    error(format_args!("{name}: not paused: {wrong}"));
                }
                ClientError::Denied(_) => error(format_args!("{name}: pause needs root: try sudo or doas")),
                _ => error(format_args!("{name}: {wrong}")),
            }
            if matches!(wrong, ClientError::NotUp) {
                complain("  - no supervisor runs, so nothing is blocked by it");
            }
            output::next_if_stuck(name, &wrong);
            Err(Code::of_client(&wrong))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_bounded_and_has_a_unit() {
        assert_eq!((seconds("10m"), seconds("90s"), seconds("30m")), (Ok(600), Ok(90), Ok(1800)));
        for wrong in ["", "10", "m", "0s", "31m", "1801s", "-1m", "1h", "99999999999m", "4294967295m", "1.5m"]
        {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
