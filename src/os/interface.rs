//! Names of Linux's network interfaces.
#![expect(unsafe_code, reason = "nix looks them up in the network namespace of the calling thread only")]

use std::os::fd::{AsFd, AsRawFd};

/// SIOCGIFNAME of linux/sockios.h.
const GET_NAME: libc::Ioctl = 0x8910;

/// Returns the name of the interface with this index in the network namespace of an internet socket. Takes no lock
/// of the kernel's, as a request by netlink does.
#[must_use]
pub fn name(socket: impl AsFd, index: u32) -> Option<String> {
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_ifindex: i32::try_from(index).ok()? };
    let mut request = libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru };
    // SAFETY: the kernel reads and writes one `struct ifreq`.
    let outcome = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), GET_NAME, &raw mut request) };
    let bytes = request.ifr_name.iter().map(|byte| byte.to_ne_bytes()[0]).take_while(|byte| *byte != 0);
    (outcome == 0).then(|| String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_the_first_index() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(name(&socket, 1).as_deref(), Some("lo"));
        for unknown in [0, 0x7fff_fff0, u32::MAX] {
            assert_eq!(name(&socket, unknown), None);
        }
    }
}
