//! The keys that a `[profile.NAME]` table may contain, and those that this version does not implement yet.
//!
//! `read` does the reading; a test compares the manual page with [`KEYS`]. Implementing a key removes its row
//! from [`GATE`]; the reader needs no change.

use toml::de::DeValue;

/// The full path of each key, in the order of the manual page. A table appears through its children.
pub const KEYS: &[&str] = &[
    "server",
    "phone",
    "quirks",
    "localbind",
    "logstring",
    "loglevel",
    "missing-window",
    "timeouts.resolve",
    "timeouts.connect",
    "timeouts.control",
    "timeouts.call",
    "timeouts.gre",
    "timeouts.lcp",
    "timeouts.auth",
    "timeouts.network",
    "timeouts.stop",
    "timeouts.reorder",
    "timeouts.idle-wait",
    "timeouts.max-echo-wait",
    "user",
    "domain",
    "password",
    "password.file",
    "password.command",
    "password.fd",
    "password.credential",
    "auth",
    "mppe",
    "ppp.backend",
    "ppp.options",
    "ppp.label",
    "ppp.lcp-echo-interval",
    "ppp.lcp-echo-failure",
    "ppp.mru",
    "ppp.ipv6",
    "unit",
    "mtu",
    "routes",
    "routes.to",
    "routes.metric",
    "routes.table",
    "routes.label",
    "peer-routes",
    "exclude",
    "default",
    "default.mode",
    "leak",
    "dns",
    "dns.servers",
    "dns.domains",
    "dns.search",
    "dns.backend",
    "pf.anchor",
    "pf.file",
    "nftables.file",
    "nat",
    "mss",
    "hooks.up",
    "hooks.down",
    "hooks.timeout",
    "link.netns",
    "link.rdomain",
    "link.fib",
    "link.rtlabel",
    "link.gre-allow",
    "retry.first",
    "retry.max",
    "retry.attempts",
    "retry.forever",
    "retry.jitter",
    "retry.keep-routes",
    "autostart",
];

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

/// Returns whether this version implements the key, at least for some values.
#[must_use]
pub fn is_supported(key: &str) -> bool {
    !GATE.iter().any(|gate| {
        gate.works.is_empty()
            && (gate.key == key || key.strip_prefix(gate.key).is_some_and(|r| r.starts_with('.')))
    })
}

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
    for key in KEYS {
        let rest = if table.is_empty() {
            Some(*key)
        } else {
            key.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'))
        };
        let name = rest.and_then(|rest| rest.split('.').next());
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// Returns whether a key of the profile may be written as a table.
pub(super) fn is_table(key: &str) -> bool {
    !children(key).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_unique_next_segments() {
        assert_eq!(children("default"), ["mode"]);
        assert_eq!(children("password"), ["file", "command", "fd", "credential"]);
        let top = children("");
        assert_eq!(top.iter().filter(|name| **name == "ppp").count(), 1);
        assert!(top.contains(&"timeouts") && !top.contains(&"reorder"));
        assert!(children("ser").is_empty());
    }

    #[test]
    fn every_gate_names_a_key_or_table_of_the_schema() {
        for gate in GATE {
            assert!(KEYS.contains(&gate.key) || is_table(gate.key), "{}", gate.key);
        }
        assert!(is_supported("leak") && is_supported("retry.first"));
        assert!(is_supported("hooks.up") && is_supported("dns.servers"));
        assert!(GATE.iter().filter(|gate| gate.works.is_empty()).all(|gate| !is_supported(gate.key)));
    }
}
