//! The commands of ppp(8).

use super::{
    draft::{Origin, Tunnel, Value, named},
    ppp_start::Start,
    pppd::seconds_of,
    pptp_command, secrets,
    security::{Encryption, Security},
    sources::Source,
    words,
};
use crate::secret::Secret;

mod link;

/// A command, with the line that it is in.
#[derive(Clone)]
pub struct Command {
    /// The text.
    pub text: String,
    /// The line.
    pub origin: Origin,
}

/// A tunnel of ppp(8) as its commands are read.
pub struct Ppp<'a> {
    /// The tunnel so far.
    pub tunnel: Tunnel,
    /// Whether its device is pptp(8).
    pub runs_pptp: bool,
    security: Security,
    read: &'a dyn Fn(&str) -> Option<Source>,
    echo: bool,
    period: Option<(u32, Origin)>,
}

const COMPRESSION: [&str; 9] =
    ["pred1", "predictor1", "deflate", "deflate24", "vjcomp", "acfcomp", "protocomp", "shortseq", "mppc"];

impl<'a> Ppp<'a> {
    /// Returns a tunnel without commands. `read` reads a rules file that a command names.
    #[must_use]
    pub fn new(label: &str, read: &'a dyn Fn(&str) -> Option<Source>) -> Self {
        let security = Security { encryption: Encryption::Optional(None), ..Security::default() };
        Self { tunnel: Tunnel::new(label), runs_pptp: false, security, read, echo: false, period: None }
    }

    /// Reads a command of ppp.conf.
    pub fn command(&mut self, command: &Command) {
        let all = words::line(&command.text);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let origin = &command.origin;
        match all.as_slice() {
            [] => {}
            ["set", rest @ ..] => self.set(rest, origin),
            ["enable", what @ ..] => what.iter().for_each(|what| self.enable(what, origin)),
            ["disable", what @ ..] => what.iter().for_each(|what| self.disable(what, origin)),
            ["accept", what @ ..] => what.iter().for_each(|what| {
                if let Some(protocol) = protocol(what) {
                    self.security.accept(protocol);
                }
            }),
            ["deny", what @ ..] => what.iter().for_each(|what| self.deny(what, origin)),
            ["nat" | "alias", "enable", yes] => {
                if *yes == "yes" {
                    self.tunnel.set("nat", true, origin);
                }
            }
            ["nat" | "alias", ..] => self.tunnel.left_out(origin, "nat …", "pf(4) or nft(8) can do this"),
            ["iface", "mtu", mtu] => self.number("mtu", mtu, origin),
            ["add" | "add!" | "delete" | "delete!" | "shell" | "bg" | "!" | "!bg", ..] => {
                self.link_words(&all, origin, true)
            }
            [first, ..] if first.starts_with('!') => self.link_words(&all, origin, true),
            ["resolv", ..] => self.tunnel.left_out(origin, "resolv", "see `dns`"),
            ["allow", ..] => self.tunnel.left_out(origin, "allow", "only root may bring a tunnel up"),
            ["load", ..] => self.tunnel.left_out(origin, "load", "too many labels load one another"),
            ["ident" | "identity", ..] => self.tunnel.needless("ident"),
            [word, ..] => {
                self.tunnel.left_out(origin, named(word), "this command of ppp has no setting here")
            }
        }
    }

