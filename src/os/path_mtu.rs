//! Path MTU discovery of a raw socket by the kernel (RFC 1191), on Linux.
//!
//! A router that cannot forward a packet reports the size that it can with an ICMP error. Linux stores it with the route
//! to the peer, and returns EMSGSIZE on the socket, once for the error and again for each packet that is longer.
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "nix does not have this socket option"))]

use std::os::fd::AsFd;

/// Lets the kernel refuse a packet that is longer than the path carries, with EMSGSIZE, instead of sending it in
/// fragments. Many routers drop fragments of GRE, whose later ones have no call id. Failure is ignored.
pub fn refuse_long_packets(socket: impl AsFd) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let discover = libc::IP_PMTUDISC_DO;
        // SAFETY: the option is an int, which the kernel only reads; its length is given as such.
        let outcome = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                (&raw const discover).cast(),
                libc::socklen_t::try_from(size_of_val(&discover)).unwrap_or_default(),
            )
        };
        if outcome != 0 {
            let error = std::io::Error::last_os_error();
            tracing::debug!(%error, "no path MTU discovery on the GRE socket");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// Returns the longest packet, in bytes, that the path to the peer of a connected socket is known to carry.
#[must_use]
pub fn known(socket: impl AsFd) -> Option<u16> {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{getsockopt, sockopt};
        u16::try_from(getsockopt(&socket, sockopt::IpMtu).ok()?).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn long_packet_is_refused_at_the_known_mtu() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(known(&socket), None, "not connected");
        socket.connect("127.0.0.1:9").unwrap();
        let mtu = usize::from(known(&socket).unwrap_or(u16::MAX));
        refuse_long_packets(&socket);
        // IP and UDP headers have 28 bytes; 65507 is the longest payload of UDP.
        if mtu < 65_535 {
            let error = socket.send(&vec![0; mtu - 27]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        }
        assert!(socket.send(&vec![0; (mtu - 28).min(65_507)]).is_ok());
    }
}
