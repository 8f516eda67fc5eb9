//! The one module that blocks: poll(2) until a descriptor is ready or a deadline has passed.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// The events that a descriptor is polled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Data to read, or end of file.
    Readable,
    /// Space to write.
    Writable,
    /// Either.
    Both,
    /// Only an error or a hang-up, which count for the others too.
    HangUp,
}

/// Waits until a descriptor is ready or `deadline` has passed, and returns which are ready, by position. An
/// error or a hang-up counts as ready: the following read returns the reason. A signal ends the wait with no
/// descriptor ready.
///
/// # Errors
/// Returns the kernel's error if poll(2) fails with anything but EINTR.
pub fn any(interests: &[(BorrowedFd<'_>, Interest)], deadline: Option<Instant>) -> io::Result<Vec<bool>> {
    let mut fds: Vec<PollFd<'_>> =
        interests.iter().map(|(fd, interest)| PollFd::new(*fd, flags(*interest))).collect();
    poll_once(&mut fds, timeout(deadline))?;
    Ok(fds.iter().map(|fd| fd.revents().is_some_and(|revents| !revents.is_empty())).collect())
}

/// Does the same for a fixed number of slots, some of which may be `None`. Does not allocate.
///
/// # Errors
/// As [`any`].
pub fn until<const N: usize>(
    interests: [Option<(BorrowedFd<'_>, Interest)>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    Ok(until_readiness(interests, deadline)?.map(|ready| ready.to_read || ready.to_write))
}

/// Waits until a descriptor is readable; returns `false` if `deadline` comes first. A signal does not end the
/// wait.
///
/// # Errors
/// As [`any`].
pub fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    loop {
        let [ready] = until([Some((fd, Interest::Readable))], Some(deadline))?;
        if ready || Instant::now() >= deadline {
            return Ok(ready);
        }
    }
}

/// The events for which a descriptor is ready. An error or a hang-up sets both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There is data to read.
    pub to_read: bool,
    /// There is space to write.
    pub to_write: bool,
}

/// Does the same as [`until`], but reports read and write readiness separately.
///
/// # Errors
/// As [`any`].
pub fn until_readiness<const N: usize>(
    interests: [Option<(BorrowedFd<'_>, Interest)>; N],
    deadline: Option<Instant>,
) -> io::Result<[Readiness; N]> {
    let watched = interests.iter().flatten();
    let Some((some, _)) = watched.clone().next() else {
        return any(&[], deadline).map(|_| [Readiness::default(); N]);
    };
    let mut fds: [PollFd<'_>; N] = std::array::from_fn(|_| PollFd::new(*some, PollFlags::empty()));
    let mut count = 0;
    for (place, (fd, interest)) in fds.iter_mut().zip(watched) {
        *place = PollFd::new(*fd, flags(*interest));
        count += 1;
    }
    poll_once(fds.get_mut(..count).unwrap_or_default(), timeout(deadline))?;
    let mut revents = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
    Ok(interests.map(|interest| match interest.and_then(|_| revents.next()) {
        Some(revents) => Readiness {
            to_read: revents.intersects(!PollFlags::POLLOUT),
            to_write: revents.intersects(!PollFlags::POLLIN),
        },
        None => Readiness::default(),
    }))
}

/// Combines descriptors that are seldom ready into one, which is readable while one of them is: poll(2) takes
/// time for each descriptor on each call. Returns `None` where there is no epoll(7).
///
/// # Errors
/// Returns the kernel's error if epoll(7) fails.
pub fn combine(fds: &[BorrowedFd<'_>]) -> io::Result<Option<OwnedFd>> {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for fd in fds {
            epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        }
        Ok(Some(epoll.0))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = fds;
        Ok(None)
    }
}

/// Sets O_NONBLOCK: reads and writes return [`io::ErrorKind::WouldBlock`] instead of waiting.
///
/// # Errors
/// Returns the kernel's error if fcntl(2) fails.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Returns whether a descriptor is ready now. An error counts as ready, as in [`any`].
#[must_use]
pub fn is_ready(fd: BorrowedFd<'_>, interest: Interest) -> bool {
    let mut fds = [PollFd::new(fd, flags(interest))];
    poll_once(&mut fds, PollTimeout::ZERO).unwrap_or(true)
}

/// Returns whether a descriptor is ready; `false` also if a signal came first.
fn poll_once(fds: &mut [PollFd<'_>], timeout: PollTimeout) -> io::Result<bool> {
    match poll(fds, timeout) {
        Ok(count) => Ok(count != 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn flags(interest: Interest) -> PollFlags {
    match interest {
        Interest::Readable => PollFlags::POLLIN,
        Interest::Writable => PollFlags::POLLOUT,
        Interest::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
        Interest::HangUp => PollFlags::empty(),
    }
}

/// Rounds up to the next millisecond: waking early only costs another poll(2).
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
    fn reports_which_descriptor_is_ready() {
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
    fn past_deadline_returns_at_once() {
        let (a, _b) = UnixStream::pair().unwrap();
        let past = Instant::now();
        assert_eq!(until([Some((a.as_fd(), Interest::Readable))], Some(past)).unwrap(), [false]);
    }

    #[test]
    fn accepts_empty_slots() {
        let past = Some(Instant::now());
        assert_eq!(until([None, None], past).unwrap(), [false, false]);
        let (a, mut b) = UnixStream::pair().unwrap();
        assert!(!is_ready(a.as_fd(), Interest::Readable) && is_ready(a.as_fd(), Interest::Writable));
        b.write_all(b"x").unwrap();
        assert!(is_ready(a.as_fd(), Interest::Readable));
        assert_eq!(
            until([None, Some((a.as_fd(), Interest::Readable)), None], past).unwrap(),
            [false, true, false]
        );
    }

    #[test]
    fn distinguishes_read_and_write_readiness() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let both =
            || until_readiness([None, Some((a.as_fd(), Interest::Both))], Some(Instant::now())).unwrap()[1];
        assert_eq!(both(), Readiness { to_read: false, to_write: true });
        b.write_all(b"x").unwrap();
        assert_eq!(both(), Readiness { to_read: true, to_write: true });
        let read = until_readiness([Some((a.as_fd(), Interest::Readable))], None).unwrap();
        assert_eq!(read, [Readiness { to_read: true, to_write: false }]);
        drop(b);
        assert_eq!(both(), Readiness { to_read: true, to_write: true });
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn combined_descriptor_is_ready_while_a_member_is() {
        let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
        let fds: Vec<_> = pairs.iter().map(|(here, _)| here.as_fd()).collect();
        let one = combine(&fds).unwrap().unwrap();
        let ready = || until([Some((one.as_fd(), Interest::Readable))], Some(Instant::now())).unwrap()[0];
        assert!(!ready());
        for (mut here, mut there) in pairs.iter().map(|(here, there)| (here, there)) {
            there.write_all(b"x").unwrap();
            assert!(ready() && ready(), "until it is read");
            std::io::Read::read_exact(&mut here, &mut [0]).unwrap();
            assert!(!ready());
        }
    }

    #[test]
    fn hang_up_counts_as_ready() {
        let (a, b) = UnixStream::pair().unwrap();
        let hang_up = || until([Some((a.as_fd(), Interest::HangUp))], Some(Instant::now())).unwrap();
        assert_eq!(hang_up(), [false]);
        drop(b);
        assert_eq!(hang_up(), [true]);
        assert_eq!(until([Some((a.as_fd(), Interest::Readable))], None).unwrap(), [true]);
    }
}
