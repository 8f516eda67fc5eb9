//! The kill switch by pf: rules in an anchor of its own, on the BSDs that have pf.
//!
//! pf evaluates an anchor only where another ruleset calls it, so the main ruleset needs `anchor "NAME/leak"`. The rules
//! are `quick`: nothing after that line decides otherwise. They pass only what they must (loopback, the tunnel's own
//! packets, DHCP, neighbour discovery); connected networks and excluded prefixes are left to the rules that follow.

use std::{fmt::Write as _, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    ConnectedNetworks, Facts, Symbol, Value,
    kind::{Key, StepKind, StepTraits},
};
use crate::platform::Platform;

/// The label of the rules that block, by which `recover` knows them.
pub const LEAK_LABEL: &str = "pptpctl-leak";
/// The last part of the anchor's name.
const CHILD: &str = "leak";
/// Addresses that are never behind a tunnel: loopback, link-local, and multicast on the link (RFC 4291 §2.7).
const NEVER_GUARDED: [&str; 4] = ["127.0.0.0/8", "::1/128", "fe80::/10", "ff02::/16"];
/// The most prefixes that the line of the dry run names.
const MAX_NAMED: usize = 8;

/// Loads the rules of the kill switch into an anchor of pf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakFilterStep {
    /// The anchor's name.
    pub anchor: String,
    /// The tunnel's device. As long as it is not known no device passes.
    pub tun: Value<String>,
    /// The server address that is dialled.
    pub server: Value<IpAddr>,
    /// The TCP ports of the profile's servers.
    pub ports: Vec<u16>,
    /// The prefixes that only the tunnel reaches.
    pub guarded: Vec<IpNet>,
    /// `exclude` of the profile.
    pub exclude: Vec<IpNet>,
    /// Addresses that stay outside because the host needs them: gateways, resolvers.
    #[serde(default)]
    pub outside: Vec<IpNet>,
    /// Whether DNS queries to other hosts than those of `exclude` are blocked.
    pub names: bool,
    /// The networks to which this host is connected.
    pub connected: Value<ConnectedNetworks>,
}

/// Returns the name of the anchor for the kill switch, below the one of the profile.
pub(super) fn leak_anchor(anchor: &str) -> String {
    format!("{anchor}/{CHILD}")
}

/// Returns whether an anchor has the name of one for a kill switch.
#[must_use]
pub fn is_leak_anchor(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(_, last)| last == CHILD)
}

