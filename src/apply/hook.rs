//! Runs the user's own programs (hooks).
//!
//! Owns the check that only root can change them, their arguments and limits, and copying their output to the
//! log. Their environment variables are composed by `plan`.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Cause, Host, Program,
    ledger::PriorState,
    steps::{Perform, UndoContext},
};
use crate::plan::{HookEvent, HookStep};

/// The most lines of a program's output that are copied to the log.
const MAX_LOG_LINES: usize = 200;

impl Perform for HookStep {
    /// Checks that both hooks may be run: a bad down hook is refused before the up hook is run.
    fn check(&self) -> Result<(), Cause> {
        for moment in [HookEvent::Up, HookEvent::Down] {
            if let Some(program) = self.argv(moment).first() {
                trusted(Path::new(program))
                    .map_err(|why| Cause::Taken(format!("hooks.{} is not run: {why}", moment.word())))?;
            }
        }
        Ok(())
    }

    fn observe(&self, _host: &mut Host) -> Result<PriorState, Cause> {
        self.check().map(|()| PriorState::Nothing)
    }

    fn perform(&self, host: &mut Host, _before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        run(host, self, HookEvent::Up)
    }

    fn undo(&self, host: &mut Host, _before: &PriorState, _context: UndoContext<'_>) -> Result<(), Cause> {
        run(host, self, HookEvent::Down)
    }
}

fn run(host: &mut Host, step: &HookStep, moment: HookEvent) -> Result<(), Cause> {
    let Some((path, args)) = step.argv(moment).split_first() else { return Ok(()) };
    let path = Path::new(path);
    // The file may have changed since the tunnel came up.
    trusted(path).map_err(|why| Cause::Taken(format!("hooks.{} is not run: {why}", moment.word())))?;
    let program = Program {
        args: args.to_vec(),
        environment: step.environment(moment),
        limit: Duration::from_millis(step.limit_ms),
        ..Program::at(path.to_owned(), &[])
    };
    let output = host.run(&program)?;
    for line in output.stdout.lines().chain(output.stderr.lines()).take(MAX_LOG_LINES) {
        tracing::info!("{}: {} hook: {line}", step.profile, moment.word());
    }
    output.or_failed(&program)?;
    Ok(())
}

/// Checks that a program and every directory on its path belong to root (or the calling user) and that no
/// other user can change them.
///
/// # Errors
/// Returns a description of the problem.
pub fn trusted(path: &Path) -> Result<(), String> {
    let place = fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let facts = fs::metadata(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    if !facts.is_file() || facts.mode() & 0o111 == 0 {
        return Err(format!("{} is not a program (chmod +x it?)", place.display()));
    }
    // In a sticky directory other users can make a link, too.
    for link in path.ancestors().filter(|place| place.is_symlink()) {
        let owner = fs::symlink_metadata(link).map_err(|error| format!("{}: {error}", link.display()))?.uid();
        if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
            return Err(format!("{} is a link that belongs to user {owner}, not to root", link.display()));
        }
    }
    // Check the path as given and the resolved one: who can change a directory on either can replace the program.
    let mut ways: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
    ways.extend(place.ancestors().map(Path::to_owned));
    for way in ways.iter().filter(|way| !way.as_os_str().is_empty()) {
        let facts = fs::metadata(way).map_err(|error| format!("{}: {error}", way.display()))?;
        // In a sticky directory such as /tmp other users can't replace root's files.
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
