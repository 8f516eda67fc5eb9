//! mpd.conf and mpd.secret of mpd5.

use super::{
    draft::{Origin, Tunnel, named},
    pppd::seconds_of,
    secrets,
    security::{Encryption, Security},
    sources::{Source, Sources},
    words,
};
use crate::secret::Secret;

/// The deepest `load`, and the most commands of one label.
const MAX_DEPTH: u32 = 8;
const MAX_COMMANDS: usize = 4096;

/// A label and its commands.
struct Label {
    name: String,
    commands: Vec<(Vec<String>, Origin)>,
}

fn labels(source: &Source) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        let is_indented = line.starts_with([' ', '\t']);
        if let Some(name) =
            line.trim_end().strip_suffix(':').filter(|_| !is_indented && !line.starts_with('#'))
        {
            labels.push(Label { name: name.to_owned(), commands: Vec::new() });
        } else if is_indented && let Some(label) = labels.last_mut() {
            let all = words::line(line);
            if !all.is_empty() {
                label.commands.push((all, Origin::new(&source.path, number)));
            }
        }
    }
    labels
}

fn commands(name: &str, labels: &[Label], depth: u32) -> Vec<(Vec<String>, Origin)> {
    let mut all = Vec::new();
    for label in labels.iter().filter(|label| label.name == name) {
        for (command, origin) in &label.commands {
            match command.as_slice() {
                [load, inner] if load == "load" && depth < MAX_DEPTH && all.len() < MAX_COMMANDS => {
                    all.extend(commands(inner, labels, depth + 1));
                    all.truncate(MAX_COMMANDS);
                }
                _ => all.push((command.clone(), origin.clone())),
            }
        }
    }
    all
}

fn is(command: &[String], words: &[&str]) -> bool {
    command.len() >= words.len() && command.iter().zip(words).all(|(word, wanted)| word == wanted)
}

/// Returns the labels that make a PPTP link of their own and dial.
#[must_use]
pub fn names(source: &Source) -> Vec<String> {
    let all = labels(source);
    let dials = |label: &&Label| {
        let has = |words: &[&str]| label.commands.iter().any(|(command, _)| is(command, words));
        let link = label.commands.iter().any(|(command, _)| {
            matches!(command.as_slice(), [create, link, _, _, kind, ..] if create == "create" && link == "link"
                && kind == "pptp")
        });
        link && has(&["set", "pptp", "peer"])
    };
    all.iter().filter(dials).map(|label| label.name.clone()).collect()
}

/// Reads the tunnels.
#[must_use]
pub fn tunnels(source: &Source, sources: &Sources<'_>) -> Vec<Tunnel> {
    let all = labels(source);
    let mut tunnels = Vec::new();
    for name in names(source) {
        let mut mpd =
            Mpd { tunnel: Tunnel::new(&name), security: Security::default(), ciphers: Ciphers::default() };
        for (command, origin) in commands(&name, &all, 0) {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            mpd.command(&words, &origin);
        }
        tunnels.push(mpd.finish(source, sources));
    }
    tunnels
}

/// A tunnel as its commands are read.
struct Mpd {
    tunnel: Tunnel,
    security: Security,
    ciphers: Ciphers,
}

/// What `set ccp`, `set mppc` and `set bundle` say about encryption.
#[derive(Default)]
struct Ciphers {
    mppc: bool,
    bits: Vec<u32>,
    stateless: bool,
    required: bool,
    origin: Option<Origin>,
}

