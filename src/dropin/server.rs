//! The server's addresses: given literally, or resolved by an unprivileged process.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::processes;
use crate::{
    net::lookup::Answer,
    os::{channel::Channel, child, wait},
};

/// Limit for a name lookup: a little more than the C library needs for two name servers, tried twice with a
/// timeout of 5 s.
const LIMIT: Duration = Duration::from_secs(25);

/// Returns the host's IPv4 addresses, at least one, in the order in which to try them.
///
/// # Errors
/// Returns, as a sentence, why there is none.
pub fn addresses(host: &str) -> Result<Vec<Ipv4Addr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    match look_up(host).map_err(|error| format!("{host}: {error}"))? {
        Answer::Found(addresses) if addresses.is_empty() => Err(format!("{host} has no IPv4 address")),
        Answer::Found(addresses) => Ok(addresses),
        Answer::Failed(why) => Err(format!("{host}: {why}")),
        Answer::Unreadable(_) => Err(format!("{host}: the look-up ended without an answer")),
    }
}

fn look_up(host: &str) -> io::Result<Answer> {
    let (mut process, channel) = processes::start(processes::RESOLVER, "pptp: resolve")?;
    let answer = channel.send(host.as_bytes(), &[]).and_then(|()| answer(&channel, Instant::now() + LIMIT));
    // The process has answered, or has exceeded the limit.
    child::reap(&mut process);
    answer
}

fn answer(channel: &Channel, deadline: Instant) -> io::Result<Answer> {
    if !wait::readable(channel.as_fd(), deadline)? {
        return Ok(Answer::Failed("the look-up took too long".to_owned()));
    }
    Ok(match channel.receive(false)? {
        Some(message) => Answer::parse(&message.bytes),
        None => Answer::Failed("the look-up ended without an answer".to_owned()),
    })
}
