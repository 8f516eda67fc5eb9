//! Policy routing, excluded prefixes, and the kill switch (which keeps traffic from leaving by another
//! route): performs and undoes [`PolicyStep`].
//!
//! A rule is identified by its priority, which belongs to one tunnel; a route that refuses packets is
//! identified by its kind and protocol.

use ipnet::IpNet;

use super::{
    Cause, Host, KernelOp,
    error::{gone, known},
    ledger::PriorState,
    routes::{self, add, find_same_key, remove_and_restore},
};
use crate::{
    net::{
        routes::{Insert, Kind, MAIN_TABLE, PROTOCOL, Route, default_metric},
        rules::Rule,
    },
    plan::{PolicyRule, PolicyStep, Value},
};

/// Reads the route or rule at the key of a step.
///
/// # Errors
/// Returns why the step must not be performed.
pub(super) fn observe(host: &mut Host, step: &PolicyStep) -> Result<PriorState, Cause> {
    match step {
        PolicyStep::Rule { rule: PolicyRule::Tunnel, ipv6, table } => {
            let own = *known(table)?;
            let rules = host.rules(*ipv6)?;
            let other = rules.iter().find(|rule| rule.is_ours() && rule.not && rule.table != own);
            match other {
                Some(rule) => Err(Cause::Taken(format!("another tunnel has the default route: {rule}"))),
                None => Ok(PriorState::Nothing),
            }
        }
        PolicyStep::Rule { .. } => Ok(PriorState::Nothing),
        PolicyStep::Block { .. } | PolicyStep::Throw { .. } => {
            let wanted = route_of(step)?;
            match find_same_key(host, &wanted)? {
                None => Ok(PriorState::Nothing),
                Some(found) if found.is_ours() => {
                    Err(Cause::Taken(format!("another tunnel has this route: {found}")))
                }
                Some(found) if found.kind == wanted.kind => Ok(PriorState::Same),
                Some(found) => replaceable(found),
            }
        }
        PolicyStep::Outside { .. } => {
            let wanted = route_of(step)?;
            match find_same_key(host, &wanted)? {
                None => Ok(PriorState::Nothing),
                Some(found) if found.is_ours() && found.same_next_hops(&wanted) => Ok(PriorState::Shared),
                Some(found) if found.is_ours() => {
                    Err(Cause::Taken(format!("another tunnel has this route: {found}")))
                }
                Some(found) if found.same_next_hops(&wanted) => Ok(PriorState::Same),
                Some(found) => replaceable(found),
            }
        }
    }
}

/// Performs a step whose key now holds `before`.
pub(super) fn perform(host: &mut Host, step: &PolicyStep, before: &PriorState) -> Result<(), Cause> {
    match step {
        PolicyStep::Rule { .. } => put_in(host, step).map(drop),
        _ if *before == PriorState::Same => Ok(()),
        _ => add(host, route_of(step)?, Insert::Replace),
    }
}

/// Performs a step in force again if its effect is gone; returns whether it was.
pub(super) fn renew(host: &mut Host, step: &PolicyStep, before: &PriorState) -> Result<bool, Cause> {
    match step {
        // Read first: an existing rule must not be written again for every kernel notification.
        PolicyStep::Rule { ipv6, .. } if host.rules(*ipv6)?.contains(&rule_of(step)?) => Ok(false),
        PolicyStep::Rule { .. } => put_in(host, step),
        _ if *before == PriorState::Same => Ok(false),
        _ => routes::add_if_missing(host, route_of(step)?),
    }
}

/// Undoes a step. A missing route or rule is not an error; one that another program changed stays.
pub(super) fn undo(host: &mut Host, step: &PolicyStep, before: &PriorState) -> Result<(), Cause> {
    match step {
        PolicyStep::Rule { ipv6, .. } => {
            let wanted = rule_of(step)?;
            if host.rules(*ipv6)?.contains(&wanted) {
                gone(host.change(KernelOp::DeleteRule(&wanted)))
            } else {
                Ok(())
            }
        }
        _ if *before == PriorState::Same => Ok(()),
        _ => {
            let wanted = route_of(step)?;
            remove_and_restore(host, &wanted, before, |found| found.is_ours() && found.kind == wanted.kind)
        }
    }
}

/// Adds the rule; returns whether it was missing.
fn put_in(host: &mut Host, step: &PolicyStep) -> Result<bool, Cause> {
    match host.change(KernelOp::AddRule(&rule_of(step)?)) {
        Err(error) if error.is_present() => Ok(false),
        outcome => Ok(outcome.map(|()| true)?),
    }
}

fn replaceable(found: Route) -> Result<PriorState, Cause> {
    match routes::cannot_restore(&found) {
        Some(reason) => Err(Cause::CannotRestore(reason)),
        None => Ok(PriorState::Route(Box::new(found))),
    }
}

/// Returns the rule of a step.
fn rule_of(step: &PolicyStep) -> Result<Rule, Cause> {
    let PolicyStep::Rule { rule: kind, ipv6, table } = step else {
        return Err(Cause::Ledger("not a rule".to_owned()));
    };
    let own = *known(table)?;
    let mut rule = Rule {
        ipv6: *ipv6,
        priority: kind.priority(own),
        not: false,
        mark: None,
        to: None,
        ip_protocol: None,
        port: None,
        suppress_prefix: None,
        table: own,
        protocol: PROTOCOL,
        unrestorable: false,
    };
    match kind {
        PolicyRule::Server { server, protocol, port } => {
            rule.to = Some(IpNet::from(*known(server)?));
            (rule.ip_protocol, rule.port, rule.table) = (Some(*protocol), *port, MAIN_TABLE);
        }
        PolicyRule::Names { protocol } => (rule.ip_protocol, rule.port) = (Some(*protocol), Some(53)),
        PolicyRule::Main => (rule.suppress_prefix, rule.table) = (Some(0), MAIN_TABLE),
        PolicyRule::Tunnel => (rule.not, rule.mark) = (true, Some(own)),
    }
    Ok(rule)
}

/// Returns the route of a step.
fn route_of(step: &PolicyStep) -> Result<Route, Cause> {
    match step {
        PolicyStep::Rule { .. } => Err(Cause::Ledger("not a route".to_owned())),
        PolicyStep::Outside { dest, way } => routes::route_via(*dest, known(way)?),
        PolicyStep::Throw { dest, table } => {
            Ok(refusing(*dest, Kind::Throw, *known(table)?, default_metric(dest, None)))
        }
        PolicyStep::Block { dest, table } => {
            let table = table.as_ref().map_or(Ok(MAIN_TABLE), |table: &Value<u32>| known(table).copied())?;
            // After all other routes to the same prefix, if the system has metrics.
            let last = if cfg!(target_os = "linux") { u32::MAX } else { 0 };
            Ok(refusing(*dest, Kind::Unreachable, table, last))
        }
    }
}

fn refusing(dest: IpNet, kind: Kind, table: u32, metric: u32) -> Route {
    Route { kind, table, metric, scope: 0, hops: Vec::new(), ..Route::through(dest, "") }
}
