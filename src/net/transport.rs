//! The two sockets of a tunnel: TCP to port 1723 for control, raw protocol 47 for GRE (RFC 2637 §3, §4).
//!
//! The privileged process makes both and passes them on unused: this module sends and receives nothing. The
//! raw socket is created, bound and connected before the control connection is opened, so that the kernel
//! does not answer an early GRE packet of the server with ICMP "protocol unreachable".

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, OwnedFd},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::checksum::Sum;

/// IP protocol number of GRE.
const GRE: i32 = 47;

/// Size of the GRE socket's receive buffer, in bytes: about a quarter of a second at 40 Mbit/s.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// Options of both sockets of a tunnel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Source address to bind to (`localbind`); `None` lets the kernel choose.
    pub local: Option<Ipv4Addr>,
    /// Firewall mark (Linux `SO_MARK`; `--rtmark`); 0 is none.
    pub mark: u32,
}

/// Creates a TCP socket, non-blocking and not yet connected.
///
/// # Errors
/// Returns the kernel's error; `EADDRNOTAVAIL` if this host does not have the local address.
pub fn tcp_socket(options: &Options) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    apply_options(&socket, options)?;
    Ok(socket.into())
}

/// Creates a raw GRE socket, non-blocking and not connected: it receives the packets of all hosts.
///
/// # Errors
/// Returns the kernel's error; `EPERM` without root.
pub fn raw_gre(options: &Options) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(GRE)))?;
    socket.set_nonblocking(true)?;
    apply_options(&socket, options)?;
    Ok(socket)
}

/// Creates a raw GRE socket, non-blocking and connected: it receives only packets from `server`.
///
/// # Errors
/// Returns the kernel's error; `EPERM` without root.
pub fn gre_socket(server: Ipv4Addr, options: &Options) -> io::Result<OwnedFd> {
    let socket = raw_gre(options)?;
    #[cfg(not(target_os = "linux"))]
    if options.local.is_none() {
        bind_to_source(&socket, server)?;
    }
    set_receive_buffer(&socket);
    socket.connect(&SocketAddr::V4(SocketAddrV4::new(server, 0)).into())?;
    Ok(socket.into())
}

/// Sends an empty GRE packet for call id 0, which no call has. Returns `false` if this host refuses it: the kernel
/// reports a rule that drops it as `EPERM`, on some systems as `EACCES`.
///
/// # Errors
/// Returns any other error of the kernel.
pub fn send_test_gre(server: Ipv4Addr, options: &Options) -> io::Result<bool> {
    // Key and acknowledgement present, version 1, protocol 0x880b, no payload (RFC 2637 §4.1).
    const EMPTY: [u8; 12] = [0x20, 0x81, 0x88, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0];
    let socket = gre_socket(server, options)?;
    was_accepted(SockRef::from(&socket).send(&EMPTY))
}

/// Sends a TCP SYN to the server over a raw socket. Returns `false` if this host refuses it, which connect(2) reports
/// as a timeout. This host resets the connection if the server answers.
///
/// # Errors
/// Returns any other error of the kernel.
pub fn send_test_syn(server: SocketAddrV4, options: &Options) -> io::Result<bool> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    apply_options(&socket, options)?;
    socket.connect(&SocketAddr::V4(SocketAddrV4::new(*server.ip(), 0)).into())?;
    let local = local_address(&socket).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    was_accepted(socket.send(&syn(local, server, random)))
}

