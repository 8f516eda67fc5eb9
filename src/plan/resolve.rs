//! Fills the symbols of a plan with facts, and changes the steps that the facts make unneeded or impossible.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Facts, Plan, Step, Value, default_route,
    device::{AddressStep, MtuStep},
    facts::{Ipv6, NextHop},
    policy_routing::{PolicyRule, PolicyStep},
    route::{HostRouteStep, RemoveDefaultStep, RouteStep},
};

/// Implements [`Plan::resolve`].
pub(super) fn resolve(plan: &Plan, facts: &Facts) -> Plan {
    let mut resolved = Plan { steps: Vec::with_capacity(plan.steps.len()), ..plan.clone() };
    for step in &plan.steps {
        let mut step = step.clone();
        step.fill(facts);
        adapt(step, facts, &mut resolved);
    }
    resolved
}

/// Adds the step to the plan, or what the facts change it to.
fn adapt(step: Step, facts: &Facts, plan: &mut Plan) {
    match step {
        Step::HostRoute(HostRouteStep { way: Value::Known(NextHop::ThisHost), .. }) => {
            note(plan, "the server is this host: it needs no host route".to_owned());
        }
        Step::HostRoute(HostRouteStep { server: Value::Known(server), ref within, .. })
            if !within.iter().any(|prefix| prefix.contains(&server)) => {}
        Step::Mtu(MtuStep { tun, mtu: Value::Known(mtu) }) => {
            let allowed = facts.mtu.filter(|allowed| *allowed < mtu);
            if let Some(allowed) = allowed {
                note(plan, format!("mtu {mtu} lowered to the {allowed} that path and peer allow"));
            }
            plan.steps.push(Step::Mtu(MtuStep { tun, mtu: Value::Known(allowed.unwrap_or(mtu)) }));
        }
        // The server uses its public address inside the tunnel too: the kernel's route to the peer would send
        // the tunnel into itself.
        Step::Address(AddressStep { tun, local, peer: Some(Value::Known(peer)) })
            if facts.server == Some(IpAddr::V4(peer)) =>
        {
            note(
                plan,
                format!("the peer's address {peer} is the server's own: no route to it in the tunnel"),
            );
            plan.steps.push(Step::Address(AddressStep { tun, local, peer: None }));
        }
        Step::Address(AddressStep { tun, local: Value::Known(local), peer: Some(Value::Known(peer)) })
            if local == peer =>
        {
            note(
                plan,
                format!("the server gives both ends the address {peer}: no route to it in the tunnel"),
            );
            plan.steps.push(Step::Address(AddressStep { tun, local: Value::Known(local), peer: None }));
        }
        Step::Address(AddressStep { tun, local, peer: Some(Value::Known(peer)) }) if facts.peer_is_taken => {
            note(
                plan,
                format!(
                    "the peer's address {peer} belongs to a network of this host, or is that of a next hop or resolver: no \
                     route to it in the tunnel"
                ),
            );
            plan.steps.push(Step::Address(AddressStep { tun, local, peer: None }));
        }
        Step::Address6(_) | Step::RemoveDefault(RemoveDefaultStep { ipv6: true })
            if facts.ipv6 == Ipv6::Absent =>
        {
            note(plan, NO_IPV6.to_owned());
        }
        Step::Route(RouteStep { dest: IpNet::V6(_), .. }) if facts.ipv6 == Ipv6::Absent => {
            note(plan, NO_IPV6.to_owned());
        }
        Step::RemoveDefault(RemoveDefaultStep { ipv6 }) if facts.keep_default.of(ipv6).is_some() => {
            let reason = facts.keep_default.of(ipv6).map_or("", String::as_str);
            note(plan, format!("{reason}: it stays, and the tunnel's default route is added as two halves"));
        }
        Step::Route(RouteStep { tun, dest, metric, table: None, peer, label })
            if dest.prefix_len() == 0 && facts.keep_default.of(matches!(dest, IpNet::V6(_))).is_some() =>
        {
            for half in default_route::halves(matches!(dest, IpNet::V6(_))) {
                let (tun, peer, label) = (tun.clone(), peer.clone(), label.clone());
                let half = Step::Route(RouteStep { tun, dest: half, metric, table: None, peer, label });
                if !plan.steps.contains(&half) {
                    plan.steps.push(half);
                }
            }
        }
        Step::Policy(PolicyStep::Rule {
            rule: PolicyRule::Connected { dest: Value::Open(_) },
            ipv6,
            table,
        }) if facts.connected.is_some() => {
            let networks = facts.connected.iter().flat_map(|connected| &connected.local);
            for dest in networks.filter(|network| matches!(network, IpNet::V6(_)) == ipv6) {
                let rule = PolicyRule::Connected { dest: Value::Known(*dest) };
                plan.steps.push(Step::Policy(PolicyStep::Rule { rule, ipv6, table: table.clone() }));
            }
        }
        Step::Policy(PolicyStep::Rule {
            rule: PolicyRule::Answered { dest: Value::Open(_) },
            ipv6,
            table,
        }) if facts.connected.is_some() => {
            for dest in facts.connected.iter().flat_map(|connected| &connected.others) {
                let rule = PolicyRule::Answered { dest: Value::Known(*dest) };
                plan.steps.push(Step::Policy(PolicyStep::Rule { rule, ipv6, table: table.clone() }));
            }
        }
        Step::Policy(PolicyStep::Outside { way: Value::Known(NextHop::ThisHost), .. }) => {}
        Step::Policy(PolicyStep::Outside { dest, way: Value::Open(_) })
            if facts.outside.iter().any(|(prefix, way)| *prefix == dest && way.is_none()) =>
        {
            note(plan, format!("there is no route to {dest} outside the tunnel now"));
        }
        // A duplicate: the halves that replace a default route, and the same halves for the kill switch.
        Step::Route(_) if plan.steps.contains(&step) => {}
        Step::Firewall(step) => {
            if let Some(text) = step.note(facts) {
                note(plan, text);
            }
            plan.steps.push(Step::Firewall(step));
        }
        Step::Dns(ref dns) if dns.servers.known().is_some_and(Vec::is_empty) => {
            note(plan, "the server named no resolvers: those of this host stay".to_owned());
        }
        step => plan.steps.push(step),
    }
}

const NO_IPV6: &str = "the server does not speak IPv6: the IPv6 addresses and routes are left out";

fn note(plan: &mut Plan, text: String) {
    if !plan.notes.contains(&text) {
        plan.notes.push(text);
    }
}
