//! Parsers from the text of one value to its type. The error of each function is advice on the right form,
//! which is printed beside the caret.

use std::{net::Ipv4Addr, net::Ipv6Addr, path::PathBuf, time::Duration};

use ipnet::IpNet;

use super::{
    AuthProtocol, Conntrack, DataPath, DefaultRoute, Demand, DnsBackend, Host, Leak, OnCollision, Policy,
    PppBackend, Quirks, RunAs, SandboxMode, Server, Strength, nearest::nearest,
};

/// Advice on the right form of a value.
pub(super) type Advice = String;

/// The words of an enumeration, with the values.
pub(super) type Keywords<T, const N: usize> = [(&'static str, T); N];

pub(super) const QUIRKS: Keywords<Quirks, 2> =
    [("none", Quirks::None), ("BEZEQ_ISRAEL", Quirks::BezeqIsrael)];
/// `None` is a server that asks for no authentication.
pub(super) const AUTH: Keywords<Option<AuthProtocol>, 5> = [
    ("mschapv2", Some(AuthProtocol::MsChapV2)),
    ("mschap", Some(AuthProtocol::MsChapV1)),
    ("chap", Some(AuthProtocol::ChapMd5)),
    ("pap", Some(AuthProtocol::Pap)),
    ("none", None),
];
pub(super) const BACKENDS: Keywords<PppBackend, 3> =
    [("builtin", PppBackend::Builtin), ("pppd", PppBackend::Pppd), ("ppp", PppBackend::Ppp)];
pub(super) const DEFAULT_MODES: Keywords<DefaultRoute, 4> = [
    ("auto", DefaultRoute::Auto),
    ("policy", DefaultRoute::Policy),
    ("halves", DefaultRoute::Halves),
    ("replace", DefaultRoute::Replace),
];
pub(super) const COLLISIONS: Keywords<OnCollision, 3> =
    [("refuse", OnCollision::Refuse), ("keep-lan", OnCollision::KeepLan), ("tunnel", OnCollision::Tunnel)];
pub(super) const LEAKS: Keywords<Leak, 2> = [("allow", Leak::Allow), ("block", Leak::Block)];
pub(super) const RUN_AS: Keywords<RunAs, 2> = [("root", RunAs::Root), ("invoker", RunAs::Invoker)];
pub(super) const DATA_PATHS: Keywords<DataPath, 3> =
    [("auto", DataPath::Auto), ("kernel", DataPath::Kernel), ("userland", DataPath::Userland)];
pub(super) const SANDBOXES: Keywords<SandboxMode, 2> =
    [("strict", SandboxMode::Strict), ("best-effort", SandboxMode::BestEffort)];
pub(super) const CONNTRACKS: Keywords<Conntrack, 2> =
    [("off", Conntrack::Off), ("helper", Conntrack::Helper)];
pub(super) const DNS_BACKENDS: Keywords<DnsBackend, 6> = [
    ("auto", DnsBackend::Auto),
    ("resolved", DnsBackend::Resolved),
    ("resolvconf", DnsBackend::Resolvconf),
    ("resolvd", DnsBackend::Resolvd),
    ("unwind", DnsBackend::Unwind),
    ("file", DnsBackend::File),
];
const MPPE: Keywords<(Demand, Strength), 5> = [
    ("off", (Demand::Off, Strength::Bits40)),
    ("allow", (Demand::Allow, Strength::Bits40)),
    ("require-40", (Demand::Require, Strength::Bits40)),
    ("require-56", (Demand::Require, Strength::Bits56)),
    ("require-128", (Demand::Require, Strength::Bits128)),
];

/// Returns the words alone.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it; both arrays have N elements")]
pub(super) const fn names<T: Copy, const N: usize>(words: &Keywords<T, N>) -> [&'static str; N] {
    let mut names = [""; N];
    let mut at = 0;
    while at < N {
        names[at] = words[at].0;
        at += 1;
    }
    names
}

/// Formats words for a message: in quotes, separated by commas.
pub(super) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// Returns the value of a word, which must be spelt exactly.
pub(super) fn keyword<T: Copy, const N: usize>(text: &str, words: &Keywords<T, N>) -> Result<T, Advice> {
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let list = quoted(&names(words));
    Err(match nearest(text, names(words)) {
        Some(name) => format!("did you mean \"{name}\"? known are {list}"),
        None => format!("known are {list}"),
    })
}

/// Returns the word of a value; empty if it has none.
pub(super) fn word<T: PartialEq>(value: T, words: &[(&'static str, T)]) -> &'static str {
    words.iter().find(|(_, one)| *one == value).map_or("", |(name, _)| name)
}

impl DefaultRoute {
    /// Returns the name in profiles.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(self, &DEFAULT_MODES)
    }
}

/// Parses `off`, `allow`, `require-40`, `require-56` or `require-128`, the last four optionally with
/// `+stateful`.
pub(super) fn mppe(text: &str) -> Result<Policy, Advice> {
    let (text, stateful) = text.strip_suffix("+stateful").map_or((text, false), |text| (text, true));
    let (demand, min) = keyword(text, &MPPE)
        .map_err(|advice| format!("{advice}; \"+stateful\" may follow, \"stateless\" is the default"))?;
    if stateful && demand == Demand::Off {
        return Err("\"off\" has no \"+stateful\"".to_owned());
    }
    Ok(Policy { demand, min, max: Strength::Bits128, stateful })
}

/// Formats a policy for [`mppe`].
#[must_use]
pub fn mppe_text(policy: Policy) -> String {
    let stateful = if policy.stateful { "+stateful" } else { "" };
    match policy.demand {
        Demand::Off => "off".to_owned(),
        Demand::Allow => format!("allow{stateful}"),
        Demand::Require => format!("require-{}{stateful}", policy.min.bits()),
    }
}

/// Parses a whole number and its unit: `ms`, `s`, `m` or `h`.
pub(super) fn duration(text: &str) -> Result<Duration, Advice> {
    let advice = || "a whole number and ms, s, m or h, like \"300ms\", \"10s\", \"2m\"".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(advice)?;
    let number: u64 = number.parse().map_err(|_| advice())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(advice()),
    };
    millis.map(Duration::from_millis).ok_or_else(advice)
}

/// Formats a duration for [`duration`], in the largest unit that fits.
pub(super) fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        m if m > 0 && m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m > 0 && m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1_000 == 0 => format!("{}s", m / 1_000),
        m => format!("{m}ms"),
    }
}

/// Parses `HOST` or `HOST:PORT`, where the host is a name or an IPv4 address.
pub(super) fn server(text: &str) -> Result<Server, Advice> {
    if text.starts_with('[') || text.parse::<Ipv6Addr>().is_ok() {
        return Err("PPTP runs over IPv4: a host name or an IPv4 address".to_owned());
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => {
            let valid = port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse::<u16>().ok().filter(|port| valid && *port != 0);
            (host, port.ok_or_else(|| "after the colon comes a port, 1 to 65535".to_owned())?)
        }
        None => (text, Server::PORT),
    };
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return match address {
            a if a.is_unspecified() || a.is_broadcast() || a.is_multicast() => {
                Err("the address of one host".to_owned())
            }
            a => Ok(Server { host: Host::Address(a), port }),
        };
    }
    Ok(Server { host: Host::Name(domain(host)?), port })
}

