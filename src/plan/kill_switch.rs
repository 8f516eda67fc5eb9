//! Decides which steps a profile needs for the kill switch and for excluded prefixes.
//!
//! The kill switch consists of blocking routes and rules, performed before all other steps and undone last;
//! it needs no running process. On Linux a blocking route has the worst metric; it remains when the tunnel's
//! route to the same prefix disappears with its device. The BSDs have no metrics: there the tunnel's routes
//! are one bit longer.

use ipnet::IpNet;

use super::{
    LeakFilterStep, PolicyRule, PolicyStep, Step, Symbol, Value,
    default_route::{default_mode, default_prefix, halves, is_in_netns, literal_server},
    leak_filter::leak_anchor,
    local_space::LINK_LOCAL_IPV6,
    ppp_daemon,
};
use crate::{
    platform::Platform,
    profile::{DefaultRoute, Leak, Profile},
};

/// The protocols that a program without privileges can send: ICMP, TCP, UDP, DCCP, SCTP, UDP-Lite.
const UNPRIVILEGED: [u8; 6] = [1, TCP, UDP, 33, 132, 136];
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;

/// Returns whether there is a kill switch. A tunnel in a separate namespace needs none: it is the only path
/// out.
pub(super) fn is_on(profile: &Profile, platform: Platform) -> bool {
    profile.leak == Leak::Block && !is_in_netns(profile, platform)
}

/// Returns whether the kill switch that a killed supervisor left stays in force until the next one continues it. The
/// name of a server can't be looked up behind it.
#[must_use]
pub fn kill_switch_stays(profile: &Profile, platform: Platform) -> bool {
    is_on(profile, platform) && profile.servers.iter().all(|server| server.literal().is_some())
}

/// Returns whether a profile has a kill switch by pf on this system.
#[must_use]
pub fn has_leak_filter(profile: &Profile, platform: Platform) -> bool {
    anchor(profile, platform).is_some()
}

fn anchor(profile: &Profile, platform: Platform) -> Option<String> {
    let has_pf = matches!(platform, Platform::FreeBsd | Platform::OpenBsd);
    let pf = profile.pf.as_ref().filter(|_| has_pf && is_on(profile, platform))?;
    Some(leak_anchor(&pf.anchor))
}

