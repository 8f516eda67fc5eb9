//! OpenWrt: `/etc/config/network` with interfaces of `proto pptp`, and `/etc/ppp/options.pptp`.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    draft::{Origin, Tunnel, Value, named, quoted},
    pppd::{Pppd, seconds_of},
    secrets,
    sources::{Source, Sources, Unread, root_of, within},
    words,
};
use crate::secret::Secret;

/// A section of UCI.
struct Section {
    kind: String,
    name: String,
    entries: Vec<Entry>,
}

/// An option, or an element of a list.
struct Entry {
    name: String,
    value: String,
    origin: Origin,
}

fn sections(source: &Source) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        let origin = Origin::new(&source.path, number);
        let all = words::line(line);
        let mut all = all.into_iter();
        match (all.next().as_deref(), all.next(), all.next()) {
            (Some("config"), Some(kind), name) => {
                sections.push(Section { kind, name: name.unwrap_or_default(), entries: Vec::new() });
            }
            (Some("option" | "list"), Some(name), Some(value)) => {
                if let Some(section) = sections.last_mut() {
                    section.entries.push(Entry { name, value, origin });
                }
            }
            _ => {}
        }
    }
    sections
}

impl Section {
    fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.name == name)
    }

    fn is_pptp(&self) -> bool {
        self.kind == "interface" && self.get("proto").is_some_and(|proto| proto.value == "pptp")
    }
}

/// Returns the names of the PPTP interfaces.
#[must_use]
pub fn names(source: &Source) -> Vec<String> {
    sections(source).into_iter().filter(Section::is_pptp).map(|section| section.name).collect()
}

/// Reads the PPTP interfaces and their routes.
#[must_use]
pub fn tunnels(source: &Source, sources: &Sources<'_>) -> Vec<Tunnel> {
    let all = sections(source);
    let read = |section: &Section| interface(section, &all, source, sources);
    all.iter().filter(|section| section.is_pptp()).map(read).collect()
}

fn interface(section: &Section, all: &[Section], source: &Source, sources: &Sources<'_>) -> Tunnel {
    let root = root_of(source.as_path(), "etc/config");
    let options = within(&root, "/etc/ppp/options.pptp");
    let mut pppd = Pppd::new(sources, root, &section.name);
    pppd.is_restarted = true;
    // The order in which netifd passes the options to pppd: the last one counts.
    section.entries.iter().for_each(|entry| option(entry, &mut pppd));
    match options.map(|path| (sources.read(&path), path)) {
        Some((Ok(options), _)) => pppd.read(&options),
        Some((Err(Unread::Failed(why)), path)) => {
            pppd.tunnel.note(format!("cannot read {}: {why}", path.display()))
        }
        Some((Err(Unread::Missing), path)) => {
            pppd.tunnel.note(format!(
                "there is no {}, which has the options of all PPTP interfaces",
                path.display()
            ));
        }
        None => {}
    }
    if let Some(entry) = section.get("pppd_options") {
        pppd.read_text(&entry.value, &source.path, line_of(source, &entry.origin));
    }
    let mut tunnel = pppd.finish();
    implied(section, &mut tunnel);
    for route in all.iter().filter(|other| other.kind == "route" || other.kind == "route6") {
        if route.get("interface").is_some_and(|of| of.value == section.name) {
            self::route(route, &mut tunnel);
        }
    }
    if tunnel.password.is_none() {
        tunnel.password_hint = Some("the interface has no `option password`".to_owned());
    }
    tunnel
}

/// Returns the line number of an origin of this source.
fn line_of(source: &Source, origin: &Origin) -> usize {
    let lines = 1..=source.text.lines().count();
    lines.into_iter().find(|line| Origin::new(&source.path, *line) == *origin).unwrap_or(0)
}

fn option(entry: &Entry, pppd: &mut Pppd<'_>) {
    let (value, origin) = (entry.value.as_str(), &entry.origin);
    let tunnel = &mut pppd.tunnel;
    let number = value.parse::<u32>().ok();
    match entry.name.as_str() {
        "server" => tunnel.set("server", value, origin),
        "username" => tunnel.set("user", value, origin),
        "password" => match secrets::usable(value) {
            Ok(()) => tunnel.password = Some((Secret::from(value), origin.clone())),
            Err(why) => tunnel.left_out(origin, "password", why),
        },
        "mtu" => match number {
            Some(mtu) => {
                tunnel.set("mtu", mtu, origin);
                tunnel.set("ppp.mru", mtu, origin);
            }
            None => tunnel.left_out(origin, "mtu", "its value is not a number"),
        },
        "keepalive" => keepalive(value, origin, tunnel),
        "dns" => value.split_whitespace().for_each(|server| tunnel.set("dns.servers", server, origin)),
        "dns_search" => value.split_whitespace().for_each(|domain| tunnel.set("dns.search", domain, origin)),
        "ipv6" if value != "0" => {
            tunnel.left_out(origin, "ipv6", "OpenWrt configures IPv6 after PPP by DHCPv6; see ppp.ipv6");
        }
        "defaultroute" | "peerdns" | "auto" | "disabled" | "proto" | "pppd_options" | "ipv6"
        | "keepalive_adaptive" | "delegate" | "sourcefilter" | "norelease" => {
            if !matches!(
                entry.name.as_str(),
                "defaultroute" | "peerdns" | "auto" | "disabled" | "pppd_options"
            ) {
                tunnel.needless(&entry.name);
            }
        }
        "interface" => {
            tunnel.left_out(origin, "interface", "the route to the server decides; see `localbind`")
        }
        "metric" => {
            tunnel.left_out(
                origin,
                "metric",
                "`default` uses rules, not metrics; a route of `routes` may have one",
            );
        }
        "demand" if number != Some(0) => {
            tunnel.left_out(origin, "demand", "pptpctl neither dials on demand nor hangs up when idle");
        }
        "maxfail" | "persist" | "holdoff" | "authfail" | "demand" => {
            tunnel.left_out(origin, &entry.name, "netifd starts pppd again in any case; see `retry`");
        }
        "connect" | "disconnect" => tunnel.left_out(origin, &entry.name, "see hooks.up and hooks.down"),
        "device" | "ifname" | "pppname" => {
            tunnel.left_out(origin, &entry.name, "the device is tunN: `unit` chooses N");
        }
        other => tunnel.left_out(origin, named(other), "pptpctl has no such setting"),
    }
}

