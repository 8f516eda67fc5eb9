//! Checks relations between the keys of a profile, and warns about probably unintended settings.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    AuthProtocol, Conntrack, DefaultRoute, Demand, DnsBackend, DnsServers, Host, Leak, Mtu, PasswordSource,
    PppBackend, Profile, Strength, backend, data_path, manage, report::Draft, source::Span, tree::Reader,
    values,
};
use crate::platform::Platform;

/// Checks one profile. `header` is the position for keys that are absent, `platform` the system.
pub(super) fn profile(profile: &Profile, reader: &mut Reader, header: Span, platform: Platform) {
    let mut drafts = std::mem::take(&mut reader.drafts);
    let at = |key: &str| reader.spans.get(key).copied().unwrap_or(header);
    let failed = |keys: &[&str]| keys.iter().any(|key| reader.failed.contains(key));
    if !failed(&["auth", "mppe"]) {
        authentication(profile, at, &mut drafts);
    }
    link(profile, at, &mut drafts);
    manage::check(profile, at, &mut drafts);
    domain(profile, platform, at, &mut drafts);
    tables(profile, platform, at, &mut drafts);
    labels(profile, platform, at, &mut drafts);
    routes(profile, at, &mut drafts);
    if !failed(&["ppp.backend", "mppe"]) {
        backend::check(profile, platform, at, &mut drafts);
    }
    data_path::check(profile, platform, at, &mut drafts);
    dns(profile, at, &mut drafts);
    if profile.retry.first > profile.retry.max && !failed(&["retry.first", "retry.max"]) {
        let title = "`retry.first` is longer than `retry.max`";
        drafts.push(Draft::error(at("retry.first"), title, "the first wait is the shortest"));
    }
    if profile.retry.from_start && profile.retry.attempts == Some(0) {
        let title = "`retry.from-start = true` without a second attempt";
        let draft = Draft::warning(at("retry.from-start"), title, "it has no effect");
        drafts.push(draft.help("set retry.attempts, or leave out retry.attempts and retry.forever"));
    }
    while_lost(profile, at, &mut drafts);
    reader.drafts = drafts;
}

/// Checks the settings for routes and resolvers while the tunnel is lost.
fn while_lost(profile: &Profile, at: impl Fn(&str) -> Span, drafts: &mut Vec<Draft>) {
    if !profile.retry.keep_routes && profile.leak == Leak::Block {
        let title = "`retry.keep-routes = false` beside `leak = \"block\"`";
        let label = "packets for a lost tunnel then leave unencrypted";
        let draft = Draft::error(at("retry.keep-routes"), title, label);
        drafts.push(draft.also(at("leak"), "which this setting is to prevent").help("leave one of them out"));
    }
}

