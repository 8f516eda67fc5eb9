//! Finds what looks like an address, a host name, a dump of bytes or a text of the server, without knowing it. Pure.
//!
//! Doubtful cases are found: a report that has too little can be asked for again.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::kind::Kind;

/// A part of a text that is replaced.
pub(super) type Span = (Range<usize>, Kind);

/// Adds what is found in a text.
pub(super) fn find(text: &str, found: &mut Vec<Span>) {
    for run in runs(text, |c| c.is_ascii_digit() || c == '.') {
        ipv4(text, run, found);
    }
    for run in runs(text, |c| c.is_ascii_hexdigit() || matches!(c, ':' | '.')) {
        ipv6_or_mac(text, run, found);
    }
    for run in runs(text, |c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        host(text, run, found);
    }
    for run in runs(text, |c| c.is_ascii_hexdigit() || c == '-') {
        let digits = part(text, &run).bytes().filter(u8::is_ascii_hexdigit).count();
        let has_letters = part(text, &run).contains(|c: char| c.is_ascii_alphabetic());
        if digits >= 32 || (digits >= 16 && digits == run.len() && has_letters) {
            found.push((run, Kind::Hex));
        }
    }
    for run in runs(text, |c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-')) {
        let word = part(text, &run);
        let has = |wanted: fn(&u8) -> bool| word.bytes().any(|byte| wanted(&byte));
        if word.len() >= 24
            && has(u8::is_ascii_digit)
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_uppercase)
        {
            found.push((run, Kind::Base64));
        }
    }
    dumps(text, found);
    for prefix in ["/home/", "/Users/", "/usr/home/", "/var/home/"] {
        for (at, _) in text.match_indices(prefix) {
            let start = at + prefix.len();
            let rest = text.get(start..).unwrap_or_default();
            let length = rest.find(|c: char| c.is_whitespace() || "/:,;\"'`()".contains(c));
            found.push((start..start + length.unwrap_or(rest.len()), Kind::User));
        }
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        peer_text(line, start, found);
        start += line.len();
    }
}

/// Words after which a line has a text of the server or of another program.
const BEFORE_TEXTS: [&str; 8] = [
    ", accepted by ",
    ", accepted: ",
    "the server says: ",
    "the peer says: ",
    " up hook: ",
    " down hook: ",
    "Access granted",
    "authentication succeeded: ",
];

/// Finds texts that come from the server or from a program, to the end of the line.
fn peer_text(line: &str, start: usize, found: &mut Vec<Span>) {
    let end = line.trim_end().len();
    for words in BEFORE_TEXTS {
        if let Some(at) = line.find(words).map(|at| at + words.len()).filter(|at| *at < end) {
            found.push((start + at..start + end, Kind::PeerText));
        }
    }
    if let Some(name) = server_name(line) {
        found.push((start + name.start..start + name.end, Kind::ServerName));
    }
}

/// Returns the name that the server gives itself in `VENDOR firmware N (NAME)`.
fn server_name(line: &str) -> Option<Range<usize>> {
    let (at, words) = line.match_indices(" firmware ").next()?;
    let rest = line.get(at + words.len()..)?;
    let open = rest.find(" (").filter(|open| {
        rest.get(..*open).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    })?;
    let close = rest.rfind(')')?;
    let (from, to) = (at + words.len() + open + 2, at + words.len() + close);
    (from < to).then_some(from..to)
}

/// Returns the names that the servers in a text give themselves.
pub(super) fn server_names(text: &str) -> impl Iterator<Item = &str> {
    let name = |line: &'_ str| server_name(line).map(|range| range.start..range.end);
    text.lines().filter_map(move |line| line.get(name(line)?))
}

/// Returns the longest runs of characters that are `wanted`.
fn runs(text: &str, wanted: impl Fn(char) -> bool) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), '\n')]) {
        let inside = at < text.len() && wanted(c);
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                runs.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    runs
}

fn part<'t>(text: &'t str, range: &Range<usize>) -> &'t str {
    text.get(range.clone()).unwrap_or_default()
}

/// Returns the range without dots at its ends.
fn without_dots(text: &str, run: &Range<usize>) -> Range<usize> {
    let word = part(text, run);
    let from = word.len() - word.trim_start_matches('.').len();
    let to = word.trim_end_matches('.').len();
    run.start + from.min(to)..run.start + to
}

fn ipv4(text: &str, run: Range<usize>, found: &mut Vec<Span>) {
    let run = without_dots(text, &run);
    let word = part(text, &run);
    if word.split('.').filter(|number| !number.is_empty()).count() < 4 {
        return;
    }
    match word.parse::<Ipv4Addr>() {
        Ok(address) if is_common(address, prefix_length(text, run.end)) => {}
        Ok(address) if address.is_private() || address.is_link_local() || is_shared(address) => {
            found.push((run, Kind::Private));
        }
        _ => found.push((run, Kind::Address)),
    }
}

