//! Linux's PPP driver: PPTP sockets (AF_PPPOX), and the ioctl(2) requests of `/dev/ppp`.
//!
//! An open node is one of two things once a request has made it so: a unit, which is a network device, or a channel,
//! which is the call below it. The frames that are read and written begin with the protocol number. On the BSDs every
//! function fails with ENOTSUP.
#![expect(unsafe_code, reason = "no crate of ours has these requests")]

use std::{
    fs::OpenOptions,
    io,
    net::Ipv4Addr,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    time::Duration,
};

/// The node of the driver.
pub const NODE: &str = "/dev/ppp";

/// The address family of PPP over something.
pub const AF_PPPOX: libc::c_int = 24;

/// `PX_PROTO_PPTP`.
const PPTP: u8 = 2;

/// Size of `struct sockaddr_pppox`, which is packed.
const ADDRESS: usize = 30;
const ADDRESS_LENGTH: libc::socklen_t = 30;

/// Length of the MPPE option of CCP, and of the key behind it in [`set_compressor`].
pub const MPPE_OPTION: usize = 6;
/// The kernel uses the first 8 bytes of it for 40-bit keys.
pub const MPPE_KEY: usize = 16;

/// Both, in bytes.
const OPTION_DATA: u32 = 22;
const _: () = assert!(MPPE_OPTION + MPPE_KEY == 22);

/// Flags of a unit.
pub mod flag {
    /// `SC_CCP_OPEN`: CCP packets that pass start and stop the compressors.
    pub const CCP_OPEN: u32 = 0x0000_0040;
    /// `SC_CCP_UP`: packets are compressed.
    pub const CCP_UP: u32 = 0x0000_0080;
    /// `SC_MUST_COMP`: nothing is sent while the compressor has stopped by itself.
    pub const MUST_COMPRESS: u32 = 0x0040_0000;
}

/// `struct npioctl`.
#[repr(C)]
struct NetworkMode {
    protocol: libc::c_int,
    mode: libc::c_int,
}

/// `struct ppp_option_data`.
#[repr(C)]
struct OptionData {
    bytes: *const u8,
    length: u32,
    transmit: libc::c_int,
}

/// `struct ppp_idle`.
#[repr(C)]
#[derive(Default)]
struct Idle {
    sent: libc::c_long,
    received: libc::c_long,
}

/// Returns the number of a request: its direction, the size of its argument and its place in the group `t`.
const fn number(reads: bool, place: u8, size: usize) -> u32 {
    // Some processors have three bits for the direction, in another order.
    let (read, write, shift) = if cfg!(any(
        target_arch = "mips",
        target_arch = "mips64",
        target_arch = "powerpc",
        target_arch = "powerpc64"
    )) {
        (2, 4, 29)
    } else {
        (2, 1, 30)
    };
    let direction: u32 = if reads { read } else { write };
    #[expect(clippy::cast_possible_truncation, reason = "the sizes of the structures above")]
    let size = size as u32;
    direction << shift | size << 16 | (b't' as u32) << 8 | place as u32
}

const INT: usize = size_of::<libc::c_int>();
const GET_CHANNEL: u32 = number(true, 55, INT);
const ATTACH_CHANNEL: u32 = number(false, 56, INT);
const CONNECT: u32 = number(false, 58, INT);
const GET_IDLE: u32 = number(true, 63, size_of::<Idle>());
const SET_NETWORK_MODE: u32 = number(false, 75, size_of::<NetworkMode>());
const SET_COMPRESSOR: u32 = number(false, 77, size_of::<OptionData>());
const GET_UNIT: u32 = number(true, 86, INT);
const SET_FLAGS: u32 = number(false, 89, INT);

/// The requests that an engine makes, all of a unit: [`set_flags`], [`set_mode`], [`set_compressor`], [`data_idle`].
pub const ENGINE_REQUESTS: [u32; 4] = [SET_FLAGS, SET_NETWORK_MODE, SET_COMPRESSOR, GET_IDLE];

/// Opens the node. Non-blocking, close-on-exec.
///
/// # Errors
/// Returns ENOENT without the node, ENXIO or ENODEV without the driver, EPERM without CAP_NET_ADMIN.
pub fn open_node() -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(NODE)?.into())
}

/// Creates a PPTP socket. The kernel loads the modules, if it has them.
///
/// # Errors
/// Returns EAFNOSUPPORT or EPROTONOSUPPORT if it has not.
pub fn pptp_socket() -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let kind = libc::SOCK_STREAM;
    // SAFETY: the arguments are numbers.
    let socket = unsafe { libc::socket(AF_PPPOX, kind, libc::c_int::from(PPTP)) };
    if socket == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Binds a PPTP socket to this end of a call.
///
/// # Errors
/// Returns EBUSY if a PPTP socket of this host has the call id.
pub fn bind(socket: impl AsFd, local: Ipv4Addr, call_id: u16) -> io::Result<()> {
    let address = address(local, call_id);
    // SAFETY: the kernel reads `ADDRESS` bytes.
    let outcome = unsafe { libc::bind(socket.as_fd().as_raw_fd(), address.as_ptr().cast(), ADDRESS_LENGTH) };
    done(outcome)
}

/// Connects a bound PPTP socket to the other end of its call: from now on the kernel takes the GRE packets of the call.
///
/// # Errors
/// Returns EALREADY if another socket is connected to that end, EHOSTUNREACH without a route.
pub fn connect(socket: impl AsFd, server: Ipv4Addr, call_id: u16) -> io::Result<()> {
    let address = address(server, call_id);
    // SAFETY: the kernel reads `ADDRESS` bytes.
    let outcome =
        unsafe { libc::connect(socket.as_fd().as_raw_fd(), address.as_ptr().cast(), ADDRESS_LENGTH) };
    done(outcome)
}

