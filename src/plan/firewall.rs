//! Rules of the packet filter: a table of nftables, an anchor of pf. Their text is generated here and loaded
//! by `apply`.
//!
//! On Linux a profile has one table, `inet pptpctl_NAME`, replaced and deleted as a whole. On the BSDs it has
//! the anchor that it names, and for `nat` another below `pptpctl/`, so that neither undoes the other. A
//! rules file receives the facts of the link as macros: `vpn_if`, `vpn_local`, `vpn_peer`, `vpn_server`.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Facts, Symbol, Value,
    kind::{Key, StepKind, StepTraits},
};
use crate::{
    platform::Platform,
    profile::{Conntrack, DataPath, Mss, PppBackend, Profile},
};

/// One step of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum FirewallStep {
    /// Loads a table of nftables.
    Nft {
        /// The table's name, in the family inet.
        table: String,
        /// The user's rules: the content of the table without its braces.
        file: Option<PathBuf>,
        /// Whether forwarded traffic is masqueraded with the local address.
        nat: bool,
        /// The MSS clamp for forwarded TCP connections; `None` for none.
        mss: Option<Clamp>,
        /// Macros for the rules.
        macros: Macros,
    },
    /// Loads a table of nftables that has the kernel follow the control connection with its helper for PPTP. The
    /// call's GRE is then `related` to that connection.
    Helper {
        /// The table's name, in the family ip.
        table: String,
        /// The server address that is dialled.
        server: Value<IpAddr>,
        /// The TCP ports of the profile's servers.
        ports: Vec<u16>,
    },
    /// Loads an anchor of pf.
    Pf {
        /// The anchor's name.
        anchor: String,
        /// The rules that are loaded into it.
        rules: PfRules,
        /// Macros for the rules.
        macros: Macros,
    },
}

/// The content of an anchor of pf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PfRules {
    /// The user's file.
    File(PathBuf),
    /// NAT of forwarded traffic in the syntax of FreeBSD and NetBSD (`nat on`).
    Nat,
    /// The same in the syntax of OpenBSD since 4.7 (`match out … nat-to`).
    NatTo,
}

/// The limit of the TCP segment size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clamp {
    /// Derived from this MTU in bytes, less the headers.
    Mtu(Value<u16>),
    /// In bytes over IPv4; 20 less over IPv6, whose header is larger.
    Bytes(u16),
}

/// The facts that a rules file can refer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Macros {
    /// `vpn_if`: the tun device.
    #[serde(rename = "if")]
    pub tun: Value<String>,
    /// `vpn_local`: the local address in the tunnel.
    pub local: Value<Ipv4Addr>,
    /// `vpn_peer`: the peer's address in the tunnel.
    pub peer: Value<Ipv4Addr>,
    /// `vpn_server`: the server address that was dialled.
    pub server: Value<IpAddr>,
}

/// Returns a profile's filter steps, and notes on settings without effect on the platform.
pub(super) fn steps(
    profile: &Profile,
    platform: Platform,
    tun: &Value<String>,
) -> (Vec<FirewallStep>, Vec<String>) {
    let macros = Macros {
        tun: tun.clone(),
        local: Value::Open(Symbol::Local),
        peer: Value::Open(Symbol::Peer),
        server: Value::Open(Symbol::Server),
    };
    let mut notes = Vec::new();
    let mut steps = Vec::new();
    if platform == Platform::Linux {
        if profile.pf.is_some() {
            notes.push("pf exists on the BSDs only: the anchor is left out on Linux".to_owned());
        }
        // The engine clamps the MSS itself, in both directions, if it has the packets.
        let has_packets = profile.ppp.backend == PppBackend::Builtin && profile.data_path != DataPath::Kernel;
        let mss = match (has_packets, profile.mss) {
            (true, _) | (_, Mss::Off) => None,
            (_, Mss::Auto) => Some(Clamp::Mtu(Value::Open(Symbol::Mtu))),
            (_, Mss::Bytes(bytes)) => Some(Clamp::Bytes(bytes)),
        };
        let file = profile.nftables.as_ref().map(|nftables| nftables.file.clone());
        if file.is_some() || profile.nat || mss.is_some() {
            let table = format!("pptpctl_{}", profile.name);
            steps.push(FirewallStep::Nft { table, file, nat: profile.nat, mss, macros });
        }
        return (steps, notes);
    }
    if profile.nftables.is_some() {
        notes.push("nftables exists on Linux only: its file is left out on the BSDs".to_owned());
    }
    if profile.nat {
        let rules = if platform == Platform::OpenBsd { PfRules::NatTo } else { PfRules::Nat };
        let anchor = format!("pptpctl/{}", profile.name);
        steps.push(FirewallStep::Pf { anchor, rules, macros: macros.clone() });
    }
    if let Some(pf) = &profile.pf
        && let Some(file) = &pf.file
    {
        let rules = PfRules::File(file.clone());
        steps.push(FirewallStep::Pf { anchor: pf.anchor.clone(), rules, macros });
    }
    (steps, notes)
}

