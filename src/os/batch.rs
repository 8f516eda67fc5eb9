//! Many datagrams with one system call: recvmmsg(2) and sendmmsg(2) where the platform has them, a loop of
//! recv(2) and send(2) where it has not (OpenBSD).
//!
//! A [`Batch`] owns its buffers and is reused for ever: nothing on this path allocates.
#![cfg_attr(
    any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"),
    expect(
        unsafe_code,
        reason = "nix ties the buffers of recvmmsg to one lifetime, so they could not be reused"
    )
)]

use std::{io, ops::Range, os::fd::AsFd};

/// A fixed number of equally large buffers, of which the first [`Batch::filled`] hold a datagram.
pub struct Batch {
    space: Vec<u8>,
    /// Where the datagram stands in its buffer.
    places: Vec<Range<usize>>,
    slot: usize,
    filled: usize,
}

impl Batch {
    /// `count` buffers of `size` bytes each.
    #[must_use]
    pub fn new(count: usize, size: usize) -> Self {
        Self { space: vec![0; count * size], places: vec![0..0; count], slot: size, filled: 0 }
    }

    /// How many datagrams it holds now.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Whether another datagram would not fit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled == self.places.len()
    }

    /// Forgets what it holds.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Lets `write` fill the next buffer and say which bytes of it are the datagram; `None` leaves the batch as
    /// it was. Gives whether the batch has grown.
    pub fn push(&mut self, write: impl FnOnce(&mut [u8]) -> Option<Range<usize>>) -> bool {
        let start = self.filled * self.slot;
        let Some(buffer) = self.space.get_mut(start..start + self.slot) else { return false };
        let Some(used) = write(buffer) else { return false };
        let Some(place) = self.places.get_mut(self.filled) else { return false };
        *place = used.start.min(self.slot)..used.end.min(self.slot);
        self.filled += 1;
        true
    }

    /// The datagrams, to be read or changed in place.
    pub fn datagrams(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let filled = self.filled;
        self.space
            .chunks_exact_mut(self.slot.max(1))
            .zip(&self.places)
            .take(filled)
            .filter_map(|(buffer, place)| buffer.get_mut(place.clone()))
    }

    /// Receives as many datagrams as are waiting and fit, without blocking. `Ok(0)` means none was waiting.
    ///
    /// # Errors
    /// What the socket reports, such as an ICMP error of a connected socket; the batch is then empty.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.filled = 0;
        match self.receive_some(socket) {
            Ok(count) => {
                self.filled = count;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Sends the datagrams on a connected socket, then is empty. Returns how many the kernel took.
    ///
    /// # Errors
    /// The first that the socket reports; what was behind it in the batch is dropped, as a network would.
    pub fn send(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let sent = self.send_all(socket);
        self.filled = 0;
        sent
    }
}

#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
mod system {
    use super::{AsFd, Batch, io};
    use std::os::fd::AsRawFd;

    /// More would not make the call cheaper, and the headers live on the stack.
    const MOST: usize = 64;

    impl Batch {
        pub(super) fn receive_some(&mut self, socket: impl AsFd) -> io::Result<usize> {
            // SAFETY: all-zero is a valid iovec and a valid mmsghdr (null pointers with length zero).
            let mut vectors: [libc::iovec; MOST] = unsafe { std::mem::zeroed() };
            // SAFETY: as above.
            let mut headers: [libc::mmsghdr; MOST] = unsafe { std::mem::zeroed() };
            let mut count: libc::c_uint = 0;
            for ((buffer, vector), header) in
                self.space.chunks_exact_mut(self.slot.max(1)).zip(&mut vectors).zip(&mut headers)
            {
                vector.iov_base = buffer.as_mut_ptr().cast();
                vector.iov_len = buffer.len();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                count += 1;
            }
            // SAFETY: the first `count` headers point to one vector each, and each vector to a buffer of
            // `self.space` that nobody else touches during the call.
            let got = unsafe {
                libc::recvmmsg(
                    socket.as_fd().as_raw_fd(),
                    headers.as_mut_ptr(),
                    count as _,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
            };
            let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
            for (place, header) in self.places.iter_mut().zip(&headers).take(got) {
                // As wide as each system pleases.
                *place = 0..usize::try_from(header.msg_len).unwrap_or(0);
            }
            Ok(got)
        }

        pub(super) fn send_all(&mut self, socket: impl AsFd) -> io::Result<usize> {
            let mut done = 0;
            while done < self.filled {
                let sent = self.send_some(done, &socket)?;
                if sent == 0 {
                    break;
                }
                done += sent;
            }
            Ok(done)
        }

        fn send_some(&mut self, from: usize, socket: &impl AsFd) -> io::Result<usize> {
            // SAFETY: all-zero is a valid iovec and a valid mmsghdr (null pointers with length zero).
            let mut vectors: [libc::iovec; MOST] = unsafe { std::mem::zeroed() };
            // SAFETY: as above.
            let mut headers: [libc::mmsghdr; MOST] = unsafe { std::mem::zeroed() };
            let mut count: libc::c_uint = 0;
            let waiting = self.filled.saturating_sub(from);
            let buffers = self.space.chunks_exact_mut(self.slot.max(1)).zip(&self.places);
            for (((buffer, place), vector), header) in
                buffers.skip(from).take(waiting).zip(&mut vectors).zip(&mut headers)
            {
                let datagram = buffer.get_mut(place.clone()).unwrap_or_default();
                vector.iov_base = datagram.as_mut_ptr().cast();
                vector.iov_len = datagram.len();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                count += 1;
            }
            // SAFETY: the first `count` headers point to one vector each, and each vector to initialised bytes
            // of `self.space`, which the kernel only reads.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_fd().as_raw_fd(),
                    headers.as_mut_ptr(),
                    count as _,
                    (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
                )
            };
            usize::try_from(sent).map_err(|_| io::Error::last_os_error())
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd")))]
mod system {
    use super::{AsFd, Batch, io};
    use nix::sys::socket::{MsgFlags, recv, send};
    use std::os::fd::AsRawFd;

    impl Batch {
        pub(super) fn receive_some(&mut self, socket: impl AsFd) -> io::Result<usize> {
            let fd = socket.as_fd().as_raw_fd();
            let mut got = 0;
            for (buffer, place) in self.space.chunks_exact_mut(self.slot.max(1)).zip(&mut self.places) {
                match recv(fd, buffer, MsgFlags::MSG_DONTWAIT) {
                    Ok(size) => *place = 0..size,
                    Err(error) if got == 0 => return Err(error.into()),
                    Err(_) => break,
                }
                got += 1;
            }
            Ok(got)
        }

        pub(super) fn send_all(&mut self, socket: impl AsFd) -> io::Result<usize> {
            let fd = socket.as_fd().as_raw_fd();
            let mut sent = 0;
            for datagram in self.datagrams() {
                send(fd, datagram, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
                sent += 1;
            }
            Ok(sent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn what_is_sent_arrives_whole_and_in_order() {
        let (a, b) = UnixDatagram::pair().unwrap();
        let mut out = Batch::new(8, 16);
        for n in 0..8_u8 {
            assert!(out.push(|buffer| {
                let place = 3..3 + usize::from(n);
                buffer[place.clone()].fill(n);
                Some(place)
            }));
        }
        assert!(out.is_full());
        assert!(!out.push(|_| Some(0..1)), "a ninth does not fit");
        assert_eq!(out.send(&a).unwrap(), 8);
        assert_eq!(out.filled(), 0);
        let mut into = Batch::new(5, 16);
        assert_eq!(into.receive(&b).unwrap(), 5);
        let first: Vec<Vec<u8>> = into.datagrams().map(|d| d.to_vec()).collect();
        assert_eq!(first, (0..5_u8).map(|n| vec![n; usize::from(n)]).collect::<Vec<_>>());
        assert_eq!(into.receive(&b).unwrap(), 3);
        assert_eq!(into.receive(&b).unwrap(), 0, "nothing waits");
    }

    #[test]
    fn an_error_of_the_socket_is_said() {
        let (a, b) = UnixDatagram::pair().unwrap();
        drop(b);
        let mut out = Batch::new(1, 4);
        out.push(|_| Some(0..4));
        assert!(out.send(&a).is_err());
        assert_eq!(out.filled(), 0);
    }
}
