//! Other tunnels on this host, from their ledgers: their routes, and which of them holds what this one needs.

use std::path::Path;

use super::{
    ApplyError, Cause, Directories, Operation,
    ledger::{self, Ledger, Record},
};
use crate::{
    os::{boot, namespace::Namespace},
    plan::{PolicyRule, PolicyStep, RouteStep, Step, TunnelRoute},
};

/// Returns the ledgers of the other tunnels in a network namespace; none that this user cannot read.
fn records(places: &Directories, own: &Path, here: Namespace) -> impl Iterator<Item = Record> {
    let paths = ledger::list(&places.state).unwrap_or_default();
    let own = own.to_owned();
    let others = paths.into_iter().filter(move |path| *path != own);
    let boot = boot::id();
    others
        .filter_map(|path| ledger::peek(&path))
        .filter(move |record| record.header.boot == boot && record.header.namespace().same_as(here))
}

/// Returns the routes of the other tunnels in the main table.
pub(super) fn routes(places: &Directories, own: &Path, here: Namespace) -> Vec<TunnelRoute> {
    let of = |record: Record| {
        let profile = record.header.profile;
        record.entries.into_iter().filter_map(move |entry| match entry.step {
            Step::Route(RouteStep { dest, metric, table: None, .. }) => {
                Some(TunnelRoute { profile: profile.clone(), dest, metric })
            }
            _ => None,
        })
    };
    records(places, own, here).flat_map(of).collect()
}

/// Returns the profile of the tunnel on this host that has a device.
#[must_use]
pub fn device_holder(places: &Directories, device: &str) -> Option<String> {
    let nothing = Path::new("");
    let mut all = records(places, nothing, Namespace::current());
    let holder = all.find(|record| record.device.as_ref().is_some_and(|held| held.name == device));
    holder.map(|record| record.header.profile)
}

/// Adds the profile to an error about something that another tunnel has.
pub(super) fn name_holder(places: &Directories, own: &Ledger, error: ApplyError) -> ApplyError {
    let (Operation::Do(step), Cause::Taken(words)) = (&error.operation, &error.cause) else { return error };
    let has = |record: &Record| record.entries.iter().any(|entry| is_same(&entry.step, step));
    let mut others = records(places, own.path(), own.record().header.namespace());
    let Some(holder) = others.find(has).map(|record| record.header.profile) else { return error };
    let cause = Cause::Taken(format!("{words} (profile {holder}; `pptpctl down {holder}` frees it)"));
    ApplyError { operation: error.operation, cause }
}

/// Returns whether two tunnels cannot have both steps: the same object, or each of them the default route.
fn is_same(held: &Step, wanted: &Step) -> bool {
    let default = |step: &Step| match step {
        Step::RemoveDefault(step) => Some(step.ipv6),
        Step::Policy(PolicyStep::Rule { rule: PolicyRule::Tunnel, ipv6, .. }) => Some(*ipv6),
        _ => None,
    };
    held.key() == wanted.key() || default(wanted).is_some_and(|wanted| default(held) == Some(wanted))
}
