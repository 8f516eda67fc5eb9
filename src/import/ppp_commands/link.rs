//! Commands of ppp.linkup and ppp.linkdown: routes, and rules for pf(4).

use ipnet::Ipv4Net;

use super::{Command, Ppp};
use crate::import::{draft::Origin, words};

impl Ppp<'_> {
    /// Reads a command of ppp.linkup or ppp.linkdown.
    pub fn link_command(&mut self, command: &Command, is_up: bool) {
        let all = words::line(&command.text);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        match all.as_slice() {
            ["add" | "add!" | "delete" | "delete!" | "shell" | "bg", ..] => {
                self.link_words(&all, &command.origin, is_up)
            }
            [first, ..] if first.starts_with('!') => self.link_words(&all, &command.origin, is_up),
            _ => self.command(command),
        }
    }

    pub(super) fn link_words(&mut self, words: &[&str], origin: &Origin, is_up: bool) {
        match words {
            ["add" | "add!", route @ ..] => self.route(route, origin),
            ["delete" | "delete!", ..] => {
                if is_up {
                    self.tunnel.left_out(
                        origin,
                        "delete",
                        "pptpctl deletes no route of others; see default.mode",
                    );
                } else {
                    self.tunnel.needless("delete (down undoes the routes)");
                }
            }
            ["shell" | "bg" | "!" | "!bg", command @ ..] => self.shell(command, origin, is_up),
            [first, rest @ ..] => {
                let first = first.trim_start_matches('!').trim_start_matches("bg ");
                self.shell(&[&[first], rest].concat(), origin, is_up);
            }
            [] => {}
        }
    }

    /// `add DEST[/BITS] [MASK] GATEWAY`.
    fn route(&mut self, words: &[&str], origin: &Origin) {
        let (to, gateway) = match words {
            ["default", gateway] => (Some("default".to_owned()), *gateway),
            [to, gateway] if to.contains('/') => (Some((*to).to_owned()), *gateway),
            [to, gateway] => (Some(format!("{to}/32")), *gateway),
            ["0" | "0.0.0.0", "0" | "0.0.0.0", gateway] => (Some("default".to_owned()), *gateway),
            [to, mask, gateway] => {
                let net = to.parse().ok().zip(mask.parse().ok());
                let net = net.and_then(|(to, mask)| Ipv4Net::with_netmask(to, mask).ok());
                (net.map(|net| net.to_string()), *gateway)
            }
            _ => (None, ""),
        };
        let Some(to) = to else { return self.tunnel.left_out(origin, "add", "its form is not known") };
        let into_tunnel =
            ["HISADDR", "INTERFACE", "HISADDR6"].contains(&gateway.to_ascii_uppercase().as_str());
        if !into_tunnel {
            let host = to.trim_end_matches("/32");
            let why = if self.tunnel.text("server") == Some(host) {
                "pptpctl routes its server outside the tunnel by itself"
            } else {
                "it does not lead into the tunnel; if it is for the server, pptpctl adds it by itself"
            };
            return self.tunnel.left_out(origin, &format!("add {host} {gateway}"), why);
        }
        if to == "default" || to.ends_with("/0") {
            self.tunnel.set("default", true, origin);
            return;
        }
        self.tunnel.set("routes", to.as_str(), origin);
        if to.contains(':') {
            self.tunnel.set("ppp.ipv6", true, origin);
        }
    }

    /// Reads a command that ppp runs: only those of pfctl(8) are known.
    fn shell(&mut self, words: &[&str], origin: &Origin, is_up: bool) {
        let inner = match words {
            ["sh" | "/bin/sh", "-c", command] => words::line(command),
            all => all.iter().map(|word| (*word).to_owned()).collect(),
        };
        let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
        if let [pfctl, options @ ..] = inner.as_slice()
            && words::base(pfctl) == "pfctl"
            && !inner.iter().any(|word| words::needs_shell(word))
        {
            return self.pfctl(options, origin, is_up);
        }
        let what = format!("! {}", inner.first().map_or("", |program| words::base(program)));
        let why = if is_up {
            "commands are not run; if it only routes the server, pptpctl does that by itself, else see hooks.up"
        } else {
            "commands are not run; `down` undoes what pptpctl has done, for all else see hooks.down"
        };
        self.tunnel.left_out(origin, &what, why);
    }

    fn pfctl(&mut self, options: &[&str], origin: &Origin, is_up: bool) {
        let value = |name: &str| {
            let at = options.iter().position(|option| *option == name)?;
            options.get(at + 1).copied()
        };
        match (value("-a"), value("-f"), value("-F")) {
            (Some(anchor), Some(file), None) if is_up => {
                self.tunnel.set("pf.anchor", anchor, origin);
                self.tunnel.set("pf.file", file, origin);
                self.rules(file);
            }
            (Some(_), None, Some(_)) if !is_up => self.tunnel.needless("pfctl -F (down flushes the anchor)"),
            _ => self.tunnel.left_out(origin, "! pfctl", "only -a ANCHOR -f FILE is known; see hooks"),
        }
    }

    /// Looks for address translation in the rules of the anchor.
    fn rules(&mut self, file: &str) {
        let Some(source) = (self.read)(file) else {
            self.tunnel.note(format!(
                "the rules in {file} were not read: if they translate addresses, set nat = true"
            ));
            return;
        };
        for (line, number) in source.text.lines().zip(1..) {
            let origin = Origin::new(&source.path, number);
            let all: Vec<&str> = line.split_whitespace().collect();
            match all.as_slice() {
                ["nat", "on", ..] => {
                    self.tunnel.set("nat", true, &origin);
                    self.tunnel.changed(&origin, "nat on …", "remove this line: nat = true adds the rule");
                }
                ["match", "out", rest @ ..] if rest.contains(&"nat-to") => {
                    self.tunnel.set("nat", true, &origin);
                    self.tunnel.changed(
                        &origin,
                        "match out … nat-to",
                        "remove this line: nat = true adds the rule",
                    );
                }
                [macros, ..] if macros.starts_with("vpn_if=") => {
                    let how = "remove this line: pptpctl defines $vpn_if, as the device that it opens";
                    self.tunnel.changed(&origin, "vpn_if=", how);
                }
                _ => {}
            }
        }
    }
}
