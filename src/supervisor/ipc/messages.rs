//! What `status` knows of one tunnel, and the two requests that the control socket takes.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::engine::failure::Failure;

/// A request: one JSON line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command", deny_unknown_fields)]
pub enum Request {
    /// Answered by [`Response::Status`].
    Status,
    /// Answered by [`Response::Down`] when everything is undone; the connection ends with the supervisor.
    Down,
}

/// An answer: one JSON line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// Where the tunnel is.
    Status(Box<Status>),
    /// It is down; what could not be undone, if anything.
    Down {
        /// One sentence each.
        problems: Vec<String>,
    },
    /// The request was not understood, or not allowed.
    Refused(String),
}

/// One tunnel, as its supervisor sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The profile.
    pub name: String,
    /// `resolving`, `connecting`, `configuring`, `up`, `waiting`, `stopping`.
    pub state: String,
    /// The phase of the present attempt.
    pub phase: String,
    /// The server's address and port of the present attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The tunnel device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tun: Option<String>,
    /// Our address in the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<Ipv4Addr>,
    /// The peer's address in the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Ipv4Addr>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The resolvers that the peer named.
    pub dns: Vec<Ipv4Addr>,
    /// `MPPE 128-bit stateless`, `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mppe: Option<String>,
    /// `MS-CHAPv2`, `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    /// When the tunnel came up, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Seconds since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    /// Seconds until the next attempt, while waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_in: Option<u64>,
    /// How often the tunnel has come back by itself.
    pub reconnects: u64,
    /// What is not as it should be on this host, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why it was lost last, or why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// The supervisor's process.
    pub supervisor_pid: u32,
    /// The engine's process, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_pid: Option<u32>,
    /// CPU time of the engine in microseconds, user and system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_cpu_micros: Option<(u64, u64)>,
    /// How often supervisor and engine have gone to sleep.
    pub sleeps: (u64, u64),
    /// Packets, bytes and drops by name, of the present link.
    pub counters: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `down` and `status` of this version understand a supervisor of 0.1.0, and the other way round.
    #[test]
    fn messages_of_0_1_0_are_read_and_written_unchanged() {
        let text = include_str!("messages/format-1.jsonl");
        let (requests, responses) = text.split_at(text.find("{\"status\"").unwrap());
        for line in requests.lines() {
            let parsed: Request = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&parsed).unwrap(), line);
        }
        for line in responses.lines() {
            let parsed: Response = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&parsed).unwrap(), line);
        }
        assert_eq!((requests.lines().count(), responses.lines().count()), (2, 4));
    }
}