fn authentication(profile: &Profile, at: impl Fn(&str) -> Span, drafts: &mut Vec<Draft>) {
    let keys = |protocol: &AuthProtocol| protocol.gives_keys();
    let is_set = !profile.auth.is_empty() || profile.unauthenticated;
    if profile.mppe.demand == Demand::Require && is_set {
        if !profile.auth.iter().any(keys) {
            let title = "`mppe` is required, and no protocol in `auth` gives it keys";
            let draft = Draft::error(at("auth"), title, "add \"mschapv2\"");
            drafts.push(
                draft.help("or give up encryption: mppe = \"off\" (the default is mppe = \"require-128\")"),
            );
        } else if let Some(weak) = profile.auth.iter().copied().find(|protocol| !keys(protocol)) {
            let title = format!(
                "`{}` gives no keys, but `mppe` is required",
                values::word(Some(weak), &values::AUTH)
            );
            drafts.push(Draft::warning(at("auth"), title, "the link ends if the server chooses it"));
        }
    }
    if profile.auth.contains(&AuthProtocol::Pap) {
        let label = "any server that asks for PAP gets the password in clear";
        drafts.push(Draft::warning(at("auth"), "PAP is accepted", label));
    }
    if profile.unauthenticated {
        let label = "any host that answers with the server's address gets a tunnel, without encryption";
        drafts.push(Draft::warning(
            at("auth"),
            "a server that asks for no authentication is accepted",
            label,
        ));
    }
    if profile.auth.contains(&AuthProtocol::MsChapV1) {
        let label = "the server does not prove its identity, and an attacker can compute the password";
        drafts.push(Draft::warning(at("auth"), "MS-CHAPv1 is accepted", label));
    }
    match (profile.mppe.demand, profile.mppe.min) {
        (Demand::Off, _) => {
            drafts.push(Draft::warning(
                at("mppe"),
                "no encryption",
                "anyone on the path can read the packets in the tunnel",
            ));
        }
        (Demand::Allow, _) => {
            let label = "an attacker on the path can switch it off; \"require-128\" is safer";
            drafts.push(Draft::warning(at("mppe"), "encryption is optional", label));
        }
        (Demand::Require, Strength::Bits40 | Strength::Bits56) => {
            let label = "keys this short can be found by brute force; \"require-128\" is safer";
            drafts.push(Draft::warning(at("mppe"), "weak encryption is accepted", label));
        }
        (Demand::Require, Strength::Bits128) => {}
    }
    if profile.autostart && profile.password.is_asked() {
        let label = "no user is there to answer at boot, so the tunnel does not come up then";
        let draft = Draft::warning(at("autostart"), "`autostart` with a password that is asked for", label);
        drafts.push(draft.help("use password.file or password.credential, or leave autostart out"));
    }
    if matches!(profile.password, PasswordSource::Inline(_)) {
        let label = "password.file or password.command keeps it out of this file";
        drafts.push(Draft::warning(at("password"), "the password stands in the profile", label));
    }
}

fn link(profile: &Profile, at: impl Fn(&str) -> Span, drafts: &mut Vec<Draft>) {
    let wants_ipv6 = profile.ppp.ipv6;
    if let Mtu::Bytes(mtu) = profile.mtu {
        if wants_ipv6 && mtu < 1280 {
            drafts.push(Draft::error(
                at("mtu"),
                "IPv6 needs an MTU of at least 1280",
                "1280 or more, or \"auto\"",
            ));
        }
        // 1500 less IPv4 20, GRE 16, PPP 4 (RFC 2637 §4.1).
        if mtu > 1460 {
            let label = "more than 1460 means fragments on most paths";
            drafts.push(Draft::warning(at("mtu"), "large MTU", label));
        }
    }
    if !wants_ipv6 && profile.routes.iter().any(|route| matches!(route.prefix, IpNet::V6(_))) {
        let draft =
            Draft::error(at("routes"), "an IPv6 route without IPv6 in the tunnel", "add ppp.ipv6 = true");
        drafts.push(draft);
    }
    let leads_nowhere = profile.default_route.is_none() && profile.routes.is_empty() && !profile.peer_routes;
    if profile.leak == Leak::Block && leads_nowhere {
        let label = "nothing goes through the tunnel: no `routes`, no `default`";
        drafts.push(Draft::warning(at("leak"), "the kill switch has nothing to guard", label));
    }
    if profile.link.netns.is_some() {
        let label = "only the tunnel leads out of its network namespace";
        for (key, written) in
            [("leak", profile.leak == Leak::Block), ("exclude", !profile.exclude.is_empty())]
        {
            if written {
                drafts.push(Draft::error(at(key), format!("`{key}` beside `link.netns`"), label));
            }
        }
        if profile.ppp.backend != PppBackend::Builtin {
            let title = "`link.netns` needs the builtin PPP";
            let label = "pppd and ppp create the device in their own network namespace";
            drafts.push(Draft::error(at("link.netns"), title, label));
        }
    }
    if profile.link.netns.is_some() && profile.conntrack == Conntrack::Helper {
        let label =
            "its rules would be in that namespace, but the connection to the server is outside: leave it out";
        drafts.push(Draft::error(at("conntrack"), "`conntrack` beside `link.netns`", label));
    }
    if profile.pf.as_ref().is_some_and(|pf| pf.file.is_none()) && profile.leak == Leak::Allow {
        let draft =
            Draft::error(at("pf.anchor"), "`pf` without `file`", "no rules are loaded into the anchor");
        drafts.push(draft.help("add `file`, or leak = \"block\", whose rules go to an anchor below it"));
    }
    if profile.pf.is_some() && profile.nftables.is_some() {
        let label = "pf is for the BSDs, nftables for Linux";
        drafts.push(Draft::warning(at("nftables"), "`pf` and `nftables` in one profile", label));
    }
}