/// Returns the number behind a slash.
fn prefix_length(text: &str, at: usize) -> Option<u8> {
    let digits = text.get(at..)?.strip_prefix('/')?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

/// RFC 6598.
fn is_shared(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 100 && (64..128).contains(&b)
}

/// Returns whether an address says nothing about a host or its network.
fn is_common(address: Ipv4Addr, length: Option<u8>) -> bool {
    let is_block = |octets: [u8; 4], bits: u8| address.octets() == octets && length == Some(bits);
    address.is_loopback()
        || address.is_unspecified()
        || address.is_broadcast()
        || is_block([128, 0, 0, 0], 1)
        || is_block([10, 0, 0, 0], 8)
        || is_block([172, 16, 0, 0], 12)
        || is_block([192, 168, 0, 0], 16)
        || is_block([169, 254, 0, 0], 16)
        || is_block([224, 0, 0, 0], 4)
        || is_netmask(address)
}

fn is_netmask(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    bits.leading_ones() >= 8 && bits.leading_ones() + bits.trailing_zeros() == 32
}

fn ipv6_or_mac(text: &str, run: Range<usize>, found: &mut Vec<Span>) {
    // In the middle of a word, as in `a::b`.
    let before = text.get(..run.start).and_then(|text| text.chars().next_back());
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return;
    }
    let run = without_dots(text, &run);
    let word = part(text, &run);
    let word = if word.ends_with("::") { word } else { word.trim_end_matches(':') };
    let run = run.start..run.start + word.len();
    let groups: Vec<&str> = word.split(':').collect();
    if groups.len() == 6 && groups.iter().all(|group| group.len() == 2) {
        found.push((run, Kind::Mac));
    } else if let Ok(address) = word.parse::<Ipv6Addr>() {
        let is_block = matches!(word, "fe80::" | "fc00::" | "ff00::" | "8000::" | "2000::");
        if !address.is_loopback() && !address.is_unspecified() && !is_block {
            let is_local = address.is_unicast_link_local() || address.is_unique_local();
            found.push((run, if is_local { Kind::Private } else { Kind::Address }));
        }
    } else if word.contains("::") && groups.len() > 3 {
        found.push((run, Kind::Address));
    }
}

/// Ends of file names that stay.
const FILE_ENDS: [&str; 14] = [
    "toml", "conf", "log", "sock", "lock", "status", "ledger", "logins", "pid", "service", "target",
    "socket", "sh", "rs",
];

/// Names of files that stay before one of [`FILE_ENDS`].
const FILES: [&str; 16] = [
    "profiles",
    "resolv",
    "pptpctl",
    "pf",
    "ppp",
    "nsswitch",
    "tun0",
    "tun1",
    "resolved",
    "systemd-resolved",
    "systemd-networkd",
    "NetworkManager",
    "network",
    "hosts",
    "dhcpcd",
    "nftables",
];

/// Beginnings of names of the kernel's settings.
const SETTINGS: [&str; 11] = [
    "net.ipv4.",
    "net.ipv6.",
    "net.inet.",
    "net.inet6.",
    "net.link.",
    "net.netfilter.",
    "net.core.",
    "net.bridge.",
    "kern.",
    "security.",
    "kernel.",
];

/// First words of the names of counters.
const COUNTERS: [&str; 9] = ["gre", "control", "ppp", "drop", "ignored", "mss", "pty", "inform", "io"];

/// Returns whether a name with a dot is that of a counter.
pub(super) fn is_counter(name: &str) -> bool {
    name.split_once('.').is_some_and(|(first, rest)| {
        COUNTERS.contains(&first) && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    })
}

/// Returns whether a name with dots is a word of this program or of the kernel, and that of no host.
fn is_ours(word: &str) -> bool {
    SETTINGS.iter().any(|setting| word.starts_with(setting))
        || is_counter(word)
        || crate::profile::schema::find(word).is_some()
        || matches!(word, "e.g" | "i.e" | "profiles.d" | "in-addr.arpa" | "ip6.arpa")
}

/// Finds names with dots whose last part has letters only, as those of hosts have.
fn host(text: &str, run: Range<usize>, found: &mut Vec<Span>) {
    let run = without_dots(text, &run);
    let word = part(text, &run);
    let labels: Vec<&str> = word.split('.').collect();
    let Some((last, rest)) = labels.split_last().filter(|(_, rest)| !rest.is_empty()) else { return };
    let is_top =
        (last.chars().count() >= 2 && last.chars().all(char::is_alphabetic)) || last.starts_with("xn--");
    if !is_top || rest.iter().any(|label| label.is_empty()) {
        return;
    }
    let is_file = FILE_ENDS.contains(last) && rest.len() == 1 && rest.iter().all(|stem| FILES.contains(stem));
    if !is_file && !is_ours(word) {
        found.push((run, Kind::Host));
    }
}

/// Finds bytes in hexadecimal, each on its own: at least eight.
fn dumps(text: &str, found: &mut Vec<Span>) {
    let words = runs(text, |c| c.is_ascii_alphanumeric());
    let is_byte = |run: &Range<usize>| {
        let word = part(text, run);
        let digits = word.strip_prefix("0x").unwrap_or(word);
        digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut dump: Option<(Range<usize>, usize)> = None;
    let mut end = |dump: &mut Option<(Range<usize>, usize)>| {
        if let Some((range, _)) = dump.take().filter(|(_, count)| *count >= 8) {
            found.push((range, Kind::Hex));
        }
    };
    for run in words {
        if !is_byte(&run) {
            end(&mut dump);
            continue;
        }
        match &mut dump {
            Some((range, count)) if run.start - range.end <= 2 => {
                range.end = run.end;
                *count += 1;
            }
            _ => {
                end(&mut dump);
                dump = Some((run, 1));
            }
        }
    }
    end(&mut dump);
}
