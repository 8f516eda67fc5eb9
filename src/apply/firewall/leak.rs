//! The kill switch by pf: loads its anchor, ends the states of connections that it blocks, and says where pf does not
//! evaluate it.
//!
//! pf passes packets of a known connection before it evaluates a rule. States are therefore ended when the rules are
//! loaded, and when a route of another program takes connections from the tunnel.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    super::{
        Cause, Host,
        ledger::PriorState,
        steps::{Perform, UndoContext},
    },
    pf, states,
};
use crate::{
    apply::{Program, program::MAX_OUTPUT},
    plan::LeakFilterStep,
};

/// The most programs that are run to end states one by one; beyond that all states are ended.
const MAX_KILLS: usize = 256;

impl Perform for LeakFilterStep {
    fn check(&self) -> Result<(), Cause> {
        Ok(Program::need("pfctl")?)
    }

    fn observe(&self, host: &mut Host) -> Result<PriorState, Cause> {
        match pf::observe(host, &self.anchor) {
            // Those of another kill switch must stay.
            Err(Cause::Taken(_)) => Err(Cause::Taken(format!(
                "the anchor {} contains rules that this tunnel did not load: each tunnel with leak = \"block\" needs a pf.anchor of \
                 its own; `pptpctl recover` removes what a tunnel without a ledger left",
                self.anchor
            ))),
            seen => seen.map(|()| PriorState::Nothing),
        }
    }

    fn perform(&self, host: &mut Host, _before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        load(host, self)?;
        let blocked = blocked(host, self, None)?;
        kill(host, blocked.as_ref())
    }

    /// Loads the rules again if another program has flushed the anchor.
    fn renew(&self, host: &mut Host, before: &PriorState) -> Result<bool, Cause> {
        let rules = pf::query(host, &["-q", "-a", &self.anchor, "-s", "rules"])?;
        let is_gone = rules.success() && rules.stdout.trim().is_empty();
        if is_gone {
            self.perform(host, before, &mut Vec::new())?;
        }
        Ok(is_gone)
    }

    fn undo(&self, host: &mut Host, _before: &PriorState, _context: UndoContext<'_>) -> Result<(), Cause> {
        pf::must(host, &["-q", "-a", &self.anchor, "-F", "all"], None)
    }
}

fn load(host: &mut Host, step: &LeakFilterStep) -> Result<(), Cause> {
    let text = step.text().ok_or_else(|| Cause::Ledger("rules without their facts".to_owned()))?;
    for first in ["-n", "-q"] {
        pf::must(host, &[first, "-a", &step.anchor, "-f", "-"], Some(&text))?;
    }
    Ok(())
}

/// Ends the states of connections to these prefixes that the rules block outside the tunnel, also of those that were
/// made in the tunnel: pf's states are not bound to an interface by default.
///
/// # Errors
/// Returns the error of pfctl(8).
pub(in crate::apply) fn kill_states_to(
    host: &mut Host,
    step: &LeakFilterStep,
    prefixes: &[IpNet],
) -> Result<(), Cause> {
    let blocked = blocked(host, step, Some(prefixes))?;
    kill(host, blocked.as_ref())
}

/// Returns the other end of each connection with a state that the rules block, and whether this host began it. Without
/// `prefixes` those of the tunnel are left out: they have its device or its address. `None` if the list is too long.
fn blocked(
    host: &mut Host,
    step: &LeakFilterStep,
    prefixes: Option<&[IpNet]>,
) -> Result<Option<BTreeSet<(IpAddr, bool)>>, Cause> {
    let listing = host.run_successfully(&Program::find("pfctl", &["-q", "-s", "states"]))?.stdout;
    if listing.len() >= MAX_OUTPUT {
        return Ok(None);
    }
    let mut blocked = BTreeSet::new();
    for state in listing.lines().filter_map(states::parse) {
        let is_loopback = state.local.is_loopback() || state.dev.starts_with("lo");
        if is_loopback || !step.blocks(state.remote, &state.protocol, state.remote_port) {
            continue;
        }
        let is_wanted = match (prefixes, step.tun.known()) {
            (Some(prefixes), _) => prefixes.iter().any(|prefix| prefix.contains(&state.remote)),
            (None, Some(tun)) => state.dev != *tun && !host.has_address(tun, state.local).unwrap_or(false),
            (None, None) => true,
        };
        if is_wanted {
            blocked.insert((state.remote, state.is_outgoing));
        }
    }
    Ok(Some(blocked))
}

