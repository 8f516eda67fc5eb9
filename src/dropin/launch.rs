//! Without `--nolaunchpppd`: starts the tunnel on a pty's master and replaces this process with the PPP
//! daemon on its slave, so that the parent of `pptp` sees the daemon's process id.

use std::{
    io::{self, BufRead, BufReader},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitCode},
};

use super::{log::complain, options::Options, processes};
use crate::os::pty::{self, Pty};

/// Starts the tunnel with the same arguments, waits until it is up, and becomes the PPP daemon. Returns only
/// on failure, with the exit status.
#[must_use]
pub fn run(options: &Options, words: &[String]) -> ExitCode {
    match try_run(options, words) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("pptp: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn try_run(options: &Options, words: &[String]) -> io::Result<ExitCode> {
    let pty = Pty::open()?;
    let mut tunnel = processes::start_gateway(pty.master, words)?;
    let mut up = String::new();
    if let Some(stdout) = tunnel.stdout.take() {
        BufReader::new(stdout).read_line(&mut up)?;
    }
    if up != "up\n" {
        let status = tunnel.wait()?;
        if let Some(signal) = status.signal() {
            // Exit with the same signal as the tunnel.
            let signal = nix::sys::signal::Signal::try_from(signal)?;
            nix::sys::signal::raise(signal)?;
        }
        return Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
    }
    let mut daemon = if cfg!(target_os = "linux") {
        // Keep the slave open across exec: otherwise no descriptor of it exists until the daemon opens it by
        // name, and the tunnel reads a hang-up.
        pty::keep_on_exec(&pty.slave)?;
        let mut pppd = Command::new("/usr/sbin/pppd");
        pppd.arg0("pppd").arg(&pty.name).arg("38400").args(&options.ppp);
        pppd
    } else {
        let mut ppp = Command::new("/usr/sbin/ppp");
        ppp.arg0("ppp").arg("-direct").args(&options.ppp).stdin(pty.slave);
        ppp
    };
    let failed = daemon.exec();
    Err(io::Error::other(format!("{}: {failed}", daemon.get_program().display())))
}
