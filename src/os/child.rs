//! Child processes: how this program is executed again as a child, and how a child ends.

use std::{
    ffi::OsStr,
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
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
/// OpenBSD provides only the first argument. The first call must therefore come before a change of directory.
///
/// # Errors
/// Returns an error if the system does not know the program's path.
pub fn own_program() -> io::Result<PathBuf> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(known) = PROGRAM.get() {
        return Ok(known.clone());
    }
    let program = if cfg!(target_os = "linux") {
        "/proc/self/exe".into()
    } else if cfg!(target_os = "openbsd") {
        let first = std::env::args_os().next().unwrap_or_default();
        located(Path::new(&first), std::env::var_os("PATH").as_deref())?
    } else {
        std::env::current_exe()?
    };
    Ok(PROGRAM.get_or_init(|| program).clone())
}

/// Returns the absolute path of the program that execvp(3) ran by this first argument.
///
/// # Errors
/// Returns `NotFound` if there is no such file.
fn located(first: &Path, path: Option<&OsStr>) -> io::Result<PathBuf> {
    // execvp(3) searches PATH only for a name without a slash.
    if first.components().count() != 1 || first.has_root() || first.starts_with(".") {
        return first.canonicalize();
    }
    let directories = path.map(std::env::split_paths).into_iter().flatten();
    let found = directories.map(|directory| directory.join(first)).find(|file| file.is_file());
    found.ok_or(io::ErrorKind::NotFound)?.canonicalize()
}

/// Returns the name that a child of ours gets for ps(1). On OpenBSD it is the path, by which the child finds
/// its own program.
pub fn title<'a>(program: &'a Path, title: &'a str) -> &'a OsStr {
    if cfg!(target_os = "openbsd") { program.as_os_str() } else { title.as_ref() }
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
        .arg0(self::title(program, title))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs.into_fd()))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    adjust(&mut command);
    Ok((command.spawn()?, ours))
}

/// A process that this one can end and get the exit status of.
pub trait Awaited {
    /// Returns its pid, which stays its own until its status was returned.
    fn id(&self) -> u32;

    /// Returns its exit status, `None` while it runs.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>>;

    /// Sends SIGKILL.
    ///
    /// # Errors
    /// Returns the kernel's error.
    fn kill(&mut self) -> io::Result<()>;
}

impl Awaited for Child {
    fn id(&self) -> u32 {
        Self::id(self)
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        Self::try_wait(self)
    }

    fn kill(&mut self) -> io::Result<()> {
        Self::kill(self)
    }
}

/// Returns a child's exit status; kills a child that has not exited. `None` if it hangs in the kernel, where
/// SIGKILL takes no effect: it is left to init.
pub fn reap(child: &mut impl Awaited) -> Option<ExitStatus> {
    if let Ok(None) = child.try_wait()
        && let Err(error) = child.kill()
    {
        tracing::debug!(%error, "kill");
    }
    wait_until(child, Instant::now() + REAP_LIMIT).ok().flatten()
}

/// Waits for a child to exit and returns its status; `None` if `deadline` comes first.
fn wait_until(child: &mut impl Awaited, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let process = i32::try_from(child.id()).ok().and_then(|pid| Process::open(pid).ok());
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
    fn program_is_located_as_execvp_does() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().canonicalize().unwrap();
        let file = home.join("pptp");
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir_all(home.join("first/pptp")).unwrap();
        let path = std::env::join_paths([home.join("first"), home.join("missing"), home.clone()]).unwrap();
        assert_eq!(located(Path::new("pptp"), Some(&path)).unwrap(), file);
        assert_eq!(located(&file, None).unwrap(), file);
        assert_eq!(located(&home.join("first/../pptp"), None).unwrap(), file);
        let missing = [located(Path::new("pptp"), None), located(Path::new("./pptp-of-no-one"), Some(&path))];
        assert!(missing.iter().all(|result| result.is_err()), "{missing:?}");
    }

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