impl Mpd {
    fn command(&mut self, words: &[&str], origin: &Origin) {
        match words {
            ["set", "pptp", "peer", server, rest @ ..] => match rest {
                [] => self.tunnel.set("server", *server, origin),
                [port, ..] => self.tunnel.set("server", format!("{server}:{port}").as_str(), origin),
            },
            ["set", "pptp", "self", address, ..] => self.tunnel.set("localbind", *address, origin),
            ["set", "pptp", "callednum", number] => self.tunnel.set("phone", *number, origin),
            ["set", "pptp", "callingnum", ..] => {
                self.tunnel.left_out(origin, "set pptp callingnum", "pptpctl sends no calling number");
            }
            ["set", "pptp", ..] => self.tunnel.needless("set pptp enable/disable"),
            ["set", "auth", "authname", name] => self.tunnel.set("user", *name, origin),
            ["set", "auth", "password", password] => self.password(password, origin),
            ["set", "auth", ..] => {
                self.tunnel.left_out(origin, "set auth", "a server does not log in to its client")
            }
            ["set", "iface", rest @ ..] => self.iface(rest, origin),
            ["set", "link", rest @ ..] => self.link(rest, origin),
            ["set", "bundle", verb, options @ ..] => {
                for option in options {
                    match *option {
                        "crypt-reqd" => self.ciphers.required = *verb == "enable",
                        "compression" | "encryption" => {
                            self.tunnel.needless(&format!("set bundle {verb} {option}"))
                        }
                        other => self.tunnel.left_out(origin, &format!("set bundle {}", named(other)), NONE),
                    }
                }
            }
            ["set", "ccp", verb, options @ ..] => {
                if options.contains(&"mppc") {
                    self.ciphers.mppc = matches!(*verb, "yes" | "accept" | "enable");
                    self.ciphers.origin.get_or_insert_with(|| origin.clone());
                } else {
                    self.tunnel.left_out(origin, "set ccp", "pptpctl does not compress");
                }
            }
            ["set", "mppc", verb, options @ ..] => self.mppc(verb, options, origin),
            ["set", "ipcp", "enable" | "yes", options @ ..] => {
                for option in options {
                    match *option {
                        "req-pri-dns" | "req-sec-dns" => {
                            self.tunnel.set("dns", "peer", origin);
                            let how =
                                "mpd only passes the resolvers to its up-script; this profile uses them";
                            self.tunnel.changed(origin, option, how);
                        }
                        other => self.tunnel.needless(&format!("set ipcp enable {}", named(other))),
                    }
                }
            }
            ["set", "ipcp", "ranges", ranges @ ..] => {
                if ranges.iter().all(|range| range.ends_with("/0")) {
                    self.tunnel.needless("set ipcp ranges");
                } else {
                    let why = "the addresses are those that the server assigns";
                    self.tunnel.left_out(origin, "set ipcp ranges", why);
                }
            }
            ["set", "ipcp", ..] => self.tunnel.needless("set ipcp"),
            ["create", ..] | ["open", ..] | ["log", ..] => self.tunnel.needless(words.first().unwrap_or(&"")),
            [first, second, ..] => {
                self.tunnel.left_out(origin, &format!("{} {}", named(first), named(second)), NONE);
            }
            [first] => self.tunnel.left_out(origin, named(first), NONE),
            [] => {}
        }
    }

    fn password(&mut self, password: &str, origin: &Origin) {
        match secrets::usable(password) {
            Ok(()) => self.tunnel.password = Some((Secret::from(password), origin.clone())),
            Err(why) => self.tunnel.left_out(origin, "set auth password", why),
        }
    }

    fn iface(&mut self, words: &[&str], origin: &Origin) {
        match words {
            ["route", "default"] => self.tunnel.set("default", true, origin),
            ["route", prefix] => self.tunnel.set("routes", *prefix, origin),
            ["mtu", bytes] => self.number("mtu", bytes, origin),
            ["up-script" | "down-script", ..] => {
                self.tunnel.left_out(
                    origin,
                    "set iface up-script",
                    "scripts are not run: see hooks.up and hooks.down",
                );
            }
            ["idle" | "session", "0"] => self.tunnel.needless("set iface idle 0"),
            ["idle" | "session", ..] => {
                self.tunnel.left_out(origin, "set iface idle", "pptpctl does not hang up by itself");
            }
            ["name", ..] => {
                self.tunnel.left_out(origin, "set iface name", "the device is tunN: `unit` chooses N")
            }
            ["enable", options @ ..] => {
                for option in options {
                    match *option {
                        "nat" => self.tunnel.set("nat", true, origin),
                        "tcpmssfix" => self.tunnel.needless("set iface enable tcpmssfix"),
                        "on-demand" => {
                            self.tunnel.left_out(
                                origin,
                                "on-demand",
                                "pptpctl does not dial on demand: use `up`",
                            );
                        }
                        other => self.tunnel.left_out(origin, named(other), NONE),
                    }
                }
            }
            ["disable", ..] => self.tunnel.needless("set iface disable"),
            _ => self.tunnel.left_out(origin, "set iface", NONE),
        }
    }

    fn link(&mut self, words: &[&str], origin: &Origin) {
        match words {
            ["mtu", bytes] => self.number("mtu", bytes, origin),
            ["mru", bytes] => self.number("ppp.mru", bytes, origin),
            ["keep-alive", "0", ..] => self.tunnel.set("ppp.lcp-echo-interval", "off", origin),
            ["keep-alive", seconds, most] => match (seconds.parse::<u32>(), most.parse::<u32>()) {
                (Ok(seconds), Ok(most)) if seconds > 0 => {
                    self.tunnel.set("ppp.lcp-echo-interval", seconds_of(seconds), origin);
                    self.tunnel.set("ppp.lcp-echo-failure", most.div_ceil(seconds).max(1), origin);
                }
                _ => self.tunnel.left_out(origin, "set link keep-alive", "its values are not numbers"),
            },
            ["max-redial", count] => match count.parse::<i32>() {
                Ok(0) => {
                    self.tunnel.set("retry.forever", true, origin);
                    self.tunnel.set("retry.from-start", true, origin);
                }
                Ok(-1) => self.tunnel.set("retry.attempts", 0, origin),
                Ok(count) => match u32::try_from(count) {
                    Ok(count) => {
                        self.tunnel.set("retry.attempts", count, origin);
                        self.tunnel.set("retry.from-start", true, origin);
                    }
                    Err(_) => {
                        self.tunnel.left_out(origin, "set link max-redial", "its value is not a number")
                    }
                },
                Err(_) => self.tunnel.left_out(origin, "set link max-redial", "its value is not a number"),
            },
            ["redial-delay", seconds] => match seconds.parse::<u32>() {
                Ok(seconds) => self.tunnel.set("retry.first", seconds_of(seconds.max(1)), origin),
                Err(_) => self.tunnel.left_out(origin, "set link redial-delay", "its value is not a number"),
            },
            [verb @ ("accept" | "yes" | "deny" | "no" | "enable" | "disable"), options @ ..] => {
                for option in options {
                    self.link_option(verb, option, origin);
                }
            }
            [what @ ("action" | "latency" | "bandwidth" | "type" | "fsm-timeout"), ..] => {
                self.tunnel.needless(&format!("set link {what}"));
            }
            [other, ..] => self.tunnel.left_out(origin, &format!("set link {}", named(other)), NONE),
            [] => {}
        }
    }

