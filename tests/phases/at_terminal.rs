//! A user at a terminal: runs a command in the foreground of a pty, reads what it shows, and types.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{Winsize, openpty},
    sys::termios::{LocalFlags, Termios, tcgetattr},
};

use crate::world::{LIMIT, Running, World};

/// A command at a terminal of its own.
pub struct AtTerminal {
    pub command: Running,
    screen: File,
    slave: OwnedFd,
    settings: Termios,
    /// Everything that was shown.
    pub shown: String,
    /// Where the next [`AtTerminal::expect`] begins.
    seen: usize,
}

impl AtTerminal {
    /// Starts pptpctl with these arguments and variables.
    pub fn start(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_at(world, None, arguments, variables)
    }

    /// Does the same by a command such as setpriv(1), which executes pptpctl.
    pub fn start_by(world: &World, before: &[&str], arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_by_at(world, before, None, arguments, variables)
    }

    /// Does the same at a terminal that reports this many columns.
    pub fn start_at(
        world: &World,
        columns: Option<u16>,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        Self::start_by_at(world, &[], columns, arguments, variables)
    }

    fn start_by_at(
        world: &World,
        before: &[&str],
        columns: Option<u16>,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let size = columns.map(|ws_col| Winsize { ws_row: 24, ws_col, ws_xpixel: 0, ws_ypixel: 0 });
        let pty = openpty(size.as_ref(), None).unwrap();
        let settings = tcgetattr(&pty.slave).unwrap();
        let mut command = std::process::Command::new("setsid");
        command
            .args(["-c", "-w"])
            .args(before)
            .args([World::PROGRAM, "--config", World::CONFIG])
            .args(arguments)
            .env("TERM", "xterm")
            .env_remove("VISUAL")
            .env_remove("EDITOR")
            .envs(variables.iter().copied())
            .stdin(pty.slave.try_clone().unwrap())
            .stdout(pty.slave.try_clone().unwrap())
            .stderr(pty.slave.try_clone().unwrap());
        let command = world.spawn(&mut command);
        let screen = File::from(pty.master);
        Self { command, screen, slave: pty.slave, settings, shown: String::new(), seen: 0 }
    }

    /// Reads until `text` was shown after what was expected before.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.shown.get(self.seen..).unwrap().find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(Instant::now() < deadline, "{text:?} is not shown:\n{}", self.shown);
            self.read();
        }
    }

    /// Reads what is there, after at most 50 ms.
    fn read(&mut self) {
        let mut polled = [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::from(50_u8)).unwrap() > 0 {
            let mut bytes = [0; 4096];
            let size = self.screen.read(&mut bytes).unwrap();
            self.shown.push_str(&String::from_utf8_lossy(bytes.get(..size).unwrap()));
        }
    }

    pub fn send(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).unwrap();
    }

    pub fn echoes(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// Waits for the end of the command, and returns its exit status. The terminal has its own settings then, and no
    /// input is left for the shell.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            self.read();
            if let Some(status) = self.command.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.shown);
        };
        self.read();
        println!("{}", self.shown);
        assert_eq!(tcgetattr(&self.slave).unwrap(), self.settings, "the terminal's settings");
        let mut polled = [PollFd::new(self.slave.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, PollTimeout::ZERO).unwrap(), 0, "input is left for the shell");
        status.code().unwrap()
    }
}
