//! The resolvers of this host: which program is in charge of them, and what it is told.
//!
//! Owns the finding out ([`detect`]), the runs of resolvectl(1), resolvconf(8) and route(8), reading back what
//! came of them, and (in `file`) the editing of resolv.conf(5). The words that the programs are given are
//! `plan`'s.

mod file;
mod look;
mod text;

use std::{net::IpAddr, path::Path};

pub use self::{file::SavedFile, look::detect};
use super::{
    Cause, Host, Output, Program, ProgramError,
    ledger::{Before, Device},
};
use crate::plan::{DnsStep, Platform, RESOLV_CONF, Resolver, Value, no_split};

/// What is at the place of a step now.
///
/// # Errors
/// Why the step must not be performed.
pub(super) fn observe(_host: &mut dyn Host, step: &DnsStep) -> Result<Before, Cause> {
    let resolver = known(&step.resolver)?;
    if let Some(why) = no_split(resolver, &step.domains, &known(&step.servers)?) {
        return Err(Cause::Taken(why));
    }
    match resolver {
        Resolver::File => file::observe(step).map(|saved| Before::File(Box::new(saved))),
        Resolver::Resolvd | Resolver::Unwind if Platform::host() != Platform::OpenBsd => Err(Cause::Taken(
            format!("{resolver} is OpenBSD's; dns.backend = \"auto\" finds what this host has"),
        )),
        Resolver::Resolved | Resolver::Resolvconf | Resolver::Resolvd | Resolver::Unwind => {
            Ok(Before::Nothing)
        }
    }
}

/// Performs a step whose place holds `before`, and reads back what came of it.
pub(super) fn perform(host: &mut dyn Host, step: &DnsStep, before: &Before) -> Result<(), Cause> {
    if let Before::File(saved) = before {
        return file::perform(host, step, saved);
    }
    for program in programs(step, &step.programs()) {
        run(host, &program)?;
    }
    match problem(host, step)? {
        Some(why) => Err(Cause::Taken(why)),
        None => Ok(()),
    }
}

/// Performs a step again that is in force, if something took its effect away meanwhile. A file is left to whoever
/// has written it since: what would have to be put back is no longer what the ledger says.
pub(super) fn renew(host: &mut dyn Host, step: &DnsStep, before: &Before) -> Result<(), Cause> {
    match before {
        Before::File(_) => Ok(()),
        _ if problem(host, step)?.is_none() => Ok(()),
        _ => perform(host, step, before),
    }
}

/// Undoes a step. What is gone already is fine; what someone else changed meanwhile stays.
pub(super) fn undo(
    host: &mut dyn Host,
    step: &DnsStep,
    before: &Before,
    device: Option<&Device>,
) -> Result<(), Cause> {
    if let Before::File(saved) = before {
        return file::undo(host, step, saved);
    }
    let resolver = known(&step.resolver)?;
    let tun = known(&step.tun)?;
    match resolver {
        // They have forgotten a device that is gone, and one of the same name is not ours.
        Resolver::Resolved | Resolver::Resolvd | Resolver::Unwind => {
            let ours = device.filter(|device| device.name == tun);
            let found = host.link(&tun)?;
            if ours.zip(found).is_none_or(|(ours, found)| ours.index != found.index) {
                return Ok(());
            }
            for program in programs(step, &step.undo_programs()) {
                let told = host.run(&program).and_then(|output| output.or_failed(&program));
                match told {
                    // It does not run any more, and with it went what it was told.
                    Err(_) if resolver == Resolver::Resolved && !look::resolved_runs() => {}
                    outcome => drop(outcome?),
                }
            }
        }
        Resolver::Resolvconf => {
            for program in programs(step, &step.undo_programs()) {
                let output = match host.run(&program) {
                    // It was removed from this host, and what it knew with it.
                    Err(ProgramError::Missing { .. }) => return Ok(()),
                    output => output?,
                };
                // openresolv says so when there is nothing to delete.
                if !output.stderr.contains("No resolv.conf for interface") {
                    output.or_failed(&program)?;
                }
            }
            // A file that was made before a reboot, or by a run that was killed: nothing has changed that it knows of.
            if names_ours(step, &nameservers(Path::new(RESOLV_CONF))) {
                run(host, &Program::find("resolvconf", &["-u"]))?;
            }
        }
        Resolver::File => {}
    }
    Ok(())
}

