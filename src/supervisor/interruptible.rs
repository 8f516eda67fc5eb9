//! Waiting for what a person or another program takes its time over, before there is a tunnel.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
};

use crate::net::{
    signals::{Request, Signals},
    wait::{self, Interest},
};

/// Does `work`, unless a signal asks this process to end first: then `None`, and the work is left to end with the
/// process. What the caller holds is thus released in any case; it listens since before it held anything.
///
/// # Errors
/// The kernel's; also when `work` panics.
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
        // First of all, and whatever was ready: Ctrl-C reaches the program that is waited for as well, and that it ended
        // by it is not what a person wants to read.
        let ended = signals.take() == Some(Request::End);
        if ended {
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
    fn what_is_done_is_handed_on() {
        assert_eq!(unless_ended(&mut Signals::none().unwrap(), || 7).unwrap(), Some(7));
    }
}
