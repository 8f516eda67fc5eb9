//! Pauses accept(2) on a listening socket when the process has no descriptor left.
//!
//! The connection stays in the queue then, and the socket stays readable: polling it would end at once, for as
//! long as the shortage lasts.

use std::{
    io,
    time::{Duration, Instant},
};

/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// The pause of one listening socket.
#[derive(Debug, Default)]
pub struct AcceptPause {
    until: Option<Instant>,
}

impl AcceptPause {
    /// Handles an error of accept(2): begins a pause, unless the queue is only empty or the next attempt can
    /// succeed at once.
    pub fn failed(&mut self, now: Instant, error: &io::Error) {
        let at_once =
            [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted, io::ErrorKind::ConnectionAborted];
        if !at_once.contains(&error.kind()) {
            self.until = Some(now + PAUSE);
        }
    }

    /// Returns whether the socket is not to be polled now.
    #[must_use]
    pub fn is_pausing(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Returns the end of the pause, while there is one.
    #[must_use]
    pub fn next_timeout(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lasting_error_pauses() {
        let now = Instant::now();
        let mut pause = AcceptPause::default();
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted, io::ErrorKind::ConnectionAborted]
        {
            pause.failed(now, &kind.into());
            assert!(!pause.is_pausing(now), "{kind:?}");
            assert_eq!(pause.next_timeout(now), None);
        }
        pause.failed(now, &io::Error::from_raw_os_error(libc::EMFILE));
        assert!(pause.is_pausing(now));
        assert_eq!(pause.next_timeout(now), Some(now + PAUSE));
        assert!(!pause.is_pausing(now + PAUSE));
        assert_eq!(pause.next_timeout(now + PAUSE), None);
    }
}
