//! Cleans up after a PPP daemon that could not do so itself or outlived its supervisor.
//!
//! With `linkname`, pppd(8) keeps `ppp-LINK.pid` while it has a device: its pid, and the device's name on the
//! second line. This file is read because the supervisor may have been killed before it recorded the device.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Cause, Host,
    files::gone,
    ledger::PriorState,
    steps::{Perform, UndoContext},
};
use crate::{
    os::{
        launch::files::{self, Opening},
        process::Process,
    },
    plan::{Daemon, PppStep},
};

/// How long an orphaned daemon may take to exit after each signal; its pty is closed already.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);
/// The options file of every pppd that we start, which distinguishes it from other pppd processes.
pub const OPTIONS: &str = "/proc/self/fd/0";
/// The largest size of a pid file, in bytes.
const MAX_PID_FILE_BYTES: u64 = 256;

/// The daemon that a pid file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningDaemon {
    /// Its process id.
    pub pid: u32,
    /// The name of its device.
    pub device: String,
}

/// Reads pppd's pid file for this link name; `None` if it does not exist or is incomplete.
#[must_use]
pub fn find(run: &Path, link: &str) -> Option<RunningDaemon> {
    let path = run.join(format!("ppp-{link}.pid"));
    let data = fs::symlink_metadata(&path).ok()?;
    if !data.is_file() || data.len() > MAX_PID_FILE_BYTES {
        return None;
    }
    parse(&text(&path).ok()?)
}

fn text(path: &Path) -> io::Result<String> {
    io::read_to_string(files::open(path, Opening::Read)?)
}

fn parse(text: &str) -> Option<RunningDaemon> {
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?;
    let device = lines.next()?.trim();
    // As the kernel's dev_valid_name(), and without a `/` that could leave the directory.
    let valid = (1..=15).contains(&device.len())
        && !device.starts_with('.')
        && device.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    valid.then(|| RunningDaemon { pid, device: device.to_owned() })
}

/// Removes the pid files of a daemon that is gone, as far as they still hold its pid.
pub fn remove_pid_files(run: &Path, link: &str, pid: u32) -> io::Result<()> {
    let Some(found) = find(run, link).filter(|found| found.pid == pid) else { return Ok(()) };
    let device = run.join(format!("{}.pid", found.device));
    let is_its_own = fs::symlink_metadata(&device)
        .is_ok_and(|data| data.is_file() && data.len() <= MAX_PID_FILE_BYTES)
        && text(&device).is_ok_and(|text| text.trim().parse() == Ok(pid));
    if is_its_own {
        gone(files::remove(&device))?;
    }
    gone(files::remove(&run.join(format!("ppp-{link}.pid"))))
}

/// The supervisor starts the daemon, on a pty, once there is a call.
impl Perform for PppStep {
    /// Ends the daemon if it still runs, and removes its pid files.
    fn undo(&self, _host: &mut Host, _before: &PriorState, _context: UndoContext<'_>) -> Result<(), Cause> {
        let PppStep::Start { daemon: Daemon::Pppd, run, link, .. } = self else { return Ok(()) };
        let failed = |error| Cause::File { path: run.join(format!("ppp-{link}.pid")), error };
        let Some(found) = find(run, link) else { return Ok(()) };
        end(&found).map_err(failed)?;
        remove_pid_files(run, link, found.pid).map_err(failed)
    }
}

/// Sends SIGTERM, then SIGKILL after a timeout, unless the process with that pid is no pppd of ours.
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
        if process.wait_until(Instant::now() + EXIT_TIMEOUT)? {
            return Ok(());
        }
    }
    Err(io::Error::other(format!("pppd (process {pid}) does not end")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::tests::fake_host::{FakeHost, HostState};

    fn undo(step: &PppStep) -> Result<(), Cause> {
        let mut host = FakeHost::new(HostState::default()).host();
        step.undo(&mut host, &PriorState::Nothing, UndoContext::default())
    }

    #[test]
    fn pid_file_is_parsed_into_pid_and_device() {
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
    fn only_pid_files_of_the_dead_daemon_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let exists = |name: &str| dir.path().join(name).exists();
        write("ppp-pptpctl-a.pid", "4000000\nppp3\n");
        write("ppp3.pid", "4000001\n");
        remove_pid_files(dir.path(), "pptpctl-a", 4_000_001).unwrap();
        assert!(exists("ppp-pptpctl-a.pid"), "the pid file of another process was removed");
        let run = dir.path().to_owned();
        let step = PppStep::Start { daemon: Daemon::Pppd, unit: None, run, link: "pptpctl-a".into() };
        undo(&step).unwrap();
        assert!(!exists("ppp-pptpctl-a.pid") && exists("ppp3.pid"));
        write("ppp-pptpctl-a.pid", "4000000\nppp3\n");
        write("ppp3.pid", "4000000\n");
        undo(&step).unwrap();
        assert!(!exists("ppp-pptpctl-a.pid") && !exists("ppp3.pid"));
        undo(&step).unwrap();
    }

    #[test]
    fn foreign_process_with_same_pid_is_not_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(dir.path().join("ppp-l.pid"), format!("{}\nppp0\n", child.id())).unwrap();
        let run = dir.path().to_owned();
        undo(&PppStep::Start { daemon: Daemon::Pppd, unit: None, run, link: "l".into() }).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the foreign process was killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
