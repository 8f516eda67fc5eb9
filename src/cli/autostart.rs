//! `--autostart`: runs a command for every profile that has `autostart = true`.

use std::{
    collections::BTreeMap,
    env, io,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use super::{
    batches::batches,
    exit::{self, Code},
    output::{self, complain, error, line},
};
use crate::{
    profile::{Profile, Profiles},
    supervisor::{FailureKind, Signals},
};

/// Most tunnels that are brought up or taken down at the same time.
const AT_ONCE: usize = 8;

/// Runs the command for each of them, one after the other, even after a failure. Returns the first failure that is
/// final, as a repetition could lock an account; otherwise the first one.
pub fn each(config: Option<&Path>, mut command: impl FnMut(&str) -> Code) -> Code {
    let profiles = match output::profiles(config) {
        Ok(profiles) => profiles,
        Err(code) => return code,
    };
    let mut first = unreadable(&profiles);
    for profile in wanted(&profiles) {
        first = first.or(command(profile.name.as_str()));
    }
    first
}

/// Brings each of them up: those whose order does not matter at the same time, in processes of their own, with the
/// arguments of `process` and the name, the others by `one`. Output is in the profiles' order; the status as that of [`each`].
pub fn up(config: Option<&Path>, process: &[&str], one: impl FnMut(&str) -> Code) -> Code {
    in_batches(config, process, Direction::Up, one)
}

/// Takes each of them down likewise, the last first: a tunnel may lead to the server of a later one.
pub fn down(config: Option<&Path>, process: &[&str], one: impl FnMut(&str) -> Code) -> Code {
    in_batches(config, process, Direction::Down, one)
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Up,
    Down,
}

impl Direction {
    /// The status of a command for a tunnel with which another command was faster.
    fn already(self) -> Code {
        match self {
            Self::Up => exit::ALREADY_UP,
            Self::Down => exit::NOT_UP,
        }
    }
}

fn in_batches(
    config: Option<&Path>,
    process: &[&str],
    direction: Direction,
    mut one: impl FnMut(&str) -> Code,
) -> Code {
    let profiles = match output::profiles(config) {
        Ok(profiles) => profiles,
        Err(code) => return code,
    };
    let mut first = unreadable(&profiles);
    let mut batches = batches(&wanted(&profiles));
    if direction == Direction::Down {
        batches.reverse();
        batches.iter_mut().for_each(|batch| batch.reverse());
    }
    for batch in batches {
        if let [profile] = batch[..] {
            first = first.or(one(profile.name.as_str()));
            continue;
        }
        // Ctrl-C reaches the processes too. One that brings a tunnel up then takes it down, and this one waits for it;
        // one that takes a tunnel down leaves the rest to the supervisor.
        let signals = match (direction == Direction::Up).then(Signals::listen).transpose() {
            Ok(signals) => signals,
            Err(wrong) => {
                error(wrong);
                return exit::INTERNAL;
            }
        };
        let names: Vec<&str> = batch.iter().map(|profile| profile.name.as_str()).collect();
        let is_over = AtomicBool::new(false);
        at_once(
            &names,
            &is_over,
            |name| start(config, process, name),
            |name, ended| first = first.or(show(name, ended, direction.already())),
        );
        drop(signals);
        if is_over.into_inner() {
            return first.or(INTERRUPTED);
        }
    }
    first
}

const INTERRUPTED: Code = Code::of_kind(FailureKind::Interrupted);

/// Reports profiles that cannot be read: they may have `autostart = true`.
fn unreadable(profiles: &Profiles) -> Code {
    let mut report = profiles.report().clone();
    report.warnings.clear();
    if report.is_empty() {
        return exit::OK;
    }
    complain(report.render(output::style()));
    exit::PROFILE
}

fn wanted(profiles: &Profiles) -> Vec<&Profile> {
    let all = profiles.iter().filter_map(|(_, profile)| profile);
    let wanted: Vec<&Profile> = all.filter(|profile| profile.autostart).collect();
    if wanted.is_empty() {
        line("no profile has autostart = true");
    }
    wanted
}

/// Runs this program for one profile, until it exits.
fn start(config: Option<&Path>, process: &[&str], name: &str) -> io::Result<Output> {
    let mut command = Command::new(env::current_exe()?);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command.args(process).arg(name).stdin(Stdio::null()).output()
}

/// Shows what such a process has printed, and returns its exit status; success in place of `already`.
fn show(name: &str, ended: io::Result<Output>, already: Code) -> Code {
    let ended = match ended {
        Ok(ended) => ended,
        Err(wrong) => {
            error(format_args!("{name}: cannot start: {wrong}"));
            return exit::INTERNAL;
        }
    };
    let [printed, complaints] = [&ended.stdout, &ended.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    if !printed.is_empty() {
        line(printed.trim_end());
    }
    if !complaints.is_empty() {
        complain(complaints.trim_end());
    }
    match code_of(&ended) {
        code if code == already => exit::OK,
        code => code,
    }
}

fn code_of(ended: &Output) -> Code {
    ended.status.code().and_then(|code| u8::try_from(code).ok()).map_or(exit::INTERNAL, Code::of_process)
}

/// Runs `start` for each name, for several at the same time, and `show` with its results in the order of the names. None
/// is started after an interruption, which sets `is_over`.
fn at_once(
    names: &[&str],
    is_over: &AtomicBool,
    start: impl Fn(&str) -> io::Result<Output> + Sync,
    mut show: impl FnMut(&str, io::Result<Output>),
) {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(names.len()) {
            let sender = sender.clone();
            let (next, start) = (&next, &start);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = names.get(at) else { return };
                    let ended = start(name);
                    if ended.as_ref().is_ok_and(|ended| code_of(ended) == INTERRUPTED) {
                        is_over.store(true, Ordering::Relaxed);
                    }
                    // The receiver waits for all threads.
                    let _received = sender.send((at, ended));
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut due = 0;
        for (at, ended) in results {
            waiting.insert(at, ended);
            while let (Some(ended), Some(name)) = (waiting.remove(&due), names.get(due)) {
                show(name, ended);
                due += 1;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

    use super::*;

    fn ended(code: u8) -> io::Result<Output> {
        let status = ExitStatus::from_raw(i32::from(code) << 8);
        Ok(Output { status, stdout: Vec::new(), stderr: Vec::new() })
    }

    #[test]
    fn results_are_shown_in_order_and_starts_are_bounded() {
        let names: Vec<String> = (0..30).map(|at| format!("n{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let [running, most] = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let mut shown = Vec::new();
        let is_over = AtomicBool::new(false);
        let start = |name: &str| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first does not end before others have begun.
            for _ in 0..if name == "n0" { 5000 } else { 1 } {
                thread::sleep(Duration::from_millis(2));
                if most.load(Ordering::SeqCst) > 1 {
                    break;
                }
            }
            running.fetch_sub(1, Ordering::SeqCst);
            ended(0)
        };
        at_once(&names, &is_over, start, |name, _| shown.push(name.to_owned()));
        assert_eq!(shown, names);
        assert!((2..=AT_ONCE).contains(&most.into_inner()));
        assert!(!is_over.into_inner());
    }

    #[test]
    fn interruption_ends_the_starts() {
        let names = vec!["n"; 100];
        let is_over = AtomicBool::new(false);
        let mut shown = 0;
        at_once(&names, &is_over, |_| ended(INTERRUPTED.number()), |_, _| shown += 1);
        assert!(is_over.into_inner() && shown <= AT_ONCE, "{shown}");
    }

    #[test]
    fn exit_statuses_are_those_of_the_processes() {
        let [up, down] = [Direction::Up, Direction::Down].map(Direction::already);
        assert_eq!(show("n", ended(exit::ALREADY_UP.number()), up), exit::OK);
        assert_eq!(show("n", ended(exit::NOT_UP.number()), down), exit::OK);
        // `up --wait` of a tunnel that another command has taken down.
        assert_eq!(show("n", ended(exit::NOT_UP.number()), up), exit::NOT_UP);
        assert_eq!(show("n", ended(11), up).number(), 11);
        assert_eq!(show("n", Err(io::Error::other("no")), down), exit::INTERNAL);
        assert_eq!(exit::OK.or(exit::PROFILE).or(exit::INTERNAL), exit::PROFILE);
    }

    #[test]
    fn final_failure_wins_over_one_that_may_pass() {
        let [refused, timeout, lost] =
            [FailureKind::AuthenticationFailed, FailureKind::ConnectTimeout, FailureKind::PeerLost]
                .map(Code::of_kind);
        for (codes, wanted) in [
            (&[exit::OK, exit::OK][..], exit::OK),
            (&[timeout, exit::OK, lost], timeout),
            (&[timeout, refused, lost], refused),
            (&[exit::PROFILE, refused], exit::PROFILE),
        ] {
            assert_eq!(codes.iter().copied().fold(exit::OK, Code::or), wanted, "{codes:?}");
        }
    }
}