/// Checks `link.rdomain` and `link.fib`.
fn domain(profile: &Profile, platform: Platform, at: impl Fn(&str) -> Span, drafts: &mut Vec<Draft>) {
    let places = [
        ("link.rdomain", profile.link.rdomain, Platform::OpenBsd, "routing domains exist on OpenBSD only"),
        ("link.fib", profile.link.fib, Platform::FreeBsd, "FIBs exist on FreeBSD only"),
    ];
    for (key, number, only, whose) in places {
        let Some(number) = number else { continue };
        if platform != only {
            let mut draft =
                Draft::error(at(key), format!("{whose}: `{key}`"), "this system has none: leave it out");
            if platform == Platform::Linux {
                draft = draft.help("on Linux link.netns places the tunnel in a network namespace of its own");
            }
            drafts.push(
                draft.help(format!("`up --dry-run --platform {}` shows what it does there", only.name())),
            );
            continue;
        }
        if number == 254 {
            // 254 stands for the main table (`net::routes::MAIN_TABLE`), as in `routes`.
            drafts.push(Draft::error(
                at(key),
                format!("`{key}` = 254"),
                "254 is the main table: choose another number",
            ));
        }
        for (other, written) in
            [("leak", profile.leak == Leak::Block), ("exclude", !profile.exclude.is_empty())]
        {
            if written {
                let label = "it applies to the main routing table, which this tunnel does not use";
                drafts.push(Draft::error(at(other), format!("`{other}` beside `{key}`"), label));
            }
        }
        if profile.ppp.backend != PppBackend::Builtin {
            let label = "ppp(8) creates its device and routes in its own routing table";
            drafts.push(Draft::error(at(key), format!("`{key}` needs the builtin PPP"), label));
        }
    }
}

/// Checks `routes.table`; `domain` checks `link.rdomain` and `link.fib`.
fn tables(profile: &Profile, platform: Platform, at: impl Fn(&str) -> Span, drafts: &mut Vec<Draft>) {
    if platform == Platform::NetBsd && profile.routes.iter().any(|route| route.table.is_some()) {
        let label = "this system has only one table: leave it out";
        drafts.push(Draft::error(at("routes.table"), "`routes.table` is not supported on NetBSD", label));
    }
}

fn labels(profile: &Profile, platform: Platform, at: impl Fn(&str) -> Span, drafts: &mut Vec<Draft>) {
    let written = [
        ("link.rtlabel", profile.link.rtlabel.is_some()),
        ("routes.label", profile.routes.iter().any(|route| route.label.is_some())),
    ];
    for (key, _) in written.into_iter().filter(|(_, written)| *written && platform != Platform::OpenBsd) {
        let title = format!("labels of routes exist on OpenBSD only: `{key}`");
        let draft = Draft::error(at(key), title, "routes of this system have no labels: leave it out");
        drafts.push(draft.help("`up --dry-run --platform openbsd` shows what it does there"));
    }
    let leads_nowhere = profile.default_route.is_none() && profile.routes.is_empty() && !profile.peer_routes;
    if platform == Platform::OpenBsd && profile.link.rtlabel.is_some() && leads_nowhere {
        let label = "there is no route for it: no `routes`, no `default`";
        drafts.push(Draft::warning(at("link.rtlabel"), "a label without a route", label));
    }
}

