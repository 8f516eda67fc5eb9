//! The body of the fuzz target `resolver_message`: any bytes as a message of the process that looks names up, or as a
//! resolv.conf(5) that it reads.

use super::{Answer, MAX_ADDRESSES};
use crate::net::{
    name_check::{FILES, Outcome, Report, nameservers},
    sanitize::{is_host, is_plain, plain},
};

/// Parses the bytes after the first one; the first byte selects as what.
///
/// # Errors
/// Returns which rule an accepted message breaks.
pub fn messages(data: &[u8]) -> Result<(), String> {
    let Some((choice, rest)) = data.split_first() else { return Ok(()) };
    let holds = match choice & 3 {
        0 | 1 => {
            let answer = Answer::parse(rest);
            is_acceptable(&answer) && is_same_again(&answer)
        }
        2 => Report::parse(rest).map_or(Ok(true), |report| is_bounded(&report))?,
        _ => nameservers(&String::from_utf8_lossy(rest)).len() <= 3,
    };
    if holds { Ok(()) } else { Err(format!("{} is accepted", String::from_utf8_lossy(rest))) }
}

fn is_acceptable(answer: &Answer) -> bool {
    match answer {
        Answer::Found(addresses) => {
            addresses.len() <= MAX_ADDRESSES && addresses.iter().all(|one| is_host(*one) || one.is_loopback())
        }
        Answer::Failed(why) => is_plain(why) && plain(why) == *why,
        Answer::Unreadable(files) => {
            files.len() <= FILES.len() && files.iter().all(|file| FILES.contains(&file.as_str()))
        }
    }
}

fn is_same_again(answer: &Answer) -> bool {
    serde_json::to_vec(answer).is_ok_and(|text| Answer::parse(&text) == *answer)
}

fn is_bounded(report: &Report) -> Result<bool, String> {
    let text = serde_json::to_vec(report).map_err(|error| error.to_string())?;
    let few = |outcome: &Outcome| match outcome {
        Outcome::Found { ipv4, ipv6 } => ipv4.len() <= 4 && ipv6.len() <= 4,
        Outcome::Code(_) | Outcome::Refused | Outcome::NoRoute | Outcome::Silent => true,
    };
    let same = Report::parse(&text).as_ref() == Ok(report);
    Ok(same && report.servers.len() <= 3 && report.servers.iter().all(|server| few(&server.outcome)))
}
