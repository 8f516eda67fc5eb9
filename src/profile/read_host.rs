//! Reads the host settings of a profile from its TOML table: device, routes, resolvers, firewall, hooks.

use std::{collections::HashMap, time::Duration};

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::{
    DefaultRoute, Dns, DnsServers, Mss, Mtu, Nftables, Pf, Profile, Route,
    report::Draft,
    source::Span,
    tree::{Reader, TomlValue},
    values,
};

pub(super) fn read(reader: &mut Reader, table: &DeTable<'_>, profile: &mut Profile) {
    profile.unit = reader.integer(table, "unit", 0..=9999);
    profile.mtu = mtu(reader, table);
    profile.routes = routes(reader, table);
    profile.peer_routes = reader.bool(table, "peer-routes").unwrap_or(false);
    profile.exclude = exclude(reader, table);
    profile.default_route = default_route(reader, table);
    if let Some(leak) = reader.parsed(table, "leak", |text| values::keyword(text, values::LEAKS)) {
        profile.leak = leak;
    }
    profile.dns = dns(reader, table);
    profile.pf = pf(reader, table);
    let nftables = reader.table(table, "nftables");
    profile.nftables = nftables.and_then(|table| {
        let file = reader.parsed(table, "nftables.file", values::rules_file);
        required(reader, table, "nftables", "file");
        Some(Nftables { file: file? })
    });
    profile.nat = reader.bool(table, "nat").unwrap_or(false);
    profile.mss = mss(reader, table);
    hooks(reader, table, profile);
    if let Some(table) = reader.table(table, "link") {
        profile.link.netns = reader.parsed(table, "link.netns", values::netns);
        profile.link.rdomain = reader.integer(table, "link.rdomain", 1..=255);
        profile.link.fib = reader.integer(table, "link.fib", 1..=65_535);
        profile.link.rtlabel = reader.parsed(table, "link.rtlabel", values::route_label);
        profile.link.gre_allow = reader.bool(table, "link.gre-allow").unwrap_or(false);
    }
    profile.autostart = reader.bool(table, "autostart").unwrap_or(false);
}

fn mtu(reader: &mut Reader, table: &DeTable<'_>) -> Mtu {
    let Some(value) = reader.take(table, "mtu") else { return Mtu::Auto };
    if matches!(value.value, DeValue::String(text) if text == "auto") {
        return Mtu::Auto;
    }
    bytes(reader, value, "\"auto\"").map_or(Mtu::Auto, Mtu::Bytes)
}

fn mss(reader: &mut Reader, table: &DeTable<'_>) -> Mss {
    let Some(value) = reader.take(table, "mss") else { return Mss::default() };
    match value.value {
        DeValue::String(text) if text == "off" => Mss::Off,
        DeValue::String(text) if text == "auto" => Mss::Auto,
        _ => bytes(reader, value, "\"auto\", \"off\"").map_or(Mss::default(), Mss::Bytes),
    }
}

/// Reads a number of bytes, where one of `words` is also allowed.
fn bytes(reader: &mut Reader, value: TomlValue<'_>, words: &str) -> Option<u16> {
    if let DeValue::Integer(_) = value.value {
        return reader.as_integer(value, 576..=1500).and_then(|bytes| u16::try_from(bytes).ok());
    }
    reader.bad(value, format!("{words} or a number from 576 to 1500"));
    None
}

fn routes(reader: &mut Reader, table: &DeTable<'_>) -> Vec<Route> {
    let Some(value) = reader.take(table, "routes") else { return Vec::new() };
    let mut routes: Vec<(Route, Span)> = Vec::new();
    let mut places: HashMap<(IpNet, Option<u32>), Span> = HashMap::new();
    for item in reader.list(value).unwrap_or_default() {
        let Some(route) = route(reader, item) else { continue };
        if let Some(first) = places.get(&(route.prefix, route.table)) {
            let draft =
                Draft::error(item.at, format!("the route to {} stands here twice", route.prefix), "again");
            reader.drafts.push(draft.also(*first, "first"));
            continue;
        }
        places.insert((route.prefix, route.table), item.at);
        routes.push((route, item.at));
    }
    overlaps(reader, &routes);
    let mut routes: Vec<_> = routes.into_iter().map(|(route, _)| route).collect();
    routes.sort();
    routes
}

/// Reads a prefix, or a table with `to`, `metric`, `table` and `label`.
fn route(reader: &mut Reader, item: TomlValue<'_>) -> Option<Route> {
    let DeValue::Table(table) = item.value else {
        let prefix = reader.parse(item, values::prefix)?;
        return reject_default(reader, item, prefix).map(Route::to);
    };
    reader.check_keys(table, "routes");
    required(reader, table, "routes", "to");
    let to = reader.take(table, "routes.to");
    let prefix = to.and_then(|to| reader.parse(to, values::prefix));
    let metric = reader.integer(table, "routes.metric", 0..=u32::MAX);
    // 0 means "unspecified" to the kernel, and 255 is the `local` table.
    let number =
        reader.take(table, "routes.table").and_then(|value| match reader.as_integer(value, 1..=u32::MAX) {
            Some(255) => {
                reader.bad(value, "table 255 is the kernel's own");
                None
            }
            number => number,
        });
    let label = reader.parsed(table, "routes.label", values::route_label);
    let prefix = reject_default(reader, to.unwrap_or(item), prefix?)?;
    Some(Route { metric, table: number, label, ..Route::to(prefix) })
}

fn reject_default(reader: &mut Reader, at: TomlValue<'_>, prefix: IpNet) -> Option<IpNet> {
    if prefix.prefix_len() == 0 {
        reader.bad(at, "for everything, write default = true");
        return None;
    }
    Some(prefix)
}