/// Ends the states of these connections; all states if there are too many, or the ends are not known.
fn kill(host: &mut Host, ends: Option<&BTreeSet<(IpAddr, bool)>>) -> Result<(), Cause> {
    let Some(ends) = ends.filter(|ends| ends.len() <= MAX_KILLS) else {
        tracing::warn!(
            "pf knows too many connections: to end those past the tunnel, all of its states are flushed"
        );
        return pf::must(host, &["-q", "-F", "states"], None);
    };
    for (remote, is_outgoing) in ends {
        tracing::info!("the kill switch ends connections with {remote}, which pf would still let pass");
        let (address, all) = (remote.to_string(), if remote.is_ipv4() { "0.0.0.0/0" } else { "::/0" });
        let from_here = ["-q", "-k", all, "-k", &address];
        let args = if *is_outgoing { &from_here[..] } else { &["-q", "-k", &address] };
        pf::must(host, args, None)?;
    }
    Ok(())
}

/// Returns reasons why pf does not evaluate the rules for every packet, one sentence each.
pub(in crate::apply) fn problems(host: &mut Host, anchor: &str) -> Vec<String> {
    let mut list = |kind: &[&str]| {
        let args = [&["-q"], kind].concat();
        pf::pfctl(host, &args, None).unwrap_or_default().stdout
    };
    let (info, rules, devices) =
        (list(&["-s", "info"]), list(&["-s", "rules"]), list(&["-v", "-s", "Interfaces"]));
    doubts(&info, &rules, &devices, anchor)
}

fn doubts(info: &str, rules: &str, devices: &str, anchor: &str) -> Vec<String> {
    let mut doubts = Vec::new();
    if info.lines().any(|line| line.starts_with("Status: Disabled")) {
        doubts.push(
            "leak = \"block\": pf is disabled, so its rules block nothing: `pfctl -e` enables it".to_owned(),
        );
    }
    let rules: Vec<&str> = rules.lines().map(str::trim).collect();
    match rules.iter().position(|line| pf::evaluates(line, "anchor", anchor)) {
        None => doubts.push(format!(
            "leak = \"block\": pf does not evaluate the anchor {anchor}, so its rules block nothing: /etc/pf.conf needs the line \
             anchor \"{anchor}\" before its other filter rules"
        )),
        Some(at) => {
            let call = rules.get(at).copied().unwrap_or_default();
            if !call.split_whitespace().skip(2).all(|word| word == "all") {
                doubts.push(format!(
                    "leak = \"block\": pf evaluates the anchor {anchor} for some packets only: `{call}` in /etc/pf.conf"
                ));
            }
            let passes = rules.iter().take(at).filter(|line| {
                let has = |wanted: &str| line.split_whitespace().any(|word| word == wanted);
                line.starts_with("pass ") && has("quick") && !has("in") && !has("lo0") && !has("lo")
            });
            doubts.extend(passes.map(|rule| {
                format!("leak = \"block\": pf passes packets before it evaluates the anchor {anchor}: `{rule}` in /etc/pf.conf")
            }));
        }
    }
    let skipped = devices.lines().filter_map(|line| line.trim().strip_suffix(" (skip)"));
    let skipped = skipped.filter(|dev| !dev.starts_with("lo") && !dev.starts_with("tun"));
    doubts.extend(
        skipped.map(|dev| {
            format!("leak = \"block\": pf filters nothing on {dev} (`set skip on` in /etc/pf.conf)")
        }),
    );
    doubts
}

#[cfg(test)]
mod tests;
