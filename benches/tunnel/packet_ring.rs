//! Receives the GRE packets of one host from a packet socket with a ring (packet(7); the kernel's
//! Documentation/networking/packet_mmap.rst): the kernel copies them to memory that it shares with this process, and no
//! system call is needed as long as more of them are there.
//!
//! The IP stack processes them still, as the socket gets a copy. Hence the caller needs a raw socket, or the kernel
//! answers each with ICMP "protocol unreachable".
#![expect(unsafe_code, reason = "neither nix nor socket2 has the rings of packet sockets")]

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, Ordering},
};

use socket2::{Domain, SockFilter, Socket, Type};

/// Bytes of the ring, as many as the raw socket's receive buffer has.
const SIZE: u32 = 2 << 20;
/// Bytes of a block of TPACKET_V3. The last packet of a full block wakes the reader: 20 packets of 1400 bytes.
const BLOCK: u32 = 32 << 10;
/// A block that is not full is passed on after this many milliseconds, the least that the kernel has.
const TIMEOUT: u32 = 1;
/// Bytes of a frame of TPACKET_V2, of which 80 precede the packet.
const FRAME: u32 = 2 << 10;

/// What the kernel passes on at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Many packets: TPACKET_V3.
    Block,
    /// One packet: TPACKET_V2.
    Frame,
}

/// The socket and its ring.
pub struct PacketRing {
    socket: Socket,
    memory: Memory,
    unit: Unit,
    /// Number of the block or frame that the kernel passes on next.
    next: u32,
}

