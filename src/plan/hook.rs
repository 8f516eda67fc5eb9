//! The user's programs that run when the tunnel is up and before it is taken down.
//!
//! Both are one step, so that the ledger holds the down hook before the up hook runs, with all that another
//! process needs to run it. The environment has the variables of pppd(8)'s `ip-up` and of Debian's
//! `/etc/ppp/ip-up` scripts, some of openvpn(8)'s, and pptpctl's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{
    Facts, Ipv6, Symbol, Value,
    kind::{Key, StepKind, StepTraits},
};
use crate::{
    platform::Platform,
    profile::{DnsServers, Profile},
};

/// The user's programs, and the values for their environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStep {
    /// The profile's name.
    pub profile: String,
    /// Run after all other steps; empty for none.
    pub up: Vec<String>,
    /// Run before any step is undone; empty for none.
    pub down: Vec<String>,
    /// The time limit of each program, in milliseconds.
    pub limit_ms: u64,
    /// The tun device.
    pub tun: Value<String>,
    /// The server address that was dialled.
    pub server: Value<IpAddr>,
    /// The local address in the tunnel.
    pub local: Value<Ipv4Addr>,
    /// The peer's address in the tunnel.
    pub peer: Value<Ipv4Addr>,
    /// The tunnel's MTU in bytes.
    pub mtu: Value<u16>,
    /// The resolvers of the profile, or those that the peer named.
    pub dns: Value<Vec<IpAddr>>,
    /// The local and the peer's link-local address, if IPV6CP is open.
    pub ipv6: Option<(Ipv6Addr, Ipv6Addr)>,
}

/// The names of the variables that a hook can get.
#[cfg(any(target_os = "linux", test))]
pub const HOOK_VARIABLES: [&str; 24] = [
    "IFNAME",
    "DEVICE",
    "IPLOCAL",
    "IPREMOTE",
    "LINKNAME",
    "PEERNAME",
    "PPP_IFACE",
    "PPP_LOCAL",
    "PPP_REMOTE",
    "PPP_IPPARAM",
    "dev",
    "script_type",
    "ifconfig_local",
    "ifconfig_remote",
    "tun_mtu",
    "PPTPCTL_ACTION",
    "PPTPCTL_PROFILE",
    "PPTPCTL_SERVER",
    "PPTPCTL_MTU",
    "DNS1",
    "DNS2",
    "PPTPCTL_DNS",
    "LLLOCAL",
    "LLREMOTE",
];

/// The event for which a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookEvent {
    /// `hooks.up`.
    Up,
    /// `hooks.down`.
    Down,
}

impl HookEvent {
    /// Returns the name in messages and in `PPTPCTL_ACTION`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl StepKind for HookStep {
    fn key(&self) -> Key {
        Key::of("hooks", ())
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        if let Ipv6::Open { local, peer } = facts.ipv6 {
            self.ipv6 = Some((local, peer));
        }
        vec![
            self.tun.fill(&facts.tun),
            self.server.fill(&facts.server),
            self.local.fill(&facts.local),
            self.peer.fill(&facts.peer),
            self.mtu.fill(&facts.mtu),
            self.dns.fill(&facts.dns),
        ]
    }

    fn line(&self, _platform: Platform) -> String {
        match self.up.as_slice() {
            [] => "remember the down hook".to_owned(),
            up => format!("run {}", quoted(up)),
        }
    }

    fn undo_line(&self, _platform: Platform) -> Option<String> {
        (!self.down.is_empty()).then(|| format!("run {}", quoted(&self.down)))
    }

    fn traits(&self) -> StepTraits {
        // The effects of a hook may survive a reboot; only the down hook can undo them.
        StepTraits { volatile: false, ..StepTraits::OF_DEVICE }
    }
}