/// Returns the step of `conntrack = "helper"`, which precedes the connection to the server.
pub(super) fn helper(profile: &Profile, platform: Platform) -> Option<FirewallStep> {
    let mut ports: Vec<u16> = profile.servers.iter().map(|server| server.port).collect();
    ports.sort_unstable();
    ports.dedup();
    // The rules would be in the namespace, the connection is outside.
    (profile.conntrack == Conntrack::Helper && platform == Platform::Linux && profile.link.netns.is_none())
        .then(|| {
            let table = format!("pptpctl_{}", profile.name);
            FirewallStep::Helper { table, server: Value::Open(Symbol::Server), ports }
        })
}

/// Returns the input of nft(8) that loads the table, replacing an existing one, in one transaction. `None`
/// while a fact is missing.
#[must_use]
pub fn nft_text(step: &FirewallStep) -> Option<String> {
    let (table, file, nat, mss, macros) = match step {
        FirewallStep::Nft { table, file, nat, mss, macros } => (table, file, nat, mss, macros),
        FirewallStep::Helper { table, server, ports } => return helper_text(table, *server.known()?, ports),
        FirewallStep::Pf { .. } => return None,
    };
    let mut text = String::new();
    for (name, value) in macros.pairs()? {
        // Interface names are strings in nft's syntax, addresses are not.
        let quote = if name == "vpn_if" { "\"" } else { "" };
        let _infallible = writeln!(text, "define {name} = {quote}{value}{quote}");
    }
    text.push_str(&nft_removal("inet", table));
    let _infallible = writeln!(text, "table inet {table} {{");
    if *nat {
        text.push_str(
            "\tchain pptpctl_nat {\n\
             \t\ttype nat hook postrouting priority 100; policy accept;\n\
             \t\toifname $vpn_if ip saddr != $vpn_local masquerade\n\
             \t}\n",
        );
    }
    if let Some(clamp) = mss {
        let (v4, v6) = clamp.sizes()?;
        text.push_str("\tchain pptpctl_mss {\n\t\ttype filter hook forward priority -150; policy accept;\n");
        for way in ["oifname", "iifname"] {
            for (family, size) in [("ipv4", v4), ("ipv6", v6)] {
                let _infallible = writeln!(
                    text,
                    "\t\t{way} $vpn_if meta nfproto {family} tcp flags & (fin | syn | rst) == syn \
                     tcp option maxseg size set {size}"
                );
            }
        }
        text.push_str("\t}\n");
    }
    if let Some(file) = file {
        let _infallible = writeln!(text, "\tinclude \"{}\"", file.display());
    }
    text.push_str("}\n");
    Some(text)
}

/// Returns the table of [`FirewallStep::Helper`]. The helper is assigned after the kernel has looked the connection up
/// (priority -200) and before the host's filters.
fn helper_text(table: &str, server: IpAddr, ports: &[u16]) -> Option<String> {
    let removal = nft_removal("ip", table);
    let ports = joined(ports);
    Some(format!(
        "{removal}table ip {table} {{\n\
         \tct helper pptp {{\n\t\ttype \"pptp\" protocol tcp;\n\t}}\n\
         \tchain output {{\n\
         \t\ttype filter hook output priority -150; policy accept;\n\
         \t\tip daddr {server} tcp dport {{ {ports} }} ct helper set \"pptp\"\n\
         \t}}\n}}\n"
    ))
}

fn joined(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns the input of nft(8) that deletes a table, whether or not it exists.
#[must_use]
pub fn nft_removal(family: &str, table: &str) -> String {
    format!("table {family} {table}\ndelete table {family} {table}\n")
}

impl PfRules {
    /// Returns the rules for the standard input of pfctl(8); `None` for a file, which pfctl reads itself.
    #[must_use]
    pub const fn text(&self) -> Option<&'static str> {
        match self {
            Self::File(_) => None,
            Self::Nat => Some("nat on $vpn_if inet from ! ($vpn_if) to any -> ($vpn_if)\n"),
            Self::NatTo => Some("match out on $vpn_if inet from ! ($vpn_if) to any nat-to ($vpn_if)\n"),
        }
    }

    /// Returns the kinds of anchor that the main ruleset must have for these rules to be evaluated.
    #[must_use]
    pub const fn anchors(&self, platform: Platform) -> &'static [&'static str] {
        match (self, platform) {
            (Self::File(_) | Self::NatTo | Self::Nat, Platform::OpenBsd) => &["anchor"],
            (Self::Nat | Self::NatTo, _) => &["nat-anchor"],
            (Self::File(_), _) => &["nat-anchor", "anchor"],
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::File(file) => file,
            Self::Nat | Self::NatTo => Path::new("-"),
        }
    }
}

