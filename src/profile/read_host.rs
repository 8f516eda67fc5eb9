//! Reads the host settings of a profile from its TOML table: device, routes, resolvers, firewall, hooks.

use std::collections::HashMap;

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::{
    DefaultRoute, Dns, DnsServers, Hooks, LinkSettings, Mss, Nftables, Pf, Route,
    report::Draft,
    source::Span,
    tree::{Reader, TomlValue},
    values,
};

/// Reads `"auto"`, `"off"`, or a number of bytes.
pub(super) fn mss(reader: &mut Reader, table: &DeTable<'_>) -> Mss {
    let bytes = reader.number(table, "mss");
    match table.get("mss").and_then(|value| value.get_ref().as_str()) {
        Some("off") => Mss::Off,
        _ => bytes.map_or(Mss::Auto, Mss::Bytes),
    }
}

pub(super) fn link(reader: &mut Reader, table: &DeTable<'_>) -> LinkSettings {
    let table = reader.table(table, "link");
    LinkSettings {
        manage: reader.flag(table, "link.manage"),
        netns: reader.parsed(table, "link.netns", values::netns),
        rdomain: reader.number(table, "link.rdomain"),
        fib: reader.number(table, "link.fib"),
        rtlabel: reader.parsed(table, "link.rtlabel", values::route_label),
        gre_allow: reader.flag(table, "link.gre-allow"),
    }
}

pub(super) fn routes(reader: &mut Reader, table: &DeTable<'_>) -> Vec<Route> {
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
    let to = reader.take(table, "routes.to");
    let prefix = to.and_then(|to| reader.parse(to, values::prefix));
    let metric = reader.number(table, "routes.metric");
    // 0, which the range excludes, means "unspecified" to the kernel, and 255 is the `local` table.
    let number = reader.take(table, "routes.table").and_then(|value| match reader.as_number(value) {
        Some(255) => {
            reader.bad(value, "table 255 is reserved for the kernel");
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

pub(super) fn exclude(reader: &mut Reader, table: &DeTable<'_>) -> Vec<IpNet> {
    let Some(value) = reader.take(table, "exclude") else { return Vec::new() };
    let items = reader.list(value).unwrap_or_default();
    let mut prefixes: Vec<IpNet> =
        items.into_iter().filter_map(|item| reader.parse(item, values::prefix)).collect();
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

/// Reads `true`, `false`, or a table with `mode`.
pub(super) fn default_route(reader: &mut Reader, table: &DeTable<'_>) -> Option<DefaultRoute> {
    let value = reader.take(table, "default")?;
    match value.value {
        DeValue::Boolean(true) => Some(DefaultRoute::Auto),
        DeValue::Boolean(false) => None,
        DeValue::Table(table) => {
            reader.check_keys(table, "default");
            reader.parsed(table, "default.mode", |text| values::keyword(text, &values::DEFAULT_MODES))
        }
        _ => {
            reader.wrong_type(value, "true, false or { mode = \"halves\" }");
            None
        }
    }
}

/// Reads `"none"`, `"peer"`, or a table.
pub(super) fn dns(reader: &mut Reader, table: &DeTable<'_>) -> Dns {
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
    dns.backend = reader.word(table, "dns.backend", &values::DNS_BACKENDS);
    dns
}

pub(super) fn pf(reader: &mut Reader, table: &DeTable<'_>) -> Option<Pf> {
    let table = reader.table(table, "pf");
    let anchor = reader.parsed(table, "pf.anchor", values::anchor);
    let file = reader.parsed(table, "pf.file", values::path);
    Some(Pf { anchor: anchor?, file })
}

pub(super) fn nftables(reader: &mut Reader, table: &DeTable<'_>) -> Option<Nftables> {
    let table = reader.table(table, "nftables");
    Some(Nftables { file: reader.parsed(table, "nftables.file", values::rules_file)? })
}

pub(super) fn hooks(reader: &mut Reader, table: &DeTable<'_>) -> Hooks {
    let table = reader.table(table, "hooks");
    Hooks {
        up: hook(reader, table, "hooks.up"),
        down: hook(reader, table, "hooks.down"),
        timeout: reader.time(table, "hooks.timeout"),
    }
}

fn hook(reader: &mut Reader, table: &DeTable<'_>, path: &'static str) -> Vec<String> {
    let Some(value) = reader.take(table, path) else { return Vec::new() };
    let argv = reader.argv(value).unwrap_or_default();
    if argv.first().is_some_and(|program| !program.starts_with('/')) {
        reader.bad(value, "a program by its absolute path, like [\"/usr/local/libexec/vpn-up\", \"arg\"]");
    }
    argv
}
