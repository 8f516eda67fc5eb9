//! The list of the keys that a `[profile.NAME]` table may contain, and those that this version does not
//! implement yet.
//!
//! [`KEYS`] is the only place that states a key's path, kind, range, default and help. The reader (`tree`)
//! takes ranges and defaults from it; tests compare the manual page and the example with it. Implementing a
//! key removes its row from [`GATE`]; the reader needs no change.

use std::time::Duration;

use Absent::{Error, Is, Unset};
use Kind::{Flag, List, Number, Text, Texts, Time, Word, Words};
use toml::de::DeValue;

use super::values::{
    AUTH, BACKENDS, COLLISIONS, CONNTRACKS, DATA_PATHS, DEFAULT_MODES, DNS_BACKENDS, LEAKS, QUIRKS, RUN_AS,
    SANDBOXES, names,
};

/// A key.
pub struct Key {
    /// The full path.
    pub path: &'static str,
    /// The type of the value. If the key has children, a table of them may stand in its place; for `routes`,
    /// in the place of an element.
    pub kind: Kind,
    /// What it means if the key is absent.
    pub absent: Absent,
    /// What the key sets, one line.
    pub help: &'static str,
}

/// The type of a value.
#[derive(Clone, Copy)]
pub enum Kind {
    /// true or false.
    Flag,
    /// A number from the first to the second, or one of the words.
    Number(u32, u32, &'static [&'static str]),
    /// A length of time (`"300ms"`) from the first to the second, or one of the words.
    Time(Duration, Duration, &'static [&'static str]),
    /// One of the words.
    Word(&'static [&'static str]),
    /// One of the words, or a list of them.
    Words(&'static [&'static str]),
    /// A string; its parser is in the reader.
    Text,
    /// A string as for `Text`, or a list of them.
    Texts,
    /// A list of strings.
    List,
}

