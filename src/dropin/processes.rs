//! Starts the auxiliary processes of `pptp`: the same executable with a hidden first argument that cannot be
//! a host name.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::os::{channel::Channel, child};

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
    child::start(&program(), title, |command| {
        command.arg(role);
    })
}

/// Starts the tunnel on the master of a pty. It reports on standard output that it is up.
///
/// # Errors
/// Returns the kernel's error.
pub fn start_gateway(master: OwnedFd, words: &[String]) -> io::Result<Child> {
    let program = program();
    Command::new(&program)
        .arg0(child::title(&program, "pptp"))
        .arg(GATEWAY)
        .arg(std::process::id().to_string())
        .args(words)
        .stdin(Stdio::from(master))
        .stdout(Stdio::piped())
        .spawn()
}

/// Finds this program, before anything changes the directory; an error shows when a process is started.
pub fn find_program() {
    let _found = program();
}

fn program() -> PathBuf {
    child::own_program().unwrap_or_else(|_| "pptp".into())
}
