//! Messages between the call manager's monitor and worker.

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

/// Configuration of a manager, sent when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The server's TCP address.
    pub server: SocketAddrV4,
    /// Source address, if set.
    pub local: Option<Ipv4Addr>,
    /// Firewall mark; 0 for none.
    pub mark: u32,
    /// Whether to add a host route to the server.
    pub host_route: bool,
    /// The server's deviations from RFC 2637.
    pub quirks: Quirks,
    /// Phone number to dial.
    pub phone: Option<String>,
    /// Idle time before an Echo-Request; `None` disables it.
    pub idle_wait: Option<Duration>,
    /// How long to wait for a message after that; zero for ever.
    pub max_echo_wait: Duration,
    /// Prefix of log lines.
    pub log_string: String,
    /// Verbosity, 0 to 2.
    pub log_level: u8,
}

impl Spec {
    /// Extracts the manager's part of the options.
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

/// Messages from the monitor to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message, sent together with the unconnected TCP socket.
    Start(Box<Spec>),
    /// A client requests a call.
    Open(u32),
    /// A client has closed its socket.
    Close(u32),
    /// Stop the control connection and exit.
    Stop,
}

/// Messages from the worker to the monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// A call is up: client, local call id, the server's call id.
    Up(u32, u16, u16),
    /// A client's call has ended or was refused, with the reason.
    Down(u32, String),
    /// The server did not answer a client's call request; with a description.
    Silent(u32, String),
    /// The control connection has ended, and why. The last message.
    Ended(String),
}

impl FromWorker {
    /// Serializes the message without control characters.
    ///
    /// # Errors
    /// Returns serde's error, which these types cannot cause.
    pub fn encode(self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&match self {
            Self::Up(..) => self,
            Self::Down(client, why) => Self::Down(client, plain(&why)),
            Self::Silent(client, why) => Self::Silent(client, plain(&why)),
            Self::Ended(why) => Self::Ended(plain(&why)),
        })
    }

    /// Parses and validates a message. The input is untrusted: the worker parses network data, and the
    /// monitor is root.
    ///
    /// # Errors
    /// Returns the violated rule; the worker must then be killed.
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
    fn valid_messages_round_trip_and_invalid_are_rejected() {
        for message in
            [FromWorker::Up(1, 2, 3), FromWorker::Down(1, "busy".into()), FromWorker::Ended("over".into())]
        {
            assert_eq!(FromWorker::parse(&message.clone().encode().unwrap()), Ok(message));
        }
        let unprintable = FromWorker::Ended("\u{1b}[2J".into());
        assert!(FromWorker::parse(&serde_json::to_vec(&unprintable).unwrap()).is_err());
        assert_eq!(FromWorker::parse(&unprintable.encode().unwrap()), Ok(FromWorker::Ended("?[2J".into())));
        let long = FromWorker::Down(1, "x".repeat(20_000));
        assert!(FromWorker::parse(&serde_json::to_vec(&long).unwrap()).is_err());
        for bytes in [&b""[..], b"{}", br#"{"Run":"sh"}"#, br#"{"Up":[1,2]}"#, br#"{"Up":[1,2,65536]}"#] {
            assert!(FromWorker::parse(bytes).is_err());
        }
    }
}
