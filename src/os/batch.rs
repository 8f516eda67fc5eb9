//! Receives and sends many datagrams with recvmmsg(2) and sendmmsg(2): one system call each on Linux, on
//! OpenBSD since 7.2, which pledge(2) permits with "stdio", and on NetBSD; on FreeBSD they are loops in the C
//! library.
//!
//! A [`Batch`] owns its buffers and is reused, so that nothing on this path allocates.
#![expect(
    unsafe_code,
    reason = "nix ties the buffers of recvmmsg to one lifetime, so they could not be reused"
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
    /// The range of each datagram in its buffer.
    ranges: Vec<Range<usize>>,
    buffer_size: usize,
    filled: usize,
    /// How many buffers to offer next: each costs time even if no datagram arrives.
    offered: usize,
}

/// Least number of buffers to offer.
const MIN_OFFERED: usize = 8;

impl Batch {
    /// Creates a batch of `count` buffers of `size` bytes each.
    #[must_use]
    pub fn new(count: usize, size: usize) -> Self {
        Self {
            space: vec![0; count * size],
            ranges: vec![0..0; count],
            buffer_size: size,
            filled: 0,
            offered: MIN_OFFERED,
        }
    }

    /// Returns how many datagrams the batch holds.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Returns whether all buffers hold a datagram.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled == self.ranges.len()
    }

    /// Lets `write` fill the next buffer and return the range of the datagram in it, or `None` to add
    /// nothing. Returns whether a datagram was added.
    pub fn push(&mut self, write: impl FnOnce(&mut [u8]) -> Option<Range<usize>>) -> bool {
        let start = self.filled * self.buffer_size;
        let Some(buffer) = self.space.get_mut(start..start + self.buffer_size) else { return false };
        let Some(used) = write(buffer) else { return false };
        let Some(place) = self.ranges.get_mut(self.filled) else { return false };
        *place = used.start.min(self.buffer_size)..used.end.min(self.buffer_size);
        self.filled += 1;
        true
    }

    /// Does the same for a datagram of two parts.
    pub fn push_parts(&mut self, head: &[u8], tail: &[u8]) -> bool {
        self.push(|buffer| {
            let (begin, rest) = buffer.split_at_mut_checked(head.len())?;
            begin.copy_from_slice(head);
            rest.get_mut(..tail.len())?.copy_from_slice(tail);
            Some(0..head.len() + tail.len())
        })
    }

    /// Empties the batch.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Returns the lengths of the datagrams.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.ranges.iter().take(self.filled).map(ExactSizeIterator::len)
    }

    /// Returns one datagram.
    pub fn datagram(&mut self, at: usize) -> Option<&mut [u8]> {
        let place = self.ranges.get(..self.filled)?.get(at)?;
        let start = at * self.buffer_size;
        self.space.get_mut(start + place.start..start + place.end)
    }

    /// Returns the datagrams, to be read or changed in place.
    pub fn datagrams(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let filled = self.filled;
        self.space
            .chunks_exact_mut(self.buffer_size.max(1))
            .zip(&self.ranges)
            .take(filled)
            .filter_map(|(buffer, place)| buffer.get_mut(place.clone()))
    }

    /// Receives waiting datagrams without blocking: at most as many as fit, and at most twice as many as the
    /// last time, but at least 8. `Ok(0)` means that none was waiting, or that a signal interrupted the call.
    ///
    /// # Errors
    /// Returns the socket's error, such as an ICMP error of a connected socket; the batch is then empty.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.filled = 0;
        match self.receive_some(socket) {
            Ok(count) => {
                self.filled = count;
                self.offered = (2 * count).max(MIN_OFFERED);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Sends the datagrams on a connected socket and empties the batch. Returns how many the kernel accepted.
    ///
    /// # Errors
    /// Returns the socket's first error; the datagrams after it are dropped, as a network may do. Only EMSGSIZE, which
    /// concerns one datagram or an earlier one, does not stop the others.
    pub fn send(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let sent = if self.filled == 1 { self.send_one(&socket) } else { self.send_all(&socket) };
        if self.filled == 1
            && let Err(error) = &sent
            && error.raw_os_error() == Some(libc::EMSGSIZE)
        {
            let _too_long_itself = self.send_one(&socket);
        }
        self.filled = 0;
        sent
    }

    /// Sends the first datagram with send(2), which for a single one is cheaper than sendmmsg(2).
    fn send_one(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let Some(datagram) = self.datagrams().next() else { return Ok(0) };
        send(socket.as_fd().as_raw_fd(), datagram, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
        Ok(1)
    }
}

mod system {
    use super::{AsFd, AsRawFd, Batch, io};
    use std::mem::MaybeUninit;

    /// Most headers per call: more would not make it cheaper, and they are on the stack.
    const MAX_HEADERS: usize = 64;

    /// Headers with one vector each. Only those in use are initialised, because all of them are 5 KiB.
    struct Headers {
        vectors: [MaybeUninit<libc::iovec>; MAX_HEADERS],
        headers: [MaybeUninit<libc::mmsghdr>; MAX_HEADERS],
    }

    impl Headers {
        const fn new() -> Self {
            Self {
                vectors: [MaybeUninit::uninit(); MAX_HEADERS],
                headers: [MaybeUninit::uninit(); MAX_HEADERS],
            }
        }

        /// Writes a header for each buffer and returns their number.
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
            let offered = self.offered.min(MAX_HEADERS);
            let count = headers.fill(self.space.chunks_exact_mut(self.buffer_size.max(1)).take(offered));
            // SAFETY: the first `count` headers point to one vector each, and each vector to a buffer of
            // `self.space` that nothing else accesses during the call.
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
            for (place, header) in self.ranges.iter_mut().zip(&headers.headers).take(got) {
                // SAFETY: the kernel has filled the first `got` of the `count` headers written above.
                let length = unsafe { header.assume_init_ref() }.msg_len;
                // The width of `msg_len` differs between platforms.
                *place = 0..usize::try_from(length).unwrap_or(0);
            }
            Ok(got)
        }

        pub(super) fn send_all(&mut self, socket: impl AsFd) -> io::Result<usize> {
            let (mut done, mut skipped, mut too_long) = (0, 0, None);
            while done < self.filled {
                match self.send_some(done, &socket) {
                    Ok(0) => break,
                    Ok(sent) => done += sent,
                    Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                        // The first such error may be a report about an earlier datagram.
                        if too_long.replace(error).is_some() {
                            done += 1;
                            skipped += 1;
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            too_long.map_or(Ok(done - skipped), Err)
        }

        fn send_some(&mut self, from: usize, socket: &impl AsFd) -> io::Result<usize> {
            let mut headers = Headers::new();
            let waiting = self.filled.saturating_sub(from);
            let buffers = self.space.chunks_exact_mut(self.buffer_size.max(1)).zip(&self.ranges);
            let count = headers.fill(
                buffers
                    .skip(from)
                    .take(waiting)
                    .map(|(buffer, place)| buffer.get_mut(place.clone()).unwrap_or_default()),
            );
            // SAFETY: the first `count` headers point to one vector each, and each vector to initialised
            // bytes of `self.space`, which the kernel only reads.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn datagrams_arrive_whole_and_in_order() {
        let (a, b) = UnixDatagram::pair().unwrap();
        let mut out = Batch::new(8, 16);
        for n in 0..8_u8 {
            assert!(out.push(|buffer| {
                let range = 3..3 + usize::from(n);
                buffer[range.clone()].fill(n);
                Some(range)
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
    fn offered_buffers_grow_with_the_last_count() {
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
        assert_eq!(counts, [2, 1, 1, 1, 1], "8, then 12; later calls offer 24 buffers");
        assert_eq!(into.filled(), 0);
    }

    #[test]
    fn single_datagram_is_sent() {
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
        assert_eq!(out.send(&a).unwrap(), 0, "an empty batch sends nothing");
    }

    #[test]
    fn datagrams_are_found_by_their_numbers() {
        let mut batch = Batch::new(3, 16);
        batch.push_parts(&[1; 4], &[2]);
        batch.push(|buffer| {
            buffer[5..8].fill(3);
            Some(5..8)
        });
        assert_eq!(batch.lengths().collect::<Vec<_>>(), [5, 3]);
        assert_eq!(batch.datagram(0).unwrap(), [1, 1, 1, 1, 2]);
        assert_eq!(batch.datagram(1).unwrap(), [3; 3]);
        assert!(batch.datagram(2).is_none());
        batch.clear();
        assert!(batch.datagram(0).is_none() && batch.lengths().count() == 0);
    }

    #[test]
    fn socket_error_is_returned() {
        let (a, b) = UnixDatagram::pair().unwrap();
        drop(b);
        let mut out = Batch::new(1, 4);
        out.push(|_| Some(0..4));
        assert!(out.send(&a).is_err());
        assert_eq!(out.filled(), 0);
    }

    #[test]
    fn too_long_datagram_does_not_stop_the_others() {
        use std::net::UdpSocket;
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        b.set_nonblocking(true).unwrap();
        // More than a datagram of UDP holds, which the kernel reports as EMSGSIZE.
        let (mut out, mut into) = (Batch::new(4, 70_000), Batch::new(8, 16));
        for lengths in [vec![1, 66_000, 2, 66_000], vec![66_000, 3], vec![66_000]] {
            for length in &lengths {
                out.push(|_| Some(0..*length));
            }
            let error = out.send(&a).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            let short: Vec<usize> = lengths.into_iter().filter(|length| *length < 66_000).collect();
            assert_eq!(into.receive(&b).unwrap(), short.len());
            assert_eq!(into.lengths().collect::<Vec<_>>(), short);
        }
    }
}