/// Parses a domain name in its ASCII form (RFC 1123 §2.1, and underscores, which are in use).
pub(super) fn domain(text: &str) -> Result<String, Advice> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err("a host name, not nothing".to_owned());
    }
    if !name.is_ascii() {
        return Err("the name in its ASCII form (xn--…)".to_owned());
    }
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(good) {
        return Err("letters, digits, dashes and dots, like \"vpn.example.net\"".to_owned());
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err("this ends like an IPv4 address and is none: four numbers from 0 to 255".to_owned());
    }
    Ok(name.to_ascii_lowercase())
}

/// Parses a prefix whose host bits are zero; an address alone is a prefix of full length.
pub(super) fn prefix(text: &str) -> Result<IpNet, Advice> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => match text.parse::<std::net::IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => return Err("an address and a prefix length, like \"10.42.0.0/16\"".to_owned()),
        },
    };
    if net != net.trunc() {
        return Err(format!("bits are set behind the prefix length: did you mean \"{}\"?", net.trunc()));
    }
    Ok(net)
}

/// Parses an IPv4 address that can be one of this host.
pub(super) fn local_address(text: &str) -> Result<Ipv4Addr, Advice> {
    match text.parse::<Ipv4Addr>() {
        Ok(a) if !(a.is_unspecified() || a.is_broadcast() || a.is_multicast()) => Ok(a),
        Ok(_) | Err(_) => Err("an IPv4 address of this host, like \"192.0.2.7\"".to_owned()),
    }
}