    fn link_option(&mut self, verb: &str, option: &str, origin: &Origin) {
        let protocols: &[&str] = match option {
            "pap" => &["pap"],
            "chap-md5" => &["chap"],
            "chap-msv1" => &["mschap"],
            "chap-msv2" => &["mschapv2"],
            "chap" => &["chap", "mschap", "mschapv2"],
            _ => &[],
        };
        match (verb, option) {
            ("deny" | "no", _) if !protocols.is_empty() => {
                protocols.iter().for_each(|one| self.security.refuse(one, origin));
            }
            ("accept" | "yes", _) if !protocols.is_empty() => {
                protocols.iter().for_each(|one| self.security.accept(one));
            }
            ("enable", _) if !protocols.is_empty() || option == "eap" => {
                self.tunnel.left_out(origin, "set link enable", "a server does not log in to its client");
            }
            ("enable" | "yes", "incoming") => {
                self.tunnel.left_out(origin, "set link enable incoming", "pptpctl accepts no calls");
            }
            ("enable" | "yes", "multilink") => {
                self.tunnel.left_out(origin, "set link enable multilink", "PPTP is used with one link");
            }
            _ => self.tunnel.needless(&format!("set link {verb} {}", named(option))),
        }
    }

    fn mppc(&mut self, verb: &str, options: &[&str], origin: &Origin) {
        let on = matches!(verb, "yes" | "accept" | "enable");
        for option in options {
            match (*option, option.strip_prefix('e').and_then(|bits| bits.parse::<u32>().ok())) {
                (_, Some(bits @ (40 | 56 | 128))) => {
                    self.ciphers.bits.retain(|one| *one != bits);
                    if on {
                        self.ciphers.bits.push(bits);
                        self.ciphers.origin = Some(origin.clone());
                    }
                }
                ("stateless", _) => self.ciphers.stateless = on,
                ("compress", _) if on => {
                    self.tunnel.left_out(origin, "compress", "pptpctl does not compress")
                }
                ("policy", _) if on => self.tunnel.left_out(origin, "policy", "it is for a server"),
                (other, _) => self.tunnel.needless(&format!("set mppc {verb} {}", named(other))),
            }
        }
    }

    fn number(&mut self, key: &'static str, text: &str, origin: &Origin) {
        match text.parse::<u32>() {
            Ok(number) => self.tunnel.set(key, number, origin),
            Err(_) => self.tunnel.left_out(origin, key, "its value is not a number"),
        }
    }

    fn finish(mut self, source: &Source, sources: &Sources<'_>) -> Tunnel {
        let least = self.ciphers.bits.iter().min().copied();
        let most = self.ciphers.bits.iter().max().copied();
        self.security.encryption = match (self.ciphers.mppc, least, most, self.ciphers.origin.take()) {
            (true, Some(least), Some(most), Some(origin)) if self.ciphers.required => {
                Encryption::Demanded { origin, least, most }
            }
            (true, Some(_), Some(_), origin) => Encryption::Optional(origin),
            _ => Encryption::Never,
        };
        self.security.stateful = !self.ciphers.stateless;
        self.security.apply(&mut self.tunnel, "mpd");
        if self.tunnel.password.is_none() {
            self.look_up_password(source, sources);
        }
        self.tunnel.note("mpd's start at boot (mpd_enable in rc.conf) is not read: see `autostart`");
        self.tunnel
    }

    /// Looks the password up in mpd.secret, beside mpd.conf: lines of name, password and address.
    fn look_up_password(&mut self, source: &Source, sources: &Sources<'_>) {
        let path = source.as_path().with_file_name("mpd.secret");
        let user = self.tunnel.text("user").unwrap_or_default().to_owned();
        let hint = match sources.read(&path) {
            Ok(file) if &*source.path != "-" => {
                let found = file.text.lines().zip(1..).find_map(|(line, number)| {
                    match words::line(line).as_slice() {
                        [name, password, ..] if *name == user => Some((password.clone(), number)),
                        _ => None,
                    }
                });
                if let Some((password, number)) = found {
                    return self.password(&password, &Origin::new(&file.path, number));
                }
                format!("no `set auth password`, and no line of {} is for this user", file.path)
            }
            _ => "no `set auth password`, and mpd.secret was not read".to_owned(),
        };
        self.tunnel.password_hint = Some(hint);
    }
}

const NONE: &str = "pptpctl has no such setting";
