//! Options of pppd(8): files in `/etc/ppp/peers`, what they name by `file` and `call`, and the secrets files.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    draft::{Origin, Tunnel, Value, named},
    pppd_table::{self, Rule},
    pptp_command,
    secrets::{self, NoPassword},
    security::{Encryption, Security},
    sources::{Source, Sources, Unread, root_of, within},
    words::{self, Word},
};
use crate::secret::Secret;

/// The deepest `file` or `call` in a file that such an option named.
const MAX_DEPTH: u32 = 8;

/// Reads a file of `/etc/ppp/peers`.
#[must_use]
pub fn tunnel(source: &Source, sources: &Sources<'_>) -> Tunnel {
    let label = source.as_path().file_name().and_then(|name| name.to_str()).unwrap_or("vpn");
    let label = if &*source.path == "-" { "vpn" } else { label };
    let mut pppd = Pppd::new(sources, root_of(source.as_path(), "etc/ppp/peers"), label);
    pppd.read(source);
    pppd.finish()
}

/// The options that have been read.
pub struct Pppd<'a> {
    sources: &'a Sources<'a>,
    root: PathBuf,
    /// The tunnel so far.
    pub tunnel: Tunnel,
    /// Authentication and encryption so far.
    pub security: Security,
    name: Option<(String, Origin)>,
    user: Option<(String, Origin)>,
    remotename: Option<String>,
    persist: Option<Origin>,
    maxfail: Option<(u32, Origin)>,
    holdoff: Option<(u32, Origin)>,
    depth: u32,
    /// Whether another program starts pppd again when it ends.
    pub is_restarted: bool,
}

impl<'a> Pppd<'a> {
    /// Returns a reader for the files below a root.
    #[must_use]
    pub fn new(sources: &'a Sources<'a>, root: PathBuf, label: &str) -> Self {
        Self {
            sources,
            root,
            tunnel: Tunnel::new(label),
            security: Security::default(),
            name: None,
            user: None,
            remotename: None,
            persist: None,
            maxfail: None,
            holdoff: None,
            depth: 0,
            is_restarted: false,
        }
    }

    /// Reads an options file.
    pub fn read(&mut self, source: &Source) {
        self.options(&words::pppd(&source.text), &source.path, None);
    }

    /// Reads options that stand in line `line` of another format.
    pub fn read_text(&mut self, text: &str, path: &Rc<str>, line: usize) {
        self.options(&words::pppd(text), path, Some(line));
    }

    fn options(&mut self, all: &[Word], path: &Rc<str>, line: Option<usize>) {
        let mut rest = all.iter().peekable();
        while let Some(word) = rest.next() {
            let origin = Origin::new(path, line.unwrap_or(word.line));
            let count = pppd_table::arguments(&word.text);
            let argument = if count > 0 { rest.next() } else { None };
            if count > 0 && argument.is_none() {
                self.tunnel.left_out(&origin, &word.text, "it has no value");
            } else if !self.option(word, argument, &origin) {
                // Nothing tells how many values an unknown option has: those on its line are taken for its values.
                while rest
                    .next_if(|next| next.line == word.line && !pppd_table::is_known(&next.text))
                    .is_some()
                {}
            }
        }
    }

    /// Reads one option; returns whether it is known.
    fn option(&mut self, word: &Word, argument: Option<&Word>, origin: &Origin) -> bool {
        let value = argument.map_or("", |argument| argument.text.as_str());
        let number = || value.parse::<u32>().ok();
        let option = word.text.as_str();
        match option {
            "pty" => {
                if !pptp_command::read(value, origin, &mut self.tunnel) {
                    self.tunnel.left_out(origin, "pty", "its command does not run pptp");
                }
            }
            "plugin" if words::base(value) == "pptp.so" => self.tunnel.needless("plugin pptp.so"),
            "plugin" => self.tunnel.left_out(origin, "plugin", "pptpctl loads no plugins of pppd"),
            "pptp_server" => self.tunnel.set("server", value, origin),
            "pptp_phone" => self.tunnel.set("phone", value, origin),
            "file" | "call" => self.follow(option, value, origin),
            "name" | "user" => self.account(option, argument, origin),
            "remotename" => self.remotename = Some(value.to_owned()),
            "password" => match secrets::usable(value) {
                Ok(()) => self.tunnel.password = Some((Secret::from(value), origin.clone())),
                Err(why) => self.tunnel.left_out(origin, "password", why),
            },
            "mtu" => self.number("mtu", number(), origin),
            "mru" => self.number("ppp.mru", number(), origin),
            "unit" => {
                self.number("unit", number(), origin);
                if number().is_some() {
                    self.tunnel.changed(
                        origin,
                        "unit",
                        "the device is tunN, not pppN: check rules that name it",
                    );
                }
            }
            "lcp-echo-interval" => match number() {
                Some(0) => self.tunnel.set("ppp.lcp-echo-interval", "off", origin),
                Some(seconds) => self.tunnel.set("ppp.lcp-echo-interval", seconds_of(seconds), origin),
                None => self.tunnel.left_out(origin, option, "its value is not a number"),
            },
            "lcp-echo-failure" if number() == Some(0) => {
                self.tunnel.left_out(
                    origin,
                    option,
                    "0 never ends a dead link; ppp.lcp-echo-failure is its default",
                );
            }
            "lcp-echo-failure" => self.number("ppp.lcp-echo-failure", number(), origin),
            "defaultroute" | "replacedefaultroute" => {
                self.tunnel.set("default", true, origin);
                if option == "defaultroute" {
                    let how = "pppd adds it only to a host without a default route; this profile sends everything \
                               through the tunnel in any case";
                    self.tunnel.changed(origin, option, how);
                }
            }
            "nodefaultroute" | "-defaultroute" => {
                self.tunnel.unset("default");
                self.tunnel.needless(option);
            }
            "usepeerdns" => self.tunnel.set("dns", "peer", origin),
            "idle" if number() == Some(0) => self.tunnel.needless("idle 0"),
            "+ipv6" => self.tunnel.set("ppp.ipv6", true, origin),
            "persist" => self.persist = Some(origin.clone()),
            "nopersist" => self.persist = None,
            "maxfail" => self.maxfail = number().map(|count| (count, origin.clone())),
            "holdoff" => self.holdoff = number().map(|seconds| (seconds, origin.clone())),
            _ if self.security_option(option, value, origin) => {}
            _ => return self.other(option, origin),
        }
        true
    }

