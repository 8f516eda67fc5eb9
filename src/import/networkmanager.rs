//! Keyfiles of NetworkManager with a connection of its PPTP plug-in.

use super::{
    draft::{Origin, Tunnel, Value, named},
    ini::{self, Entry},
    pppd::seconds_of,
    secrets,
    security::Security,
    sources::Source,
};
use crate::secret::Secret;

/// The type of a connection of the PPTP plug-in.
const SERVICE: &str = "org.freedesktop.NetworkManager.pptp";

/// A connection as its lines are read.
struct Connection {
    tunnel: Tunnel,
    security: Security,
    never_default: bool,
    ignores_dns: bool,
    password_flags: u32,
    uuid: String,
    /// The lines of require-mppe, require-mppe-40 and require-mppe-128.
    mppe: [Option<Origin>; 3],
}

/// Returns whether a file is a keyfile with a PPTP connection.
#[must_use]
pub fn is_pptp(source: &Source) -> bool {
    source.text.lines().any(|line| {
        line.split_once('=')
            .is_some_and(|(key, value)| key.trim() == "service-type" && value.trim() == SERVICE)
    })
}

/// Reads a keyfile.
#[must_use]
pub fn tunnel(source: &Source) -> Tunnel {
    let name = source.as_path().file_name().and_then(|name| name.to_str()).unwrap_or("vpn");
    let name = name.strip_suffix(".nmconnection").unwrap_or(name);
    let mut connection = Connection {
        tunnel: Tunnel::new(if name == "-" { "vpn" } else { name }),
        security: Security::default(),
        never_default: false,
        ignores_dns: false,
        password_flags: 0,
        uuid: String::new(),
        mppe: [None, None, None],
    };
    for section in ini::sections(source) {
        for entry in &section.entries {
            match section.name.as_str() {
                "connection" => connection.connection(entry),
                "vpn" => connection.vpn(entry),
                "vpn-secrets" => connection.secret(entry),
                "ipv4" => connection.ipv4(entry),
                "ipv6" => connection.ipv6(entry),
                _ => connection.tunnel.needless(&format!("[{}]", section.name)),
            }
        }
    }
    connection.finish()
}

impl Connection {
    fn connection(&mut self, entry: &Entry) {
        let (value, origin) = (entry.value.as_str(), &entry.origin);
        match entry.key.as_str() {
            "id" => self.tunnel.label = unescaped(value),
            "uuid" => self.uuid = value.to_owned(),
            "permissions" if !value.is_empty() => {
                self.tunnel.left_out(
                    origin,
                    "permissions",
                    "only root may bring a tunnel up; control.group may see it",
                );
            }
            "autoconnect" if is_true(value) => {
                self.tunnel.left_out(
                    origin,
                    "autoconnect",
                    "NetworkManager does not heed it for a VPN; see `autostart`",
                );
            }
            "secondaries" | "zone" | "metered" | "timestamp" | "interface-name" if !value.is_empty() => {
                self.tunnel.left_out(origin, &entry.key, "pptpctl has no such setting");
            }
            _ => self.tunnel.needless(&entry.key),
        }
    }

