//! Asks the user for a secret at the terminal, without echo.
//!
//! The terminal's settings are restored afterwards, also by [`terminal::restore`] when this process ends before the
//! answer. Ctrl-C sends its signal, which the caller handles; Ctrl-Z and Ctrl-\\ do nothing, as they would leave the
//! terminal without echo.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    time::Instant,
};

use nix::{
    sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios},
    unistd::{PathconfVar, fpathconf},
};
use signal_hook::{
    consts::SIGCONT,
    low_level::{self, pipe},
};
use zeroize::Zeroizing;

use super::{
    terminal,
    wait::{self, Interest},
};

/// The longest answer, in bytes. The buffer never grows, which would leave a copy of the secret behind.
const MAX_ANSWER: usize = 4096;

/// The result of asking.
pub enum Answer {
    /// A line, without its end.
    Line(Zeroizing<Vec<u8>>),
    /// The input has ended: Ctrl-D, or the terminal is gone.
    EndOfInput,
    /// The time limit has passed.
    OutOfTime,
    /// This process has no terminal, or is not in its foreground.
    NoTerminal,
}

/// Asks with `text`, and reads a line.
///
/// # Errors
/// Returns the kernel's error, or `Interrupted` if this process is about to exit.
pub fn secret(text: &str, deadline: Instant) -> io::Result<Answer> {
    let Some(mut tty) = terminal::of_the_user() else { return Ok(Answer::NoTerminal) };
    let (mut continued, signalled) = UnixStream::pair()?;
    continued.set_nonblocking(true)?;
    let registered = pipe::register(SIGCONT, signalled)?;
    // What was typed before was typed with echo.
    let asked = quiet(&tty, SetArg::TCSAFLUSH)
        .and_then(|()| show(&mut tty, text))
        .and_then(|()| read_line(&mut tty, &mut continued, text, deadline));
    low_level::unregister(registered);
    terminal::change_back();
    // The user's Enter was not echoed.
    show(&mut tty, "\n").and(asked)
}

fn quiet(tty: &File, when: SetArg) -> io::Result<()> {
    let disabled = fpathconf(tty, PathconfVar::_POSIX_VDISABLE).ok().flatten();
    let disabled = disabled.and_then(|value| u8::try_from(value).ok()).unwrap_or(0);
    terminal::change(tty, when, |settings: &mut Termios| {
        settings.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        settings.local_flags.insert(LocalFlags::ICANON | LocalFlags::ISIG);
        for key in SUSPENDING {
            if let Some(character) = settings.control_chars.get_mut(*key as usize) {
                *character = disabled;
            }
        }
    })
}

/// The keys that would end or stop this process without restoring the terminal.
const SUSPENDING: &[SpecialCharacterIndices] = &[
    SpecialCharacterIndices::VSUSP,
    SpecialCharacterIndices::VQUIT,
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    SpecialCharacterIndices::VDSUSP,
];

fn read_line(
    tty: &mut File,
    continued: &mut UnixStream,
    text: &str,
    deadline: Instant,
) -> io::Result<Answer> {
    let mut answer = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
    let mut chunk = Zeroizing::new([0; MAX_ANSWER]);
    loop {
        let [ready, again] = wait::until(
            [Some((tty.as_fd(), Interest::Readable)), Some((continued.as_fd(), Interest::Readable))],
            Some(deadline),
        )?;
        if again {
            while matches!(continued.read(&mut [0; 16]), Ok(size) if size > 0) {}
            // The shell has set its own settings while this process was stopped.
            quiet(tty, SetArg::TCSANOW)?;
            show(tty, text)?;
        }
        if !ready {
            if Instant::now() >= deadline {
                return Ok(Answer::OutOfTime);
            }
            continue;
        }
        match tty.read(chunk.as_mut_slice()) {
            Ok(0) if answer.is_empty() => return Ok(Answer::EndOfInput),
            Ok(0) => return Ok(Answer::Line(answer)),
            Ok(size) => {
                let room = MAX_ANSWER.saturating_sub(answer.len());
                let typed = chunk.get(..size.min(room)).unwrap_or_default();
                let end = typed.iter().position(|byte| *byte == b'\n');
                answer.extend_from_slice(typed.get(..end.unwrap_or(typed.len())).unwrap_or_default());
                if end.is_some() || size >= room {
                    return Ok(Answer::Line(answer));
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(Answer::EndOfInput),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes to the terminal. One that takes nothing now, or is gone, is no error: the answer is what counts.
fn show(tty: &mut File, text: &str) -> io::Result<()> {
    match tty.write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}
