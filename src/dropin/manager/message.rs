//! What keeper and worker say to each other.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    dropin::options::Options,
    net::sanitize::{is_plain, plain},
    pptp::{quirks::Quirks, wire},
};

/// What a manager is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The server.
    pub server: SocketAddrV4,
    /// Source address.
    pub local: Option<Ipv4Addr>,
    /// Firewall mark; 0 for none.
    pub mark: u32,
    /// Whether a host route is made.
    pub host_route: bool,
    /// What the server needs.
    pub quirks: Quirks,
    /// Number to dial.
    pub phone: Option<String>,
    /// Silence before an Echo-Request.
    pub idle_wait: Option<Duration>,
    /// Wait after it.
    pub max_echo_wait: Duration,
    /// Prefix of log lines.
    pub log_string: String,
    /// 0 to 2.
    pub log_level: u8,
}

impl Spec {
    /// The part of the options that is the manager's.
    #[must_use]
    pub fn new(options: &Options, server: Ipv4Addr) -> Self {
        Self {
            server: SocketAddrV4::new(server, wire::PORT),
            local: options.local_bind,
            mark: options.mark,
            host_route: options.host_route,
            quirks: options.quirks,
            phone: options.phone.clone(),
            idle_wait: options.idle_wait,
            max_echo_wait: options.max_echo_wait,
            log_string: options.log_string.clone(),
            log_level: options.log_level,
        }
    }
}

/// From keeper to worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Comes first, with the TCP socket, not yet connected.
    Start(Box<Spec>),
    /// A client wants a call.
    Open(u32),
    /// A client is gone.
    Close(u32),
    /// End everything politely.
    Stop,
}

/// From worker to keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// A client's call is up: our identifier, the server's.
    Up(u32, u16, u16),
    /// A client's call is over, or was never made; why.
    Down(u32, String),
    /// The server has not answered a client's request for a call; in words.
    Silent(u32, String),
    /// All is over; why. The last message.
    Ended(String),
}

impl FromWorker {
    /// Its bytes; texts are made fit to be read.
    ///
    /// # Errors
    /// None that is known: it has no maps.
    pub fn encode(self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&match self {
            Self::Up(..) => self,
            Self::Down(client, why) => Self::Down(client, plain(&why)),
            Self::Silent(client, why) => Self::Silent(client, plain(&why)),
            Self::Ended(why) => Self::Ended(plain(&why)),
        })
    }

    /// Reads one as one would a stranger's: the worker parses what the network says, and the keeper is root.
    ///
    /// # Errors
    /// What rule it breaks; the worker must then be ended.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let message = serde_json::from_slice(bytes).map_err(|error| plain(&error.to_string()))?;
        match &message {
            Self::Down(_, why) | Self::Silent(_, why) | Self::Ended(why) if !is_plain(why) => {
                Err("a text that is too long or has control characters".to_owned())
            }
            _ => Ok(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_worker_says_arrives_and_what_it_may_not_say_does_not() {
        for message in
            [FromWorker::Up(1, 2, 3), FromWorker::Down(1, "busy".into()), FromWorker::Ended("over".into())]
        {
            assert_eq!(FromWorker::parse(&message.clone().encode().unwrap()), Ok(message));
        }
        let loud = FromWorker::Ended("\u{1b}[2J".into());
        assert!(FromWorker::parse(&serde_json::to_vec(&loud).unwrap()).is_err());
        assert_eq!(FromWorker::parse(&loud.encode().unwrap()), Ok(FromWorker::Ended("?[2J".into())));
        let long = FromWorker::Down(1, "x".repeat(20_000));
        assert!(FromWorker::parse(&serde_json::to_vec(&long).unwrap()).is_err());
        for bytes in [&b""[..], b"{}", br#"{"Run":"sh"}"#, br#"{"Up":[1,2]}"#, br#"{"Up":[1,2,65536]}"#] {
            assert!(FromWorker::parse(bytes).is_err());
        }
    }
}
