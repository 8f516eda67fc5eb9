//! Steps that open and configure the tun device, and write its pid file.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{
    Facts, Ipv6, Symbol, Value,
    kind::{Key, StepKind, StepTraits},
};
use crate::platform::Platform;

/// Opens the tun device. Undone by closing it: the kernel removes it with its last descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTunStep {
    /// The N of tunN; `None` selects the first free one.
    pub unit: Option<u32>,
}

/// The MTU of the tun device. Undone by restoring the previous value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MtuStep {
    /// The tun device.
    pub tun: Value<String>,
    /// In bytes.
    pub mtu: Value<u16>,
}

/// The routing domain (OpenBSD) or FIB (FreeBSD) of the tun device. Set before the addresses, which a change
/// of the domain removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainStep {
    /// The tun device.
    pub tun: Value<String>,
    /// The routing domain, or FIB.
    pub number: u32,
}

/// The local and the peer's IPv4 address on the tun device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressStep {
    /// The tun device.
    pub tun: Value<String>,
    /// The local address.
    pub local: Value<Ipv4Addr>,
    /// The peer's address; `None` if there must be no route to it.
    pub peer: Option<Value<Ipv4Addr>>,
}

/// The IPv6 link-local addresses on the tun device, from the interface identifiers of IPV6CP (RFC 5072 §5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address6Step {
    /// The tun device.
    pub tun: Value<String>,
    /// The local address.
    pub local: Value<Ipv6Addr>,
    /// The peer's address.
    pub peer: Value<Ipv6Addr>,
}

/// Brings the tun device up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpStep {
    /// The tun device.
    pub tun: Value<String>,
}

/// Writes the supervisor's process ID to `tunX.pid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidFileStep {
    /// The platform's run directory.
    pub dir: PathBuf,
    /// The tun device, after which the file is named.
    pub tun: Value<String>,
    /// The process ID.
    pub pid: Value<u32>,
}

impl StepKind for OpenTunStep {
    fn key(&self) -> Key {
        Key::of("tun", ())
    }

    fn line(&self, _platform: Platform) -> String {
        match self.unit {
            Some(unit) => format!("open tun{unit}"),
            None => "open the first free tun device (tunX)".to_owned(),
        }
    }

    fn undo_line(&self, _platform: Platform) -> Option<String> {
        Some(self.unit.map_or_else(|| "close tunX".to_owned(), |unit| format!("close tun{unit}")))
    }
}

impl StepKind for MtuStep {
    fn key(&self) -> Key {
        Key::of("mtu", &self.tun)
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        vec![self.tun.fill(&facts.tun), self.mtu.fill(&facts.mtu)]
    }

    fn line(&self, platform: Platform) -> String {
        let Self { tun, mtu } = self;
        match platform {
            Platform::Linux => format!("ip link set {tun} mtu {mtu}"),
            _ => format!("ifconfig {tun} mtu {mtu}"),
        }
    }
}

impl StepKind for DomainStep {
    fn key(&self) -> Key {
        Key::of("domain", &self.tun)
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        vec![self.tun.fill(&facts.tun)]
    }

    fn line(&self, platform: Platform) -> String {
        let Self { tun, number } = self;
        match platform {
            Platform::Linux => String::new(),
            Platform::FreeBsd => format!("ifconfig {tun} fib {number}"),
            Platform::OpenBsd | Platform::NetBsd => format!("ifconfig {tun} rdomain {number}"),
        }
    }
}

impl StepKind for AddressStep {
    fn key(&self) -> Key {
        Key::of("address", self)
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        let peer = self.peer.as_mut().and_then(|peer| peer.fill(&facts.peer));
        vec![self.tun.fill(&facts.tun), self.local.fill(&facts.local), peer]
    }

    fn line(&self, platform: Platform) -> String {
        let Self { tun, local, peer } = self;
        match (platform, peer) {
            (Platform::Linux, _) => self.ip("add"),
            (_, Some(peer)) => format!("ifconfig {tun} inet {local} {peer} netmask 255.255.255.255"),
            (_, None) => format!("ifconfig {tun} inet {local} {local} netmask 255.255.255.255"),
        }
    }

    fn undo_line(&self, platform: Platform) -> Option<String> {
        Some(match platform {
            Platform::Linux => self.ip("del"),
            _ => format!("ifconfig {} inet {} delete", self.tun, self.local),
        })
    }
}

impl AddressStep {
    fn ip(&self, verb: &str) -> String {
        let Self { tun, local, peer } = self;
        match peer {
            Some(peer) => format!("ip address {verb} {local} peer {peer} dev {tun}"),
            None => format!("ip address {verb} {local}/32 dev {tun}"),
        }
    }
}

impl StepKind for Address6Step {
    fn key(&self) -> Key {
        Key::of("address6", self)
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        let (local, peer) = match &facts.ipv6 {
            Ipv6::Open { local, peer } => (Some(local), Some(peer)),
            Ipv6::Unknown | Ipv6::Absent => (None, None),
        };
        vec![self.tun.fill(&facts.tun), self.local.fill(local), self.peer.fill(peer)]
    }

    fn line(&self, platform: Platform) -> String {
        match platform {
            Platform::Linux => self.ip("add"),
            _ => format!("ifconfig {} inet6 {} prefixlen 64", self.tun, self.local),
        }
    }

    fn undo_line(&self, platform: Platform) -> Option<String> {
        Some(match platform {
            Platform::Linux => self.ip("del"),
            _ => format!("ifconfig {} inet6 {} delete", self.tun, self.local),
        })
    }

    fn traits(&self) -> StepTraits {
        // Linux deletes it when the device goes down.
        StepTraits { only_while_up: true, ..StepTraits::OF_DEVICE }
    }
}

impl Address6Step {
    fn ip(&self, verb: &str) -> String {
        let Self { tun, local, peer } = self;
        format!("ip -6 address {verb} {local} peer {peer}/64 dev {tun}")
    }
}

impl StepKind for UpStep {
    fn key(&self) -> Key {
        Key::of("up", &self.tun)
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        vec![self.tun.fill(&facts.tun)]
    }

    fn line(&self, platform: Platform) -> String {
        self.words(platform, "up")
    }

    fn undo_line(&self, platform: Platform) -> Option<String> {
        Some(self.words(platform, "down"))
    }

    fn traits(&self) -> StepTraits {
        // So that no packet passes the device before the filters of the next link are loaded.
        StepTraits { only_while_up: true, ..StepTraits::OF_DEVICE }
    }
}

impl UpStep {
    fn words(&self, platform: Platform, word: &str) -> String {
        match platform {
            Platform::Linux => format!("ip link set {} {word}", self.tun),
            _ => format!("ifconfig {} {word}", self.tun),
        }
    }
}

impl StepKind for PidFileStep {
    fn key(&self) -> Key {
        Key::of("pid-file", self.path())
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        vec![self.tun.fill(&facts.tun), self.pid.fill(&facts.pid)]
    }

    fn line(&self, _platform: Platform) -> String {
        format!("write {} to {}", self.pid, self.path().display())
    }

    fn undo_line(&self, _platform: Platform) -> Option<String> {
        Some(format!("remove {}", self.path().display()))
    }

    fn traits(&self) -> StepTraits {
        // The run directory is shared by all namespaces, and empty after boot.
        StepTraits { in_namespace: false, ..StepTraits::OF_DEVICE }
    }
}

impl PidFileStep {
    /// Returns the path of `tunX.pid`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(format!("{}.pid", self.tun))
    }
}
