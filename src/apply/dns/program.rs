//! Runs the programs of a resolver backend.

use crate::{
    apply::{Cause, Host, Program},
    plan::{DnsStep, Resolver, Value},
};

/// Returns the commands of a step, ready to run; resolvconf(8) reads the resolvers from standard input.
pub(super) fn programs(step: &DnsStep, all: &[Vec<String>]) -> Vec<Program> {
    let program = |argv: &Vec<String>| {
        let (name, args) = argv.split_first()?;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let program = Program::find(name, &args);
        let adds = step.resolver == Value::Known(Resolver::Resolvconf) && args.first() == Some(&"-a");
        Some(if adds { program.with_input(step.resolv_conf()) } else { program })
    };
    all.iter().filter_map(program).collect()
}

pub(super) fn run_all(host: &mut Host, step: &DnsStep, all: &[Vec<String>]) -> Result<(), Cause> {
    for program in programs(step, all) {
        host.run_successfully(&program)?;
    }
    Ok(())
}
