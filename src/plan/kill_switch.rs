//! The kill switch and what stays outside the tunnel: which of their steps a profile needs.
//!
//! The kill switch is made of routes that refuse and of rules, performed before anything else and undone last; no
//! program has to live for it to hold. On Linux a route that refuses has the worst metric, behind the tunnel's own to
//! the same place; it remains when the tunnel's goes with its device. The BSDs know no metrics: there the tunnel's
//! routes are one bit longer than those that refuse.

use ipnet::IpNet;

use super::{
    Platform, PolicyRule, PolicyStep, Step, Symbol, Value,
    default_route::{default_mode, everything, halves, inside, literal_server},
};
use crate::profile::{DefaultRoute, Leak, Profile};

const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;

/// Whether there is a kill switch. From a namespace of the tunnel's own nothing else leads out.
pub(super) fn is_on(profile: &Profile, platform: Platform) -> bool {
    profile.leak == Leak::Block && !inside(profile, platform)
}

/// Rules, and what refuses: before the first packet, before the tun device.
pub(super) fn before_all(profile: &Profile, platform: Platform) -> Vec<Step> {
    let mut steps = Vec::new();
    if is_on(profile, platform) {
        let guarded = profile.routes.iter().filter(|route| is_divisible(platform, &route.prefix));
        steps.extend(guarded.map(|route| block(route.prefix, route.table.map(Value::Known))));
    }
    match default_mode(profile, platform) {
        None | Some(DefaultRoute::Auto) => {}
        Some(DefaultRoute::Policy) => {
            // Of an IPv6 that the tunnel does not speak, nothing is led anywhere unless it is to be stopped.
            let families: &[bool] =
                if profile.ppp.ipv6 || is_on(profile, platform) { &[false, true] } else { &[false] };
            for &ipv6 in families {
                if is_on(profile, platform) {
                    steps.push(block(everything(ipv6), Some(own_table())));
                }
                steps.extend(throws(profile, ipv6));
                if !ipv6 {
                    steps.extend(server_rules(profile));
                }
                if is_on(profile, platform) {
                    steps.extend(name_rules(ipv6));
                }
                steps.extend([PolicyRule::Main, PolicyRule::Tunnel].map(|kind| rule(kind, ipv6)));
            }
        }
        Some(DefaultRoute::Halves | DefaultRoute::Replace) if is_on(profile, platform) => {
            for ipv6 in [false, true] {
                steps.extend(halves(ipv6).map(|half| block(half, None)));
                if has_table_for_names(profile, platform) {
                    steps.push(block(everything(ipv6), Some(own_table())));
                    steps.extend(throws(profile, ipv6));
                    steps.extend(name_rules(ipv6));
                }
            }
        }
        Some(DefaultRoute::Halves | DefaultRoute::Replace) => {}
    }
    steps
}

/// Routes that keep `exclude` on the way that the kernel uses now: where the main table leads into the tunnel. (In
/// the tunnel's own table a prefix is left out by a `throw`, which needs no way.)
pub(super) fn outside(profile: &Profile, platform: Platform) -> Vec<Step> {
    if inside(profile, platform) {
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

/// The tunnel's routes to a prefix, so that they come before the one that refuses.
pub(super) fn in_front_of_block(profile: &Profile, platform: Platform, dest: IpNet) -> Vec<IpNet> {
    if platform == Platform::Linux || !is_on(profile, platform) {
        return vec![dest];
    }
    match dest.subnets(dest.prefix_len() + 1) {
        Ok(parts) => parts.collect(),
        Err(_) => vec![dest],
    }
}

/// Whether questions to resolvers have a table of their own: the main table would send those for a resolver on the
/// link there, past the tunnel. (By policy rules they use the tunnel's.)
pub(super) fn has_table_for_names(profile: &Profile, platform: Platform) -> bool {
    let by_main =
        matches!(default_mode(profile, platform), Some(DefaultRoute::Halves | DefaultRoute::Replace));
    platform == Platform::Linux && is_on(profile, platform) && by_main
}

/// What a person should know.
pub(super) fn notes(profile: &Profile, platform: Platform) -> Vec<String> {
    let mut notes = Vec::new();
    if platform != Platform::Linux {
        if profile.default_route == Some(DefaultRoute::Policy) {
            notes.push("policy rules are Linux's: two halves go through the tunnel instead".to_owned());
        }
        if is_on(profile, platform) && profile.default_route.is_some() {
            // NetBSD's own packet filter is npf(7).
            let filter = if platform == Platform::NetBsd { "npf" } else { "pf" };
            notes.push(format!("a resolver on the link can still be asked: guard port 53 with {filter}"));
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

fn throws(profile: &Profile, ipv6: bool) -> impl Iterator<Item = Step> + '_ {
    let excluded = profile.exclude.iter().filter(move |dest| matches!(dest, IpNet::V6(_)) == ipv6);
    excluded.map(|dest| Step::Policy(PolicyStep::Throw { dest: *dest, table: own_table() }))
}

fn name_rules(ipv6: bool) -> [Step; 2] {
    [UDP, TCP].map(|protocol| rule(PolicyRule::Names { protocol }, ipv6))
}

fn server_rules(profile: &Profile) -> [Step; 2] {
    // Servers of one profile that listen on different ports: the rule is for any port then.
    let port = match profile.servers.split_first() {
        Some((first, others)) if others.iter().all(|other| other.port == first.port) => Some(first.port),
        _ => None,
    };
    [(TCP, port), (GRE, None)].map(|(protocol, port)| {
        rule(PolicyRule::Server { server: literal_server(profile), protocol, port }, false)
    })
}
