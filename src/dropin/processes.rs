//! Starts the auxiliary processes of `pptp`: the same executable with a hidden first argument that cannot be
//! a host name.

use std::{
    io,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use crate::net::channel::Channel;

/// The tunnel, when a PPP daemon replaces the original process. The daemon's pid follows.
pub const GATEWAY: &str = "--__gateway";
/// The call manager.
pub const MANAGER: &str = "--__manager";
/// The manager's unprivileged worker.
pub const CONTROL: &str = "--__control";
/// The unprivileged process that resolves the server's name.
pub const RESOLVER: &str = "--__resolve";

/// Starts a process whose standard input is a channel to this one.
///
/// # Errors
/// Returns the kernel's error.
pub fn start(role: &str, title: &str) -> io::Result<(Child, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    let child = command(title)
        .arg(role)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs.into_fd()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((child, ours))
}

/// Starts the tunnel on the master of a pty. It reports on standard output that it is up.
///
/// # Errors
/// Returns the kernel's error.
pub fn start_gateway(master: OwnedFd, words: &[String]) -> io::Result<Child> {
    command("pptp")
        .arg(GATEWAY)
        .arg(std::process::id().to_string())
        .args(words)
        .stdin(Stdio::from(master))
        .stdout(Stdio::piped())
        .spawn()
}

/// Returns a command for this executable, even if its file has been replaced since.
fn command(title: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let program = if cfg!(target_os = "linux") {
        "/proc/self/exe".into()
    } else {
        std::env::current_exe().unwrap_or_else(|_| "pptp".into())
    };
    let mut command = Command::new(program);
    command.arg0(title);
    command
}
