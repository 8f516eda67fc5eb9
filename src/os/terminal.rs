//! Relays between the user's terminal and the pty of a program, so that the program can ask there without access to the
//! terminal: with it, a program of another user could push characters into the caller's shell (TIOCSTI).
//!
//! Meanwhile the user's terminal is in raw mode: its special characters (Ctrl-C) have their effect on the pty. Its
//! settings are restored afterwards, also by [`restore`] when this process ends before the relay.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    pty::openpty,
    sys::{
        stat::{Mode, fchmod},
        termios::{FlushArg, SetArg, Termios, cfmakeraw, tcflush, tcgetattr, tcsetattr},
    },
    unistd::{Uid, fchown, getpgrp, tcgetpgrp, ttyname},
};
use signal_hook::{
    consts::{SIGCONT, SIGWINCH},
    low_level::{self, pipe},
};
use zeroize::Zeroizing;

use super::{
    user::{set_window_size, window_size},
    wait::{self, Interest},
};

/// The most bytes in each direction that wait to be written. What is typed may be secret, so the buffers never grow.
const BUFFER: usize = 1024;

/// How long the last output of a program may take to be shown.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// The settings of the user's terminal while it has others.
static SAVED: Mutex<Saved> = Mutex::new(Saved::Cooked);

enum Saved {
    /// It is as the user has it.
    Cooked,
    /// It has other settings; these were its own.
    Changed(File, Box<Termios>),
    /// This process is about to exit: the settings must not be changed any more.
    Ended,
}

/// A relay, until [`Relay::end`].
#[derive(Debug)]
pub struct Relay {
    worker: JoinHandle<()>,
    stop: UnixStream,
    /// The pty's side for the program; close-on-exec.
    pub slave: OwnedFd,
    /// Path of that side.
    pub name: PathBuf,
}

/// Opens the controlling terminal of this process if this process is in its foreground; another may neither read it nor
/// change its settings.
#[must_use]
pub fn of_the_user() -> Option<File> {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    let tty = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/tty").ok()?;
    is_ours(&tty).then_some(tty)
}

fn is_ours(tty: &File) -> bool {
    tcgetpgrp(tty).is_ok_and(|group| group == getpgrp())
}

/// Restores the user's terminal if a relay or a prompt has changed its settings, and keeps later ones from changing them.
/// Call this when the process is about to exit.
pub fn restore() {
    back_to(Saved::Ended);
}

/// Restores the user's terminal after [`change`].
pub(super) fn change_back() {
    back_to(Saved::Cooked);
}

fn back_to(next: Saved) {
    let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Saved::Changed(tty, settings) = &*saved
        // Else it has the settings of its foreground process.
        && is_ours(tty)
    {
        // What was typed, or sent by the terminal in reply to the program, is not for the caller's shell.
        let restored = tcflush(tty, FlushArg::TCIFLUSH).and(tcsetattr(tty, SetArg::TCSANOW, settings));
        if let Err(error) = restored {
            tracing::debug!(%error, "the terminal keeps its settings");
        }
        if matches!(next, Saved::Ended) {
            // What follows does not continue the line of a question.
            let _gone = (&*tty).write_all(b"\n");
        }
    }
    if !matches!(*saved, Saved::Ended) {
        *saved = next;
    }
}

/// Sets raw mode; again after the process was stopped and continued, when the shell has set its own.
fn set_raw(tty: &File) -> io::Result<()> {
    change(tty, SetArg::TCSANOW, cfmakeraw)
}

/// Changes the settings of the user's terminal, starting from its own.
///
/// # Errors
/// Returns `Interrupted` after [`restore`], otherwise the kernel's error.
pub(super) fn change(tty: &File, when: SetArg, how: impl Fn(&mut Termios)) -> io::Result<()> {
    let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = match &*saved {
        Saved::Ended => return Err(io::ErrorKind::Interrupted.into()),
        Saved::Changed(_, settings) => settings.clone(),
        Saved::Cooked => Box::new(tcgetattr(tty)?),
    };
    let mut changed = Termios::clone(&settings);
    how(&mut changed);
    *saved = Saved::Changed(tty.try_clone()?, settings);
    Ok(tcsetattr(tty, when, &changed)?)
}