/// Why a step that was performed is not in force, if so.
///
/// # Errors
/// When it could not be found out.
pub(super) fn problem(host: &mut dyn Host, step: &DnsStep) -> Result<Option<String>, Cause> {
    let servers = known(&step.servers)?;
    Ok(match known(&step.resolver)? {
        Resolver::File => file::problem(step, &servers),
        Resolver::Resolvconf => {
            let found = nameservers(Path::new(RESOLV_CONF));
            // A resolver on this host that resolvconf(8) has told about ours.
            let local = found.first().is_some_and(IpAddr::is_loopback);
            let ours = found.first().is_some_and(|first| Some(first) == servers.first());
            (!ours && !local).then(|| {
                format!("{RESOLV_CONF} has {} first, not what resolvconf was told", text::list(&found))
            })
        }
        Resolver::Resolved => {
            let tun = known(&step.tun)?;
            let mut ask = |what: &str| {
                let said = run(host, &Program::find("resolvectl", &[what, &tun]))?;
                Ok::<_, Cause>(text::of_link(&said.stdout, &tun))
            };
            let (found, domains) = (ask("dns")?, ask("domain")?);
            let lacks_server = servers.iter().any(|server| !text::has_address(&found, *server));
            let lacks_domain = step.routing_domains().iter().any(|domain| !domains.contains(domain));
            (lacks_server || lacks_domain).then(|| {
                format!(
                    "systemd-resolved has resolvers [{}] and domains [{}] for {tun}, not those it was told",
                    found.join(" "),
                    domains.join(" ")
                )
            })
        }
        // resolvd(8) hears of it in its own time.
        Resolver::Resolvd | Resolver::Unwind => None,
    })
}

/// What a watch on files has to look at, for a step that is in force.
pub(super) fn watched(step: &DnsStep) -> Option<std::path::PathBuf> {
    match step.resolver {
        Value::Known(Resolver::File) => super::files::target(&step.file).ok(),
        Value::Known(Resolver::Resolvconf) => super::files::target(Path::new(RESOLV_CONF)).ok(),
        _ => None,
    }
}

fn programs(step: &DnsStep, all: &[Vec<String>]) -> Vec<Program> {
    let program = |argv: &Vec<String>| {
        let (name, args) = argv.split_first()?;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let program = Program::find(name, &args);
        let adds = step.resolver == Value::Known(Resolver::Resolvconf) && args.first() == Some(&"-a");
        Some(if adds { program.with_input(step.resolv_conf()) } else { program })
    };
    all.iter().filter_map(program).collect()
}

fn run(host: &mut dyn Host, program: &Program) -> Result<Output, Cause> {
    Ok(host.run(program)?.or_failed(program)?)
}

fn names_ours(step: &DnsStep, found: &[IpAddr]) -> bool {
    step.servers.known().into_iter().flatten().any(|server| found.contains(server))
}

/// The resolvers that programs of this host ask, by the file.
fn nameservers(path: &Path) -> Vec<IpAddr> {
    let target = super::files::target(path);
    let found = target.and_then(|target| super::files::read(&target)).ok().flatten();
    found.map(|found| text::nameservers(&found.content)).unwrap_or_default()
}

fn known<T: Clone>(value: &Value<T>) -> Result<T, Cause> {
    match value {
        Value::Known(value) => Ok(value.clone()),
        Value::Open(symbol) => Err(Cause::Unresolved(vec![*symbol])),
    }
}
