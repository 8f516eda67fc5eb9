//! Looking a name up: in a process of its own without privileges, because a resolver parses what the network says.
//!
//! Owns the life of that process and the check of its answer. How long it may take is its parent's business.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, ToSocketAddrs},
    os::fd::AsFd,
};

use serde::{Deserialize, Serialize};

use super::{
    channel::Channel,
    sanitize::{is_host, plain},
};
use crate::os::privileges::{self, Files};

/// More addresses than this are not tried.
pub const MOST: usize = 16;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// IPv4 addresses in the resolver's order, each once; may be empty.
    Found(Vec<Ipv4Addr>),
    /// Why there is none.
    Failed(String),
}

impl Answer {
    /// Reads the child's answer as one would a stranger's.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Ok(Self::Found(mut addresses)) => {
                // What no server can have is not dialled, whoever says so.
                addresses.retain(|address| is_host(*address) || address.is_loopback());
                addresses.truncate(MOST);
                Self::Found(addresses)
            }
            Ok(Self::Failed(why)) => Self::Failed(plain(&why)),
            Err(error) => Self::Failed(plain(&format!("the resolver broke a rule: {error}"))),
        }
    }
}

/// The whole life of a process that looks one name up: it reads the name from its channel, which is its standard
/// input, gives up root before it asks anyone, answers with an [`Answer`], and ends.
///
/// # Errors
/// When it cannot give up root, or its parent is gone.
pub fn main() -> io::Result<()> {
    let channel = Channel::from_fd(io::stdin().as_fd().try_clone_to_owned()?);
    privileges::drop_all(Files::Keep)?;
    privileges::die_with_parent();
    let Some(message) = channel.receive(true)? else { return Ok(()) };
    let name = String::from_utf8(message.bytes).map_err(io::Error::other)?;
    channel.send(&serde_json::to_vec(&look_up(&name))?, &[])
}

fn look_up(name: &str) -> Answer {
    match (name, 0).to_socket_addrs() {
        Ok(found) => {
            let mut addresses = Vec::new();
            for address in found {
                if let IpAddr::V4(address) = address.ip()
                    && !addresses.contains(&address)
                    && addresses.len() < MOST
                {
                    addresses.push(address);
                }
            }
            Answer::Found(addresses)
        }
        Err(error) => Answer::Failed(plain(&words(&error))),
    }
}

/// What getaddrinfo(3) says, without the standard library's preamble.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_has_one_address_once() {
        assert_eq!(look_up("localhost"), Answer::Found(vec![Ipv4Addr::LOCALHOST]));
    }

    #[test]
    fn an_answer_that_breaks_the_rules_is_a_failure() {
        assert!(matches!(Answer::parse(b"{\"found\":[\"::1\"]}"), Answer::Failed(_)));
        let many = Answer::Found(vec![Ipv4Addr::LOCALHOST; 100]);
        let Answer::Found(kept) = Answer::parse(&serde_json::to_vec(&many).unwrap()) else { panic!() };
        assert_eq!(kept.len(), MOST);
        let odd = br#"{"found":["0.0.0.0","224.0.0.1","255.255.255.255","192.0.2.1"]}"#;
        assert_eq!(Answer::parse(odd), Answer::Found(vec![Ipv4Addr::new(192, 0, 2, 1)]));
        assert_eq!(Answer::parse(b"{\"failed\":\"a\\u001bb\"}"), Answer::Failed("a?b".into()));
        let Answer::Failed(why) = Answer::parse(br#"{"\u001b[2J":1}"#) else { panic!() };
        assert!(!why.contains('\u{1b}'), "{why:?}");
    }
}