impl Relay {
    /// Opens a pty that belongs to `owner`, with the settings and the size of the user's terminal, and starts to relay.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn start(tty: File, owner: Uid) -> io::Result<Self> {
        let settings = tcgetattr(&tty)?;
        let size = window_size(tty.as_fd()).ok();
        let pair = openpty(size.as_ref(), Some(&settings))?;
        for fd in [&pair.master, &pair.slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        // A pinentry of gpg-agent opens it by its name.
        fchown(&pair.slave, Some(owner), None)?;
        fchmod(&pair.slave, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let name = ttyname(&pair.slave)?;
        let slave = pair.slave.try_clone()?;
        wait::set_nonblocking(pair.master.as_fd())?;
        let (stop, stopped) = UnixStream::pair()?;
        let (changes, signalled) = UnixStream::pair()?;
        changes.set_nonblocking(true)?;
        let mut registered = Vec::new();
        for signal in [SIGCONT, SIGWINCH] {
            registered.push(pipe::register(signal, signalled.try_clone()?)?);
        }
        // Before the program can ask: an answer must not be echoed.
        set_raw(&tty)?;
        let worker = std::thread::Builder::new().name("terminal".to_owned()).spawn(move || {
            // Open while this thread runs, so that the master is not ready all the time for a hang-up.
            let _slave = pair.slave;
            let mut sides = Sides::new(tty, File::from(pair.master));
            if let Err(error) = sides.copy(&stopped, changes) {
                tracing::debug!(%error, "the relay ends");
            }
            sides.show_last_output();
            back_to(Saved::Cooked);
            for one in registered {
                low_level::unregister(one);
            }
        });
        let worker = worker.inspect_err(|_| back_to(Saved::Cooked))?;
        Ok(Self { worker, stop, slave, name })
    }

    /// Shows the last output, restores the user's terminal, and closes the pty: processes that still have it as their
    /// terminal are hung up.
    pub fn end(self) {
        drop((self.stop, self.slave));
        if self.worker.join().is_err() {
            back_to(Saved::Cooked);
        }
    }
}

/// The user's terminal and the pty, with what was read from each.
struct Sides {
    tty: File,
    master: File,
    typed: Zeroizing<Vec<u8>>,
    output: Zeroizing<Vec<u8>>,
    /// The user's terminal is there.
    is_attached: bool,
}

impl Sides {
    fn new(tty: File, master: File) -> Self {
        let buffer = || Zeroizing::new(Vec::with_capacity(BUFFER));
        Self { tty, master, typed: buffer(), output: buffer(), is_attached: true }
    }

    /// Copies until the other end of `stop` closes.
    fn copy(&mut self, stop: &UnixStream, mut changes: UnixStream) -> io::Result<()> {
        loop {
            let tty = interest(self.typed.is_empty(), !self.output.is_empty()).filter(|_| self.is_attached);
            let master = interest(self.output.is_empty(), !self.typed.is_empty());
            let [stopped, changed, tty, master] = wait::until_readiness(
                [
                    Some((stop.as_fd(), Interest::Readable)),
                    Some((changes.as_fd(), Interest::Readable)),
                    tty.map(|interest| (self.tty.as_fd(), interest)),
                    master.map(|interest| (self.master.as_fd(), interest)),
                ],
                None,
            )?;
            if stopped.to_read {
                return Ok(());
            }
            if changed.to_read {
                while matches!(changes.read(&mut [0; 16]), Ok(size) if size > 0) {}
                self.follow()?;
            }
            if tty.to_write {
                self.show();
            }
            if master.to_write {
                write_some(&mut self.master, &mut self.typed)?;
            }
            if tty.to_read && self.is_attached {
                self.is_attached = read_some(&mut self.tty, &mut self.typed)?;
            }
            if master.to_read {
                self.read_output()?;
            }
        }
    }

    /// Takes over a change of the user's terminal.
    fn follow(&self) -> io::Result<()> {
        if !self.is_attached {
            return Ok(());
        }
        set_raw(&self.tty)?;
        window_size(self.tty.as_fd()).and_then(|size| set_window_size(self.master.as_fd(), &size))
    }

    fn read_output(&mut self) -> io::Result<()> {
        read_some(&mut self.master, &mut self.output)?;
        if !self.is_attached {
            self.output.clear();
        }
        Ok(())
    }

    fn show(&mut self) {
        if let Err(error) = write_some(&mut self.tty, &mut self.output) {
            tracing::debug!(%error, "the terminal is gone");
            self.is_attached = false;
            self.output.clear();
        }
    }

    fn show_last_output(&mut self) {
        let deadline = Instant::now() + LAST_OUTPUT;
        while self.is_attached && Instant::now() < deadline {
            if self.output.is_empty() && (self.read_output().is_err() || self.output.is_empty()) {
                return;
            }
            let ready = wait::until([Some((self.tty.as_fd(), Interest::Writable))], Some(deadline));
            if !matches!(ready, Ok([true])) {
                return;
            }
            self.show();
        }
    }
}

fn interest(read: bool, write: bool) -> Option<Interest> {
    match (read, write) {
        (true, true) => Some(Interest::Both),
        (true, false) => Some(Interest::Readable),
        (false, true) => Some(Interest::Writable),
        (false, false) => None,
    }
}

/// Reads into an empty buffer; returns `false` at the end of the file.
fn read_some(from: &mut File, into: &mut Vec<u8>) -> io::Result<bool> {
    if !into.is_empty() {
        return Ok(true);
    }
    let mut bytes = Zeroizing::new([0; BUFFER]);
    match from.read(bytes.as_mut_slice()) {
        Ok(size) => {
            into.extend_from_slice(bytes.get(..size).unwrap_or_default());
            Ok(size > 0)
        }
        Err(error) if is_later(&error) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_some(to: &mut File, bytes: &mut Vec<u8>) -> io::Result<()> {
    match to.write(bytes) {
        Ok(size) => {
            bytes.drain(..size);
            Ok(())
        }
        Err(error) if is_later(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