fn overlaps(reader: &mut Reader, routes: &[(Route, Span)]) {
    // Lists of thousands are common: look up covering prefixes instead of comparing all pairs.
    let kind = |route: &Route| (route.table, route.metric);
    let numbered = routes.iter().enumerate();
    let numbers: HashMap<_, usize> =
        numbered.map(|(number, (route, _))| ((route.prefix.trunc(), kind(route)), number)).collect();
    for (inner, at) in routes {
        let wider = std::iter::successors(inner.prefix.trunc().supernet(), IpNet::supernet);
        let outer = wider.filter_map(|prefix| numbers.get(&(prefix, kind(inner)))).min();
        if let Some((outer, place)) = outer.and_then(|number| routes.get(*number)) {
            let title = format!("the route to {} is part of the one to {}", inner.prefix, outer.prefix);
            reader.drafts.push(Draft::warning(*at, title, "changes nothing").also(*place, "covers it"));
        }
    }
}

fn exclude(reader: &mut Reader, table: &DeTable<'_>) -> Vec<IpNet> {
    let Some(value) = reader.take(table, "exclude") else { return Vec::new() };
    let items = reader.list(value).unwrap_or_default();
    let mut prefixes: Vec<IpNet> =
        items.into_iter().filter_map(|item| reader.parse(item, values::prefix)).collect();
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

/// Reads `true`, `false`, or a table with `mode`.
fn default_route(reader: &mut Reader, table: &DeTable<'_>) -> Option<DefaultRoute> {
    let value = reader.take(table, "default")?;
    match value.value {
        DeValue::Boolean(true) => Some(DefaultRoute::Auto),
        DeValue::Boolean(false) => None,
        DeValue::Table(table) => {
            reader.check_keys(table, "default");
            required(reader, table, "default", "mode");
            reader.parsed(table, "default.mode", |text| values::keyword(text, values::DEFAULT_MODES))
        }
        _ => {
            reader.wrong_type(value, "true, false or { mode = \"halves\" }");
            None
        }
    }
}

/// Reads `"none"`, `"peer"`, or a table.
fn dns(reader: &mut Reader, table: &DeTable<'_>) -> Dns {
    let Some(value) = reader.take(table, "dns") else { return Dns::default() };
    let table = match value.value {
        DeValue::String(text) if text == "none" => return Dns::default(),
        DeValue::String(text) if text == "peer" => {
            return Dns { servers: DnsServers::Peer, ..Dns::default() };
        }
        DeValue::Table(table) => table,
        _ => {
            reader.bad(value, "\"peer\", \"none\" or { servers = […], domains = […] }");
            return Dns::default();
        }
    };
    reader.check_keys(table, "dns");
    let mut dns = Dns { servers: DnsServers::Peer, ..Dns::default() };
    if let Some(value) = reader.take(table, "dns.servers")
        && !matches!(value.value, DeValue::String(text) if text == "peer")
    {
        let items = reader.one_or_list(value);
        if items.is_empty() {
            reader.bad(value, "at least one address, or \"peer\"");
        }
        let servers = items.into_iter().filter_map(|item| reader.parse(item, values::address)).collect();
        dns.servers = DnsServers::Fixed(servers);
    }
    for (path, names) in [("dns.domains", &mut dns.domains), ("dns.search", &mut dns.search)] {
        if let Some(value) = reader.take(table, path) {
            let items = reader.one_or_list(value);
            *names = items.into_iter().filter_map(|item| reader.parse(item, values::domain)).collect();
        }
    }
    if let Some(backend) =
        reader.parsed(table, "dns.backend", |text| values::keyword(text, values::DNS_BACKENDS))
    {
        dns.backend = backend;
    }
    dns
}

fn pf(reader: &mut Reader, table: &DeTable<'_>) -> Option<Pf> {
    let table = reader.table(table, "pf")?;
    let anchor = reader.parsed(table, "pf.anchor", values::anchor);
    let file = reader.parsed(table, "pf.file", values::path);
    required(reader, table, "pf", "anchor");
    required(reader, table, "pf", "file");
    Some(Pf { anchor: anchor?, file: file? })
}

fn hooks(reader: &mut Reader, table: &DeTable<'_>, profile: &mut Profile) {
    let Some(table) = reader.table(table, "hooks") else { return };
    let out = &mut profile.hooks;
    for (path, argv) in [("hooks.up", &mut out.up), ("hooks.down", &mut out.down)] {
        if let Some(value) = reader.take(table, path) {
            *argv = reader.argv(value).unwrap_or_default();
            if argv.first().is_some_and(|program| !program.starts_with('/')) {
                reader.bad(
                    value,
                    "a program by its absolute path, like [\"/usr/local/libexec/vpn-up\", \"arg\"]",
                );
            }
        }
    }
    let range = Duration::from_secs(1)..=Duration::from_secs(3600);
    out.timeout = reader.duration(table, "hooks.timeout", range, out.timeout);
}

/// Reports a required key that is missing in its table.
fn required(reader: &mut Reader, table: &DeTable<'_>, path: &str, key: &str) {
    if !table.contains_key(key) {
        let mut spans: Vec<Span> = table.keys().map(|key| Span::from(key.span())).collect();
        spans.sort();
        let at = spans.first().copied().or_else(|| reader.spans.get(path).copied());
        let at = at.unwrap_or(Span { start: 0, end: 0 });
        reader.drafts.push(Draft::error(at, format!("`{path}` has no `{key}`"), format!("add `{key}`")));
    }
}
