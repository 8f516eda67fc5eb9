//! The processes that `pptp` consists of beside the one that was started: this same program again, each under a
//! hidden first argument, which no host can have as its name.

use std::{
    io,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use crate::net::channel::Channel;

/// The tunnel, where a PPP daemon takes the place of the process that was started. The daemon's pid follows.
pub const GATEWAY: &str = "--__gateway";
/// The call manager.
pub const MANAGER: &str = "--__manager";
/// The manager's unprivileged part.
pub const CONTROL: &str = "--__control";
/// The one that looks the server's name up, without privileges.
pub const RESOLVER: &str = "--__resolve";

/// Starts a process that speaks to us over its standard input only.
///
/// # Errors
/// When it cannot be made.
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

/// Starts the tunnel on its end of a pty. It says on its standard output when it is up.
///
/// # Errors
/// When it cannot be made.
pub fn start_gateway(master: OwnedFd, words: &[String]) -> io::Result<Child> {
    command("pptp")
        .arg(GATEWAY)
        .arg(std::process::id().to_string())
        .args(words)
        .stdin(Stdio::from(master))
        .stdout(Stdio::piped())
        .spawn()
}

/// This program, even if a newer one has taken its place on disk meanwhile.
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