    fn vpn(&mut self, entry: &Entry) {
        let (value, origin) = (unescaped(&entry.value), &entry.origin);
        let number = value.parse::<u32>().ok();
        let yes = is_true(&value);
        match entry.key.as_str() {
            "gateway" => self.tunnel.set("server", value.as_str(), origin),
            "user" => self.tunnel.set("user", value.as_str(), origin),
            "user-name" if !self.tunnel.has("user") => self.tunnel.set("user", value.as_str(), origin),
            "domain" if !value.is_empty() => self.tunnel.set("domain", value.as_str(), origin),
            "password-flags" => self.password_flags = number.unwrap_or(0),
            "refuse-pap" if yes => self.security.refuse("pap", origin),
            "refuse-chap" if yes => self.security.refuse("chap", origin),
            "refuse-mschap" if yes => self.security.refuse("mschap", origin),
            "refuse-mschapv2" if yes => self.security.refuse("mschapv2", origin),
            "require-mppe" if yes => self.mppe[0] = Some(origin.clone()),
            "require-mppe-40" if yes => self.mppe[1] = Some(origin.clone()),
            "require-mppe-128" if yes => self.mppe[2] = Some(origin.clone()),
            "mppe-stateful" if yes => self.security.stateful = true,
            "lcp-echo-interval" => match number {
                Some(0) => self.tunnel.set("ppp.lcp-echo-interval", "off", origin),
                Some(seconds) => self.tunnel.set("ppp.lcp-echo-interval", seconds_of(seconds), origin),
                None => self.tunnel.left_out(origin, &entry.key, "its value is not a number"),
            },
            "lcp-echo-failure" => match number {
                Some(0) => self.tunnel.needless("lcp-echo-failure"),
                Some(count) => self.tunnel.set("ppp.lcp-echo-failure", count, origin),
                None => self.tunnel.left_out(origin, &entry.key, "its value is not a number"),
            },
            "unit" => match number {
                Some(unit) => {
                    self.tunnel.set("unit", unit, origin);
                    let how = "the device is tunN, not pppN: check rules that name it";
                    self.tunnel.changed(origin, "unit", how);
                }
                None => self.tunnel.left_out(origin, "unit", "its value is not a number"),
            },
            "mtu" => match number {
                Some(mtu) => self.tunnel.set("mtu", mtu, origin),
                None => self.tunnel.left_out(origin, "mtu", "its value is not a number"),
            },
            "password" => self.secret(entry),
            "timeout" | "persistent" => {
                self.tunnel.left_out(origin, &entry.key, "see `timeouts` and `retry`")
            }
            "service-type" | "refuse-eap" | "nobsdcomp" | "nodeflate" | "no-vj-comp" | "refuse-pap"
            | "refuse-chap" | "refuse-mschap" | "refuse-mschapv2" | "require-mppe" | "require-mppe-40"
            | "require-mppe-128" | "mppe-stateful" | "domain" | "user-name" => {
                self.tunnel.needless(&entry.key)
            }
            other => {
                self.tunnel.left_out(origin, named(other), "this key of the PPTP plug-in is not known here")
            }
        }
    }

    fn secret(&mut self, entry: &Entry) {
        if entry.key != "password" {
            return self.tunnel.left_out(
                &entry.origin,
                "[vpn-secrets]",
                "only `password` is a secret of PPTP",
            );
        }
        let text = unescaped(&entry.value);
        match secrets::usable(&text) {
            Ok(()) => self.tunnel.password = Some((Secret::from(text.as_str()), entry.origin.clone())),
            Err(why) => self.tunnel.left_out(&entry.origin, "password", why),
        }
    }

    fn ipv4(&mut self, entry: &Entry) {
        let (value, origin) = (entry.value.as_str(), &entry.origin);
        let digits = entry.key.trim_start_matches(|c: char| c.is_ascii_lowercase());
        let is_route = entry.key.starts_with("route") && !digits.is_empty() && digits.parse::<u32>().is_ok();
        match entry.key.as_str() {
            "method" if value == "auto" => self.tunnel.needless("method"),
            "method" => {
                self.tunnel.left_out(origin, "method", "the addresses are those that the server assigns")
            }
            "never-default" => self.never_default = is_true(value),
            "ignore-auto-dns" => self.ignores_dns = is_true(value),
            "dns" => {
                for server in value.split(';').map(str::trim).filter(|server| !server.is_empty()) {
                    self.tunnel.set("dns.servers", server, origin);
                }
            }
            "dns-search" => {
                for domain in value.split(';').map(str::trim).filter(|domain| !domain.is_empty()) {
                    match domain.strip_prefix('~') {
                        Some("" | ".") => self.tunnel.needless("dns-search=~."),
                        Some(domain) => {
                            self.tunnel.set("dns.domains", domain, origin);
                            let how = "asking other resolvers for one domain only needs systemd-resolved";
                            self.tunnel.changed(origin, &format!("~{domain}"), how);
                        }
                        None => self.tunnel.set("dns.search", domain, origin),
                    }
                }
            }
            key if key.starts_with("address") && !value.is_empty() => {
                self.tunnel.left_out(origin, key, "the addresses are those that the server assigns");
            }
            "route-metric" | "dns-priority" | "dns-options" | "route-table" | "gateway"
            | "dhcp-client-id" => {
                self.tunnel.left_out(origin, &entry.key, "pptpctl has no such setting");
            }
            "ignore-auto-routes" => self.tunnel.needless("ignore-auto-routes"),
            key if key.ends_with("_options") => {
                self.tunnel.left_out(origin, key, "of a route, only prefix and metric are carried over");
            }
            _ if is_route => self.route(value, origin),
            _ => self.tunnel.needless(&entry.key),
        }
    }

