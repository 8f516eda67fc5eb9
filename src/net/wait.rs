//! The one place that blocks: poll(2) until a descriptor is ready or a moment has come.

use std::{
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the other end gone.
    Readable,
    /// Room to write.
    Writable,
    /// Either.
    Both,
}

/// Waits until one of the descriptors is ready or `deadline` has come, and says which are ready, by position.
/// An error or a hang-up counts as ready: the read that follows says what it was. An interruption by a signal
/// returns with nothing ready.
///
/// # Errors
/// The kernel's, when a descriptor is bad.
pub fn until<const N: usize>(
    interests: [Option<(BorrowedFd<'_>, Interest)>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut places = [None; N];
    let mut fds = Vec::with_capacity(N);
    for (place, interest) in places.iter_mut().zip(&interests) {
        if let Some((fd, interest)) = interest {
            *place = Some(fds.len());
            fds.push(PollFd::new(*fd, flags(*interest)));
        }
    }
    match poll(&mut fds, timeout(deadline)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(places.map(|place| {
        place.and_then(|at| fds.get(at)).and_then(PollFd::revents).is_some_and(|revents| !revents.is_empty())
    }))
}

fn flags(interest: Interest) -> PollFlags {
    match interest {
        Interest::Readable => PollFlags::POLLIN,
        Interest::Writable => PollFlags::POLLOUT,
        Interest::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
    }
}

/// Rounded up to the next millisecond: waking early would only mean to wait once more.
fn timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    let millis = left.saturating_add(Duration::from_micros(999)).as_millis();
    PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::fd::AsFd, os::unix::net::UnixStream};

    #[test]
    fn says_which_one_is_ready() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let (c, _d) = UnixStream::pair().unwrap();
        b.write_all(b"x").unwrap();
        let ready = until(
            [Some((c.as_fd(), Interest::Readable)), None, Some((a.as_fd(), Interest::Readable))],
            Some(Instant::now()),
        );
        assert_eq!(ready.unwrap(), [false, false, true]);
    }

    #[test]
    fn a_deadline_in_the_past_does_not_wait() {
        let (a, _b) = UnixStream::pair().unwrap();
        let past = Instant::now();
        assert_eq!(until([Some((a.as_fd(), Interest::Readable))], Some(past)).unwrap(), [false]);
    }

    #[test]
    fn a_hang_up_is_ready() {
        let (a, b) = UnixStream::pair().unwrap();
        drop(b);
        assert_eq!(until([Some((a.as_fd(), Interest::Readable))], None).unwrap(), [true]);
    }
}
