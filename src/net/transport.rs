//! The two sockets under a tunnel: TCP to port 1723 for control, raw protocol 47 for GRE (RFC 2637 §3, §4).
//!
//! Both are made by the one who has the privilege and handed over unused: nothing is sent and nothing is read
//! here. The raw socket is made, bound and connected before the control connection begins, so that the
//! kernel does not answer an early GRE packet of the server with "protocol unreachable".

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, OwnedFd},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// IP protocol number of GRE.
const GRE: i32 = 47;

/// Bytes that the kernel may hold for us while we are busy: about a quarter of a second at 40 Mbit/s.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// What both sockets of a tunnel have in common.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Source address to bind to (`localbind`).
    pub local: Option<Ipv4Addr>,
    /// Firewall mark (Linux `SO_MARK`; `--rtmark`). Zero is none.
    pub mark: u32,
}

/// A TCP socket, non-blocking and not yet connected.
///
/// # Errors
/// The kernel's; `EADDRNOTAVAIL` when the local address is none of ours.
pub fn tcp_socket(options: &Options) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    prepare(&socket, options)?;
    Ok(socket.into())
}

/// A raw GRE socket, non-blocking, connected: only packets from `server` arrive.
///
/// # Errors
/// The kernel's; `EPERM` without root.
pub fn gre_socket(server: Ipv4Addr, options: &Options) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(GRE)))?;
    socket.set_nonblocking(true)?;
    prepare(&socket, options)?;
    enlarge(&socket);
    socket.connect(&SocketAddr::V4(SocketAddrV4::new(server, 0)).into())?;
    Ok(socket.into())
}

/// Begins to connect; the socket becomes writable when it is known how that ended.
///
/// # Errors
/// What is known at once, such as `ENETUNREACH`.
pub fn start_connect(socket: impl AsFd, server: SocketAddrV4) -> io::Result<()> {
    match SockRef::from(&socket.as_fd()).connect(&SocketAddr::V4(server).into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other,
    }
}

/// How a connect ended, once the socket is writable.
///
/// # Errors
/// Why it failed.
pub fn connect_result(socket: impl AsFd) -> io::Result<()> {
    match SockRef::from(&socket.as_fd()).take_error()? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The local address that the kernel chose.
#[must_use]
pub fn local_address(socket: impl AsFd) -> Option<Ipv4Addr> {
    SockRef::from(&socket.as_fd()).local_addr().ok()?.as_socket_ipv4().map(|address| *address.ip())
}

/// Asks the kernel to hand us only GRE packets with this call id in the key: every tunnel to one server would
/// otherwise be woken by the packets of all. What it does not filter, the flow does; so a refusal is no error.
pub fn only_call(socket: impl AsFd, call_id: u16) {
    #[cfg(target_os = "linux")]
    {
        use socket2::SockFilter;
        // Classic BPF. A raw IPv4 socket sees the IP header: X = its length, then the half word of the call
        // id, at 6 in the GRE header (RFC 2637 §4.1).
        const LOAD_HEADER_LENGTH: u16 = 0xb1;
        const LOAD_HALF_AT_X: u16 = 0x48;
        const JUMP_IF_EQUAL: u16 = 0x15;
        const RETURN: u16 = 0x06;
        let filter = [
            SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0),
            SockFilter::new(LOAD_HALF_AT_X, 0, 0, 6),
            SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(call_id)),
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

/// The GRE packet in what a raw socket delivers: without the IPv4 header. `None` when it is not one.
pub fn strip_ip_header(datagram: &mut [u8]) -> Option<&mut [u8]> {
    let first = *datagram.first()?;
    let length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < 20 {
        return None;
    }
    datagram.get_mut(length..)
}

fn prepare(socket: &Socket, options: &Options) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if options.mark != 0 {
        socket.set_mark(options.mark)?;
    }
    if let Some(local) = options.local {
        socket.bind(&SocketAddr::V4(SocketAddrV4::new(local, 0)).into())?;
    }
    Ok(())
}

/// Root may go over the system's limit; everyone else gets what the limit gives.
fn enlarge(socket: &Socket) {
    #[cfg(target_os = "linux")]
    if nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::RcvBufForce, &RECEIVE_BUFFER).is_ok() {
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
    fn the_ip_header_goes_whatever_its_length() {
        let mut plain = vec![0x45; 24];
        assert_eq!(strip_ip_header(&mut plain).unwrap().len(), 4);
        let mut with_options = vec![0x46; 24];
        assert_eq!(strip_ip_header(&mut with_options).unwrap().len(), 0);
        assert!(strip_ip_header(&mut [0x65; 40]).is_none(), "IPv6");
        assert!(strip_ip_header(&mut [0x44; 40]).is_none(), "header of 16 bytes");
        assert!(strip_ip_header(&mut [0x46; 20]).is_none(), "cut inside the header");
        assert!(strip_ip_header(&mut []).is_none());
    }

    #[test]
    fn a_refused_connection_is_known_when_writable() {
        // Bound, so that nobody else gets the port, and nobody listens there.
        let taken = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        taken.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let socket = tcp_socket(&Options::default()).unwrap();
        let to = taken.local_addr().unwrap().as_socket_ipv4().unwrap();
        if start_connect(&socket, to).is_ok() {
            let waited =
                crate::net::wait::until([Some((socket.as_fd(), crate::net::wait::Interest::Writable))], None);
            assert_eq!(waited.unwrap(), [true]);
            let error = connect_result(&socket).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
    }
}
