//! Running the user's own programs.
//!
//! Owns the check that nobody but root can change them, what they are given, and where their words go: into the
//! log. Which variables they see is `plan`'s.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Cause, Host, Program,
    ledger::{Device, PriorState},
};
use crate::plan::{HookEvent, HookStep};

/// So many lines of a program's output go into the log.
const MOST_LINES: usize = 200;

/// What is at the place of a step now.
///
/// # Errors
/// Why the step must not be performed: a down hook that could not be run later is found out before anything is done.
pub(super) fn observe(_host: &mut dyn Host, step: &HookStep) -> Result<PriorState, Cause> {
    for moment in [HookEvent::Up, HookEvent::Down] {
        if let Some(program) = step.argv(moment).first() {
            trusted(Path::new(program))
                .map_err(|why| Cause::Taken(format!("hooks.{} is not run: {why}", moment.word())))?;
        }
    }
    Ok(PriorState::Nothing)
}

/// Runs the up hook.
pub(super) fn perform(host: &mut dyn Host, step: &HookStep, _before: &PriorState) -> Result<(), Cause> {
    run(host, step, HookEvent::Up)
}

/// A hook has run once for what it was told; nothing takes that away.
pub(super) fn renew(_host: &mut dyn Host, _step: &HookStep, _before: &PriorState) -> Result<(), Cause> {
    Ok(())
}

/// Runs the down hook.
pub(super) fn undo(
    host: &mut dyn Host,
    step: &HookStep,
    _before: &PriorState,
    _device: Option<&Device>,
) -> Result<(), Cause> {
    run(host, step, HookEvent::Down)
}

fn run(host: &mut dyn Host, step: &HookStep, moment: HookEvent) -> Result<(), Cause> {
    let Some((path, args)) = step.argv(moment).split_first() else { return Ok(()) };
    let path = Path::new(path);
    // It may have changed hands since the tunnel came up.
    trusted(path).map_err(|why| Cause::Taken(format!("hooks.{} is not run: {why}", moment.word())))?;
    let program = Program {
        args: args.to_vec(),
        environment: step.environment(moment),
        limit: Duration::from_millis(step.limit_ms),
        ..Program::at(path.to_owned(), &[])
    };
    let output = host.run(&program)?;
    for line in output.stdout.lines().chain(output.stderr.lines()).take(MOST_LINES) {
        tracing::info!("{}: {} hook: {line}", step.profile, moment.word());
    }
    output.or_failed(&program)?;
    Ok(())
}

/// Whether a program and every directory on the way to it belong to root (or to us) and can be changed by no one else.
///
/// # Errors
/// What is wrong with it, in words.
pub fn trusted(path: &Path) -> Result<(), String> {
    let place = fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let facts = fs::metadata(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    if !facts.is_file() || facts.mode() & 0o111 == 0 {
        return Err(format!("{} is not a program (chmod +x it?)", place.display()));
    }
    // The way by which it was named and the one by which it is reached: a link may be anyone's.
    let mut ways: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
    ways.extend(place.ancestors().map(Path::to_owned));
    for way in ways.iter().filter(|way| !way.as_os_str().is_empty()) {
        let facts = fs::metadata(way).map_err(|error| format!("{}: {error}", way.display()))?;
        // In a directory such as /tmp others can't replace what is root's.
        let sticky = facts.is_dir() && facts.mode() & 0o1000 != 0;
        if facts.uid() != 0 && facts.uid() != nix::unistd::geteuid().as_raw() {
            return Err(format!("{} belongs to user {}, not to root", way.display(), facts.uid()));
        }
        if facts.mode() & 0o022 != 0 && !sticky {
            return Err(format!(
                "{0} can be written by others than root, who could run commands as root through it: chmod go-w {0}",
                way.display()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
