//! Policy routing, excluded prefixes, and the kill switch (which keeps traffic from leaving by another
//! route): performs and undoes [`PolicyStep`].
//!
//! A rule is identified by its priority, which belongs to one tunnel; a route that refuses packets is
//! identified by its kind and protocol.

use std::iter;

use ipnet::IpNet;

use super::{
    Cause, Host, KernelOp,
    error::{gone, known},
    ledger::PriorState,
    routes::{self, add_if_missing, remove_and_restore, replace, route_via},
    steps::{Perform, UndoContext},
};
use crate::{
    net::{
        routes::{Kind, MAIN_TABLE, Route, default_metric},
        rules::Rule,
    },
    plan::{PolicyRule, PolicyStep, Value},
};

const UDP: u8 = 17;
/// The port of DHCP servers.
const DHCP_SERVER: u16 = 67;

impl Perform for PolicyStep {
    fn observe(&self, host: &mut Host) -> Result<PriorState, Cause> {
        match self {
            Self::Rule { rule: PolicyRule::Tunnel, ipv6, table } => {
                let own = *known(table)?;
                let rules = host.rules(*ipv6)?;
                let other = rules.iter().find(|rule| rule.is_ours() && rule.not && rule.table != own);
                match other {
                    Some(rule) => Err(Cause::Taken(format!("another tunnel has the default route: {rule}"))),
                    None => Ok(PriorState::Nothing),
                }
            }
            Self::Rule { .. } => Ok(PriorState::Nothing),
            Self::Block { .. } | Self::Throw { .. } => routes::observe(host, &route_of(self)?, |_| None),
            Self::Outside { .. } => {
                routes::observe(host, &route_of(self)?, |is_same| is_same.then_some(PriorState::Shared))
            }
        }
    }

    fn perform(&self, host: &mut Host, before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        match self {
            Self::Rule { .. } => put_in(host, self).map(drop),
            _ => replace(host, route_of(self)?, before),
        }
    }

    fn renew(&self, host: &mut Host, before: &PriorState) -> Result<bool, Cause> {
        match self {
            // Read first: an existing rule must not be written again for every kernel notification.
            Self::Rule { ipv6, .. } if host.rules(*ipv6)?.contains(&rule_of(self)?) => Ok(false),
            Self::Rule { .. } => put_in(host, self),
            _ => add_if_missing(host, route_of(self)?, before),
        }
    }

    fn undo(&self, host: &mut Host, before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        match self {
            _ if context.is_needed => Ok(()),
            Self::Rule { rule, ipv6, table } => {
                let now = rule_of(self)?;
                let old =
                    rule.priority_in_0_1_0(*known(table)?).map(|priority| Rule { priority, ..now.clone() });
                let existing = host.rules(*ipv6)?;
                for wanted in iter::once(now).chain(old).filter(|wanted| existing.contains(wanted)) {
                    gone(host.change(KernelOp::DeleteRule(&wanted)))?;
                }
                Ok(())
            }
            _ if *before == PriorState::Same => Ok(()),
            _ => {
                let wanted = route_of(self)?;
                let is_ours = |found: &Route| found.is_ours() && found.kind == wanted.kind;
                remove_and_restore(host, &wanted, before, is_ours)
            }
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

/// Returns the rule of a step.
fn rule_of(step: &PolicyStep) -> Result<Rule, Cause> {
    let PolicyStep::Rule { rule: kind, ipv6, table } = step else {
        return Err(Cause::Ledger("not a rule".to_owned()));
    };
    let own = *known(table)?;
    let mut rule = Rule::for_all(*ipv6, kind.priority(own), own);
    match kind {
        PolicyRule::Server { server, protocol, port } => {
            rule.to = Some(IpNet::from(*known(server)?));
            (rule.ip_protocol, rule.port, rule.table) = (Some(*protocol), *port, MAIN_TABLE);
        }
        PolicyRule::Names { protocol } => (rule.ip_protocol, rule.port) = (Some(*protocol), Some(53)),
        PolicyRule::Dhcp => {
            (rule.ip_protocol, rule.port) = (Some(UDP), Some(DHCP_SERVER));
            (rule.suppress_prefix, rule.table) = (Some(0), MAIN_TABLE);
        }
        PolicyRule::Carried { protocol } => rule.ip_protocol = Some(*protocol),
        PolicyRule::Connected { dest } | PolicyRule::Answered { dest } => {
            rule.to = Some(*known(dest)?);
            (rule.suppress_prefix, rule.table) = (Some(0), MAIN_TABLE);
        }
        PolicyRule::Main => (rule.suppress_prefix, rule.table) = (Some(0), MAIN_TABLE),
        PolicyRule::Tunnel => (rule.not, rule.mark) = (true, Some(own)),
    }
    Ok(rule)
}

/// Returns the route of a step.
fn route_of(step: &PolicyStep) -> Result<Route, Cause> {
    match step {
        PolicyStep::Rule { .. } => Err(Cause::Ledger("not a route".to_owned())),
        PolicyStep::Outside { dest, way } => route_via(*dest, known(way)?),
        PolicyStep::Throw { dest, table } => {
            Ok(refusing(*dest, Kind::Throw, *known(table)?, default_metric(dest, None)))
        }
        PolicyStep::Block { dest, table } => {
            let table = table.as_ref().map_or(Ok(MAIN_TABLE), |table: &Value<u32>| known(table).copied())?;
            // After all other routes to the same prefix, if the system has metrics.
            let last = if cfg!(target_os = "linux") { u32::MAX } else { default_metric(dest, None) };
            Ok(refusing(*dest, Kind::Unreachable, table, last))
        }
    }
}

fn refusing(dest: IpNet, kind: Kind, table: u32, metric: u32) -> Route {
    Route { kind, table, metric, scope: 0, hops: Vec::new(), ..Route::through(dest, "") }
}
