//! Section of ppp.conf(5) for FreeBSD's ppp(8), and the arguments that load it.
//!
//! ppp reads only /etc/ppp/ppp.conf, but expands environment variables in `!include`. With the line
//! `!include $PPTPCTL_PPP_CONF` at the top of that file, ppp reads the private file that [`VARIABLE`] names,
//! which is written for each run. The profile's own label is loaded first, so that settings derived from the
//! profile override it.

use std::{fmt::Write as _, path::Path};

use zeroize::Zeroizing;

use super::{link_name, sizes, user};
use crate::{
    profile::{AuthProtocol, Demand, DnsServers, LogLevel, Profile, Strength},
    secret::Secret,
};

/// Path of ppp on FreeBSD.
pub const PROGRAM: &str = "/usr/sbin/ppp";

/// Environment variable that names the private file.
const VARIABLE: &str = "PPTPCTL_PPP_CONF";

/// ppp's names of the protocols.
const PROTOCOLS: [(AuthProtocol, &str); 4] = [
    (AuthProtocol::Pap, "pap"),
    (AuthProtocol::ChapMd5, "chap05"),
    (AuthProtocol::MsChapV1, "chap80"),
    (AuthProtocol::MsChapV2, "chap81"),
];

/// Returns the arguments: the pty on standard input, the profile's unit, and the labels.
#[must_use]
pub fn arguments(profile: &Profile) -> Vec<String> {
    let mut arguments = vec!["-direct".to_owned(), "-quiet".to_owned()];
    arguments.extend(profile.unit.map(|unit| format!("-unit{unit}")));
    arguments.extend(profile.ppp.label.clone());
    arguments.push(link_name(profile));
    arguments
}

/// Returns the environment of ppp.
#[must_use]
pub fn environment(file: &Path) -> [(&'static str, &Path); 1] {
    [(VARIABLE, file)]
}

/// Returns the section, for display if there is no `password`. `limit` is the largest PPP information field
/// that the path carries, in bytes.
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
    // Asking for resolvers is part of the protocol; the host's are changed by our own steps.
    line("resolv readonly".to_owned());
    for (protocol, name) in PROTOCOLS {
        // `disable`: we do not ask the server to authenticate itself.
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

/// Writes the MPPE settings; any argument of `set mppe` makes ppp require it.
fn mppe(profile: &Profile, line: &mut impl FnMut(String)) {
    let bits = match profile.mppe.min {
        Strength::Bits128 => "128",
        Strength::Bits56 => "56",
        Strength::Bits40 => "*",
    };
    let state = if profile.mppe.stateful { "*" } else { "stateless" };
    match profile.mppe.demand {
        Demand::Off => {
            line("disable mppe".to_owned());
            line("deny mppe".to_owned());
        }
        Demand::Allow => {
            line("enable mppe".to_owned());
            line("accept mppe".to_owned());
        }
        Demand::Require => {
            line("enable mppe".to_owned());
            line("accept mppe".to_owned());
            line(format!("set mppe {bits} {state}"));
        }
    }
}

/// Quotes `bytes` as one word: ppp's InterpretArg expands `$` and `~`, its MakeArgs removes quotes and
/// backslashes.
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
