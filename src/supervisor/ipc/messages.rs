//! The status of one tunnel, and the requests that the control socket accepts. `docs/CONTROL.md` describes them.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use serde::{Deserialize, Serialize};

use super::{carrier::Carrier, reloaded::Reloaded};
use crate::failure::Failure;

/// A request: one line of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command", deny_unknown_fields)]
pub enum Request {
    /// Answered by [`Response::Status`].
    Status,
    /// Answered by [`Response::Down`] when everything is undone; the connection closes when the supervisor
    /// exits.
    Down,
    /// Answered by a line for each event of the tunnel, until it ends.
    Subscribe {
        /// Seconds from one `statistics` to the next; 10 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interval: Option<u32>,
    },
    /// Answered by [`Response::Reload`] when the profile was read again and applied, or refused.
    Reload {
        /// Whether to dial again, for the keys that need it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        redial: bool,
        /// Whether to change nothing, and only to answer what would be changed.
        #[serde(default, rename = "dry-run", skip_serializing_if = "std::ops::Not::not")]
        dry_run: bool,
    },
    /// Answered by [`Response::Redial`] when the end of the link, or the next attempt, has begun.
    Redial,
    /// Answered by [`Response::Log`].
    Log {
        /// How many lines, at most; 50 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<u32>,
    },
    /// Answered by [`Response::Capture`], after which the engine writes records to the client.
    Capture {
        /// Whether IP packets of the tunnel are captured, too.
        inner: bool,
    },
    /// Answered by [`Response::Pause`] when the kill switch is paused, or no longer is.
    Pause {
        /// Length of the pause in seconds; 300 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u32>,
        /// Whether to end the pause.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        end: bool,
    },
}

/// An answer: one line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// The status of the tunnel.
    Status(Box<Status>),
    /// The tunnel is down.
    Down {
        /// What could not be undone, one sentence each.
        problems: Vec<String>,
    },
    /// The result of a reload.
    Reload(Box<Reloaded>),
    /// The tunnel is dialled again.
    Redial {},
    /// The last lines of the supervisor's log.
    Log {
        /// The oldest first.
        lines: Vec<LogLine>,
    },
    /// A capture is on.
    Capture {
        /// It begins with the next dial.
        from_next_dial: bool,
    },
    /// The kill switch is paused for this many seconds more; without them it is not.
    Pause {
        /// Seconds until the pause ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<u64>,
    },
    /// The request was not understood or not allowed, for this reason.
    Refused(String),
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written, in milliseconds since 1970.
    pub time_ms: u64,
    /// `ERROR`, `WARN`, `INFO` or `DEBUG`.
    pub level: String,
    /// The text, without control characters.
    pub text: String,
}

/// The resolvers that the tunnel has set on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolvers {
    /// What sets them: `systemd-resolved`, `resolvconf`, `resolvd`, `unwind`, or the path of a file.
    pub by: String,
    /// Their addresses.
    pub servers: Vec<IpAddr>,
    /// The domains whose names they are asked for; without any, all names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
}