impl HookStep {
    pub(super) fn of(profile: &Profile, tun: Value<String>) -> Option<Self> {
        if profile.hooks.up.is_empty() && profile.hooks.down.is_empty() {
            return None;
        }
        Some(Self {
            profile: profile.name.as_str().to_owned(),
            up: profile.hooks.up.clone(),
            down: profile.hooks.down.clone(),
            limit_ms: u64::try_from(profile.hooks.timeout.as_millis()).unwrap_or(u64::MAX),
            tun,
            server: Value::Open(Symbol::Server),
            local: Value::Open(Symbol::Local),
            peer: Value::Open(Symbol::Peer),
            mtu: Value::Open(Symbol::Mtu),
            dns: match &profile.dns.servers {
                DnsServers::Fixed(servers) => Value::Known(servers.clone()),
                DnsServers::Peer | DnsServers::None => Value::Open(Symbol::Dns),
            },
            ipv6: None,
        })
    }

    /// Returns the program and its arguments; empty for none.
    #[must_use]
    pub fn argv(&self, moment: HookEvent) -> &[String] {
        match moment {
            HookEvent::Up => &self.up,
            HookEvent::Down => &self.down,
        }
    }

    /// Returns the program's environment. The events differ in the action only.
    #[must_use]
    pub fn environment(&self, moment: HookEvent) -> Vec<(String, String)> {
        let (tun, local, peer) = (self.tun.to_string(), self.local.to_string(), self.peer.to_string());
        let (mtu, server) = (self.mtu.to_string(), self.server.to_string());
        let mut all: Vec<(&str, String)> = vec![
            ("IFNAME", tun.clone()),
            ("DEVICE", tun.clone()),
            ("IPLOCAL", local.clone()),
            ("IPREMOTE", peer.clone()),
            ("LINKNAME", self.profile.clone()),
            ("PEERNAME", server.clone()),
            ("PPP_IFACE", tun.clone()),
            ("PPP_LOCAL", local.clone()),
            ("PPP_REMOTE", peer.clone()),
            ("PPP_IPPARAM", self.profile.clone()),
            ("dev", tun),
            // openvpn(8) uses the same words.
            ("script_type", moment.word().to_owned()),
            ("ifconfig_local", local),
            ("ifconfig_remote", peer),
            ("tun_mtu", mtu.clone()),
            ("PPTPCTL_ACTION", moment.word().to_owned()),
            ("PPTPCTL_PROFILE", self.profile.clone()),
            ("PPTPCTL_SERVER", server),
            ("PPTPCTL_MTU", mtu),
        ];
        let dns = self.dns.known().map(Vec::as_slice).unwrap_or_default();
        for (name, server) in ["DNS1", "DNS2"].into_iter().zip(dns) {
            all.push((name, server.to_string()));
        }
        let list: Vec<String> = dns.iter().map(ToString::to_string).collect();
        all.push(("PPTPCTL_DNS", list.join(" ")));
        if let Some((ours, theirs)) = self.ipv6 {
            all.extend([("LLLOCAL", ours.to_string()), ("LLREMOTE", theirs.to_string())]);
        }
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Formats an argument vector, quoting words with special characters.
fn quoted(argv: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty()
            && word.chars().all(|c| c.is_ascii_graphic() && !"\"'\\$`*?[]{}()<>|&;~#!".contains(c))
    };
    let words = argv.iter().map(|word| if plain(word) { word.clone() } else { format!("{word:?}") });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_in_the_list() {
        let mut step = HookStep::of(&crate::plan::tests::profile("192.0.2.1"), Value::Open(Symbol::Tun));
        assert!(step.is_none());
        let mut profile = crate::plan::tests::profile("192.0.2.1");
        profile.hooks.up = vec!["/etc/up".to_owned()];
        profile.dns.servers =
            DnsServers::Fixed(["192.0.2.2", "192.0.2.3"].map(|one| one.parse().unwrap()).into());
        step = HookStep::of(&profile, Value::Open(Symbol::Tun));
        let step = HookStep { ipv6: Some((Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST)), ..step.unwrap() };
        let mut names: Vec<_> = step.environment(HookEvent::Up).into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let mut known = HOOK_VARIABLES;
        known.sort_unstable();
        assert_eq!(names, known);
    }
}
