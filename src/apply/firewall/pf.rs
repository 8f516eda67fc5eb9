//! A pf anchor: checked, loaded, and flushed with the tunnel's states. The main ruleset is only read.

use super::super::{Cause, Host, Output, Program, ProgramError, ledger::Device};
use crate::{
    plan::{Macros, PfRules},
    platform::Platform,
};

/// Refuses an anchor that already holds rules: they could not be restored.
pub(super) fn observe(host: &mut Host, anchor: &str) -> Result<(), Cause> {
    for kind in ["rules", "nat"] {
        // Ignore the exit status: it is 0 for an anchor that does not exist, and OpenBSD has no `-s nat`.
        let output = pfctl(host, &["-q", "-a", anchor, "-s", kind], None)?;
        if output.success() && !output.stdout.trim().is_empty() {
            return Err(Cause::Taken(format!(
                "the anchor {anchor} contains rules that this tunnel did not load; `pfctl -a {anchor} -F all` removes them"
            )));
        }
    }
    Ok(())
}

pub(super) fn load(host: &mut Host, anchor: &str, rules: &PfRules, macros: &Macros) -> Result<(), Cause> {
    let pairs = macros.pairs().ok_or_else(|| Cause::Ledger("rules without their facts".to_owned()))?;
    let defines: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let file = match rules {
        PfRules::File(file) => file.to_string_lossy().into_owned(),
        PfRules::Nat | PfRules::NatTo => "-".to_owned(),
    };
    for first in ["-n", "-q"] {
        let mut args = vec![first, "-a", anchor];
        args.extend(defines.iter().flat_map(|define| ["-D", define]));
        args.extend(["-f", &file]);
        must(host, &args, rules.text())?;
    }
    Ok(())
}

/// Returns reasons why the rules may not be evaluated, as far as the main ruleset shows them.
pub(super) fn warnings(host: &mut Host, anchor: &str, rules: &PfRules, platform: Platform) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut ask = |kind| pfctl(host, &["-q", "-s", kind], None).unwrap_or_default().stdout;
    if ask("info").lines().any(|line| line.starts_with("Status: Disabled")) {
        doubts.push("pf is disabled, so the rules change nothing: `pfctl -e` enables it".to_owned());
    }
    let mut missing = Vec::new();
    for &kind in rules.anchors(platform) {
        let list = ask(if kind == "anchor" { "rules" } else { "nat" });
        if !list.lines().any(|line| evaluates(line, kind, anchor)) {
            missing.push(format!("{kind} \"{}\"", pattern(anchor)));
        }
    }
    if !missing.is_empty() {
        let lines = missing.join(" and ");
        doubts.push(format!("pf does not evaluate the anchor {anchor}; /etc/pf.conf lacks {lines}"));
    }
    doubts
}

/// Flushes the rules and pf's states of connections through the tunnel: states keep following the rules that
/// created them, and their addresses no longer belong to this host.
pub(super) fn flush(
    host: &mut Host,
    anchor: &str,
    macros: &Macros,
    device: Option<&Device>,
) -> Result<(), Cause> {
    must(host, &["-q", "-a", anchor, "-F", "all"], None)?;
    if let Some(tun) = macros.tun.known()
        && is_ours(host, tun, device)?
    {
        // Kill the states that are bound to the interface.
        must(host, &["-q", "-i", tun, "-F", "state"], None)?;
    }
    if let Some(local) = macros.local.known() {
        // Kill the floating states (pf's default) from our address and to it.
        let local = local.to_string();
        must(host, &["-q", "-k", &local], None)?;
        must(host, &["-q", "-k", "0.0.0.0/0", "-k", &local], None)?;
    }
    Ok(())
}

/// Returns whether no other tunnel has taken over the device's name.
fn is_ours(host: &mut Host, tun: &str, device: Option<&Device>) -> Result<bool, Cause> {
    let found = host.link(tun)?;
    Ok(found.is_none_or(|link| device.is_some_and(|device| device.name == tun && device.index == link.index)))
}

pub(super) fn must(host: &mut Host, args: &[&str], input: Option<&str>) -> Result<(), Cause> {
    host.run_successfully(&program(args, input))?;
    Ok(())
}

pub(super) fn pfctl(host: &mut Host, args: &[&str], input: Option<&str>) -> Result<Output, ProgramError> {
    host.run(&program(args, input))
}

/// Asks pfctl(8) for a list.
pub(super) fn query(host: &mut Host, args: &[&str]) -> Result<Output, ProgramError> {
    host.query(&program(args, None))
}

fn program(args: &[&str], input: Option<&str>) -> Program {
    let program = Program::find("pfctl", args);
    match input {
        Some(text) => program.with_input(text),
        None => program,
    }
}

/// Returns the main ruleset's name for an anchor: those below `pptpctl/` are called together.
fn pattern(anchor: &str) -> String {
    anchor.rsplit_once('/').map_or_else(|| anchor.to_owned(), |(above, _)| format!("{above}/*"))
}

/// Returns whether a rule, as `pfctl -s` prints it, evaluates the anchor.
pub(super) fn evaluates(line: &str, kind: &str, anchor: &str) -> bool {
    let mut words = line.split_whitespace();
    if words.next() != Some(kind) {
        return false;
    }
    let Some(name) = words.next().map(|name| name.trim_matches('"')) else { return false };
    name == anchor
        || name.strip_suffix('*').is_some_and(|above| {
            anchor.strip_prefix(above).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
        })
}
