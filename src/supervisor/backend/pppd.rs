//! Options file of pppd(8).
//!
//! Options that the user may override come first, then `ppp.options`, then those that must hold: with pppd
//! the last occurrence counts. pppd reads the file from a pipe, so that the password is in no file, argument
//! or environment. It reads /etc/ppp/options before that; Debian's settings there are overridden where they
//! do harm.

use zeroize::Zeroizing;

use super::{link_name, sizes, user};
use crate::{
    profile::{AuthProtocol, Demand, DnsServers, LogLevel, Profile, Strength},
    secret::Secret,
};

/// Path of pppd on every Linux distribution.
pub const PROGRAM: &str = "/usr/sbin/pppd";

/// The option that refuses each protocol.
const REFUSALS: [(AuthProtocol, &str); 4] = [
    (AuthProtocol::Pap, "refuse-pap"),
    (AuthProtocol::ChapMd5, "refuse-chap"),
    (AuthProtocol::MsChapV1, "refuse-mschap"),
    (AuthProtocol::MsChapV2, "refuse-mschap-v2"),
];

/// Returns the options, for display if there is no `password`. `limit` is the largest PPP information field
/// that the path carries, in bytes.
#[must_use]
pub fn options(profile: &Profile, password: Option<&Secret>, limit: u16) -> Zeroizing<Vec<u8>> {
    let mut out = Writer::default();
    let (mtu, mru) = sizes(profile, limit);
    out.option("mtu", &[&mtu.to_string()]);
    out.option("mru", &[&mru.to_string()]);
    let (interval, failures) =
        profile.ppp.echo.map_or((0, 0), |echo| (echo.interval.as_secs().max(1), echo.failures));
    out.option("lcp-echo-interval", &[&interval.to_string()]);
    out.option("lcp-echo-failure", &[&failures.to_string()]);
    // pptpd starts a pppd for each call, which receives nothing that arrived before it ran. The first
    // retransmission therefore follows after 1 s instead of 3 s; the total of 30 s is pppd's default.
    out.option("lcp-restart", &["1"]);
    out.option("lcp-max-configure", &["30"]);
    // Compression before encryption gains nothing, and GRE loses packets, which these algorithms cannot
    // tolerate.
    for flag in ["nobsdcomp", "nodeflate", "novj"] {
        out.option(flag, &[]);
    }
    if profile.loglevel == LogLevel::Verbose {
        out.option("debug", &[]);
    }
    out.option("ipparam", &[profile.name.as_str()]);
    for word in &profile.ppp.options {
        out.word(word);
        out.end();
    }
    // Options that must hold.
    for flag in ["nodetach", "nolock", "nopersist", "noproxyarp", "nodefaultroute", "noipdefault"] {
        out.option(flag, &[]);
    }
    out.option("logfd", &["1"]);
    out.option("maxfail", &["1"]);
    out.option("linkname", &[&link_name(profile)]);
    if let Some(unit) = profile.unit {
        // If the number is taken, `unit` alone falls back to another one; a name that is taken makes pppd
        // exit.
        out.option("unit", &[&unit.to_string()]);
        out.option("ifname", &[&format!("ppp{unit}")]);
    }
    out.option("ipcp-accept-local", &[]);
    out.option("ipcp-accept-remote", &[]);
    out.option(if profile.ppp.ipv6 { "+ipv6" } else { "noipv6" }, &[]);
    if matches!(profile.dns.servers, DnsServers::Peer) {
        out.option("usepeerdns", &[]);
    }
    out.option("noauth", &[]);
    out.option("refuse-eap", &[]);
    for (protocol, refusal) in REFUSALS {
        if !profile.auth.contains(&protocol) {
            out.option(refusal, &[]);
        }
    }
    for flag in mppe(profile) {
        out.option(flag, &[]);
    }
    out.option("user", &[&user(profile)]);
    out.option("remotename", &[&link_name(profile)]);
    out.option("hide-password", &[]);
    match password {
        Some(password) => {
            out.bare("password ");
            out.quote(password.expose());
            out.end();
        }
        None => {
            out.bare("password ");
            out.bare(super::HIDDEN);
            out.end();
        }
    }
    out.0
}

/// Returns pppd's options for the MPPE policy. Policies that pppd cannot express are refused when the profile
/// is read.
fn mppe(profile: &Profile) -> &'static [&'static str] {
    let stateful = profile.mppe.stateful;
    match (profile.mppe.demand, profile.mppe.min, stateful) {
        (Demand::Off | Demand::Allow, _, _) => &["nomppe", "noccp"],
        (Demand::Require, Strength::Bits40, false) => &["require-mppe", "nomppe-stateful"],
        (Demand::Require, Strength::Bits40, true) => &["require-mppe", "mppe-stateful"],
        (Demand::Require, _, false) => &["require-mppe-128", "nomppe-40", "nomppe-stateful"],
        (Demand::Require, _, true) => &["require-mppe-128", "nomppe-40", "mppe-stateful"],
    }
}

#[derive(Default)]
struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    fn option(&mut self, name: &str, values: &[&str]) {
        self.bare(name);
        for value in values {
            self.bare(" ");
            self.word(value);
        }
        self.end();
    }

    /// Writes a word so that pppd reads it back unchanged.
    fn word(&mut self, word: &str) {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.,:/+=@".contains(b);
        if !word.is_empty() && word.bytes().all(|byte| plain(&byte)) {
            self.bare(word);
        } else {
            self.quote(word.as_bytes());
        }
    }

    /// Writes `bytes` in quotes, all but ASCII letters and digits as three octal digits, so that no quote,
    /// backslash, `#`, blank or non-ASCII byte has a special meaning to pppd (its getword).
    fn quote(&mut self, bytes: &[u8]) {
        // A reallocation leaves a copy of the password in memory.
        self.0.reserve(4 * bytes.len() + 8);
        self.0.push(b'"');
        for byte in bytes {
            if byte.is_ascii_alphanumeric() {
                self.0.push(*byte);
            } else {
                self.0.extend([b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
            }
        }
        self.0.push(b'"');
    }

    fn bare(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn end(&mut self) {
        self.0.push(b'\n');
    }
}