impl LeakFilterStep {
    /// Returns the rules for the standard input of pfctl(8), in the syntax that FreeBSD and OpenBSD share. `None` while
    /// the server or the connected networks are not known.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let (server, connected) = (self.server.known()?, self.connected.known()?);
        let ports = list(&self.ports);
        let dhcp = connected.local.iter().chain(&connected.others).filter(|net| matches!(net, IpNet::V4(_)));
        let dhcp = list(dhcp.map(ToString::to_string).chain(["255.255.255.255".to_owned()]));
        let other = self.tun.known().map_or(String::new(), |tun| format!(" on ! {tun}"));
        let mut text = self.tables();
        let _infallible = write!(
            text,
            "pass quick on lo all\n\
             pass out quick inet proto tcp from any to {server} port {ports} flags any keep state\n\
             pass out quick inet proto gre from any to {server} keep state\n\
             pass in quick inet proto gre from {server} to any keep state\n\
             pass out quick inet proto udp from any port 68 to {dhcp} port 67 keep state\n"
        );
        if self.guarded.iter().any(|net| matches!(net, IpNet::V6(_))) {
            text.push_str(
                "pass quick inet6 proto icmp6 all icmp6-type { routersol, neighbrsol, neighbradv } keep state\n",
            );
        }
        if self.names {
            let to = if self.exclude.is_empty() { "any" } else { "! <pptpctl_exclude>" };
            let _infallible = writeln!(
                text,
                "block drop out quick{other} proto {{ tcp, udp }} from any to {to} port 53 label \"{LEAK_LABEL}\""
            );
        }
        let _infallible = writeln!(
            text,
            "block drop out quick{other} from any to <pptpctl_guarded> label \"{LEAK_LABEL}\"\n\
             block drop in quick{other} from <pptpctl_guarded> to any label \"{LEAK_LABEL}\""
        );
        Some(text)
    }

    /// Returns the tables. The longest prefix decides, so that a part of a guarded prefix can be left out.
    fn tables(&self) -> String {
        let entries = self.entries();
        let entries =
            entries.iter().map(|(net, guarded)| format!("{}{net}", if *guarded { "" } else { "!" }));
        let mut text = format!("table <pptpctl_guarded> {}\n", list(entries));
        if self.names && !self.exclude.is_empty() {
            let _infallible = writeln!(text, "table <pptpctl_exclude> {}", list(&self.exclude));
        }
        text
    }

    /// Returns each prefix once, and whether only the tunnel reaches it.
    fn entries(&self) -> Vec<(IpNet, bool)> {
        let local = self.connected.known().map_or(&[][..], |connected| &connected.local);
        let never = NEVER_GUARDED.iter().filter_map(|text| text.parse::<IpNet>().ok());
        let mut open: Vec<IpNet> =
            local.iter().chain(&self.exclude).chain(&self.outside).copied().chain(never).collect();
        open.sort_unstable();
        open.dedup();
        let guarded = self.guarded.iter().filter(|net| !open.contains(net)).map(|net| (*net, true));
        guarded.chain(open.iter().map(|net| (*net, false))).collect()
    }

    /// Returns whether the rules block packets to this host and port outside the tunnel. The port is that of TCP or UDP.
    #[must_use]
    pub fn blocks(&self, remote: IpAddr, protocol: &str, port: Option<u16>) -> bool {
        let is_server = self.server.known() == Some(&remote);
        let is_transport = match protocol {
            "gre" | "47" => true,
            "tcp" => port.is_some_and(|port| self.ports.contains(&port)),
            _ => false,
        };
        if is_server && is_transport {
            return false;
        }
        let is_query = matches!((protocol, port), ("tcp" | "udp", Some(53)));
        if self.names && is_query && !remote.is_loopback() {
            return !self.exclude.iter().any(|net| net.contains(&remote));
        }
        if protocol == "udp" && port == Some(67) && self.is_connected(remote) {
            return false;
        }
        let entries = self.entries();
        let covering = entries.iter().filter(|(net, _)| net.contains(&remote));
        covering.max_by_key(|(net, _)| net.prefix_len()).is_some_and(|(_, guarded)| *guarded)
    }

    fn is_connected(&self, remote: IpAddr) -> bool {
        self.connected.known().is_some_and(|connected| connected.contains(remote))
    }
}

/// Returns a list as pf.conf(5) writes it.
fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{ {} }}", items.join(", "))
}

/// Returns the first prefixes, and how many more there are.
fn named(prefixes: &[IpNet]) -> String {
    let shown: Vec<String> = prefixes.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    match prefixes.len().saturating_sub(MAX_NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl StepKind for LeakFilterStep {
    fn key(&self) -> Key {
        Key::of("pf", &self.anchor)
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        // The step precedes the device, so it is complete without it.
        self.tun.fill(&facts.tun);
        vec![self.server.fill(&facts.server), self.connected.fill(&facts.connected)]
    }

    fn line(&self, _platform: Platform) -> String {
        let Self { anchor, tun, server, .. } = self;
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        let names = if self.names { ", and DNS" } else { "" };
        let mut open = vec![match &self.connected {
            Value::Open(symbol) => symbol.to_string(),
            Value::Known(connected) => named(&connected.local),
        }];
        open.extend([&self.exclude, &self.outside].map(|prefixes| named(prefixes)));
        open.retain(|words| !words.is_empty());
        let open: String = open.iter().fold(String::new(), |text, words| format!("{text}, {words}"));
        format!(
            "pfctl -a {anchor} -f -: block on ! {tun} {}{names}; not TCP port {} and GRE of {server}{open}",
            named(&self.guarded),
            ports.join(", ")
        )
    }

    fn undo_line(&self, _platform: Platform) -> Option<String> {
        Some(format!("pfctl -a {} -F all", self.anchor))
    }

    fn traits(&self) -> StepTraits {
        StepTraits { is_routing: true, ..StepTraits::OF_HOST }
    }
}

#[cfg(test)]
mod tests;