fn was_accepted(sent: io::Result<usize>) -> io::Result<bool> {
    match sent {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns a TCP SYN without options (RFC 9293 §3.1). `random` becomes source port and sequence number.
fn syn(local: Ipv4Addr, server: SocketAddrV4, random: [u8; 6]) -> [u8; 20] {
    let [port_high, port_low, sequence @ ..] = random;
    // From the range for dynamic ports.
    let [from_high, from_low] = [port_high | 0xc0, port_low];
    let [to_high, to_low] = server.port().to_be_bytes();
    let [s0, s1, s2, s3] = sequence;
    // Header of 5 words, the flag SYN, a window of 64240 bytes.
    let mut segment = [
        from_high, from_low, to_high, to_low, s0, s1, s2, s3, 0, 0, 0, 0, 0x50, 0x02, 0xfa, 0xf0, 0, 0, 0, 0,
    ];
    let pseudo_header = [&local.octets()[..], &server.ip().octets(), &[0, 6, 0, 20]].concat();
    let sum = Sum::default().add(&pseudo_header).add(&segment).checksum();
    if let Some(checksum) = segment.get_mut(16..18) {
        checksum.copy_from_slice(&sum.to_be_bytes());
    }
    segment
}

/// Starts a non-blocking connect; the socket becomes writable when the outcome is known.
///
/// # Errors
/// Returns an immediate error, such as `ENETUNREACH`.
pub fn start_connect(socket: impl AsFd, server: SocketAddrV4) -> io::Result<()> {
    match SockRef::from(&socket.as_fd()).connect(&SocketAddr::V4(server).into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other,
    }
}

/// Returns the local address and port of a connected socket.
pub fn local_end(socket: impl AsFd) -> Option<SocketAddrV4> {
    SockRef::from(&socket.as_fd()).local_addr().ok()?.as_socket_ipv4()
}

/// Returns the local address of a socket, if it has one.
#[must_use]
pub fn local_address(socket: impl AsFd) -> Option<Ipv4Addr> {
    SockRef::from(&socket.as_fd()).local_addr().ok()?.as_socket_ipv4().map(|address| *address.ip())
}

/// Attaches a filter that passes only GRE packets with this call id in the key, and one in 64 of the others, so that a
/// flood of them is noticed (Linux). Without it each packet wakes every tunnel to the same server. Failure is ignored:
/// the flow discards the packets of other calls.
pub fn filter_call_id(socket: impl AsFd, call_id: u16) {
    #[cfg(target_os = "linux")]
    {
        use super::bpf::{
            JUMP_IF_BITS, JUMP_IF_EQUAL, LOAD_HALF_AT_X, LOAD_HEADER_LENGTH, LOAD_WORD, RETURN,
        };
        use socket2::SockFilter;
        // SKF_AD_OFF + SKF_AD_RANDOM: the kernel loads a random number.
        const RANDOM: u32 = 0xffff_f038;
        let filter = [
            SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0),
            // The call id, at offset 6 of the GRE header (RFC 2637 §4.1).
            SockFilter::new(LOAD_HALF_AT_X, 0, 0, 6),
            SockFilter::new(JUMP_IF_EQUAL, 2, 0, u32::from(call_id)),
            SockFilter::new(LOAD_WORD, 0, 0, RANDOM),
            SockFilter::new(JUMP_IF_BITS, 1, 0, 63),
            SockFilter::new(RETURN, 0, 0, u32::MAX),
            SockFilter::new(RETURN, 0, 0, 0),
        ];
        if let Err(error) = SockRef::from(&socket.as_fd()).attach_filter(&filter) {
            tracing::debug!(%error, "no filter on the GRE socket");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, call_id);
}

/// Returns the GRE packet in a datagram from a raw socket, or `None` if the IPv4 header is invalid.
pub fn strip_ip_header(datagram: &mut [u8]) -> Option<&mut [u8]> {
    let first = *datagram.first()?;
    let length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < 20 {
        return None;
    }
    datagram.get_mut(length..)
}

fn apply_options(socket: &Socket, options: &Options) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if options.mark != 0 {
        socket.set_mark(options.mark)?;
    }
    if let Some(local) = options.local {
        socket.bind(&SocketAddr::V4(SocketAddrV4::new(local, 0)).into())?;
    }
    Ok(())
}

/// Binds to the address that the kernel now chooses for packets to `server`. Linux stores it when the socket
/// is connected; the BSDs choose it anew with each change of the routes, and the server ignores a new one.
#[cfg(not(target_os = "linux"))]
fn bind_to_source(socket: &Socket, server: Ipv4Addr) -> io::Result<()> {
    // Connecting a datagram socket sends nothing.
    let probe = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    probe.connect(&SocketAddr::V4(SocketAddrV4::new(server, 1723)).into())?;
    match local_address(&probe) {
        Some(local) => socket.bind(&SocketAddr::V4(SocketAddrV4::new(local, 0)).into()),
        None => Ok(()),
    }
}

/// Sets the receive buffer size of a GRE socket. On Linux root may exceed the system's limit.
pub fn set_receive_buffer(socket: impl AsFd) {
    let socket = SockRef::from(&socket);
    #[cfg(target_os = "linux")]
    if nix::sys::socket::setsockopt(&*socket, nix::sys::socket::sockopt::RcvBufForce, &RECEIVE_BUFFER).is_ok()
    {
        return;
    }
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::debug!(%error, "receive buffer stays small");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syn_has_a_valid_checksum() {
        let (local, server) = (Ipv4Addr::new(192, 0, 2, 2), "192.0.2.1:1723".parse().unwrap());
        let segment = syn(local, server, [1, 2, 3, 4, 5, 6]);
        let parsed = etherparse::TcpHeader::from_slice(&segment).unwrap().0;
        assert!(
            parsed.syn
                && !parsed.ack
                && parsed.destination_port == 1723
                && parsed.sequence_number == 0x0304_0506
        );
        assert!(parsed.source_port >= 49_152);
        let expected = parsed.calc_checksum_ipv4_raw(local.octets(), server.ip().octets(), &[]).unwrap();
        assert_eq!(parsed.checksum, expected);
    }

    #[test]
    fn strip_ip_header_accepts_any_header_length() {
        let mut plain = vec![0x45; 24];
        assert_eq!(strip_ip_header(&mut plain).unwrap().len(), 4);
        let mut with_options = vec![0x46; 24];
        assert_eq!(strip_ip_header(&mut with_options).unwrap().len(), 0);
        assert!(strip_ip_header(&mut [0x65; 40]).is_none(), "IPv6");
        assert!(strip_ip_header(&mut [0x44; 40]).is_none(), "header of 16 bytes");
        assert!(strip_ip_header(&mut [0x46; 20]).is_none(), "cut inside the header");
        assert!(strip_ip_header(&mut []).is_none());
    }
}
