//! The options of pppd(8), as a file in its own words.
//!
//! What a person may change comes first, then `ppp.options`, then what must hold: with pppd the last word counts. It is
//! read from a pipe, so that the password is in no file, argument or environment. /etc/ppp/options is read by
//! pppd before all of it, and what Debian has in there is undone where it would harm.

use zeroize::Zeroizing;

use super::{link_name, sizes, user};
use crate::{
    profile::{AuthProtocol, DnsServers, LogLevel, MppeMode, MppeStrength, Profile},
    secret::Secret,
};

/// Where pppd is, on every Linux.
pub const PROGRAM: &str = "/usr/sbin/pppd";

/// pppd's own limit for a password, in bytes (MAXSECRETLEN, less its end).
pub const LONGEST_PASSWORD: usize = 255;

/// Each protocol's refusal.
const REFUSALS: [(AuthProtocol, &str); 4] = [
    (AuthProtocol::Pap, "refuse-pap"),
    (AuthProtocol::ChapMd5, "refuse-chap"),
    (AuthProtocol::MsChapV1, "refuse-mschap"),
    (AuthProtocol::MsChapV2, "refuse-mschap-v2"),
];

/// The file. `password` is left out for a person to read; `limit` is what the path carries in one PPP information
/// field, in bytes.
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
    // pptpd starts a pppd for each call, which hears nothing of what came before it was there: the second request
    // should not be three seconds behind the first. Thirty seconds in all, as ever.
    out.option("lcp-restart", &["1"]);
    out.option("lcp-max-configure", &["30"]);
    // Compression before encryption is of no use, and GRE loses what these would need every packet of.
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
    // What must hold.
    for flag in ["nodetach", "nolock", "nopersist", "noproxyarp", "nodefaultroute", "noipdefault"] {
        out.option(flag, &[]);
    }
    out.option("logfd", &["1"]);
    out.option("maxfail", &["1"]);
    out.option("linkname", &[&link_name(profile)]);
    if let Some(unit) = profile.unit {
        // `unit` alone gives way to another number when it is taken; a name that is taken ends pppd.
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

/// pppd's words for the policy; those that it has none for are refused when the profile is read.
fn mppe(profile: &Profile) -> &'static [&'static str] {
    let stateful = profile.mppe.stateful;
    match (profile.mppe.mode, profile.mppe.min, stateful) {
        (MppeMode::Off | MppeMode::Allow, _, _) => &["nomppe", "noccp"],
        (MppeMode::Require, MppeStrength::Bits40, false) => &["require-mppe", "nomppe-stateful"],
        (MppeMode::Require, MppeStrength::Bits40, true) => &["require-mppe", "mppe-stateful"],
        (MppeMode::Require, _, false) => &["require-mppe-128", "nomppe-40", "nomppe-stateful"],
        (MppeMode::Require, _, true) => &["require-mppe-128", "nomppe-40", "mppe-stateful"],
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

    /// A word that pppd reads back as it is.
    fn word(&mut self, word: &str) {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.,:/+=@".contains(b);
        if !word.is_empty() && word.bytes().all(|byte| plain(&byte)) {
            self.bare(word);
        } else {
            self.quote(word.as_bytes());
        }
    }

    /// In quotes, everything that is not surely plain as three octal digits: no quote, backslash, `#`, blank or byte
    /// beyond ASCII can then mean something else to pppd (its getword).
    fn quote(&mut self, bytes: &[u8]) {
        // A buffer that moves while it grows leaves copies of a password behind.
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