/// Makes an open node the channel of a connected PPTP socket.
///
/// # Errors
/// Returns the kernel's error.
pub fn attach_channel(node: impl AsFd, socket: impl AsFd) -> io::Result<()> {
    let mut channel: libc::c_int = 0;
    request(socket, GET_CHANNEL, &mut channel)?;
    request(node, ATTACH_CHANNEL, &mut channel)
}

/// Lets a unit send and receive by a channel.
///
/// # Errors
/// Returns EINVAL if the channel has a unit already.
pub fn connect_channel(channel: impl AsFd, unit: impl AsFd) -> io::Result<()> {
    let mut index: libc::c_int = 0;
    request(unit, GET_UNIT, &mut index)?;
    request(channel, CONNECT, &mut index)
}

/// Sets the flags of a unit. Without [`flag::CCP_OPEN`] its compressors are removed.
///
/// # Errors
/// Returns the kernel's error.
pub fn set_flags(unit: impl AsFd, flags: u32) -> io::Result<()> {
    request(unit, SET_FLAGS, &mut flags.cast_signed())
}

/// Sets whether packets of this PPP protocol, IPv4 or IPv6, pass a unit or are dropped.
///
/// # Errors
/// Returns the kernel's error.
pub fn set_mode(unit: impl AsFd, protocol: u16, pass: bool) -> io::Result<()> {
    // NPMODE_PASS and NPMODE_DROP.
    let mode = libc::c_int::from(!pass);
    request(unit, SET_NETWORK_MODE, &mut NetworkMode { protocol: protocol.into(), mode })
}

/// Prepares MPPE for one direction. It begins with the Configure-Ack that the unit sees next in that direction.
///
/// # Errors
/// Returns EINVAL if the kernel has no MPPE.
pub fn set_compressor(
    unit: impl AsFd,
    transmit: bool,
    option: [u8; MPPE_OPTION],
    key: &[u8; MPPE_KEY],
) -> io::Result<()> {
    let mut bytes = zeroize::Zeroizing::new([0; MPPE_OPTION + MPPE_KEY]);
    bytes.iter_mut().zip(option.iter().chain(key)).for_each(|(to, from)| *to = *from);
    let mut data = OptionData { bytes: bytes.as_ptr(), length: OPTION_DATA, transmit: transmit.into() };
    request(unit, SET_COMPRESSOR, &mut data)
}

/// Returns for how long a unit has received no data packet, in whole seconds.
///
/// # Errors
/// Returns the kernel's error.
pub fn data_idle(unit: impl AsFd) -> io::Result<Duration> {
    let mut idle = Idle::default();
    request(unit, GET_IDLE, &mut idle)?;
    Ok(Duration::from_secs(u64::try_from(idle.received).unwrap_or(u64::MAX)))
}

/// Returns a `struct sockaddr_pppox` with a `struct pptp_addr`. The call id is in the order of the host.
fn address(ip: Ipv4Addr, call_id: u16) -> [u8; ADDRESS] {
    let mut bytes = [0; ADDRESS];
    #[expect(clippy::cast_possible_truncation, reason = "24")]
    let family = (AF_PPPOX as u16).to_ne_bytes();
    let (protocol, call_id) = (u32::from(PPTP).to_ne_bytes(), call_id.to_ne_bytes());
    // Two bytes between call id and address are unused.
    let parts = family.iter().chain(&protocol).chain(&call_id).copied().chain([0, 0]).chain(ip.octets());
    bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    bytes
}

fn done(outcome: libc::c_int) -> io::Result<()> {
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes a request whose argument is a `T`, which the kernel reads or writes.
#[cfg(target_os = "linux")]
fn request<T>(fd: impl AsFd, number: u32, argument: &mut T) -> io::Result<()> {
    // The type of the number depends on the C library; on musl it is signed.
    #[expect(clippy::allow_attributes, reason = "only some C libraries")]
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap, trivial_numeric_casts)]
    let number = number as libc::Ioctl;
    // SAFETY: each request of this file has the size of its argument in its number, and is made with a `T` of that size;
    // the pointer in `OptionData` is to as many bytes as it says. Other descriptors do not know the request.
    done(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), number, &raw mut *argument) })
}

#[cfg(not(target_os = "linux"))]
fn request<T>(_fd: impl AsFd, _number: u32, _argument: &mut T) -> io::Result<()> {
    Err(nix::errno::Errno::ENOTSUP.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the C compiler computes them from `linux/ppp-ioctl.h`.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn requests_have_the_numbers_of_the_header() {
        assert_eq!(
            [GET_CHANNEL, ATTACH_CHANNEL, CONNECT, GET_IDLE],
            [0x8004_7437, 0x4004_7438, 0x4004_743a, 0x8010_743f]
        );
        assert_eq!(
            [SET_NETWORK_MODE, SET_COMPRESSOR, GET_UNIT, SET_FLAGS],
            [0x4008_744b, 0x4010_744d, 0x8004_7456, 0x4004_7459]
        );
    }

    #[test]
    fn address_has_the_layout_of_the_header() {
        let bytes = address(Ipv4Addr::new(192, 0, 2, 7), 0x1234);
        assert_eq!(bytes[..2], 24_u16.to_ne_bytes());
        assert_eq!(bytes[2..6], 2_u32.to_ne_bytes());
        assert_eq!(bytes[6..8], 0x1234_u16.to_ne_bytes());
        assert_eq!(bytes[8..14], [0, 0, 192, 0, 2, 7]);
        assert_eq!(bytes[14..], [0; 16]);
    }
}