pub(super) fn address(text: &str) -> Result<std::net::IpAddr, Advice> {
    text.parse().map_err(|_| "an IP address".to_owned())
}

/// Accepts text that fits into an Outgoing-Call-Request.
pub(super) fn phone(text: &str) -> Result<String, Advice> {
    if text.is_ascii() { printable(text, 64) } else { Err("1 to 64 ASCII characters".to_owned()) }
}

/// Accepts text that is safe in a message or a log line: 1 to `max` bytes, no control characters.
/// Advice for a backslash in a string in double quotes.
pub(super) const ESCAPE_ADVICE: &str = r"in double quotes a backslash begins an escape: write the value in single quotes, or each backslash twice";

/// The same for a user with a domain, such as "CORP\bob".
pub(super) const DOMAIN_ADVICE: &str = r#"in double quotes a backslash begins an escape: write user = 'CORP\alice', "CORP\\alice", or domain = "CORP" and user = "alice""#;

pub(super) fn printable(text: &str, max: usize) -> Result<String, Advice> {
    if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
        return Err(format!("1 to {max} bytes without control characters"));
    }
    Ok(text.to_owned())
}

pub(super) fn path(text: &str) -> Result<PathBuf, Advice> {
    if !text.starts_with('/') || text.contains('\0') {
        return Err("an absolute path, beginning with /".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// Parses the path of a rules file, which is quoted in an `include` of nft(8), where patterns are expanded
/// too.
pub(super) fn rules_file(text: &str) -> Result<PathBuf, Advice> {
    if text
        .chars()
        .any(|c| c.is_control() || matches!(c, '"' | '\\' | '*' | '?' | '[' | ']' | '{' | '}' | '~'))
    {
        return Err("an absolute path without quotes, backslashes, braces or patterns".to_owned());
    }
    path(text)
}

/// Parses the name of an anchor; pfctl(8) reserves names that begin with `_`.
pub(super) fn anchor(text: &str) -> Result<String, Advice> {
    if text.split('/').any(|part| part.is_empty() || part.starts_with('_')) {
        return Err("a name whose parts begin with a letter or a digit".to_owned());
    }
    plain_name(text)
}

/// Parses the name of a network namespace of ip-netns(8): one file name.
pub(super) fn netns(text: &str) -> Result<String, Advice> {
    plain_name(text)
        .ok()
        .filter(|name| !name.contains('/'))
        .ok_or_else(|| "the name of a network namespace, as `ip netns` shows it".to_owned())
}

/// Parses the label of a route for route(8) and pf.conf(5): RTLABEL_LEN is 32 with the terminating NUL.
/// Accepts only characters that need no escape between quotes in pf.conf(5).
pub(super) fn route_label(text: &str) -> Result<String, Advice> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':' | b'/');
    if !(1..=31).contains(&text.len()) || !text.bytes().all(good) {
        return Err("1 to 31 letters, digits or any of . _ - : /".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses the name of a systemd credential: one file name.
pub(super) fn credential(text: &str) -> Result<String, Advice> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@' | b':');
    if text.is_empty() || text.len() > 255 || text == "." || text == ".." || !text.bytes().all(good) {
        return Err("the name after LoadCredential=, without a path".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses the name of a group, as in group(5).
pub(super) fn group(text: &str) -> Result<String, Advice> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'$');
    if !(1..=64).contains(&text.len()) || text.starts_with('-') || !text.bytes().all(good) {
        return Err("the name of a group, as in /etc/group".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses `"0%"` to `"100%"`.
pub(super) fn percent(text: &str) -> Result<u8, Advice> {
    let number = text.strip_suffix('%').filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
    number
        .and_then(|number| number.parse().ok())
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| "\"0%\" to \"100%\"".to_owned())
}

/// Parses the name of a pf anchor or of a network namespace, which becomes an argument or a path.
pub(super) fn plain_name(text: &str) -> Result<String, Advice> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    let bad = text.is_empty() || text.len() > 255 || text.starts_with(['-', '/', '.']) || text.contains("..");
    if bad || !text.bytes().all(good) {
        return Err("a name of letters, digits, dots, dashes and underscores".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_round_trip_through_text(millis: u64, address: std::net::IpAddr, length: u8, v4: Ipv4Addr, port in 1_u16..) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(duration(&format_duration(time)), Ok(time));
            let max = if address.is_ipv4() { 32 } else { 128 };
            let net = IpNet::new(address, length.min(max)).unwrap().trunc();
            prop_assert_eq!(prefix(&net.to_string()), Ok(net));
            prop_assert_eq!(prefix(&address.to_string()), Ok(IpNet::from(address)));
            let one = Server { host: Host::Address(v4), port };
            let nowhere = v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast();
            prop_assert_eq!(server(&one.to_string()).ok(), if nowhere { None } else { Some(one) });
        }

        /// No parser panics, and accepted values round-trip through their text.
        #[test]
        fn parsers_accept_or_reject_arbitrary_text(text in prop_oneof![any::<String>(), "[0-9a-fA-F:./msh%-]{0,24}"]) {
            if let Ok(time) = duration(&text) {
                prop_assert_eq!(duration(&format_duration(time)), Ok(time), "{}", format_duration(time));
            }
            if let Ok(net) = prefix(&text) {
                prop_assert_eq!(prefix(&net.to_string()), Ok(net));
            }
            if let Ok(one) = server(&text) {
                prop_assert_eq!(server(&one.to_string()), Ok(one));
            }
            if let Ok(kept) = printable(&text, 32) {
                prop_assert_eq!(kept, text.clone());
            }
            for refused in [local_address(&text).err(), mppe(&text).err(), percent(&text).err()] {
                prop_assert!(refused.is_none_or(|advice| !advice.is_empty()));
            }
        }
    }

    #[test]
    fn durations_need_a_number_and_a_unit() {
        for (text, millis) in [("300ms", 300), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
        for text in
            ["", "10", "s", "1.5s", "-1s", "10 s", "1m30s", "99999999999999999999s", "9999999999999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_are_names_or_ipv4_addresses() {
        let of = |text: &str| server(text).map(|server| server.to_string());
        assert_eq!(of("VPN.Example.net").unwrap(), "vpn.example.net");
        assert_eq!(of("203.0.113.9:1724").unwrap(), "203.0.113.9:1724");
        assert_eq!(of("localhost:1723").unwrap(), "localhost");
        for bad in [
            "",
            ":1723",
            "a:",
            "a:0",
            "a:+1",
            "a:65536",
            "a b",
            "-a",
            "203.0.113.999",
            "1.2.3",
            "::1",
            "[::1]:1723",
            "0.0.0.0",
            "224.0.0.1",
            "ä.de",
            "a..b",
            "user@host",
        ] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_have_no_host_bits() {
        assert_eq!(prefix("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(prefix("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert!(prefix("10.42.1.0/16").unwrap_err().contains("10.42.0.0/16"));
        for bad in ["10.0.0.0/33", "10.0.0/8", "", "default", "10.0.0.0/255.0.0.0"] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mppe_modes_are_spelt_exactly() {
        for text in [
            "off",
            "allow",
            "allow+stateful",
            "require-40",
            "require-56",
            "require-128",
            "require-128+stateful",
        ] {
            assert_eq!(mppe_text(mppe(text).unwrap()), text);
        }
        assert!(mppe("require128").unwrap_err().contains("did you mean \"require-128\""));
        assert!(mppe("off+stateful").is_err());
        assert!(mppe("required").is_err());
    }

    #[test]
    fn small_values_reject_unsafe_text() {
        assert_eq!(percent("20%"), Ok(20));
        assert!(percent("101%").is_err() && percent("20").is_err() && percent("+5%").is_err());
        assert!(credential("vpn.pw").is_ok() && credential("../x").is_err() && credential("..").is_err());
        assert!(path("/a").is_ok() && path("a").is_err() && path("~/a").is_err());
        assert!(printable("a", 1).is_ok() && printable("ab", 1).is_err() && printable("\n", 9).is_err());
        assert!(
            plain_name("pptpctl/vpn").is_ok() && plain_name("-F").is_err() && plain_name("a/../b").is_err()
        );
        assert!(local_address("192.0.2.1").is_ok() && local_address("0.0.0.0").is_err());
    }
}
