//! What a PPP daemon leaves that could not clean up after itself, and a daemon that outlives its supervisor.
//!
//! pppd(8) with `linkname` keeps `ppp-LINK.pid` from the moment when it has a device: its process number, and the
//! device's name on the second line. That file is read, for what was learnt by a supervisor may have died with it.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use super::{Cause, Host, ledger::PriorState};
use crate::{
    os::process::Process,
    plan::{Daemon, PppStep},
};

/// How long a daemon that nobody has may take to end politely: its line is gone already.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a pppd of ours is told to read its options from, which tells it from others.
pub const OPTIONS: &str = "/proc/self/fd/0";
/// A pid file is shorter.
const LONGEST: u64 = 256;

/// The daemon that a pid file is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningDaemon {
    /// Its process number.
    pub pid: u32,
    /// The name of its device.
    pub device: String,
}

/// What pppd's own file says of the tunnel with this name; `None` while there is none, or none that is whole.
#[must_use]
pub fn find(run: &Path, link: &str) -> Option<RunningDaemon> {
    let path = run.join(format!("ppp-{link}.pid"));
    let data = fs::symlink_metadata(&path).ok()?;
    if !data.is_file() || data.len() > LONGEST {
        return None;
    }
    parse(&fs::read_to_string(path).ok()?)
}

fn parse(text: &str) -> Option<RunningDaemon> {
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?;
    let device = lines.next()?.trim();
    // As the kernel has it (dev_valid_name), and nothing that leaves the directory as part of a path.
    let valid = (1..=15).contains(&device.len())
        && !device.starts_with('.')
        && device.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    valid.then(|| RunningDaemon { pid, device: device.to_owned() })
}

/// Removes the pid files of a daemon that is gone, those that are still its own.
pub fn remove_pid_files(run: &Path, link: &str, pid: u32) -> io::Result<()> {
    let Some(found) = find(run, link).filter(|found| found.pid == pid) else { return Ok(()) };
    let device = run.join(format!("{}.pid", found.device));
    let is_its_own = fs::symlink_metadata(&device).is_ok_and(|data| data.is_file() && data.len() <= LONGEST)
        && fs::read_to_string(&device).is_ok_and(|text| text.trim().parse() == Ok(pid));
    if is_its_own {
        gone(fs::remove_file(device))?;
    }
    gone(fs::remove_file(run.join(format!("ppp-{link}.pid"))))
}

pub(super) fn observe(_host: &mut dyn Host, _step: &PppStep) -> Result<PriorState, Cause> {
    Ok(PriorState::Nothing)
}

/// Ends the daemon if it still runs, and removes what it left.
pub(super) fn undo(step: &PppStep) -> Result<(), Cause> {
    let PppStep::Start { daemon: Daemon::Pppd, run, link, .. } = step else { return Ok(()) };
    let failed = |error| Cause::File { path: run.join(format!("ppp-{link}.pid")), error };
    let Some(found) = find(run, link) else { return Ok(()) };
    end(&found).map_err(failed)?;
    remove_pid_files(run, link, found.pid).map_err(failed)
}

/// SIGTERM, and SIGKILL when that is not heard. A process of that number that is no pppd of ours is someone else.
fn end(found: &RunningDaemon) -> io::Result<()> {
    let Ok(pid) = i32::try_from(found.pid) else { return Ok(()) };
    let process = match Process::open(pid) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        process => process?,
    };
    let is_ours = fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == OPTIONS.as_bytes()));
    if !is_ours {
        return Ok(());
    }
    for kill in [false, true] {
        let told = if kill { process.kill() } else { process.terminate() };
        match told {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            told => told?,
        }
        if process.wait_until(Instant::now() + PATIENCE)? {
            return Ok(());
        }
    }
    Err(io::Error::other(format!("pppd (process {pid}) does not end")))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_names_process_and_device() {
        assert_eq!(parse("1234\nppp0\n"), Some(RunningDaemon { pid: 1234, device: "ppp0".into() }));
        for wrong in [
            "",
            "1234\n",
            "x\nppp0\n",
            "0\nppp0\n",
            "1\nppp0\n",
            "12\n../x\n",
            "12\n.x\n",
            "12\naaaaaaaaaaaaaaaa\n",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn only_what_the_dead_one_wrote_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let there = |name: &str| dir.path().join(name).exists();
        write("ppp-pptpctl-a.pid", "4000000\nppp3\n");
        write("ppp3.pid", "4000001\n");
        remove_pid_files(dir.path(), "pptpctl-a", 4_000_001).unwrap();
        assert!(there("ppp-pptpctl-a.pid"), "another process's");
        let run = dir.path().to_owned();
        let step = PppStep::Start { daemon: Daemon::Pppd, unit: None, run, link: "pptpctl-a".into() };
        undo(&step).unwrap();
        assert!(!there("ppp-pptpctl-a.pid") && there("ppp3.pid"));
        write("ppp-pptpctl-a.pid", "4000000\nppp3\n");
        write("ppp3.pid", "4000000\n");
        undo(&step).unwrap();
        assert!(!there("ppp-pptpctl-a.pid") && !there("ppp3.pid"));
        undo(&step).unwrap();
    }

    #[test]
    fn a_process_that_is_no_pppd_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(dir.path().join("ppp-l.pid"), format!("{}\nppp0\n", child.id())).unwrap();
        let run = dir.path().to_owned();
        undo(&PppStep::Start { daemon: Daemon::Pppd, unit: None, run, link: "l".into() }).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it still runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
