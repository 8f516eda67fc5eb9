//! Linux's ioctl(2) requests of a tun device.
#![expect(unsafe_code, reason = "no crate of ours has these requests")]

use std::{
    fs::OpenOptions,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

/// The kernel's node for tun devices.
const NODE: &str = "/dev/net/tun";

/// The flags in the answer of TUNGETIFF and the request TUNSETIFF have 16 bits.
const HEADER: u16 = 0x4000;
const TUN: u16 = 0x0001;
const NO_PACKET_INFORMATION: u16 = 0x1000;

/// Offset of the flags in `struct ifreq`, behind the name.
const FLAGS: usize = libc::IFNAMSIZ;
/// Size of `struct ifreq` on 64-bit systems; fewer bytes are used on others.
const IFREQ: usize = 40;

/// `struct ifreq`, aligned as its pointers are.
#[repr(C, align(8))]
struct Ifreq([u8; IFREQ]);

const _: () = assert!(size_of::<libc::ifreq>() <= IFREQ);

/// Creates a tun device and returns it with its name; `name` may contain `%d`. Packets have a virtio-net
/// header in front if the kernel supports that ([`has_header`]). Non-blocking, close-on-exec.
///
/// # Errors
/// Returns the kernel's error.
pub fn create(name: &str) -> io::Result<(OwnedFd, String)> {
    let node = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(NODE)?;
    let set = |flags: u16| {
        let mut request = Ifreq([0; IFREQ]);
        let (field, rest) = request.0.split_at_mut(FLAGS);
        // The last byte stays zero.
        field.iter_mut().take(FLAGS - 1).zip(name.bytes()).for_each(|(to, from)| *to = from);
        rest.iter_mut().zip(flags.to_ne_bytes()).for_each(|(to, from)| *to = from);
        // SAFETY: the kernel reads and writes one `struct ifreq`, and `request` has at least that many bytes.
        let outcome = unsafe { libc::ioctl(node.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(request) }
    };
    let plain = TUN | NO_PACKET_INFORMATION;
    let request = match set(plain | HEADER) {
        // Linux before 2.6.27.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => set(plain),
        outcome => outcome,
    }?;
    let name: Vec<u8> = request.0.iter().take(FLAGS).copied().take_while(|byte| *byte != 0).collect();
    Ok((node.into(), String::from_utf8_lossy(&name).into_owned()))
}

/// Returns whether the packets of this descriptor have a virtio-net header in front; `false` if it is not a
/// tun device.
#[must_use]
pub fn has_header(fd: impl AsFd) -> bool {
    let mut request = Ifreq([0; IFREQ]);
    // SAFETY: the kernel writes one `struct ifreq`, and `request` has at least that many bytes. Other
    // descriptors than those of tun devices do not know the request.
    let outcome = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    let flags = match request.0.get(FLAGS..FLAGS + 2) {
        Some([low, high]) => u16::from_ne_bytes([*low, *high]),
        _ => 0,
    };
    outcome == 0 && flags & TUN != 0 && flags & HEADER != 0
}

/// Tells the kernel that TCP segments (and UDP datagrams, if `udp`) may be passed combined and without
/// checksums.
///
/// # Errors
/// Returns the kernel's error; `EINVAL` if it does not support one of them.
pub fn accept_combined(fd: impl AsFd, udp: bool) -> io::Result<()> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let both = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let flags = libc::c_ulong::from(if udp { tcp | both } else { tcp });
    // SAFETY: the argument is a number.
    let outcome = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, flags) };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
