//! The one place that blocks: poll(2) until a descriptor is ready or a moment has come.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
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
pub fn any(interests: &[(BorrowedFd<'_>, Interest)], deadline: Option<Instant>) -> io::Result<Vec<bool>> {
    let mut fds: Vec<PollFd<'_>> =
        interests.iter().map(|(fd, interest)| PollFd::new(*fd, flags(*interest))).collect();
    match poll(&mut fds, timeout(deadline)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fds.iter().map(|fd| fd.revents().is_some_and(|revents| !revents.is_empty())).collect())
}

/// The same for a fixed set of places, of which some may be empty. Allocates nothing.
///
/// # Errors
/// As [`any`].
pub fn until<const N: usize>(
    interests: [Option<(BorrowedFd<'_>, Interest)>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    Ok(until_readiness(interests, deadline)?.map(|ready| ready.to_read || ready.to_write))
}

/// What a descriptor is ready for, of that for which it is waited. An error or a hang-up is both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There is something to read.
    pub to_read: bool,
    /// There is room to write.
    pub to_write: bool,
}

/// As [`until`], and says what for.
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
    match poll(fds.get_mut(..count).unwrap_or_default(), timeout(deadline)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut revents = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
    Ok(interests.map(|interest| match interest.and_then(|_| revents.next()) {
        Some(revents) => Readiness {
            to_read: revents.intersects(!PollFlags::POLLOUT),
            to_write: revents.intersects(!PollFlags::POLLIN),
        },
        None => Readiness::default(),
    }))
}

/// Several descriptors that seldom have something to say, as one to wait for, which is readable when one of them is: each
/// that is waited for costs a part of what the waiting costs. `None` where the system has no such thing (epoll(7)).
///
/// # Errors
/// The kernel's.
pub fn as_one(fds: &[BorrowedFd<'_>]) -> io::Result<Option<OwnedFd>> {
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

/// Makes reading from and writing to a descriptor give [`io::ErrorKind::WouldBlock`] instead of waiting.
///
/// # Errors
/// The kernel's, when the descriptor is bad.
pub fn never_block(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Whether a descriptor is ready at present; an error counts, as with [`any`].
#[must_use]
pub fn is_ready(fd: BorrowedFd<'_>, interest: Interest) -> bool {
    let mut fds = [PollFd::new(fd, flags(interest))];
    poll(&mut fds, PollTimeout::ZERO) != Ok(0)
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
    fn places_may_be_empty_all_of_them_too() {
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
    fn says_what_each_is_ready_for() {
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
    fn several_as_one_are_ready_as_long_as_one_of_them_is() {
        let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
        let fds: Vec<_> = pairs.iter().map(|(here, _)| here.as_fd()).collect();
        let one = as_one(&fds).unwrap().unwrap();
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
    fn a_hang_up_is_ready() {
        let (a, b) = UnixStream::pair().unwrap();
        drop(b);
        assert_eq!(until([Some((a.as_fd(), Interest::Readable))], None).unwrap(), [true]);
    }
}