    fn set(&mut self, words: &[&str], origin: &Origin) {
        match words {
            ["device" | "line", devices @ ..] => self.device(devices, origin),
            ["authname", name] => self.tunnel.set("user", *name, origin),
            ["authkey" | "key", key] => match secrets::usable(key) {
                Ok(()) => self.tunnel.password = Some((Secret::from(*key), origin.clone())),
                Err(why) => self.tunnel.left_out(origin, "set authkey", why),
            },
            ["mppe", rest @ ..] => self.mppe(rest, origin),
            ["mtu", "max" | "maximum", bytes] | ["mtu", bytes] => self.number("mtu", bytes, origin),
            ["mru", "max" | "maximum", bytes] | ["mru", bytes] => self.number("ppp.mru", bytes, origin),
            ["lqrperiod" | "echoperiod", seconds] => {
                self.period = seconds.parse().ok().map(|seconds| (seconds, origin.clone()));
            }
            ["redial", rest @ ..] => self.redial(rest, origin),
            ["reconnect", ..] => {
                self.tunnel.left_out(
                    origin,
                    "set reconnect",
                    "a lost tunnel is always dialled again, see `retry`",
                );
            }
            ["timeout", "0", ..] => self.tunnel.needless("set timeout 0"),
            ["timeout", ..] => {
                self.tunnel.left_out(origin, "set timeout", "pptpctl does not hang up when idle")
            }
            ["ifaddr", addresses @ ..] => {
                if addresses.iter().take(2).all(|address| address.ends_with("/0") || *address == "0") {
                    self.tunnel.needless("set ifaddr");
                } else {
                    self.tunnel.left_out(
                        origin,
                        "set ifaddr",
                        "the addresses are those that the server assigns",
                    );
                }
            }
            ["dns", ..] => self.tunnel.left_out(origin, "set dns", "it is for a server; see `dns`"),
            ["log", ..] => self.tunnel.left_out(origin, "set log", "see `loglevel` and `pptpctl logs`"),
            ["server" | "socket", ..] => {
                self.tunnel.left_out(
                    origin,
                    "set server",
                    "`pptpctl status` and control.group show the state",
                );
            }
            [
                what @ ("speed" | "dial" | "login" | "hangup" | "logout" | "phone" | "openmode" | "cd"
                | "ctsrts" | "crtscts" | "parity" | "vj" | "escape" | "accmap" | "proctitle"
                | "stopped" | "mrru" | "choked" | "bandwidth" | "weight" | "recvpipe" | "sendpipe"
                | "ifqueue" | "nbns" | "callback" | "cbcp" | "enddisc" | "filter" | "deflate"
                | "retry" | "chapretry" | "papretry" | "lcpretry" | "ccpretry" | "ipcpretry"
                | "loopback" | "procname" | "urgent" | "rad_alive" | "radius" | "run" | "title"),
                ..,
            ] => match *what {
                "filter" => self.tunnel.left_out(origin, "set filter", "pf(4) or nft(8) can do this"),
                "radius" | "nbns" | "callback" | "cbcp" => {
                    self.tunnel.left_out(origin, &format!("set {what}"), "pptpctl has no such setting");
                }
                _ => self.tunnel.needless(&format!("set {what}")),
            },
            [word, ..] => {
                let what = format!("set {}", named(word));
                self.tunnel.left_out(origin, &what, "this command of ppp has no setting here");
            }
            [] => {}
        }
    }

    fn device(&mut self, devices: &[&str], origin: &Origin) {
        // Without quotes the command is spread over the words.
        let [first, ..] = devices else { return };
        let Some(command) = first.strip_prefix('!') else { return };
        let command = if first.contains(' ') {
            command.to_owned()
        } else {
            [&[command], devices.get(1..).unwrap_or_default()].concat().join(" ")
        };
        let mut trial = Tunnel::new("");
        if pptp_command::read(&command, origin, &mut trial) {
            self.runs_pptp = true;
            pptp_command::read(&command, origin, &mut self.tunnel);
        }
    }

    /// `set mppe [BITS [MODE]]`: with a value ppp insists on encryption, without one it does not.
    fn mppe(&mut self, words: &[&str], origin: &Origin) {
        let Some(bits) = words.first() else {
            self.security.encryption = Encryption::Optional(Some(origin.clone()));
            return;
        };
        let mode = words.get(1).copied().unwrap_or("*");
        match *bits {
            "40" => self.security.demand(origin, 40, 40),
            "56" => self.security.demand(origin, 56, 56),
            "128" => self.security.demand(origin, 128, 128),
            "*" => self.security.demand(origin, 40, 128),
            _ => return self.tunnel.left_out(origin, "set mppe", "its value is neither 40, 56, 128 nor *"),
        }
        self.security.stateful = mode != "stateless";
        self.security.only_stateful = mode == "stateful";
    }

    /// `set redial SECONDS[+INC[-MAX]][.NEXT] [ATTEMPTS]`.
    fn redial(&mut self, words: &[&str], origin: &Origin) {
        let seconds =
            words.first().map(|word| word.chars().take_while(char::is_ascii_digit).collect::<String>());
        if let Some(seconds) = seconds.and_then(|seconds| seconds.parse::<u32>().ok()) {
            self.tunnel.set("retry.first", seconds_of(seconds.max(1)), origin);
        } else {
            self.tunnel.changed(origin, "set redial", "the waits are those of `retry`");
        }
        match words.get(1).map(|count| count.parse::<u32>()) {
            Some(Ok(0)) => self.tunnel.set("retry.forever", true, origin),
            Some(Ok(count)) => self.tunnel.set("retry.attempts", count, origin),
            _ => {}
        }
    }