    /// Reads an option about authentication or encryption; returns whether it is one.
    fn security_option(&mut self, option: &str, value: &str, origin: &Origin) -> bool {
        let protocol = |option: &str| {
            let name = option.strip_prefix("refuse-").or_else(|| option.strip_prefix('-'))?;
            let all = [("pap", "pap"), ("chap", "chap"), ("mschap", "mschap"), ("mschap-v2", "mschapv2")];
            all.into_iter().find(|(old, _)| *old == name).map(|(_, new)| new)
        };
        if let Some(refused) = protocol(option) {
            self.security.refuse(refused, origin);
            return true;
        }
        match option {
            "require-mppe" | "+mppe" => self.security.demand(origin, 40, 128),
            "require-mppe-128" | "+mppe-128" => self.security.demand(origin, 128, 128),
            "require-mppe-40" | "+mppe-40" => self.security.demand(origin, 40, 40),
            "nomppe" | "-mppe" | "noccp" | "-ccp" => {
                self.security.encryption = Encryption::Refused(origin.clone())
            }
            "nomppe-40" | "-mppe-40" => {
                if let Encryption::Demanded { least, most: 128, .. } = &mut self.security.encryption {
                    *least = 128;
                }
            }
            "nomppe-128" => {
                if let Encryption::Demanded { least: 40, most, .. } = &mut self.security.encryption {
                    *most = 40;
                }
            }
            "mppe-stateful" => self.security.stateful = true,
            "nomppe-stateful" => self.security.stateful = false,
            // The syntax of the patch for MPPC, which OpenWrt and older routers have.
            "mppe" => {
                let words: Vec<&str> = value.split(',').collect();
                let has = |word| words.contains(&word);
                if has("required") && !(has("no128") && has("no40") && has("no56")) {
                    let most = if !has("no128") {
                        128
                    } else if !has("no56") {
                        56
                    } else {
                        40
                    };
                    let least = if !has("no40") {
                        40
                    } else if !has("no56") {
                        56
                    } else {
                        128
                    };
                    self.security.demand(origin, least, most);
                } else {
                    self.security.encryption = Encryption::Optional(Some(origin.clone()));
                }
            }
            _ => return false,
        }
        true
    }

    fn other(&mut self, option: &str, origin: &Origin) -> bool {
        match pppd_table::rule(option) {
            Some(Rule::Needless) => self.tunnel.needless(option),
            Some(Rule::LeftOut(why)) => self.tunnel.left_out(origin, option, why),
            None if option.contains(':') => {
                self.tunnel.left_out(
                    origin,
                    "LOCAL:REMOTE",
                    "the addresses are those that the server assigns",
                );
            }
            None => {
                let why = "this option of pppd is not known here";
                self.tunnel.left_out(origin, named(option), why);
                return false;
            }
        }
        true
    }

    fn number(&mut self, key: &'static str, number: Option<u32>, origin: &Origin) {
        match number {
            Some(number) => self.tunnel.set(key, number, origin),
            None => self.tunnel.left_out(origin, key, "its value is not a number"),
        }
    }

    fn account(&mut self, option: &str, argument: Option<&Word>, origin: &Origin) {
        let Some(word) = argument else { return };
        let (account, single) = secrets::account(word);
        if single {
            let how =
                "pppd takes a single backslash for an escape and drops it; it is read as DOMAIN\\name here";
            self.tunnel.changed(origin, option, how);
        }
        let place = if option == "user" { &mut self.user } else { &mut self.name };
        *place = Some((account, origin.clone()));
    }