fn routes(profile: &Profile, at: impl Fn(&str) -> Span, drafts: &mut Vec<Draft>) {
    for server in &profile.servers {
        let Host::Address(address) = server.host else { continue };
        let itself = IpNet::from(IpAddr::V4(address));
        if profile.routes.iter().any(|route| route.prefix == itself && route.table.is_none()) {
            let title = format!("the route to {address} would send the tunnel into itself");
            drafts.push(Draft::error(at("routes"), title, "this is the server's own address: leave it out"));
        }
    }
    for excluded in &profile.exclude {
        if excluded.prefix_len() < 2 {
            let title = format!("`exclude` leaves nothing for the tunnel: {excluded}");
            drafts.push(Draft::error(at("exclude"), title, "a longer prefix"));
        }
        if profile.routes.iter().any(|route| route.prefix == *excluded && route.table.is_none()) {
            let title = format!("{excluded} is in `routes` and in `exclude`");
            drafts.push(Draft::error(at("exclude"), title, "it can't be both"));
        }
    }
    let leads_nowhere = profile.default_route.is_none() && profile.routes.is_empty() && !profile.peer_routes;
    if !profile.exclude.is_empty() && leads_nowhere {
        let label = "nothing goes through the tunnel: no `routes`, no `default`";
        drafts.push(Draft::warning(at("exclude"), "there is nothing to exclude from", label));
    }
    let covered =
        profile.routes.iter().any(|route| route.table.is_none() && matches!(route.prefix, IpNet::V4(_)));
    if covered && profile.default_route.is_some() {
        let label = "everything goes through the tunnel already";
        drafts.push(Draft::warning(at("routes"), "`routes` beside `default`", label));
    }
    if profile.default_route == Some(DefaultRoute::Replace) && profile.servers.iter().any(is_loopback) {
        let label = "this server is on the host itself";
        drafts.push(Draft::warning(at("server"), "a default route through a tunnel to loopback", label));
    }
}

fn dns(profile: &Profile, at: impl Fn(&str) -> Span, drafts: &mut Vec<Draft>) {
    let dns = &profile.dns;
    let place = |key: &str| if dns.backend == DnsBackend::Auto { at("dns") } else { at(key) };
    let splits = matches!(dns.backend, DnsBackend::Auto | DnsBackend::Resolved);
    if !dns.domains.is_empty() && (!splits || profile.link.netns.is_some()) {
        let title = "`dns.domains` needs systemd-resolved";
        let label = "this can't ask other resolvers for some domains only";
        drafts.push(Draft::error(place("dns.backend"), title, label).help(
            "without `dns.domains` all names are asked through the tunnel; or dns = \"none\", and a local resolver \
             (dnsmasq, unbound, unwind) that forwards these domains",
        ));
    }
    if profile.link.netns.is_some()
        && dns.is_wanted()
        && !matches!(dns.backend, DnsBackend::Auto | DnsBackend::File)
    {
        let title = "a network namespace has a resolv.conf of its own";
        let label = "leave it out: pptpctl writes /etc/netns/NAME/resolv.conf";
        drafts.push(Draft::error(at("dns.backend"), title, label));
    }
    // `plan::dns_notes` checks resolvers that the server names.
    if let DnsServers::Fixed(servers) = &dns.servers
        && profile.default_route.is_none()
        && !profile.peer_routes
    {
        let routed = |server: &IpAddr| profile.routes.iter().any(|route| route.prefix.contains(server));
        for server in servers.iter().filter(|server| !routed(server) && !server.is_loopback()) {
            let title = format!("the resolver {server} is in none of `routes`");
            let label = "so it is asked outside the tunnel";
            drafts.push(Draft::warning(at("dns.servers"), title, label));
        }
    }
}

fn is_loopback(server: &super::Server) -> bool {
    matches!(server.host, Host::Address(address) if address.is_loopback())
}