impl PacketRing {
    /// Receives what comes from `peer` to the device with this index, and has `key` at offset 6 of the GRE header.
    ///
    /// # Errors
    /// Returns the kernel's error; EPERM without root.
    pub fn new(device: u32, peer: Ipv4Addr, key: u16, unit: Unit) -> io::Result<Self> {
        // Cooked: packets begin with the IP header. With protocol 0 none arrives before everything is set.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        socket.attach_filter(&[
            SockFilter::new(0x30, 0, 0, 9), // the protocol of the IP header
            SockFilter::new(0x15, 0, 6, 47),
            SockFilter::new(0x20, 0, 0, 12), // its source
            SockFilter::new(0x15, 0, 4, peer.to_bits()),
            SockFilter::new(0xb1, 0, 0, 0), // its length, to the index register
            SockFilter::new(0x48, 0, 0, 6),
            SockFilter::new(0x15, 0, 1, u32::from(key)),
            SockFilter::new(0x06, 0, 0, u32::MAX),
            SockFilter::new(0x06, 0, 0, 0),
        ])?;
        match unit {
            Unit::Block => {
                set(&socket, libc::PACKET_VERSION, &libc::tpacket_versions::TPACKET_V3)?;
                let request = libc::tpacket_req3 {
                    tp_block_size: BLOCK,
                    tp_block_nr: SIZE / BLOCK,
                    // Has no meaning, but has to fit.
                    tp_frame_size: FRAME,
                    tp_frame_nr: SIZE / FRAME,
                    tp_retire_blk_tov: TIMEOUT,
                    tp_sizeof_priv: 0,
                    tp_feature_req_word: 0,
                };
                set(&socket, libc::PACKET_RX_RING, &request)?;
            }
            Unit::Frame => {
                set(&socket, libc::PACKET_VERSION, &libc::tpacket_versions::TPACKET_V2)?;
                let request = libc::tpacket_req {
                    tp_block_size: BLOCK,
                    tp_block_nr: SIZE / BLOCK,
                    tp_frame_size: FRAME,
                    tp_frame_nr: SIZE / FRAME,
                };
                set(&socket, libc::PACKET_RX_RING, &request)?;
            }
        }
        let memory = Memory::new(&socket)?;
        bind(&socket, device)?;
        Ok(Self { socket, memory, unit, next: 0 })
    }

    /// Passes waiting packets to `each`, with their IP header and where they are; no more blocks or frames once there were
    /// `most` packets.
    pub fn receive(&mut self, most: usize, mut each: impl FnMut(&mut [u8])) {
        let mut count = 0;
        while count < most {
            let found = match self.unit {
                Unit::Block => self.receive_block(&mut each),
                Unit::Frame => self.receive_frame(&mut each),
            };
            let Some(found) = found else { break };
            count += found;
        }
    }

    /// Passes the packets of the next block on, and returns their number; `None` if the kernel still fills it.
    fn receive_block(&mut self, each: &mut impl FnMut(&mut [u8])) -> Option<usize> {
        let block: *mut libc::tpacket_block_desc = self.memory.at(self.next * BLOCK);
        // SAFETY: each block begins with its description, which is aligned, and lives as long as `self.memory`. The kernel
        // changes the status as one word, so that it is accessed as an atomic here and nowhere else.
        let status = unsafe { AtomicU32::from_ptr(&raw mut (*block).hdr.bh1.block_status) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the block is this process's until the status changes, the kernel has written both numbers, and bh1 is
        // the only member of the union.
        let (count, first) = unsafe { ((*block).hdr.bh1.num_pkts, (*block).hdr.bh1.offset_to_first_pkt) };
        let mut at = self.next * BLOCK + first;
        for _ in 0..count {
            let header: *mut libc::tpacket3_hdr = self.memory.at(at);
            // SAFETY: the kernel has written as many packets as it counts into the block, each with an aligned header at the
            // offset that the one before names.
            let found = unsafe { header.read() };
            let packet = self.memory.at(at + u32::from(found.tp_net));
            // SAFETY: `tp_snaplen` bytes of the packet are there, and nothing else accesses them while the block is ours.
            each(unsafe { slice::from_raw_parts_mut(packet, found.tp_snaplen as usize) });
            at += found.tp_next_offset;
        }
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % (SIZE / BLOCK);
        Some(count as usize)
    }

    /// Passes the next frame on, and returns 1; `None` if the kernel has not filled it.
    fn receive_frame(&mut self, each: &mut impl FnMut(&mut [u8])) -> Option<usize> {
        let at = self.next * FRAME;
        let header: *mut libc::tpacket2_hdr = self.memory.at(at);
        // SAFETY: each frame begins with its header, which is aligned, and lives as long as `self.memory`. The kernel
        // changes the status as one word, so that it is accessed as an atomic here and nowhere else.
        let status = unsafe { AtomicU32::from_ptr(&raw mut (*header).tp_status) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the frame is this process's until the status changes, and the kernel has written both numbers.
        let (offset, length) = unsafe { ((*header).tp_net, (*header).tp_snaplen) };
        let packet = self.memory.at(at + u32::from(offset));
        // SAFETY: `tp_snaplen` bytes of the packet are there, and nothing else accesses them while the frame is ours.
        each(unsafe { slice::from_raw_parts_mut(packet, length as usize) });
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % (SIZE / FRAME);
        Some(1)
    }
}

impl AsFd for PacketRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The memory that is shared with the kernel.
struct Memory(NonNull<u8>);

impl Memory {
    fn new(socket: &Socket) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses, of a ring of this size.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), SIZE as usize, access, libc::MAP_SHARED, socket.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).map(Self).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Returns a pointer to this offset.
    fn at<T>(&self, offset: u32) -> *mut T {
        assert!(offset < SIZE);
        // SAFETY: the offset is within the mapping.
        unsafe { self.0.add(offset as usize) }.as_ptr().cast()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nothing refers to any more: what `receive` lends ends with each call.
        let _unmapped = unsafe { libc::munmap(self.0.as_ptr().cast(), SIZE as usize) };
    }
}

fn set<T>(socket: &Socket, option: i32, value: &T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `size` bytes of `value`, which has as many.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, ptr::from_ref(value).cast(), size)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives the IPv4 packets of a device from now on; not those that this host sends.
fn bind(socket: &Socket, device: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: u16::try_from(libc::ETH_P_IP).map_err(io::Error::other)?.to_be(),
        sll_ifindex: i32::try_from(device).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let size = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `size` bytes of `address`, which has as many.
    let done = unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&address).cast(), size) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
