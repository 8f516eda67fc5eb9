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

use std::{
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::socket::{MsgFlags, send};

/// A fixed number of equally large buffers, of which the first [`Batch::filled`] hold a datagram.
pub struct Batch {
    space: Vec<u8>,
    /// Where the datagram stands in its buffer.
    places: Vec<Range<usize>>,
    slot: usize,
    filled: usize,
    /// How many datagrams are asked for next: it costs something to offer a buffer, also when nothing comes.
    offered: usize,
}

/// Buffers that are offered at least.
const FEW: usize = 8;

impl Batch {
    /// `count` buffers of `size` bytes each.
    #[must_use]
    pub fn new(count: usize, size: usize) -> Self {
        Self { space: vec![0; count * size], places: vec![0..0; count], slot: size, filled: 0, offered: FEW }
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

    /// Receives datagrams that are waiting, without blocking: as many as fit, or at first fewer, and more the more came
    /// the last time. `Ok(0)` means none was waiting.
    ///
    /// # Errors
    /// What the socket reports, such as an ICMP error of a connected socket; the batch is then empty.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.filled = 0;
        match self.receive_some(socket) {
            Ok(count) => {
                self.filled = count;
                self.offered = (2 * count).max(FEW);
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
        let sent = if self.filled == 1 { self.send_one(socket) } else { self.send_all(socket) };
        self.filled = 0;
        sent
    }

    /// By itself it is cheaper without the headers of many.
    fn send_one(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let Some(datagram) = self.datagrams().next() else { return Ok(0) };
        send(socket.as_fd().as_raw_fd(), datagram, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
        Ok(1)
    }
}

#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
mod system {
    use super::{AsFd, AsRawFd, Batch, io};
    use std::mem::MaybeUninit;

    /// More would not make the call cheaper, and the headers live on the stack.
    const MOST: usize = 64;

    /// Headers with one vector each, of which only as many are written as are used: all of them are 5 KiB.
    struct Headers {
        vectors: [MaybeUninit<libc::iovec>; MOST],
        headers: [MaybeUninit<libc::mmsghdr>; MOST],
    }

    impl Headers {
        const fn new() -> Self {
            Self { vectors: [MaybeUninit::uninit(); MOST], headers: [MaybeUninit::uninit(); MOST] }
        }

        /// Writes one for each buffer, and gives how many.
        fn fill<'a>(&mut self, buffers: impl Iterator<Item = &'a mut [u8]>) -> libc::c_uint {
            let mut count = 0;
            for ((buffer, vector), header) in buffers.zip(&mut self.vectors).zip(&mut self.headers) {
                let vector =
                    vector.write(libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() });
                // SAFETY: all-zero is a valid mmsghdr (null pointers with length zero).
                let header = header.write(unsafe { std::mem::zeroed() });
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                count += 1;
            }
            count
        }
    }

    impl Batch {
        pub(super) fn receive_some(&mut self, socket: impl AsFd) -> io::Result<usize> {
            let mut headers = Headers::new();
            let offered = self.offered.min(MOST);
            let count = headers.fill(self.space.chunks_exact_mut(self.slot.max(1)).take(offered));
            // SAFETY: the first `count` headers point to one vector each, and each vector to a buffer of
            // `self.space` that nobody else touches during the call.
            let got = unsafe {
                libc::recvmmsg(
                    socket.as_fd().as_raw_fd(),
                    headers.headers.as_mut_ptr().cast(),
                    count as _,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
            };
            let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
            for (place, header) in self.places.iter_mut().zip(&headers.headers).take(got) {
                // SAFETY: the kernel has filled the first `got` of the `count` headers that were written above.
                let length = unsafe { header.assume_init_ref() }.msg_len;
                // As wide as each system pleases.
                *place = 0..usize::try_from(length).unwrap_or(0);
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
            let mut headers = Headers::new();
            let waiting = self.filled.saturating_sub(from);
            let buffers = self.space.chunks_exact_mut(self.slot.max(1)).zip(&self.places);
            let count = headers.fill(
                buffers
                    .skip(from)
                    .take(waiting)
                    .map(|(buffer, place)| buffer.get_mut(place.clone()).unwrap_or_default()),
            );
            // SAFETY: the first `count` headers point to one vector each, and each vector to initialised bytes
            // of `self.space`, which the kernel only reads.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_fd().as_raw_fd(),
                    headers.headers.as_mut_ptr().cast(),
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
    use super::{AsFd, AsRawFd, Batch, MsgFlags, io, send};
    use nix::sys::socket::recv;

    impl Batch {
        pub(super) fn receive_some(&mut self, socket: impl AsFd) -> io::Result<usize> {
            let fd = socket.as_fd().as_raw_fd();
            let mut got = 0;
            for (buffer, place) in
                self.space.chunks_exact_mut(self.slot.max(1)).zip(&mut self.places).take(self.offered)
            {
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
    fn more_is_asked_for_the_more_came() {
        let (a, b) = UnixDatagram::pair().unwrap();
        let mut into = Batch::new(64, 16);
        let mut counts = Vec::new();
        for _ in 0..5 {
            for n in 0..20_u8 {
                a.send(&[n; 16][..usize::from(n % 16)]).unwrap();
            }
            let (mut got, mut calls) = (Vec::new(), 0);
            while into.receive(&b).unwrap() > 0 {
                got.extend(into.datagrams().map(|datagram| datagram.to_vec()));
                calls += 1;
            }
            assert_eq!(got, (0..20_u8).map(|n| vec![n; usize::from(n % 16)]).collect::<Vec<_>>());
            counts.push(calls);
        }
        assert_eq!(counts, [2, 1, 1, 1, 1], "8 and then 12; from then on 24 are asked for");
        assert_eq!(into.filled(), 0);
    }

    #[test]
    fn one_alone_is_sent_as_well() {
        let (a, b) = UnixDatagram::pair().unwrap();
        let (mut out, mut into) = (Batch::new(4, 16), Batch::new(4, 16));
        for n in 1..4_u8 {
            out.push(|buffer| {
                buffer[2..5].fill(n);
                Some(2..5)
            });
            assert_eq!((out.send(&a).unwrap(), out.filled()), (1, 0));
            assert_eq!(into.receive(&b).unwrap(), 1);
            assert_eq!(into.datagrams().next().unwrap(), [n; 3]);
        }
        assert_eq!(out.send(&a).unwrap(), 0, "nothing is nothing");
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