    /// `PREFIX[,GATEWAY[,METRIC]]`.
    fn route(&mut self, value: &str, origin: &Origin) {
        let mut parts = value.split(',').map(str::trim);
        let (to, gateway, metric) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if gateway.is_some_and(|gateway| !gateway.is_empty() && gateway != "0.0.0.0") {
            let why = "its gateway is another than the peer: pptpctl routes into the tunnel only";
            return self.tunnel.left_out(origin, &format!("route to {to}"), why);
        }
        // NetworkManager accepts bits behind the prefix length and clears them.
        let to = to.parse::<ipnet::IpNet>().map_or_else(|_| to.to_owned(), |net| net.trunc().to_string());
        match metric.map(str::parse::<u32>) {
            None => self.tunnel.set("routes", to.as_str(), origin),
            Some(Ok(metric)) => {
                let table = format!("{{ to = {}, metric = {metric} }}", super::draft::quoted(&to));
                self.tunnel.set("routes", Value::Toml(table), origin);
            }
            Some(Err(_)) => {
                self.tunnel.set("routes", to.as_str(), origin);
                self.tunnel.left_out(origin, "metric", "it is not a number");
            }
        }
    }

    fn ipv6(&mut self, entry: &Entry) {
        match (entry.key.as_str(), entry.value.as_str()) {
            ("method", "auto" | "ignore" | "disabled" | "link-local")
            | ("never-default" | "addr-gen-mode" | "may-fail" | "ip6-privacy", _) => {
                self.tunnel.needless("[ipv6]");
            }
            (key, value) if !value.is_empty() => {
                let why = "the PPTP plug-in of NetworkManager has no IPv6; see ppp.ipv6";
                self.tunnel.left_out(&entry.origin, &format!("[ipv6] {key}"), why);
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Tunnel {
        if self.never_default {
            self.tunnel.needless("never-default");
        } else {
            self.tunnel.imply("default", true, "NetworkManager does unless never-default=true");
        }
        if !self.ignores_dns {
            if self.tunnel.has("dns.servers") {
                self.tunnel.note(
                    "NetworkManager would also ask the resolvers that the server names; this profile asks those of dns= \
                     only",
                );
            } else {
                self.tunnel.imply("dns", "peer", "NetworkManager does unless ignore-auto-dns=true");
            }
        }
        if self.tunnel.password.is_none() {
            let uuid = &self.uuid;
            let is_uuid = uuid.len() == 36 && uuid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
            self.tunnel.password_hint = Some(match self.password_flags {
                1 if is_uuid => format!(
                    "the password is in the user's keyring, not in this file; with GNOME's keyring, `secret-tool lookup \
                     connection-uuid {uuid} setting-name vpn setting-key password` should print it"
                ),
                1 => "the password is in the user's keyring, not in this file".to_owned(),
                2 => "NetworkManager asks for the password each time".to_owned(),
                _ => "the file has no password".to_owned(),
            });
        }
        // The plug-in passes them to pppd in this order, and the last one counts.
        for (origin, (least, most)) in self.mppe.iter().zip([(40, 128), (40, 40), (128, 128)]) {
            if let Some(origin) = origin {
                self.security.demand(origin, least, most);
            }
        }
        self.security.apply(&mut self.tunnel, "NetworkManager");
        self.tunnel
    }
}

fn is_true(value: &str) -> bool {
    matches!(value, "yes" | "true" | "1")
}

/// Resolves the escapes of a keyfile.
fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('s') => text.push(' '),
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some(c @ ('\\' | ';')) => text.push(c),
            Some(other) => text.extend(['\\', other]),
            None => text.push('\\'),
        }
    }
    text
}
