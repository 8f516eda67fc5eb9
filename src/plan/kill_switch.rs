//! Decides which steps a profile needs for the kill switch and for excluded prefixes.
//!
//! The kill switch consists of blocking routes and rules, performed before all other steps and undone last;
//! it needs no running process. On Linux a blocking route has the worst metric; it remains when the tunnel's
//! route to the same prefix disappears with its device. The BSDs have no metrics: there the tunnel's routes
//! are one bit longer.

use ipnet::IpNet;

use super::{
    PolicyRule, PolicyStep, Step, Symbol, Value,
    default_route::{default_mode, default_prefix, halves, is_in_netns, literal_server},
};
use crate::{
    platform::Platform,
    profile::{DefaultRoute, Leak, Profile},
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;

/// Returns whether there is a kill switch. A tunnel in a separate namespace needs none: it is the only path
/// out.
pub(super) fn is_on(profile: &Profile, platform: Platform) -> bool {
    profile.leak == Leak::Block && !is_in_netns(profile, platform)
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
                if is_on(profile, platform) {
                    steps.push(block(default_prefix(ipv6), Some(own_table())));
                }
                steps.extend(throw_routes(profile, ipv6));
                if !ipv6 {
                    steps.extend(server_rules(profile));
                }
                if is_on(profile, platform) {
                    steps.extend(dns_rules(ipv6));
                }
                steps.extend([PolicyRule::Main, PolicyRule::Tunnel].map(|kind| rule(kind, ipv6)));
            }
        }
        Some(DefaultRoute::Halves | DefaultRoute::Replace) if is_on(profile, platform) => {
            for ipv6 in [false, true] {
                steps.extend(halves(ipv6).map(|half| block(half, None)));
                if has_dns_table(profile, platform) {
                    steps.push(block(default_prefix(ipv6), Some(own_table())));
                    steps.extend(throw_routes(profile, ipv6));
                    steps.extend(dns_rules(ipv6));
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

/// Returns whether DNS queries need a separate table: the main table sends those for a resolver on the local
/// link past the tunnel. (With policy rules they use the tunnel's table.)
pub(super) fn has_dns_table(profile: &Profile, platform: Platform) -> bool {
    let by_main =
        matches!(default_mode(profile, platform), Some(DefaultRoute::Halves | DefaultRoute::Replace));
    platform == Platform::Linux && is_on(profile, platform) && by_main
}

/// Returns notes on the limits of the kill switch.
pub(super) fn notes(profile: &Profile, platform: Platform) -> Vec<String> {
    let mut notes = Vec::new();
    if platform != Platform::Linux {
        if profile.default_route == Some(DefaultRoute::Policy) {
            notes.push(
                "policy rules exist on Linux only: the default route is added as two halves instead"
                    .to_owned(),
            );
        }
        if is_on(profile, platform) && profile.default_route.is_some() {
            // NetBSD's own packet filter is npf(7).
            let filter = if platform == Platform::NetBsd { "npf" } else { "pf" };
            notes.push(format!(
                "a resolver on a connected network can still be asked: block port 53 with {filter}"
            ));
        }
        let alone = is_on(profile, platform) && profile.default_route.is_none();
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

fn dns_rules(ipv6: bool) -> [Step; 2] {
    [UDP, TCP].map(|protocol| rule(PolicyRule::Names { protocol }, ipv6))
}

fn server_rules(profile: &Profile) -> [Step; 2] {
    // If the servers of the profile listen on different ports, the rule matches any port.
    let port = match profile.servers.split_first() {
        Some((first, others)) if others.iter().all(|other| other.port == first.port) => Some(first.port),
        _ => None,
    };
    [(TCP, port), (GRE, None)].map(|(protocol, port)| {
        rule(PolicyRule::Server { server: literal_server(profile), protocol, port }, false)
    })
}
