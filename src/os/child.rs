//! Child processes: how this program is executed again as a child, and how a child ends.

use std::{
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{
    channel::Channel,
    process::Process,
    wait::{self, Interest},
};

/// How long a killed child may take to exit.
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// Poll interval for the exit of a child where there is no descriptor to wait for it (before Linux 5.3).
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Returns the running program, on Linux even if it was replaced on disk: both halves must match.
///
/// # Errors
/// Returns an error if the system does not know the program's path.
pub fn own_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Starts a program, which must be this one, with a channel to this process as standard input, an empty
/// environment and no output. `title` is its name in ps(1); `adjust` adds arguments, and what differs.
///
/// # Errors
/// Returns the kernel's error.
pub fn start(program: &Path, title: &str, adjust: impl FnOnce(&mut Command)) -> io::Result<(Child, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    let mut command = Command::new(program);
    command
        .arg0(title)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs.into_fd()))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    adjust(&mut command);
    Ok((command.spawn()?, ours))
}

/// Returns a child's exit status; kills a child that has not exited. `None` if it hangs in the kernel, where
/// SIGKILL takes no effect: it is left to init.
pub fn reap(child: &mut Child) -> Option<ExitStatus> {
    if let Ok(None) = child.try_wait()
        && let Err(error) = child.kill()
    {
        tracing::debug!(%error, "kill");
    }
    wait_until(child, Instant::now() + REAP_LIMIT).ok().flatten()
}

/// Waits for a child to exit and returns its status; `None` if `deadline` comes first.
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let process = Process::of(child).ok();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(None);
        }
        let wake = if process.is_some() { deadline } else { deadline.min(now + POLL_INTERVAL) };
        wait::until([process.as_ref().map(|process| (process.as_fd(), Interest::Readable))], Some(wake))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reap_returns_status_and_kills_if_needed() {
        use std::os::unix::process::ExitStatusExt;
        let mut ended = Command::new("sh").args(["-c", "exit 1"]).spawn().unwrap();
        let soon = Instant::now() + Duration::from_secs(60);
        assert!(Process::of(&ended).unwrap().wait_until(soon).unwrap());
        assert_eq!(reap(&mut ended).unwrap().code(), Some(1));
        assert_eq!(reap(&mut ended).unwrap().code(), Some(1), "again");
        let mut runs = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(wait_until(&mut runs, Instant::now()).unwrap(), None);
        assert_eq!(reap(&mut runs).unwrap().signal(), Some(libc::SIGKILL));
    }
}