    fn enable(&mut self, what: &str, origin: &Origin) {
        match what.to_ascii_lowercase().as_str() {
            "dns" => self.tunnel.set("dns", "peer", origin),
            "echo" | "lqr" => self.echo = true,
            "mppe" | "ipv6cp" | "idcheck" | "sroutes" | "utmp" | "iface-alias" | "throughput"
            | "tcpmssfixup" => {
                self.tunnel.needless(&format!("enable {what}"));
            }
            word if COMPRESSION.contains(&word) => {
                self.tunnel.left_out(origin, &format!("enable {word}"), "pptpctl does not compress");
            }
            word if protocol(word).is_some() || word == "passwdauth" => {
                self.tunnel.left_out(
                    origin,
                    &format!("enable {word}"),
                    "a server does not log in to its client",
                );
            }
            "proxy" | "proxyall" => self.tunnel.left_out(origin, "enable proxy", "it is for a server"),
            word => {
                let what = format!("enable {}", named(word));
                self.tunnel.left_out(origin, &what, "this command of ppp has no setting here");
            }
        }
    }

    fn disable(&mut self, what: &str, origin: &Origin) {
        match what.to_ascii_lowercase().as_str() {
            "mppe" => self.security.encryption = Encryption::Refused(origin.clone()),
            "dns" => self.tunnel.unset("dns"),
            "tcpmssfixup" => self.tunnel.set("mss", "off", origin),
            "echo" | "lqr" => self.echo = false,
            word => self.tunnel.needless(&format!("disable {word}")),
        }
    }

    fn deny(&mut self, what: &str, origin: &Origin) {
        match what.to_ascii_lowercase().as_str() {
            "mppe" => self.security.encryption = Encryption::Refused(origin.clone()),
            word => match protocol(word) {
                Some(protocol) => self.security.refuse(protocol, origin),
                None => self.tunnel.needless(&format!("deny {word}")),
            },
        }
    }

    /// Reads how ppp is started.
    pub fn start(&mut self, start: &Start) {
        let origin = &start.origin;
        if let Some(unit) = start.unit {
            self.tunnel.set("unit", unit, origin);
        }
        if start.nat {
            self.tunnel.set("nat", true, origin);
        }
        match start.mode.as_deref() {
            Some("ddial" | "dedicated") => {
                self.tunnel.set("retry.from-start", true, origin);
                self.tunnel.set("autostart", true, origin);
            }
            Some("auto") => {
                self.tunnel.set("autostart", true, origin);
                self.tunnel.changed(
                    origin,
                    "-auto",
                    "pptpctl does not dial on demand: the tunnel is up from boot",
                );
            }
            Some("background" | "foreground") => self.tunnel.set("autostart", true, origin),
            Some(mode) => self.tunnel.left_out(origin, &format!("-{mode}"), "pptpctl has no such mode"),
            None => {}
        }
    }

    /// Returns the tunnel.
    #[must_use]
    pub fn finish(mut self) -> Tunnel {
        if let Some((seconds, origin)) = self.period.take().filter(|_| self.echo) {
            self.tunnel.set("ppp.lcp-echo-interval", seconds_of(seconds), &origin);
        }
        self.security.apply(&mut self.tunnel, "ppp");
        if self.tunnel.password.is_none() {
            self.tunnel.password_hint = Some("the label has no `set authkey`".to_owned());
        }
        self.tunnel
    }

    fn number(&mut self, key: &'static str, text: &str, origin: &Origin) {
        match text.parse::<u32>() {
            Ok(number) => self.tunnel.set(key, Value::from(number), origin),
            Err(_) => self.tunnel.left_out(origin, key, "its value is not a number"),
        }
    }
}

/// Returns the protocol that a word of `accept` and `deny` names.
fn protocol(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "pap" => Some("pap"),
        "chap" | "chap05" => Some("chap"),
        "chap80" | "chap80nt" | "mschap" | "lanman" => Some("mschap"),
        "chap81" | "mschapv2" => Some("mschapv2"),
        _ => None,
    }
}