/// The meaning of an absent key.
#[derive(Clone, Copy)]
pub enum Absent {
    /// The same as this value, which is without quotes if it is a string.
    Is(&'static str),
    /// Nothing is set.
    Unset,
    /// An error in the table that the key belongs to, with the advice.
    Error(&'static str),
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The limit of a phase.
const PHASE: Kind = Time(ms(100), HOUR, &[]);

/// All keys, in the order of the manual page. A table appears through its children.
pub const KEYS: &[Key] = &[
    key("server", Texts, Error("add server = \"vpn.example.net\""), "HOST or HOST:PORT, tried in order"),
    key("phone", Text, Unset, "phone number or other text in the call request"),
    key("quirks", Word(&names(&QUIRKS)), Is("none"), "workaround for a deviation from RFC 2637"),
    key("localbind", Text, Unset, "source address of control connection and GRE"),
    key("logstring", Text, Unset, "prefix of each log line instead of the profile's name"),
    key("loglevel", Number(0, 2, &[]), Is("1"), "0: errors, 1: also the phases, 2: also every message"),
    key("missing-window", Number(300, 0x7fff_ffff, &[]), Unset, "packets this far ahead are dropped"),
    key("transmit-window", Flag, Is("false"), "whether the server's receive window is obeyed"),
    key("timeouts.resolve", PHASE, Is("10s"), "looking up the name of a server"),
    key("timeouts.connect", PHASE, Is("10s"), "TCP connection to one address"),
    key("timeouts.control", PHASE, Is("10s"), "reply to the Start-Control-Connection-Request"),
    key("timeouts.call", PHASE, Is("30s"), "reply to the Outgoing-Call-Request"),
    key("timeouts.gre", PHASE, Is("10s"), "first GRE packet (IP protocol 47) after the call is up"),
    key("timeouts.lcp", PHASE, Is("30s"), "opening LCP"),
    key("timeouts.auth", PHASE, Is("30s"), "authentication"),
    key("timeouts.network", PHASE, Is("30s"), "negotiation of encryption and addresses"),
    key("timeouts.stop", Time(ms(100), ms(60_000), &[]), Is("3s"), "each wait of a graceful shutdown"),
    key(
        "timeouts.reorder",
        Time(ms(10), ms(10_000), &["off"]),
        Is("300ms"),
        "longest wait for an earlier packet",
    ),
    key("timeouts.idle-wait", Time(SECOND, DAY, &["off", "0s"]), Is("60s"), "silence before an echo request"),
    key("timeouts.max-echo-wait", Time(SECOND, HOUR, &[]), Is("60s"), "wait for an echo reply"),
    key("user", Text, Error("add user = \"…\""), "name of the user, or DOMAIN\\name"),
    key("domain", Text, Unset, "domain of the user"),
    key("password", Text, Unset, "the password itself, or a table with its source; asked for if absent"),
    key("password.file", Text, Unset, "absolute path of a file that contains only the password"),
    key("password.command", List, Unset, "program and arguments that print the password"),
    key("password.run-as", Word(&names(&RUN_AS)), Is("root"), "user that password.command runs as"),
    key("password.fd", Number(0, 1023, &[]), Unset, "inherited descriptor; the password is its first line"),
    key("password.credential", Text, Unset, "name of a systemd credential (LoadCredential=)"),
    key("password.ask", Flag, Is("false"), "whether `up` asks for the password at the terminal"),
    key("auth", Words(&names(&AUTH)), Is("mschapv2"), "accepted authentication protocols"),
    key("mppe", Text, Is("require-128"), "off, allow, require-40, -56 or -128; \"+stateful\" may follow"),
    key("ppp.backend", Word(&names(&BACKENDS)), Is("builtin"), "implementation of PPP"),
    key("ppp.options", List, Unset, "further options for pppd, or commands for ppp"),
    key("ppp.label", Text, Unset, "label of ppp.conf that ppp(8) reads first"),
    key("ppp.lcp-echo-interval", Time(SECOND, HOUR, &["off"]), Is("15s"), "time between LCP echoes"),
    key("ppp.lcp-echo-failure", Number(1, 100, &[]), Is("4"), "unanswered LCP echoes that end the link"),
    key("ppp.mru", Number(576, 1500, &[]), Unset, "largest packet that the server may send, in bytes"),
    key("ppp.ipv6", Flag, Is("false"), "whether IPv6 is negotiated"),
    key("unit", Number(0, 9999, &[]), Unset, "number N of tunN"),
    key("mtu", Number(576, 1500, &["auto"]), Is("auto"), "MTU of the tunnel device, in bytes"),
    key(
        "data-path",
        Word(&names(&DATA_PATHS)),
        Is("auto"),
        "who moves the packets: the engine or Linux itself",
    ),
    key("routes", List, Unset, "prefixes that are reached through the tunnel"),
    key("routes.to", Text, Error("add `to`"), "prefix of the route"),
    key("routes.metric", Number(0, u32::MAX, &[]), Unset, "metric of the route"),
    key("routes.table", Number(1, u32::MAX, &[]), Unset, "number of a routing table, not 255"),
    key("routes.label", Text, Unset, "label of the route (OpenBSD)"),
    key("peer-routes", Flag, Is("false"), "whether the server is asked for routes"),
    key("exclude", List, Unset, "prefixes that stay outside the tunnel"),
    key("collision", Word(&names(&COLLISIONS)), Is("refuse"), "route that is a network of this host already"),
    key("default", Flag, Is("false"), "whether all traffic goes through the tunnel"),
    key("default.mode", Word(&names(&DEFAULT_MODES)), Error("add `mode`"), "how the default route is set"),
    key("leak", Word(&names(&LEAKS)), Is("allow"), "\"block\" is the kill switch"),
    key("dns", Word(&["none", "peer"]), Is("none"), "resolvers that are used while the tunnel is up"),
    key("dns.servers", Texts, Is("peer"), "addresses of resolvers, or \"peer\""),
    key("dns.domains", Texts, Unset, "domains whose names these resolvers are asked for"),
    key("dns.search", Texts, Unset, "domains that are appended to short names"),
    key("dns.backend", Word(&names(&DNS_BACKENDS)), Is("auto"), "service that sets the host's resolvers"),
    key("pf.anchor", Text, Error("add `anchor`"), "anchor of pf(4)"),
    key("pf.file", Text, Unset, "absolute path of the anchor's rules"),
    key("nftables.file", Text, Error("add `file`"), "absolute path of rules for nft(8)"),
    key(
        "conntrack",
        Word(&names(&CONNTRACKS)),
        Is("off"),
        "\"helper\" makes stateful rules know the call's GRE (Linux)",
    ),
    key("nat", Flag, Is("false"), "whether forwarded traffic is masqueraded"),
    key("mss", Number(576, 1500, &["auto", "off"]), Is("auto"), "largest TCP segment, in bytes"),
    key("hooks.up", List, Unset, "program and arguments that are run when the tunnel is up"),
    key("hooks.down", List, Unset, "program and arguments that are run before it is taken down"),
    key("hooks.timeout", Time(SECOND, HOUR, &[]), Is("30s"), "time limit of each hook"),
    key(
        "link.manage",
        Flag,
        Is("true"),
        "whether routes, resolvers and rules are pptpctl's, or another program's",
    ),
    key("link.netns", Text, Unset, "network namespace of the tunnel device (Linux)"),
    key("link.rdomain", Number(1, 255, &[]), Unset, "routing domain of the tunnel device (OpenBSD)"),
    key("link.fib", Number(1, 65_535, &[]), Unset, "routing table of the tunnel device (FreeBSD)"),
    key("link.rtlabel", Text, Unset, "label of each route into the tunnel (OpenBSD)"),
    key("link.gre-allow", Flag, Is("false"), "whether sysctl net.inet.gre.allow is set (OpenBSD)"),
    key("retry.first", PHASE, Is("1s"), "wait before a lost tunnel is dialled again, doubled each time"),
    key("retry.max", Time(ms(100), DAY, &[]), Is("60s"), "longest wait between two attempts"),
    key("retry.attempts", Number(0, 1_000_000, &[]), Unset, "consecutive failures that end the tunnel"),
    key("retry.forever", Flag, Is("true"), "whether to try again without a limit"),
    key("retry.jitter", Text, Is("20%"), "largest random change of each wait, \"0%\" to \"100%\""),
    key("retry.from-start", Flag, Is("false"), "whether the first attempts are repeated too"),
    key("retry.keep-routes", Flag, Is("true"), "whether routes and filter rules stay while it is lost"),
    key("control.group", Text, Unset, "group that may read the status"),
    key("sandbox", Word(&names(&SANDBOXES)), Is("strict"), "restrictions that the kernel refuses"),
    key("autostart", Flag, Is("false"), "whether `pptpctl up --autostart` brings the tunnel up"),
];

const fn key(path: &'static str, kind: Kind, absent: Absent, help: &'static str) -> Key {
    Key { path, kind, absent, help }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Returns the key with this path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Returns the default of a key, if it has one.
pub(super) fn default(path: &str) -> Option<&'static str> {
    match find(path)?.absent {
        Is(value) => Some(value),
        Unset | Error(_) => None,
    }
}

/// Returns the keys that a table must contain, with the advice for each; `""` is the profile itself.
pub(super) fn required(table: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().filter_map(move |key| {
        let (parent, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        match key.absent {
            Error(advice) if parent == table => Some((name, advice)),
            _ => None,
        }
    })
}

/// A key of the schema that this version does not implement.
pub struct UnsupportedKey {
    /// The full path of the key or table.
    pub key: &'static str,
    /// The values that are implemented: strings as they are, booleans as `true` and `false`.
    pub works: &'static [&'static str],
    /// The missing feature, as the end of a sentence.
    pub missing: &'static str,
}

/// The keys that are rejected with "not supported yet" instead of being ignored.
pub const GATE: &[UnsupportedKey] = &[];

/// Returns the gate that rejects this value of the key.
pub(super) fn gate(key: &str, value: &DeValue<'_>) -> Option<&'static UnsupportedKey> {
    let gate = GATE.iter().find(|gate| gate.key == key)?;
    let works = match value {
        DeValue::String(text) => gate.works.contains(&text.as_ref()),
        DeValue::Boolean(true) => gate.works.contains(&"true"),
        DeValue::Boolean(false) => gate.works.contains(&"false"),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => false,
    };
    (!works).then_some(gate)
}

/// Returns the names of the keys in a table; `""` is the profile itself.
pub(super) fn children(table: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for name in child_names(table) {
        // Those of one table are next to each other.
        if names.last() != Some(&name) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Returns whether a table has a key of this name.
pub(super) fn is_child(table: &str, name: &str) -> bool {
    child_names(table).any(|child| child == name)
}

/// Returns the names of [`children`], some of them more than once.
fn child_names(table: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(move |Key { path, .. }| {
        let rest = if table.is_empty() {
            Some(*path)
        } else {
            path.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'))
        };
        rest.and_then(|rest| rest.split('.').next())
    })
}

/// Returns whether a key of the profile may be written as a table.
pub(super) fn is_table(key: &str) -> bool {
    child_names(key).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_unique_next_segments() {
        assert_eq!(children("default"), ["mode"]);
        assert_eq!(children("password"), ["file", "command", "run-as", "fd", "credential", "ask"]);
        let top = children("");
        assert_eq!(top.iter().filter(|name| **name == "ppp").count(), 1);
        assert!(top.contains(&"timeouts") && !top.contains(&"reorder"));
        assert!(children("ser").is_empty());
    }

    #[test]
    fn every_gate_names_a_key_or_table_of_the_schema() {
        for gate in GATE {
            assert!(find(gate.key).is_some() || is_table(gate.key), "{}", gate.key);
        }
    }
}