/// Returns the step that loads the rules of pf, if the profile needs one.
pub(super) fn filter_step(profile: &Profile, platform: Platform) -> Option<LeakFilterStep> {
    let anchor = anchor(profile, platform)?;
    let mut ports: Vec<u16> = profile.servers.iter().map(|server| server.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let has_default = !matches!(default_mode(profile, platform), None | Some(DefaultRoute::Auto));
    let mut guarded: Vec<IpNet> = profile.routes.iter().map(|route| route.prefix.trunc()).collect();
    if has_default {
        guarded.extend([false, true].into_iter().flat_map(halves));
    }
    guarded.sort_unstable();
    guarded.dedup();
    (!guarded.is_empty()).then(|| LeakFilterStep {
        anchor,
        tun: ppp_daemon::device(profile),
        server: literal_server(profile),
        ports,
        guarded,
        exclude: profile.exclude.iter().map(IpNet::trunc).collect(),
        outside: Vec::new(),
        names: has_default,
        connected: Value::Open(Symbol::Connected),
    })
}

/// Returns the rules and blocking routes, which precede the tun device and thus the first packet.
pub(super) fn first_steps(profile: &Profile, platform: Platform) -> Vec<Step> {
    let mut steps = Vec::new();
    if is_on(profile, platform) {
        let guarded = profile.routes.iter().filter(|route| is_divisible(platform, &route.prefix));
        steps.extend(guarded.map(|route| block(route.prefix, route.table.map(Value::Known))));
    }
    match default_mode(profile, platform) {
        None | Some(DefaultRoute::Auto) => {}
        Some(DefaultRoute::Policy) => {
            // Without IPv6 in the tunnel, IPv6 needs steps only if the kill switch has to block it.
            let families: &[bool] =
                if profile.ppp.ipv6 || is_on(profile, platform) { &[false, true] } else { &[false] };
            for &ipv6 in families {
                steps.extend(own_table_steps(profile, platform, ipv6));
            }
        }
        Some(DefaultRoute::Halves | DefaultRoute::Replace) if is_on(profile, platform) => {
            for ipv6 in [false, true] {
                steps.extend(halves(ipv6).map(|half| block(half, None)));
                if has_guard_table(profile, platform) {
                    steps.extend(own_table_steps(profile, platform, ipv6));
                }
            }
        }
        Some(DefaultRoute::Halves | DefaultRoute::Replace) => {}
    }
    steps
}

/// Returns the routes that keep `exclude` on the current next hop, if the main table leads into the tunnel.
/// (The tunnel's table excludes a prefix by a `throw` route, which needs no next hop.)
pub(super) fn excluded_routes(profile: &Profile, platform: Platform) -> Vec<Step> {
    if is_in_netns(profile, platform) {
        return Vec::new();
    }
    let speaks = |dest: &IpNet| profile.ppp.ipv6 || is_on(profile, platform) || matches!(dest, IpNet::V4(_));
    let by_main =
        matches!(default_mode(profile, platform), Some(DefaultRoute::Halves | DefaultRoute::Replace));
    let covered = |dest: &IpNet| {
        by_main || profile.routes.iter().any(|route| route.table.is_none() && route.prefix.contains(dest))
    };
    let excluded = profile.exclude.iter().filter(|dest| speaks(dest) && covered(dest));
    excluded
        .map(|dest| Step::Policy(PolicyStep::Outside { dest: *dest, way: Value::Open(Symbol::Gateway) }))
        .collect()
}

/// Returns the prefixes of the tunnel's routes to `dest` that take precedence over its blocking route.
pub(super) fn more_specific_than_block(profile: &Profile, platform: Platform, dest: IpNet) -> Vec<IpNet> {
    if platform == Platform::Linux || !is_on(profile, platform) {
        return vec![dest];
    }
    match dest.subnets(dest.prefix_len() + 1) {
        Ok(parts) => parts.collect(),
        Err(_) => vec![dest],
    }
}

/// Returns whether the kill switch needs a separate table although the main table leads into the tunnel: the
/// routes that other programs add to the main table, and those of connected networks, must not lead past the
/// tunnel. (With policy rules the tunnel has a table in any case.)
pub(super) fn has_guard_table(profile: &Profile, platform: Platform) -> bool {
    let by_main =
        matches!(default_mode(profile, platform), Some(DefaultRoute::Halves | DefaultRoute::Replace));
    platform == Platform::Linux && is_on(profile, platform) && by_main
}

/// Returns notes on the limits of the kill switch.
pub(super) fn notes(profile: &Profile, platform: Platform) -> Vec<String> {
    let has_filter = has_leak_filter(profile, platform);
    let mut notes = Vec::new();
    if platform != Platform::Linux {
        if profile.default_route == Some(DefaultRoute::Policy) {
            notes.push(
                "policy rules exist on Linux only: the default route is added as two halves instead"
                    .to_owned(),
            );
        }
        if is_on(profile, platform) && profile.default_route.is_some() && !has_filter {
            // NetBSD's own packet filter is npf(7).
            let filter = if platform == Platform::NetBsd { "npf" } else { "pf" };
            notes.push(format!(
                "a resolver on a connected network can still be asked: block port 53 with {filter}"
            ));
            let remedy = match platform {
                Platform::NetBsd => "block them with npf",
                _ => "pf = { anchor = \"vpn\" } in the profile blocks them by pf (pptpctl.toml(5), \"leak\")",
            };
            notes.push(format!(
                "connected networks, and routes that DHCP or another program adds, lead past the tunnel, with public \
                 addresses too: {remedy}"
            ));
        }
        let alone = is_on(profile, platform) && profile.default_route.is_none() && !has_filter;
        for route in profile.routes.iter().filter(|_| alone) {
            if !is_divisible(platform, &route.prefix) {
                notes.push(format!("the kill switch can't guard a single address here: {}", route.prefix));
            }
        }
    }
    notes
}

fn is_divisible(platform: Platform, dest: &IpNet) -> bool {
    platform == Platform::Linux || dest.prefix_len() < dest.max_prefix_len()
}

fn own_table() -> Value<u32> {
    Value::Open(Symbol::Table)
}

fn block(dest: IpNet, table: Option<Value<u32>>) -> Step {
    Step::Policy(PolicyStep::Block { dest, table })
}

fn rule(rule: PolicyRule, ipv6: bool) -> Step {
    Step::Policy(PolicyStep::Rule { rule, ipv6, table: own_table() })
}

fn throw_routes(profile: &Profile, ipv6: bool) -> impl Iterator<Item = Step> + '_ {
    let excluded = profile.exclude.iter().filter(move |dest| matches!(dest, IpNet::V6(_)) == ipv6);
    excluded.map(|dest| Step::Policy(PolicyStep::Throw { dest: *dest, table: own_table() }))
}

/// Returns the content of the tunnel's table and the rules that lead to it or past it.
fn own_table_steps(profile: &Profile, platform: Platform, ipv6: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if is_on(profile, platform) {
        steps.push(block(default_prefix(ipv6), Some(own_table())));
    }
    steps.extend(throw_routes(profile, ipv6));
    if !ipv6 {
        steps.extend(server_rules(profile));
    }
    if is_on(profile, platform) {
        steps.extend([UDP, TCP].map(|protocol| rule(PolicyRule::Names { protocol }, ipv6)));
        let dest = Value::Open(Symbol::Connected);
        steps.push(rule(PolicyRule::Connected { dest }, ipv6));
        if ipv6 {
            // Also of DHCPv6. The prefix needs no lookup of the connected networks.
            steps.push(rule(PolicyRule::Connected { dest: Value::Known(LINK_LOCAL_IPV6) }, true));
        } else {
            steps.push(rule(PolicyRule::Dhcp, false));
            // IPv6 has no reverse path check.
            steps.extend(UNPRIVILEGED.map(|protocol| rule(PolicyRule::Carried { protocol }, false)));
            let dest = Value::Open(Symbol::Public);
            steps.push(rule(PolicyRule::Answered { dest }, false));
        }
    } else {
        steps.push(rule(PolicyRule::Main, ipv6));
    }
    steps.push(rule(PolicyRule::Tunnel, ipv6));
    steps
}

fn server_rules(profile: &Profile) -> Vec<Step> {
    let mut ports: Vec<u16> = profile.servers.iter().map(|server| server.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let transport = ports.into_iter().map(|port| (TCP, Some(port))).chain([(GRE, None)]);
    let server = literal_server(profile);
    transport
        .map(|(protocol, port)| rule(PolicyRule::Server { server: server.clone(), protocol, port }, false))
        .collect()
}