impl Clamp {
    /// Returns the largest segment over IPv4 and over IPv6 in bytes: the MTU less an IP and a TCP header
    /// without options (RFC 6691 §2). `None` while the MTU is not known.
    fn sizes(&self) -> Option<(u16, u16)> {
        Some(match self {
            Self::Mtu(mtu) => (mtu.known()?.saturating_sub(40), mtu.known()?.saturating_sub(60)),
            Self::Bytes(bytes) => (*bytes, bytes.saturating_sub(20)),
        })
    }
}

impl Macros {
    /// Returns the name and value of each macro; `None` while a value is missing.
    #[must_use]
    pub fn pairs(&self) -> Option<[(&'static str, String); 4]> {
        let missing = self.clone().fill(&Facts::default());
        missing.iter().all(Option::is_none).then(|| self.words())
    }

    fn words(&self) -> [(&'static str, String); 4] {
        [
            ("vpn_if", self.tun.to_string()),
            ("vpn_local", self.local.to_string()),
            ("vpn_peer", self.peer.to_string()),
            ("vpn_server", self.server.to_string()),
        ]
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        vec![
            self.tun.fill(&facts.tun),
            self.local.fill(&facts.local),
            self.peer.fill(&facts.peer),
            self.server.fill(&facts.server),
        ]
    }
}

impl StepKind for FirewallStep {
    fn key(&self) -> Key {
        match self {
            Self::Nft { table, .. } => Key::of("nft", table),
            Self::Helper { table, .. } => Key::of("nft ip", table),
            Self::Pf { anchor, .. } => Key::of("pf", anchor),
        }
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        match self {
            Self::Nft { macros, mss: Some(Clamp::Mtu(mtu)), .. } => {
                let mut open = macros.fill(facts);
                open.push(mtu.fill(&facts.mtu));
                open
            }
            Self::Nft { macros, .. } | Self::Pf { macros, .. } => macros.fill(facts),
            Self::Helper { server, .. } => vec![server.fill(&facts.server)],
        }
    }

    fn line(&self, _platform: Platform) -> String {
        match self {
            Self::Nft { table, file, nat, mss, macros } => {
                let mut parts = Vec::new();
                parts.extend(nat.then(|| "masquerade forwarded packets".to_owned()));
                parts.extend(mss.as_ref().map(|clamp| match clamp {
                    Clamp::Mtu(mtu) => format!("MSS for MTU {mtu}"),
                    Clamp::Bytes(bytes) => format!("MSS {bytes}"),
                }));
                parts.extend(file.as_ref().map(|file| format!("include \"{}\"", file.display())));
                let defines: Vec<String> =
                    macros.words().iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("nft add table inet {table}: {} ({})", parts.join(", "), defines.join(" "))
            }
            Self::Helper { table, server, ports } => {
                format!(
                    "nft add table ip {table}: ct helper \"pptp\" for TCP to {server} port {}",
                    joined(ports)
                )
            }
            Self::Pf { anchor, rules, macros } => {
                let macros: String = macros
                    .words()
                    .iter()
                    .fold(String::new(), |text, (name, value)| format!("{text} -D {name}={value}"));
                let said = rules.text().map_or_else(String::new, |text| format!(": {}", text.trim_end()));
                format!("pfctl -a {anchor}{macros} -f {}{said}", rules.path().display())
            }
        }
    }

    fn undo_line(&self, _platform: Platform) -> Option<String> {
        Some(match self {
            Self::Nft { table, .. } => format!("nft delete table inet {table}"),
            Self::Helper { table, .. } => format!("nft delete table ip {table}"),
            Self::Pf { anchor, macros, .. } => {
                let Macros { tun, local, .. } = macros;
                format!("pfctl -a {anchor} -F all; the states of {tun} and {local} are killed")
            }
        })
    }

    fn traits(&self) -> StepTraits {
        // Filters must stay in force while a lost device is replaced.
        StepTraits { only_while_up: true, ..StepTraits::OF_HOST }
    }
}

impl FirewallStep {
    /// Returns a note if NAT is set on a host that does not forward packets.
    pub(super) fn note(&self, facts: &Facts) -> Option<String> {
        let nat = match self {
            Self::Nft { nat, .. } => *nat,
            Self::Helper { .. } => false,
            Self::Pf { rules, .. } => !matches!(rules, PfRules::File(_)),
        };
        let key = match self {
            Self::Nft { .. } | Self::Helper { .. } => "net.ipv4.ip_forward",
            Self::Pf { .. } => "net.inet.ip.forwarding",
        };
        (nat && facts.forwarding == Some(false)).then(|| {
            format!("nat = true, but this host does not forward packets: `sysctl {key}=1` enables it")
        })
    }
}

#[cfg(test)]
mod tests;
