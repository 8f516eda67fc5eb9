//! The section of ppp.conf(5) for FreeBSD's ppp(8), and the arguments that load it.
//!
//! ppp reads /etc/ppp/ppp.conf and nothing else, but expands variables of its environment in `!include`: with the
//! one line [`INCLUDE`] at its top, ppp finds the private file that is named by [`VARIABLE`] and made for this run.
//! The profile's own label is loaded first, so that what is derived from the profile has the last word.

use std::{fmt::Write as _, path::Path};

use zeroize::Zeroizing;

use super::{link_name, sizes, user};
use crate::{
    profile::{AuthProtocol, DnsServers, LogLevel, MppeMode, MppeStrength, Profile},
    secret::Secret,
};

/// Where ppp is on FreeBSD.
pub const PROGRAM: &str = "/usr/sbin/ppp";

/// The variable that names the private file.
pub const VARIABLE: &str = "PPTPCTL_PPP_CONF";

/// The line that /etc/ppp/ppp.conf needs, once for all profiles.
pub const INCLUDE: &str = "!include $PPTPCTL_PPP_CONF";

/// The longest line that ppp reads, in bytes (LINE_LEN, less its end).
pub const LONGEST_LINE: usize = 511;

/// ppp's names of the protocols.
const PROTOCOLS: [(AuthProtocol, &str); 4] = [
    (AuthProtocol::Pap, "pap"),
    (AuthProtocol::ChapMd5, "chap05"),
    (AuthProtocol::MsChapV1, "chap80"),
    (AuthProtocol::MsChapV2, "chap81"),
];

/// The arguments: on our pty, which is its standard input, with the unit of the profile.
#[must_use]
pub fn arguments(profile: &Profile) -> Vec<String> {
    let mut arguments = vec!["-direct".to_owned(), "-quiet".to_owned()];
    arguments.extend(profile.unit.map(|unit| format!("-unit{unit}")));
    arguments.extend(profile.ppp.label.clone());
    arguments.push(link_name(profile));
    arguments
}

/// The environment.
#[must_use]
pub fn environment(file: &Path) -> [(&'static str, &Path); 1] {
    [(VARIABLE, file)]
}

/// The section. `password` is left out for a person to read; `limit` is what the path carries in one PPP
/// information field, in bytes.
#[must_use]
pub fn section(profile: &Profile, password: Option<&Secret>, limit: u16) -> Zeroizing<String> {
    let mut lines: Vec<Zeroizing<String>> = Vec::new();
    let mut line = |text: String| lines.push(Zeroizing::new(text));
    let (mtu, mru) = sizes(profile, limit);
    let log = if profile.loglevel == LogLevel::Verbose { "Phase LCP IPCP CCP" } else { "Phase" };
    line(format!("set log {log} Warning Error Alert"));
    line(format!("set mtu max {mtu}"));
    line(format!("set mru max {mru}"));
    match profile.ppp.echo {
        Some(echo) => {
            line("enable echo".to_owned());
            line(format!("set echoperiod {}", echo.interval.as_secs().max(1)));
        }
        None => line("disable echo".to_owned()),
    }
    line("disable lqr vjcomp deflate pred1".to_owned());
    line("deny lqr vjcomp deflate pred1".to_owned());
    for option in &profile.ppp.options {
        line(option.clone());
    }
    line("set timeout 0".to_owned());
    line("set redial 0 0".to_owned());
    line("set reconnect 0 0".to_owned());
    line("set openmode active".to_owned());
    line("set ifaddr 10.0.0.1/0 10.0.0.2/0 255.255.255.255 0.0.0.0".to_owned());
    line("disable sroutes".to_owned());
    line(format!("{} ipv6cp", if profile.ppp.ipv6 { "enable" } else { "disable" }));
    let dns = matches!(profile.dns.servers, DnsServers::Peer);
    line(format!("{} dns", if dns { "enable" } else { "disable" }));
    // Asking for them is the protocol's part; the host's resolvers are ours to change.
    line("resolv readonly".to_owned());
    for (protocol, name) in PROTOCOLS {
        // `disable`: we do not ask the server to log in.
        line(format!("disable {name}"));
        line(format!("{} {name}", if profile.auth.contains(&protocol) { "accept" } else { "deny" }));
    }
    mppe(profile, &mut line);
    line(format!("set authname {}", *quote(user(profile).as_bytes())));
    match password {
        Some(password) => lines.push(Zeroizing::new(format!("set authkey {}", *quote(password.expose())))),
        None => lines.push(Zeroizing::new(format!("set authkey {}", super::HIDDEN))),
    }
    let room = lines.iter().map(|line| line.len() + 2).sum::<usize>() + 128;
    let mut section = Zeroizing::new(String::with_capacity(room));
    let _fits = writeln!(section, "{}:", link_name(profile));
    for line in &lines {
        let _fits = writeln!(section, " {}", **line);
    }
    section
}

/// Any argument makes ppp insist.
fn mppe(profile: &Profile, line: &mut impl FnMut(String)) {
    let bits = match profile.mppe.min {
        MppeStrength::Bits128 => "128",
        MppeStrength::Bits56 => "56",
        MppeStrength::Bits40 => "*",
    };
    let state = if profile.mppe.stateful { "*" } else { "stateless" };
    match profile.mppe.mode {
        MppeMode::Off => {
            line("disable mppe".to_owned());
            line("deny mppe".to_owned());
        }
        MppeMode::Allow => {
            line("enable mppe".to_owned());
            line("accept mppe".to_owned());
        }
        MppeMode::Require => {
            line("enable mppe".to_owned());
            line("accept mppe".to_owned());
            line(format!("set mppe {bits} {state}"));
        }
    }
}

/// As one word for ppp: its InterpretArg expands `$` and `~`, its MakeArgs takes off quotes and backslashes.
fn quote(bytes: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    let mut quoted = Zeroizing::new(String::with_capacity(2 * text.len() + 2));
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$' | '~') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
