//! Interruptible waiting for a user or another program, before there is a tunnel.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
};

use crate::os::{
    signals::{Request, Signals},
    terminal,
    wait::{self, Interest},
};

/// Runs `work` on a thread; returns `None` if a signal asks this process to end first. The thread then ends
/// with the process. As `signals` listens since before the caller held anything, the caller always releases
/// it.
///
/// # Errors
/// Returns the kernel's error if waiting fails, or an error if `work` panics.
pub fn unless_ended<T: Send + 'static>(
    signals: &mut Signals,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (done, doing) = UnixStream::pair()?;
    let worker = thread::spawn(move || {
        let result = work();
        drop(doing);
        result
    });
    loop {
        let [ready, _] = wait::until(
            [Some((done.as_fd(), Interest::Readable)), Some((signals.end(), Interest::Readable))],
            None,
        )?;
        // Checked first, whatever is ready: Ctrl-C also reaches the program that is waited for, and its
        // resulting error is not what the user wants to read.
        let ended = signals.take() == Some(Request::End);
        if ended {
            // The thread may relay between the terminal and a program.
            terminal::restore();
            return Ok(None);
        }
        if ready {
            return worker.join().map(Some).map_err(|_| io::Error::other("the work ended without a result"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_result_of_the_work() {
        assert_eq!(unless_ended(&mut Signals::none().unwrap(), || 7).unwrap(), Some(7));
    }
}
