//! Receives from a raw socket through io_uring(7): one receive request gives any number of packets, each in a buffer that the
//! kernel takes from a ring of free ones. One system call waits for packets and for the tun device, and collects both.
#![expect(
    unsafe_code,
    reason = "the kernel writes to the buffers, and reads the ring of free ones, at any time"
)]

use std::{
    alloc::{Layout, alloc_zeroed},
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{IoUring, cqueue, opcode, types};

/// Number of buffers, a power of two: the socket's receive buffer still holds what finds none.
const BUFFERS: u16 = 256;
const BUFFER_SIZE: u32 = 2048;
/// Number of the group of these buffers.
const GROUP: u16 = 0;
/// Which request a completion belongs to.
const SOCKET: u64 = 0;
const DEVICE: u64 = 1;

/// What is shared with the kernel. The ring has to begin a page.
#[repr(C, align(4096))]
struct Memory {
    free: [types::BufRingEntry; BUFFERS as usize],
    buffers: [[u8; BUFFER_SIZE as usize]; BUFFERS as usize],
}

/// The requests to the kernel, and the packets that it has received.
pub struct Uring {
    ring: IoUring,
    /// Lives as long as the process.
    memory: NonNull<Memory>,
    /// Number of buffers that were made free so far.
    freed: u16,
    /// Buffers with a packet, and its length.
    filled: Vec<(u16, usize)>,
    socket: RawFd,
    device: RawFd,
    /// Requests that are not with the kernel.
    socket_idle: bool,
    device_idle: bool,
}

impl Uring {
    /// Prepares to receive from a socket and to wait for a device, both of which must stay open.
    ///
    /// # Errors
    /// Returns the kernel's error: it has to be Linux 6.1 or later.
    pub fn new(socket: BorrowedFd<'_>, device: BorrowedFd<'_>) -> io::Result<Self> {
        // Work for this process waits until it asks, so that it is not interrupted.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(2 * u32::from(BUFFERS))
            .build(8)?;
        // SAFETY: the layout has a size other than 0.
        let memory: *mut Memory = unsafe { alloc_zeroed(Layout::new::<Memory>()) }.cast();
        let memory = NonNull::new(memory).ok_or(io::ErrorKind::OutOfMemory)?;
        let start = memory.as_ptr().expose_provenance() as u64;
        // SAFETY: the ring is the first member of the memory, with as many entries, and is never freed.
        unsafe { ring.submitter().register_buf_ring_with_flags(start, BUFFERS, GROUP, 0)? };
        let mut uring = Self {
            ring,
            memory,
            freed: 0,
            filled: Vec::with_capacity(2 * usize::from(BUFFERS)),
            socket: socket.as_raw_fd(),
            device: device.as_raw_fd(),
            socket_idle: true,
            device_idle: true,
        };
        (0..BUFFERS).for_each(|buffer| uring.free(buffer));
        uring.publish();
        Ok(uring)
    }

    /// Waits for packets or the device, and returns whether there is something to read from it.
    ///
    /// # Errors
    /// Returns the kernel's error if it refuses the requests.
    pub fn wait(&mut self) -> io::Result<bool> {
        let receive = opcode::RecvMulti::new(types::Fd(self.socket), GROUP).build().user_data(SOCKET);
        let readable = u32::try_from(libc::POLLIN).map_err(io::Error::other)?;
        let poll = opcode::PollAdd::new(types::Fd(self.device), readable).build().user_data(DEVICE);
        for (idle, request) in [(&mut self.socket_idle, receive), (&mut self.device_idle, poll)] {
            if std::mem::take(idle) {
                // SAFETY: neither request refers to memory, but for the ring of buffers, and both descriptors stay open.
                unsafe { self.ring.submission().push(&request) }.map_err(io::Error::other)?;
            }
        }
        match self.ring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for completion in self.ring.completion() {
            if completion.user_data() == DEVICE {
                self.device_idle = true;
                continue;
            }
            match (usize::try_from(completion.result()), cqueue::buffer_select(completion.flags())) {
                (Ok(length), Some(buffer)) => self.filled.push((buffer, length)),
                // No buffer was free, or an error of ICMP.
                _ if completion.result() != -libc::EINVAL => {}
                _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
            }
            self.socket_idle |= !cqueue::more(completion.flags());
        }
        Ok(self.device_idle)
    }

    /// Passes the packets that have come to `each`, where they are.
    pub fn receive(&mut self, mut each: impl FnMut(&mut [u8])) {
        for at in 0..self.filled.len() {
            let (buffer, length) = self.filled[at];
            // SAFETY: the kernel wrote `length` bytes to this buffer, and does not access it until it is free again.
            each(unsafe { slice::from_raw_parts_mut(self.buffer(buffer), length) });
            self.free(buffer);
        }
        if !self.filled.is_empty() {
            self.filled.clear();
            self.publish();
        }
    }

    fn buffer(&self, number: u16) -> *mut u8 {
        assert!(number < BUFFERS);
        // SAFETY: the memory is never freed, and has as many buffers. No reference is made.
        unsafe { (&raw mut (*self.memory.as_ptr()).buffers[usize::from(number)]).cast() }
    }

    /// Puts a buffer into the ring; the kernel finds it after [`Self::publish`].
    fn free(&mut self, buffer: u16) {
        let address = self.buffer(buffer).expose_provenance() as u64;
        // SAFETY: the kernel only reads the ring, and not this entry, which is beyond the end that it was told.
        let entry = unsafe { &mut (*self.memory.as_ptr()).free[usize::from(self.freed % BUFFERS)] };
        entry.set_addr(address);
        entry.set_len(BUFFER_SIZE);
        entry.set_bid(buffer);
        self.freed = self.freed.wrapping_add(1);
    }

    /// Tells the kernel how many buffers were made free.
    fn publish(&mut self) {
        let ring = self.memory.as_ptr().cast::<types::BufRingEntry>();
        // SAFETY: the ring begins the memory, and its first entry has the word that the kernel reads as the end; it is aligned,
        // and nothing else of this process refers to it.
        let end = unsafe { AtomicU16::from_ptr(types::BufRingEntry::tail(ring).cast_mut()) };
        end.store(self.freed, Ordering::Release);
    }
}