    /// Reads the file that `file` or `call` names.
    fn follow(&mut self, option: &str, name: &str, origin: &Origin) {
        let path = if option == "call" {
            let is_safe =
                !name.is_empty() && !name.starts_with('/') && !name.split('/').any(|part| part == "..");
            is_safe.then(|| within(&self.root, &format!("/etc/ppp/peers/{name}"))).flatten()
        } else {
            within(&self.root, name)
        };
        let what = format!("{option} {name}");
        let Some(path) = path else {
            return self.tunnel.left_out(origin, &what, "not an absolute path of a file, so it was not read");
        };
        if self.depth == MAX_DEPTH {
            return self.tunnel.left_out(
                origin,
                &what,
                "too many files name one another, so it was not read",
            );
        }
        match self.sources.read(&path) {
            Ok(source) => {
                self.depth += 1;
                self.read(&source);
                self.depth -= 1;
            }
            Err(Unread::Missing) => {
                self.tunnel.left_out(origin, &what, &format!("there is no {}", path.display()));
            }
            Err(Unread::Failed(why)) => {
                self.tunnel.left_out(origin, &what, &format!("cannot read {}: {why}", path.display()));
            }
        }
    }

    /// Looks the password up, and returns the tunnel.
    #[must_use]
    pub fn finish(mut self) -> Tunnel {
        if let Some((user, origin)) = self.user.take().or_else(|| self.name.take()) {
            self.tunnel.set("user", user.as_str(), &origin);
            self.find_password(&user);
        }
        self.retry();
        self.security.apply(&mut self.tunnel, "pppd");
        self.tunnel
    }

    fn find_password(&mut self, user: &str) {
        if self.tunnel.password.is_some() {
            return;
        }
        let mut unread = Vec::new();
        for name in ["chap-secrets", "pap-secrets"] {
            let path = format!("/etc/ppp/{name}");
            let source = within(&self.root, &path).map(|path| (self.sources.read(&path), path));
            let source = match source {
                Some((Ok(source), _)) => source,
                Some((Err(Unread::Failed(why)), path)) => {
                    unread.push(format!("cannot read {}: {why}", path.display()));
                    continue;
                }
                Some((Err(Unread::Missing), _)) | None => continue,
            };
            match secrets::find(&source, user, self.remotename.as_deref()) {
                Ok(found) => {
                    self.tunnel.password = Some(found);
                    return;
                }
                Err(NoPassword::NoLine) => {}
                Err(NoPassword::Ambiguous(lines)) => {
                    let lines: Vec<String> = lines.iter().map(usize::to_string).collect();
                    unread.push(format!("lines {} of {} fit, and differ", lines.join(", "), source.path));
                }
                Err(NoPassword::Unusable(line, why)) => unread.push(format!("{}:{line}: {why}", source.path)),
            }
        }
        self.tunnel.password_hint = Some(if unread.is_empty() {
            "no line of chap-secrets or pap-secrets is for this user".to_owned()
        } else {
            unread.join("; ")
        });
    }

    fn retry(&mut self) {
        let Some(origin) = self.persist.take() else {
            for (option, line) in [("maxfail", self.maxfail.take()), ("holdoff", self.holdoff.take())] {
                if let Some((_, origin)) = line.filter(|_| !self.is_restarted) {
                    self.tunnel.left_out(&origin, option, "it has an effect only with `persist`");
                }
            }
            if !self.is_restarted {
                self.tunnel.note(
                    "without `persist` pppd ends when the tunnel is lost; this profile dials again (retry.attempts = 0 \
                     does not)",
                );
            }
            return;
        };
        self.tunnel.set("retry.from-start", true, &origin);
        match self.maxfail.take() {
            Some((0, origin)) => self.tunnel.set("retry.forever", true, &origin),
            Some((count, origin)) => self.tunnel.set("retry.attempts", count, &origin),
            None => self.tunnel.changed(
                &origin,
                "persist",
                "pppd gives up after 10 failures; this profile does not",
            ),
        }
        if let Some((seconds, origin)) = self.holdoff.take() {
            self.tunnel.set("retry.first", seconds_of(seconds.max(1)), &origin);
            self.tunnel.set("retry.max", seconds_of(seconds.max(1)), &origin);
        }
    }
}

/// Returns a duration in seconds.
#[must_use]
pub fn seconds_of(seconds: u32) -> Value {
    Value::Text(format!("{seconds}s"))
}

/// Returns whether a file seems to be options of pppd for PPTP.
#[must_use]
pub fn is_pptp(source: &Source) -> bool {
    let all = words::pppd(&source.text);
    let pairs = all.iter().zip(all.iter().skip(1));
    pairs.into_iter().any(|(word, value)| match word.text.as_str() {
        "pty" => words::line(&value.text).iter().take(8).any(|word| words::base(word) == "pptp"),
        "plugin" => words::base(&value.text) == "pptp.so",
        _ => false,
    })
}

/// Returns whether a path is in the directory of pppd's peers.
#[must_use]
pub fn is_peer(path: &Path) -> bool {
    path.parent().is_some_and(|directory| directory.ends_with("ppp/peers"))
}