/// The state of one tunnel, as its supervisor reports it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the profile.
    pub name: String,
    /// `resolving`, `connecting`, `configuring`, `up`, `waiting`, `no network`, `stopping`.
    pub state: String,
    /// Phase of the current attempt.
    pub phase: String,
    /// Server address and port of the current attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Name of the tunnel device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tun: Option<String>,
    /// Local address in the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<Ipv4Addr>,
    /// Peer's address in the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Ipv4Addr>,
    /// Largest IP packet in the tunnel, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Resolvers that the peer assigned.
    pub dns: Vec<Ipv4Addr>,
    /// The resolvers that this host asks because of the tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolvers: Option<Resolvers>,
    /// The destinations that routes of this host lead into the tunnel, at most [`Status::MOST_ROUTES`]: prefixes, or
    /// `default`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub more_routes: u64,
    /// Encryption, such as `MPPE 128-bit stateless` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mppe: Option<String>,
    /// Authentication, such as `MS-CHAPv2` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    /// Who moves the packets: `kernel`, or `userland` with the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_path: Option<String>,
    /// When the tunnel came up, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Seconds since the tunnel came up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    /// Seconds until the next attempt, while waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_in: Option<u64>,
    /// How many times the tunnel was lost and came up again.
    pub reconnects: u64,
    /// Prefixes that the profile leads into the tunnel and that a network of this host has instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<String>,
    /// Seconds until the pause of the kill switch ends, if it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_left: Option<u64>,
    /// Problems on this host, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why the tunnel was lost last, or why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// When that was, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_at: Option<u64>,
    /// Pid of the supervisor.
    pub supervisor_pid: u32,
    /// Pid of the engine, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_pid: Option<u32>,
    /// CPU time of the engine in microseconds, user and system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_cpu_micros: Option<(u64, u64)>,
    /// Voluntary context switches of the supervisor and of the engine.
    pub sleeps: (u64, u64),
    /// What the supervisor is restricted to; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// Round trip of the last LCP Echo that was timed, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_micros: Option<u64>,
    /// Packets, bytes and drops of the current link, by name.
    pub counters: BTreeMap<String, u64>,
}

impl Status {
    /// Returns the device and the addresses of a tunnel that is up.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        Carrier {
            tun: self.tun.clone().unwrap_or_default(),
            server: self.server.clone(),
            local: self.local,
            peer: self.peer,
            mtu: self.mtu,
            dns: self.dns.clone(),
        }
    }

    /// The most routes that a status lists.
    pub const MOST_ROUTES: usize = 64;
}

/// Returns whether serde may leave a field out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The restrictions of a supervisor that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The names of its effective capabilities.
    pub capabilities: Vec<String>,
    /// Whether a filter refuses system calls that it does not need.
    pub seccomp: bool,
    /// The version of Landlock by whose rules it opens files; absent if the kernel has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock: Option<u32>,
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .capabilities
            .iter()
            .map(|name| name.strip_prefix("CAP_").unwrap_or(name).to_lowercase())
            .collect();
        let calls = if self.seccomp { "system calls filtered" } else { "no filter of system calls" };
        write!(f, "capabilities {}; {calls}; ", names.join(" "))?;
        match self.landlock {
            Some(version) => write!(f, "files by Landlock {version}"),
            None => f.write_str("files not restricted: no Landlock in this kernel"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{FailureKind, Phase};

    /// The schema has each member of a status, and no other. Without `..`, a new member stops this from compiling.
    #[test]
    fn schema_has_every_member() {
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../../docs/schema/status-1.json")).unwrap();
        let address = Some(Ipv4Addr::LOCALHOST);
        let full = Status {
            name: "office".to_owned(),
            state: "up".to_owned(),
            phase: "up".to_owned(),
            server: Some(String::new()),
            tun: Some(String::new()),
            local: address,
            peer: address,
            mtu: Some(1400),
            dns: Vec::new(),
            resolvers: Some(Resolvers::default()),
            routes: vec![String::new()],
            more_routes: 1,
            mppe: Some(String::new()),
            auth: Some(String::new()),
            since: Some(1),
            uptime: Some(1),
            next_attempt_in: Some(1),
            reconnects: 1,
            pause_left: Some(1),
            data_path: Some(String::new()),
            unreachable: vec![String::new()],
            warnings: vec![String::new()],
            last_failure: Some(Failure::new(Phase::Up, FailureKind::PeerLost, "")),
            last_failure_at: Some(1),
            supervisor_pid: 1,
            engine_pid: Some(1),
            engine_cpu_micros: Some((1, 1)),
            sleeps: (1, 1),
            sandbox: Some(Sandbox::default()),
            round_trip_micros: Some(1),
            counters: BTreeMap::new(),
        };
        let value = serde_json::to_value(full).unwrap();
        let members =
            |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(sorted(members(&value)), sorted(members(&schema["properties"])));
    }

    /// `down` and `status` of this version work with a supervisor of 0.1.0, and the other way round.
    #[test]
    fn version_0_1_0_messages_round_trip() {
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
