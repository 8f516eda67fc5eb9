//! An anchor of pf: checked, then loaded, flushed with the states of the tunnel. The main ruleset is only looked at.

use super::super::{Cause, Host, Output, Program, ProgramError, ledger::Device};
use crate::plan::{Macros, PfRules, Platform};

/// Refuses an anchor that holds something: it could not be put back.
pub(super) fn observe(host: &mut dyn Host, anchor: &str) -> Result<(), Cause> {
    for kind in ["rules", "nat"] {
        // The status is no test: it is 0 for an anchor that is not there, and OpenBSD has no -s nat.
        let output = pfctl(host, &["-q", "-a", anchor, "-s", kind], None)?;
        if output.success() && !output.stdout.trim().is_empty() {
            return Err(Cause::Taken(format!(
                "the anchor {anchor} holds rules already, which this tunnel did not load; \
                 `pfctl -a {anchor} -F all` takes them away"
            )));
        }
    }
    Ok(())
}

pub(super) fn load(host: &mut dyn Host, anchor: &str, rules: &PfRules, macros: &Macros) -> Result<(), Cause> {
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

/// What may keep the rules from being evaluated, as far as the main ruleset shows it.
pub(super) fn doubts(host: &mut dyn Host, anchor: &str, rules: &PfRules, platform: Platform) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut ask = |kind| pfctl(host, &["-q", "-s", kind], None).unwrap_or_default().stdout;
    if ask("info").lines().any(|line| line.starts_with("Status: Disabled")) {
        doubts.push("pf is disabled, so the rules change nothing: `pfctl -e` enables it".to_owned());
    }
    let mut missing = Vec::new();
    for &kind in rules.anchors(platform) {
        let list = ask(if kind == "anchor" { "rules" } else { "nat" });
        if !list.lines().any(|line| calls(line, kind, anchor)) {
            missing.push(format!("{kind} \"{}\"", pattern(anchor)));
        }
    }
    if !missing.is_empty() {
        let lines = missing.join(" and ");
        doubts.push(format!("pf never looks into the anchor {anchor}; /etc/pf.conf lacks {lines}"));
    }
    doubts
}

/// Takes the rules away, and what pf remembers of connections through the tunnel: they would go on by the rules
/// that made them, and their addresses are not ours any more.
pub(super) fn flush(
    host: &mut dyn Host,
    anchor: &str,
    macros: &Macros,
    device: Option<&Device>,
) -> Result<(), Cause> {
    must(host, &["-q", "-a", anchor, "-F", "all"], None)?;
    if let Some(tun) = macros.tun.known()
        && is_ours(host, tun, device)?
    {
        // States that are bound to the interface.
        must(host, &["-q", "-i", tun, "-F", "state"], None)?;
    }
    if let Some(local) = macros.local.known() {
        // Floating ones, as they are unless pf.conf says otherwise: from our address, and to it.
        let local = local.to_string();
        must(host, &["-q", "-k", &local], None)?;
        must(host, &["-q", "-k", "0.0.0.0/0", "-k", &local], None)?;
    }
    Ok(())
}

/// Whether no other tunnel has taken the device's name meanwhile.
fn is_ours(host: &mut dyn Host, tun: &str, device: Option<&Device>) -> Result<bool, Cause> {
    let found = host.link(tun)?;
    Ok(found.is_none_or(|link| device.is_some_and(|device| device.name == tun && device.index == link.index)))
}

fn must(host: &mut dyn Host, args: &[&str], input: Option<&str>) -> Result<(), Cause> {
    let program = program(args, input);
    host.run(&program)?.or_failed(&program)?;
    Ok(())
}

fn pfctl(host: &mut dyn Host, args: &[&str], input: Option<&str>) -> Result<Output, ProgramError> {
    host.run(&program(args, input))
}

fn program(args: &[&str], input: Option<&str>) -> Program {
    let program = Program::find("pfctl", args);
    match input {
        Some(text) => program.with_input(text),
        None => program,
    }
}

/// The main ruleset's name for an anchor: one below `pptpctl/` is called together with its neighbours.
fn pattern(anchor: &str) -> String {
    anchor.rsplit_once('/').map_or_else(|| anchor.to_owned(), |(above, _)| format!("{above}/*"))
}

/// Whether a rule, as `pfctl -s` prints it, evaluates the anchor.
pub(super) fn calls(line: &str, kind: &str, anchor: &str) -> bool {
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
