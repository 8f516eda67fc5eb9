//! The whole screen of the user's terminal: its alternate buffer in raw mode, restored on every end of the process but
//! SIGKILL.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::termios::{SetArg, cfmakeraw};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH},
    low_level::pipe,
};

use super::{
    signals::end_by_default,
    terminal::{change, change_back, of_the_user},
    user::window_size,
    wait::{self, Interest},
};

/// Alternate buffer, no cursor, no wrapping at the last column.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";

/// The opposite.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How long a terminal may take to accept a picture.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// Size of a terminal that does not report one.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// The signals that end the process.
const END: [i32; 4] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT];

/// Whether the terminal shows the alternate buffer.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Installs the panic hook.
static HOOK: Once = Once::new();

/// What [`FullScreen::wait`] has waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// These bytes were typed.
    Typed(Vec<u8>),
    /// The picture has to be written again: another size, or the process was stopped.
    Redraw,
    /// A signal asks this process to end, or the terminal is gone.
    End,
    /// Nothing, until the deadline.
    Nothing,
}

/// The screen, until it is dropped.
#[derive(Debug)]
pub struct FullScreen {
    tty: File,
    changed: UnixStream,
    end: UnixStream,
}

impl FullScreen {
    /// Takes the screen of the user's terminal.
    ///
    /// # Errors
    /// Returns `NotFound` without a terminal of whose foreground this process is, or the kernel's error.
    pub fn open() -> io::Result<Self> {
        let tty = of_the_user().ok_or(io::ErrorKind::NotFound)?;
        let screen = Self { tty, changed: signals(&[SIGWINCH, SIGCONT])?, end: signals(&END)? };
        HOOK.call_once(|| {
            let shown = panic::take_hook();
            // The message belongs on the user's own screen.
            panic::set_hook(Box::new(move |info| {
                leave();
                shown(info);
            }));
        });
        screen.enter()?;
        Ok(screen)
    }

    fn enter(&self) -> io::Result<()> {
        change(&self.tty, SetArg::TCSANOW, cfmakeraw)?;
        ENTERED.store(true, Ordering::SeqCst);
        self.write(ENTER)
    }

    /// Returns columns and rows.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        match window_size(self.tty.as_fd()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => DEFAULT_SIZE,
        }
    }

    /// Writes all bytes, or fewer if a signal asks this process to end.
    ///
    /// # Errors
    /// Returns the kernel's error, or `TimedOut` if the terminal accepts nothing for some time.
    pub fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + WRITE_LIMIT;
        while !bytes.is_empty() {
            match (&self.tty).write(bytes) {
                Ok(size) => bytes = bytes.get(size..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    let [_ready, end] = wait::until(
                        [
                            Some((self.tty.as_fd(), Interest::Writable)),
                            Some((self.end.as_fd(), Interest::Readable)),
                        ],
                        Some(deadline),
                    )?;
                    if end {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for input.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn wait(&mut self, deadline: Instant) -> io::Result<Input> {
        let [typed, changed, end] = wait::until(
            [
                Some((self.tty.as_fd(), Interest::Readable)),
                Some((self.changed.as_fd(), Interest::Readable)),
                Some((self.end.as_fd(), Interest::Readable)),
            ],
            Some(deadline),
        )?;
        if end {
            return Ok(Input::End);
        }
        let mut bytes = [0; 64];
        if changed {
            while matches!(self.changed.read(&mut bytes), Ok(size) if size > 0) {}
            // After a stop the shell has set its own mode.
            self.enter()?;
            return Ok(Input::Redraw);
        }
        if !typed {
            return Ok(Input::Nothing);
        }
        match (&self.tty).read(&mut bytes) {
            Ok(0) => Ok(Input::End),
            Ok(size) => Ok(Input::Typed(bytes.get(..size).unwrap_or_default().to_vec())),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(Input::Nothing)
            }
            // EIO: it has hung up.
            Err(_) => Ok(Input::End),
        }
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        leave();
        // The message that follows may wait for a terminal that accepts nothing.
        end_by_default(&END);
    }
}

/// Shows the user's own screen again, in its own mode.
fn leave() {
    if !ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    if let Some(tty) = of_the_user() {
        let _gone = (&tty).write_all(LEAVE);
    }
    change_back();
}

fn signals(which: &[i32]) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    for signal in which {
        pipe::register(*signal, theirs.try_clone()?)?;
    }
    Ok(ours)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{env, process::Command};

    use nix::{pty::openpty, sys::termios::tcgetattr};

    use super::*;

    const CHILD: &str = "PPTPCTL_TEST_SCREEN";

    /// Runs itself at a terminal, and panics there.
    #[test]
    fn panic_restores_the_terminal() {
        if env::var_os(CHILD).is_some() {
            let screen = FullScreen::open().unwrap();
            assert_ne!(screen.size(), (0, 0));
            panic!("on purpose");
        }
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let mut command = Command::new("setsid");
        command.args(["-c", "-w"]).arg(env::current_exe().unwrap());
        command.args(["--exact", "os::screen::tests::panic_restores_the_terminal", "--nocapture"]);
        let [input, output, errors] = [0; 3].map(|_| pty.slave.try_clone().unwrap());
        command.env(CHILD, "1").stdin(input).stdout(output).stderr(errors);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut master = File::from(pty.master);
        let mut shown = String::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        let ended = loop {
            let has_ended = child.try_wait().unwrap();
            while wait::readable(master.as_fd(), Instant::now() + Duration::from_millis(50)).unwrap() {
                let mut bytes = [0; 4096];
                let size = master.read(&mut bytes).unwrap();
                shown.push_str(&String::from_utf8_lossy(&bytes[..size]));
            }
            if let Some(ended) = has_ended {
                break ended;
            }
            assert!(Instant::now() < deadline, "{shown}");
        };
        assert!(!ended.success());
        assert_eq!(tcgetattr(&pty.slave).unwrap(), before);
        let enter = shown.find("\u{1b}[?1049h").expect("the screen was not taken");
        let leave = shown.rfind("\u{1b}[?1049l").expect("the screen was not left");
        let said = shown.find("on purpose").expect("no message");
        assert!(enter < leave && leave < said, "{shown:?}");
    }
}