/// `FAILURES [INTERVAL]`, with a space or a comma between.
fn keepalive(value: &str, origin: &Origin, tunnel: &mut Tunnel) {
    let mut parts = value.split([' ', ',']).filter(|part| !part.is_empty()).map(str::parse::<u32>);
    let (failures, interval) = (parts.next(), parts.next());
    match failures {
        None => {}
        Some(Ok(0)) => tunnel.set("ppp.lcp-echo-interval", "off", origin),
        Some(Ok(failures)) => {
            let interval = interval.and_then(Result::ok).unwrap_or(5);
            tunnel.set("ppp.lcp-echo-interval", seconds_of(interval.max(1)), origin);
            tunnel.set("ppp.lcp-echo-failure", failures, origin);
        }
        Some(Err(_)) => tunnel.left_out(origin, "keepalive", "its value is not a number"),
    }
}

/// Sets what netifd does unless an option says otherwise.
fn implied(section: &Section, tunnel: &mut Tunnel) {
    let off = |name: &str| {
        section.get(name).filter(|entry| matches!(entry.value.as_str(), "0" | "no" | "off" | "false"))
    };
    let on = |name: &str| {
        section.get(name).filter(|entry| !matches!(entry.value.as_str(), "0" | "no" | "off" | "false"))
    };
    // Options of pppd about these do nothing there: netifd reads the addresses and sets the routes.
    for key in
        ["default", "dns", "retry.attempts", "retry.forever", "retry.from-start", "retry.first", "retry.max"]
    {
        tunnel.unset(key);
    }
    if off("defaultroute").is_none() {
        match on("defaultroute") {
            Some(entry) => tunnel.set("default", true, &entry.origin),
            None => tunnel.imply("default", true, "OpenWrt does unless defaultroute is 0"),
        }
    }
    if off("peerdns").is_none() && !tunnel.has("dns.servers") {
        match on("peerdns") {
            Some(entry) => tunnel.set("dns", "peer", &entry.origin),
            None => tunnel.imply("dns", "peer", "OpenWrt does unless peerdns is 0"),
        }
    }
    tunnel.imply("retry.from-start", true, "netifd tries again until it is up");
    if let Some(entry) = on("disabled") {
        tunnel.changed(
            &entry.origin,
            "disabled",
            "the profile is not brought up at boot: `autostart` is left out",
        );
    } else if off("auto").is_none() {
        tunnel.imply("autostart", true, "OpenWrt does unless auto is 0");
    }
    tunnel.note("the zone of the interface in /etc/config/firewall is not read: see `nat`, nftables.file and `conntrack`");
}

fn route(section: &Section, tunnel: &mut Tunnel) {
    let Some(target) = section.get("target") else { return };
    let origin = &target.origin;
    let mut to = target.value.clone();
    if let Some(mask) = section.get("netmask") {
        let net = target.value.parse::<Ipv4Addr>().ok().zip(mask.value.parse::<Ipv4Addr>().ok());
        match net.and_then(|(to, mask)| Ipv4Net::with_netmask(to, mask).ok()) {
            Some(net) => to = net.to_string(),
            None => return tunnel.left_out(origin, "config route", "its address and netmask are no prefix"),
        }
    }
    let number = |name: &str| section.get(name).and_then(|entry| entry.value.parse::<u32>().ok());
    let mut more = String::new();
    for key in ["metric", "table"] {
        if let Some(number) = number(key) {
            more.push_str(&format!(", {key} = {number}"));
        }
    }
    for entry in &section.entries {
        let known = ["interface", "target", "netmask", "metric", "table"].contains(&entry.name.as_str());
        let is_number = !["metric", "table"].contains(&entry.name.as_str()) || number(&entry.name).is_some();
        if !known || !is_number {
            tunnel.left_out(
                &entry.origin,
                named(&entry.name),
                "of a route, prefix, metric and table are carried over",
            );
        }
    }
    if more.is_empty() {
        tunnel.set("routes", to.as_str(), origin);
    } else {
        tunnel.set("routes", Value::Toml(format!("{{ to = {}{more} }}", quoted(&to))), origin);
    }
    if to.contains(':') {
        tunnel.set("ppp.ipv6", true, origin);
    }
}
