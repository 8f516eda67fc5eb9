//! Host name lookup in a separate unprivileged process, because a resolver parses data from the network.
//!
//! Owns the code of that process and the validation of its answer. The parent enforces the timeout.

#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, ToSocketAddrs},
};

use serde::{Deserialize, Serialize};

use super::{
    name_check,
    sanitize::{is_host, plain},
};
use crate::os::{
    channel::Channel,
    privileges::{self, Files},
};

/// The maximum number of addresses in an answer.
pub const MAX_ADDRESSES: usize = 16;

/// The result of a lookup, as the child sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// IPv4 addresses in the resolver's order, without duplicates; may be empty.
    Found(Vec<Ipv4Addr>),
    /// The reason for the failure, in words.
    Failed(String),
    /// Files that the process may not read; another answer follows.
    Unreadable(Vec<String>),
}

impl Answer {
    /// Parses the child's answer, which is untrusted.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Ok(Self::Found(mut addresses)) => {
                let first = addresses.first().copied();
                // Drop addresses that no server can have.
                addresses.retain(|address| is_host(*address) || address.is_loopback());
                addresses.truncate(MAX_ADDRESSES);
                match first {
                    Some(first) if addresses.is_empty() => Self::Failed(format!(
                        "its address is {first}, which no host can have: /etc/hosts, a DNS blocker or a captive \
                         portal gives it in place of the real one"
                    )),
                    _ => Self::Found(addresses),
                }
            }
            Ok(Self::Unreadable(mut files)) => {
                files.retain(|file| name_check::FILES.contains(&file.as_str()));
                files.truncate(name_check::FILES.len());
                Self::Unreadable(files)
            }
            Ok(Self::Failed(why)) => Self::Failed(plain(&why)),
            Err(error) => {
                Self::Failed(plain(&format!("the resolver process sent an invalid answer: {error}")))
            }
        }
    }
}

/// Runs the lookup process: drops root, reads one name from the channel on standard input, resolves it and
/// sends an [`Answer`].
///
/// # Errors
/// Returns an error if root cannot be dropped or the parent is gone.
pub fn main() -> io::Result<()> {
    serve(|channel, name| channel.send(&serde_json::to_vec(&look_up(name))?, &[]))
}

/// Does the same, and sends [`Answer::Unreadable`] first, if there are such files.
///
/// # Errors
/// As [`main`].
pub fn main_with_files() -> io::Result<()> {
    serve(|channel, name| {
        let files = name_check::unreadable();
        if !files.is_empty() {
            channel.send(&serde_json::to_vec(&Answer::Unreadable(files))?, &[])?;
        }
        channel.send(&serde_json::to_vec(&look_up(name))?, &[])
    })
}

/// Runs the process that finds out why a name was not resolved: the same, but for its answer, a
/// [`name_check::Report`].
///
/// # Errors
/// As [`main`].
pub fn check_main() -> io::Result<()> {
    serve(|channel, name| channel.send(&serde_json::to_vec(&name_check::check(name))?, &[]))
}

fn serve(answer: impl FnOnce(&Channel, &str) -> io::Result<()>) -> io::Result<()> {
    let channel = Channel::to_parent()?;
    privileges::drop_all(Files::Keep)?;
    privileges::kill_on_parent_exit();
    // A supervisor without `sandbox = "best-effort"` does not get here if the kernel refuses its own filter.
    if let Err(error) = privileges::confine_resolver() {
        tracing::warn!("no filter of system calls: {error}");
    }
    let Some(message) = channel.receive(true)? else { return Ok(()) };
    let name = String::from_utf8(message.bytes).map_err(io::Error::other)?;
    answer(&channel, &name)
}

fn look_up(name: &str) -> Answer {
    match (name, 0).to_socket_addrs() {
        Ok(found) => {
            let mut addresses = Vec::new();
            let mut ipv6 = None;
            for address in found {
                if let IpAddr::V6(address) = address.ip() {
                    ipv6 = Some(address);
                }
                if let IpAddr::V4(address) = address.ip()
                    && !addresses.contains(&address)
                    && addresses.len() < MAX_ADDRESSES
                {
                    addresses.push(address);
                }
            }
            match ipv6 {
                Some(ipv6) if addresses.is_empty() => {
                    Answer::Failed(format!("it has IPv6 addresses only ({ipv6}), and PPTP needs IPv4"))
                }
                _ => Answer::Found(addresses),
            }
        }
        Err(error) => Answer::Failed(plain(&resolver_error_text(&error))),
    }
}

/// Returns the error text of getaddrinfo(3) without the standard library's prefix.
fn resolver_error_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_resolves_to_one_address() {
        assert_eq!(look_up("localhost"), Answer::Found(vec![Ipv4Addr::LOCALHOST]));
    }

    #[test]
    fn parse_sanitizes_untrusted_answers() {
        assert!(matches!(Answer::parse(b"{\"found\":[\"::1\"]}"), Answer::Failed(_)));
        let many = Answer::Found(vec![Ipv4Addr::LOCALHOST; 100]);
        let Answer::Found(kept) = Answer::parse(&serde_json::to_vec(&many).unwrap()) else { panic!() };
        assert_eq!(kept.len(), MAX_ADDRESSES);
        let odd = br#"{"found":["0.0.0.0","224.0.0.1","255.255.255.255","192.0.2.1"]}"#;
        assert_eq!(Answer::parse(odd), Answer::Found(vec![Ipv4Addr::new(192, 0, 2, 1)]));
        assert_eq!(Answer::parse(b"{\"failed\":\"a\\u001bb\"}"), Answer::Failed("a?b".into()));
        let none = Answer::parse(br#"{"found":["0.0.0.0"]}"#);
        assert!(matches!(none, Answer::Failed(why) if why.contains("0.0.0.0, which no")));
        let files = br#"{"unreadable":["/etc/hosts","/etc/shadow"]}"#;
        assert_eq!(Answer::parse(files), Answer::Unreadable(vec!["/etc/hosts".to_owned()]));
        let Answer::Failed(reason) = Answer::parse(br#"{"\u001b[2J":1}"#) else { panic!() };
        assert!(!reason.contains('\u{1b}'), "{reason:?}");
    }
}
